import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tracking import run as run_module
from tracking.errors import TrackingError
from tracking.run import Run, flatten


def recorded(run):
    return run.client.get_run(run.run_id)


def artifact(run, name):
    return Path(run.client.download_artifacts(run.run_id, name))


def test_flatten():
    config = {
        "model": {"size": 64, "deep": {"on": True}},
        "name": "x",
        "none": None,
        "list": [1, "a"],
        "empty": {},
    }
    assert flatten(config) == {
        "model.size": "64",
        "model.deep.on": "true",
        "name": "x",
        "none": "null",
        "list": '[1, "a"]',
        "empty": "{}",
    }


def test_config_becomes_parameters_and_a_file(run):
    config = {"model": {"size": 64}, "steps": 4, "path": Path("/data"), "long": "x" * 7000}
    run.log_config(config)
    run.log_config(config)
    params = recorded(run).data.params
    assert params["model.size"] == "64"
    assert params["path"] == '"/data"'
    assert params["long"].endswith("(7000 characters)")
    assert json.loads(artifact(run, "config.json").read_text())["long"] == "x" * 7000


def test_another_value_for_a_parameter_is_an_error(run):
    run.log_config({"steps": 4})
    with pytest.raises(TrackingError, match="steps"):
        run.log_config({"steps": 5})


def test_more_parameters_than_one_request_takes(run):
    run.log_config({f"p{i}": i for i in range(250)})
    assert len(recorded(run).data.params) == 250


def test_tags_leave_none_out(run):
    run.set_tags({"commit": "abc", "dirty": False, "nothing": None, "long": "x" * 9000})
    tags = recorded(run).data.tags
    assert (tags["commit"], tags["dirty"]) == ("abc", "False")
    assert "nothing" not in tags
    assert len(tags["long"]) <= 8000


def test_metrics_wait_and_are_sent_together(run, monkeypatch):
    sent = []
    log_batch = run.client.log_batch
    monkeypatch.setattr(
        run.client,
        "log_batch",
        lambda run_id, metrics: sent.append(len(metrics)) or log_batch(run_id, metrics),
    )
    for step in range(1250):
        run.log_metrics({"loss/l1": step / 2, "loss/d": 1.0}, step)
    assert sent == [1000, 1000]
    assert run.history("loss/l1") == [(step, step / 2) for step in range(1250)]
    assert sent == [1000, 1000, 500]
    assert run.metric_names() == ["loss/d", "loss/l1"]


def test_metrics_are_sent_after_a_while(run, monkeypatch):
    clock = iter([100.0, 100.0, 200.0, 200.0])
    monkeypatch.setattr(run_module.time, "monotonic", lambda: next(clock))
    run._last_flush = 99.0
    run.log_metrics({"a": 1.0}, 0)
    assert recorded(run).data.metrics == {}
    monkeypatch.setattr(run_module.time, "monotonic", lambda: 200.0)
    run.log_metrics({"a": 2.0}, 1)
    assert recorded(run).data.metrics == {"a": 2.0}


def test_what_could_not_be_sent_is_not_lost(run, monkeypatch):
    def refuse(*_arguments, **_named):
        raise OSError("no route to host")

    with monkeypatch.context() as patched:
        patched.setattr(run.client, "log_batch", refuse)
        run.log_metrics({"a": 1.0}, 0)
        with pytest.raises(TrackingError, match="no route to host"):
            run.flush()
    assert run.history("a") == [(0, 1.0)]


def test_numbers_that_are_not_finite(run):
    run.log_metrics({"a": math.inf, "b": 1.0}, 3)
    run.log_metrics({"a": -math.inf, "b": math.nan}, 4)
    assert [math.isnan(value) for _, value in run.history("a")] == [True, True]
    assert [(s, str(v)) for s, v in run.history("b")] == [(3, "1.0"), (4, "nan")]
    tags = recorded(run).data.tags
    assert tags["nonfinite.a"] == "inf at step 3"
    assert tags["nonfinite.b"] == "nan at step 4"


def test_history_of_a_repeated_step_is_the_later_value(run, monkeypatch):
    for now, value in ((1.0, 0.5), (2.0, 0.25)):
        monkeypatch.setattr(run_module.time, "time", lambda now=now: now)
        run.log_metrics({"a": value}, 7)
    assert run.history("a") == [(7, 0.25)]
    assert run.history("unknown") == []


