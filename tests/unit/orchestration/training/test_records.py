"""What workers tell, as MLflow has it; and what becomes of it while there is no MLflow, or no room."""

from types import SimpleNamespace

import pytest
from PIL import Image

from orchestration.training.loop import Record
from orchestration.training.ray_rank import Sample, Trained, Validated
from orchestration.training.records import RunRecords, metrics
from orchestration.training.run_folder import RunFolder
from tracking.errors import TrackingError
from tracking.run import Run

RECORD = Record(
    step=20, steps=90, losses={"l1": 0.5, "generator": 2.0}, pairs_per_second=4.0, data_wait=0.25, workers=2
)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def run(store) -> Run:
    return Run.start("tests", tracking_uri=store)


@pytest.fixture
def begin(tmp_path, run, said):
    record = SimpleNamespace(run_id=run.run_id, tracking_uri=run.tracking_uri)
    return lambda: RunRecords(RunFolder(tmp_path), record, said.append)


def test_names_in_mlflow():
    assert metrics(Validated(step=20, scores={"l1": 0.1}, seconds=3.0)) == {"validation/l1": 0.1}
    assert metrics(RECORD) == {
        "loss/l1": 0.5,
        "loss/generator": 2.0,
        "speed/pairs_per_second": 4.0,
        "speed/data_wait": 0.25,
        "speed/workers": 2.0,
    }


def test_losses_validations_and_pictures_are_recorded_and_remarks_are_not(begin, run, said, tmp_path):
    records = begin()
    for message in (
        RECORD,
        Validated(step=20, scores={"l1": 0.1}, seconds=3.0),
        Sample(step=20, sheet=Image.new("RGB", (4, 4))),
        "worker 1 failed",
        Trained(step=20, seconds=4.0),
    ):
        records.take(message)
    records.close()
    assert set(run.metric_names()) == {*metrics(RECORD), "validation/l1"}
    assert run.history("loss/generator") == [(20, 2.0)]
    assert run.list_artifacts("samples") == ["samples/step-00000020.png"]
    assert said == []
    assert not RunFolder(tmp_path).unsent.exists()


def test_what_is_told_while_mlflows_store_is_away_waits(begin, run, said, monkeypatch, tmp_path):
    def attach(run_id, *, tracking_uri):
        raise TrackingError("the store does not answer")

    with monkeypatch.context() as away:
        away.setattr("tracking.recorder.Run.attach", attach)
        records = begin()
        for step in (1, 2, 3):
            records.take(Validated(step=step, scores={"l1": 0.5}, seconds=1.0))
        records.close()
    assert said == [
        "not recorded yet: the store does not answer",
        f"3 records wait in {RunFolder(tmp_path).unsent}; they are sent when the run goes on",
    ]
    begin().close()
    assert [step for step, _ in run.history("validation/l1")] == [1, 2, 3]


def test_where_records_cannot_even_be_kept_that_is_said_and_no_more(begin, said, tmp_path):
    (tmp_path / "unsent").write_text("a file is in the way")
    records = begin()
    records.take(RECORD)
    records.close()
    assert [message.partition(":")[0] for message in said] == ["not recorded"]
