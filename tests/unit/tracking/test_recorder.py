import json
import time

import numpy as np
import pytest
from PIL import Image

from tests.processes import wait_for
from tracking import recorder as recording
from tracking.errors import TrackingError
from tracking.recorder import METRICS, REFUSED, Recorder
from tracking.run import Run


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(recording, "SEND_SECONDS", 0.05)


@pytest.fixture
def said():
    return []


@pytest.fixture
def record(run, tmp_path, said):
    """Makes recorders of the run with one folder, one after another."""
    return lambda: Recorder(tmp_path / "unsent", run.run_id, run.tracking_uri, said.append)


@pytest.fixture
def store_is_away(monkeypatch):
    """Until it is called, there is no store."""
    attach = Run.attach

    def refuse(*_, **__):
        raise TrackingError("the store does not answer")

    monkeypatch.setattr(Run, "attach", refuse)
    return lambda: monkeypatch.setattr(Run, "attach", attach)


def picture(level):
    return Image.fromarray(np.full((4, 4, 3), level, np.uint8))


def test_what_was_recorded_is_sent_and_no_folder_stays(record, run, tmp_path, said):
    recorder = record()
    for step in range(1, 4):
        recorder.log_metrics({"loss": step / 8, "speed": 2.0}, step)
    recorder.log_image(picture(7), "samples/step-3.png")
    recorder.close()
    assert run.history("loss") == [(1, 0.125), (2, 0.25), (3, 0.375)]
    assert run.history("speed") == [(1, 2.0), (2, 2.0), (3, 2.0)]
    sent = run.download("samples/step-3.png", tmp_path)
    assert np.asarray(Image.open(sent)).tolist() == np.asarray(picture(7)).tolist()
    assert not (tmp_path / "unsent").exists()
    assert said == []


def test_it_is_sent_without_waiting_for_the_end(record, run):
    recorder = record()
    recorder.log_metrics({"loss": 1.0}, 1)
    wait_for(lambda: recorder.waiting() == 0)
    assert run.history("loss") == [(1, 1.0)]
    recorder.close()


def test_while_the_store_is_away_nobody_waits_and_nothing_is_lost(record, run, store_is_away, said):
    recorder = record()
    began = time.monotonic()
    for step in range(1, 2001):
        recorder.log_metrics({"loss": float(step)}, step)
    assert time.monotonic() - began < 5
    wait_for(lambda: said)
    assert said == ["not recorded yet: the store does not answer"]
    store_is_away()
    wait_for(lambda: recorder.waiting() == 0)
    assert run.history("loss") == [(step, float(step)) for step in range(1, 2001)]
    recorder.close()


def test_what_a_killed_process_left_is_sent_by_the_next_before_its_own(
    record, run, tmp_path, store_is_away, said
):
    killed = record()
    killed.log_metrics({"loss": 1.0}, 1)
    killed.log_metrics({"loss": 2.0}, 2)
    killed.log_image(picture(1), "a.png")
    killed.close()
    assert said[-1] == f"3 records wait in {tmp_path / 'unsent'}; they are sent when the run goes on"
    with (tmp_path / "unsent" / METRICS).open("ab") as file:
        file.write(b'{"time": 17, "step": 3, "metr')
    store_is_away()
    later = record()
    later.log_metrics({"loss": 20.0}, 2)  # a step that was repeated
    later.close()
    assert run.history("loss") == [(1, 1.0), (2, 20.0)]
    assert run.download("a.png", tmp_path).is_file()
    assert not (tmp_path / "unsent").exists()


def test_what_was_sent_but_not_crossed_out_does_no_harm(record, run, tmp_path):
    line = json.dumps({"time": 1_700_000_000_000, "step": 5, "metrics": {"loss": 0.5}}) + "\n"
    for _ in range(2):
        (tmp_path / "unsent").mkdir()
        (tmp_path / "unsent" / METRICS).write_text(line)
        record().close()
    assert run.client.get_metric_history(run.run_id, "loss")[0].timestamp == 1_700_000_000_000
    assert len(run.client.get_metric_history(run.run_id, "loss")) == 1


def test_a_refused_record_is_set_aside_and_holds_up_no_other(record, run, tmp_path, store_is_away, said):
    recorder = record()
    for step in range(1, 8):
        recorder.log_metrics({"loss": float(step), **({"not\na name": 1.0} if step in (3, 6) else {})}, step)
    store_is_away()
    recorder.close()
    assert run.history("loss") == [(step, float(step)) for step in (1, 2, 4, 5, 7)]
    kept = [json.loads(line) for line in (tmp_path / "unsent" / REFUSED).read_text().splitlines()]
    assert [row["step"] for row in kept] == [3, 6]
    (why,) = [words for words in said if words.startswith("a record is refused")]
    assert str(tmp_path / "unsent" / REFUSED) in why
    assert "Names may only contain" in why


def test_the_records_of_a_deleted_run_wait_until_it_is_restored(record, run, said):
    recorder = record()
    recorder.log_metrics({"loss": 1.0}, 1)
    wait_for(lambda: not recorder.waiting())
    run.client.delete_run(run.run_id)
    recorder.log_metrics({"loss": 2.0}, 2)
    wait_for(lambda: said)
    assert "`mlflow runs restore`" in said[0]
    run.client.restore_run(run.run_id)
    recorder.close()
    assert run.history("loss") == [(1, 1.0), (2, 2.0)]


def test_numbers_that_are_none_reach_the_store_too(record, run):
    recorder = record()
    recorder.log_metrics({"loss": float("inf")}, 1)
    recorder.close()
    assert np.isnan(run.history("loss")[0][1])


def test_sending_what_was_left_of_a_run_without_any_makes_nothing(run, tmp_path, said):
    Recorder(tmp_path / "unsent", run.run_id, run.tracking_uri, said.append).close()
    assert not (tmp_path / "unsent").exists()


@pytest.mark.parametrize(
    "line", [b"[]", b"{}", b'{"time": "x", "step": 1, "metrics": {}}', b"\xff", b"[" * 10_000]
)
def test_lines_that_are_no_records_are_passed_over(line, record, run, tmp_path):
    (tmp_path / "unsent").mkdir()
    good = json.dumps({"time": 1, "step": 1, "metrics": {"loss": 0.5}}).encode()
    (tmp_path / "unsent" / METRICS).write_bytes(line + b"\n" + good + b"\n")
    record().close()
    assert run.history("loss") == [(1, 0.5)]