def test_files_texts_and_pictures(run, tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.bin").write_bytes(b"\0\1")
    picture = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    run.log_file(tmp_path / "sub" / "a.bin", "files")
    run.log_folder(tmp_path / "sub", "folder")
    run.log_text("grüße", "notes/today.txt")
    run.log_image(picture, "samples/step_1.png")
    run.log_image(Image.fromarray(picture), "top.png")
    assert artifact(run, "files/a.bin").read_bytes() == b"\0\1"
    assert artifact(run, "folder/a.bin").read_bytes() == b"\0\1"
    assert artifact(run, "notes/today.txt").read_text(encoding="utf-8") == "grüße"
    for name in ("samples/step_1.png", "top.png"):
        assert np.array_equal(np.asarray(Image.open(artifact(run, name))), picture)


def test_artifacts_are_listed_folder_by_folder(run):
    assert run.list_artifacts() == run.list_artifacts("samples") == []
    run.log_text("x", "samples/b.txt")
    run.log_text("x", "samples/a.txt")
    run.log_text("x", "top.txt")
    assert run.list_artifacts() == ["samples", "top.txt"]
    assert run.list_artifacts("samples") == ["samples/a.txt", "samples/b.txt"]


def test_facts_are_those_of_the_moment(run):
    run.log_config({"model": {"size": 64}})
    run.set_tags({"a": "b"})
    facts = run.facts()
    assert (facts.status, facts.ended_ms, facts.params) == ("RUNNING", None, {"model.size": "64"})
    assert facts.tags["a"] == "b"
    run.end("KILLED")
    facts = run.facts()
    assert facts.status == "KILLED"
    assert facts.ended_ms >= facts.started_ms > 0
    assert Run.resume(run.run_id, tracking_uri=run.tracking_uri).facts().ended_ms is None


def test_pictures_are_png_only(run):
    with pytest.raises(TrackingError, match=r"end in \.png"):
        run.log_image(np.zeros((2, 2, 3), np.uint8), "a.jpg")


def test_missing_file_names_itself(run, tmp_path):
    with pytest.raises(TrackingError, match="missing"):
        run.log_file(tmp_path / "missing.txt")


def test_block_that_ends_well_is_finished(store):
    with Run.start("tests", name="good", tags={"a": 1}, tracking_uri=store) as run:
        run.log_metrics({"a": 1.0}, 0)
    assert recorded(run).info.status == "FINISHED"
    assert recorded(run).info.run_name == run.name == "good"
    assert recorded(run).data.metrics == {"a": 1.0}


@pytest.mark.parametrize(("error", "status"), [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")])
def test_block_that_fails(run, error, status):
    with pytest.raises(error), run:
        raise error
    assert recorded(run).info.status == status


def test_error_of_the_block_is_not_hidden_by_one_of_the_store(run, monkeypatch, caplog):
    def refuse(*_arguments, **_named):
        raise OSError("no route to host")

    monkeypatch.setattr(run.client, "set_terminated", refuse)
    with pytest.raises(ZeroDivisionError), run:
        _ = 1 / 0
    assert "no route to host" in caplog.text


def test_explicit_end_stands(run):
    with run:
        run.end("KILLED")
    assert recorded(run).info.status == "KILLED"


def test_attach_and_resume(run, store):
    run.end("FAILED")
    attached = Run.attach(run.run_id, tracking_uri=store)
    assert recorded(attached).info.status == "FAILED"
    resumed = Run.resume(run.run_id, tracking_uri=store)
    assert recorded(resumed).info.status == "RUNNING"
    resumed.end()
    assert recorded(run).info.status == "FINISHED"
    assert (resumed.experiment_id, resumed.name) == (run.experiment_id, run.name)


def test_unknown_run(store):
    with pytest.raises(TrackingError, match="no-such-run"):
        Run.attach("no-such-run", tracking_uri=store)


def test_deleted_experiment(store):
    run = Run.start("to be deleted", tracking_uri=store)
    run.client.delete_experiment(run.experiment_id)
    with pytest.raises(TrackingError, match="'to be deleted' was deleted"):
        Run.start("to be deleted", tracking_uri=store)


def test_processes_that_start_at_once_share_store_and_experiment(tmp_path):
    code = (
        "from tracking.run import Run; r = Run.start('race'); r.end(); print(r.experiment_id, r.tracking_uri)"
    )
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    environment["PYTHONPATH"] = str(Path(run_module.__file__).parents[1])
    started = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", code],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    answers = [process.communicate(timeout=60) for process in started]
    assert [errors for _, errors in answers] == ["", ""]
    assert len({output for output, _ in answers}) == 1
    assert str(tmp_path / "mlflow.db") in answers[0][0]
