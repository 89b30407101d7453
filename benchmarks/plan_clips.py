"""What planning costs: a metadata file of a million clips, read, digested and laid out in shards.

    python -m benchmarks.plan_clips [--clips 1000000] [--out FILE]

No videos are looked for. Runs in a process of its own, so that its peak memory means something; the interpreter with
its libraries is in it. Prints JSON with seconds by step. The other side of the ratio is reading the same file with
Python's csv module alone.
"""

import argparse
import csv
import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from pipelines.corpus.clip_columns import ClipColumns
from pipelines.corpus.metadata import read_metadata
from pipelines.cropping.config import PrepareConfig
from pipelines.preparation.plan import plan_digest, plan_shards

CLIPS_A_VIDEO, VIDEOS_A_PERSON = 5, 10


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path, help="where to write the JSON; printed in any case")
    parser.add_argument(
        "--plan", type=Path, metavar="CSV", help="plan this file; how the script calls itself"
    )
    options = parser.parse_args()
    if options.plan:
        print(json.dumps(plan(options.plan)))
        return
    with tempfile.TemporaryDirectory() as folder:
        metadata = Path(folder) / "metadata.csv"
        write_metadata(metadata, options.clips)
        began = time.perf_counter()
        with metadata.open(newline="") as file:
            rows = sum(1 for _ in csv.reader(file))
        csv_s = time.perf_counter() - began
        command = [sys.executable, "-m", "benchmarks.plan_clips", "--plan", str(metadata)]
        report: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    report |= {
        "clips": rows - 1,
        "csv_alone_s": round(csv_s, 2),
        "time_over_csv_alone": round(report["all_s"] / csv_s, 1),
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "load": os.getloadavg()[0],
            "python": platform.python_version(),
        },
    }
    text = json.dumps(report, indent=2)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


def plan(metadata: Path) -> dict[str, Any]:
    """Seconds by step and the peak of memory."""
    config = PrepareConfig()
    times = [time.perf_counter()]
    clips = read_metadata(metadata, "vox", metadata.parent).clips
    times.append(time.perf_counter())
    digest = plan_digest(ClipColumns.of(clips).digest, config)
    times.append(time.perf_counter())
    shards = plan_shards(clips, config)
    times.append(time.perf_counter())
    return {
        "read_s": round(times[1] - times[0], 2),
        "digest_s": round(times[2] - times[1], 2),
        "plan_s": round(times[3] - times[2], 2),
        "all_s": round(times[3] - times[0], 2),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000),
        "shards": len(shards),
        "digest": digest,
    }


def write_metadata(path: Path, clips: int) -> None:
    """A file like VoxCeleb's, with videos of five clips."""
    dice = random.Random(0)
    with path.open("w") as file:
        file.write("person_id,video_id,start,end,bbox,fps,width,height,partition\n")
        for number in range(clips):
            video, place = divmod(number, CLIPS_A_VIDEO)
            person = video // VIDEOS_A_PERSON
            start, left, top = place * 300, dice.randrange(400), dice.randrange(200)
            box = f"{left}-{top}-{left + dice.randrange(150, 500)}-{top + dice.randrange(200, 500)}"
            end, partition = start + dice.randrange(64, 280), "train" if person % 20 else "test"
            file.write(f"id{10_000 + person},{video:011d},{start},{end},{box},25.0,1280,720,{partition}\n")


if __name__ == "__main__":
    main()
