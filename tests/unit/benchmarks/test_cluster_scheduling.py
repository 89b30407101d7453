"""What the simulated cluster's figures are worked out from; no cluster is started."""

import os
import subprocess
import sys

import pytest

from benchmarks.cluster_scheduling import limits, rates
from benchmarks.process_use import ProcessUse


def test_the_rate_leaves_out_start_and_end():
    # Ten clips in the first ten seconds, then ten a second, and a last one that is waited for.
    done = [(10.0, 10), *((10.0 + second, 10 + 10 * second) for second in range(1, 9)), (60.0, 100)]
    assert rates(done, clips=100, shards=10) == {"clips_a_second": 10, "shards_a_second": 1.0}


def test_a_part_s_limit_is_what_one_core_of_it_serves():
    found = limits({"driver": 2.0, "workers": 99.0}, clips=1000, shards=10, core_seconds=1.5)
    assert found == {
        "driver": {
            "ms_a_shard": 200.0,
            "shards_a_second": 5.0,
            "clips_a_second": 500,
            "preparing_cores": 750,
        }
    }


def test_processes_are_told_apart_and_their_time_is_counted_from_the_first_look():
    burning = "import sys\nfor _ in range(3_000_000): pass\nprint(flush=True)\nsys.stdin.readline()"
    command = [sys.executable, "-c", burning, "ray::Tally.add"]
    use = ProcessUse(os.getpid())
    use.look()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as tally:
        tally.stdout.readline()
        use.look()
        tally.communicate(b"\n")
    assert use.processes()["tally"] == 1
    assert 0 < use.seconds()["tally"] < 30
    assert use.seconds()["driver"] == pytest.approx(0, abs=5)
    assert use.most_mb()["tally"] > 0
