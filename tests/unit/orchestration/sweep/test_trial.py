"""A trial as Ray Tune sees it: each call of `step` gives what the training tells next, and lets it go on."""

from collections import deque
from types import SimpleNamespace

import pytest

from lia_model.weights import WeightsError
from orchestration import configuration
from orchestration.configuration import ConfigurationError
from orchestration.errors import WorkFailedError
from orchestration.sweep import trial as trials
from orchestration.sweep.plan import SweepFolder
from orchestration.sweep.search import FAILED, HINDERED, REFUSED, VALIDATION, Refusal
from orchestration.sweep.study import SECONDS
from orchestration.sweep.trial import (
    NothingFound,
    SweepTrial,
    TrialJob,
    evaluated_scores,
    progress,
    validated_scores,
    validation,
)
from orchestration.training.loop import Record
from orchestration.training.message_board import LocalBoard
from orchestration.training.ray_rank import Trained, Validated
from orchestration.training.run_folder import RunFolder
from orchestration.training.step import TrainingDiverged
from orchestration.training.train import Placement
from pipelines.errors import InputError, StorageError, TransientError
from tests.processes import wait_for
from tests.small_study import STEPS, small_experiment, small_plan

PATIENCE = 20.0


def record(step: int) -> Record:
    return Record(step=step, steps=90, losses={}, pairs_per_second=4.0, data_wait=0.0, workers=1)


def validated(step: int) -> Validated:
    return Validated(step=step, scores={"l1": 0.5, "copy_l1": 0.6}, seconds=float(step))


class Scripted(SweepTrial):
    """A trial whose training says what it is given to say; the steps that it was allowed are in `passed`."""

    def setup(self, config) -> None:
        self.scripts = deque(config["scripts"])
        self.passed: list = []
        super().setup(config, job=SimpleNamespace(folder="/sweeps/s"), weights={})

    def _train(self, number):
        self._batch_size = 8
        for message in self.scripts.popleft():
            if isinstance(message, BaseException):
                raise message
            self.passed.append((message, self._watch(message)))
            if not self.passed[-1][1]:
                return {"done": True}
        return {"number": number, SECONDS: self._seconds, "done": True}


@pytest.fixture
def begun():
    made = []

    def begin(*scripts) -> Scripted:
        made.append(Scripted({"number": 3, REFUSED: None, "scripts": scripts}))
        return made[-1]

    yield begin
    for trial in made:
        trial.cleanup()


def allowed(trial: Scripted) -> int:
    return len(trial.passed)


def test_a_validation_waits_until_the_verdict_and_records_do_not(begun):
    trial = begun([record(5), validated(10), record(15), validated(20)])
    wait_for(lambda: allowed(trial) == 1, PATIENCE)
    assert trial.step() == {"training_iteration": 5, "seconds_left": 85 * 8 / 4}
    first = trial.step()
    assert first == {
        "training_iteration": 10,
        VALIDATION: True,
        SECONDS: 10.0,
        "validated/l1": 0.5,
        "validated/copy_l1": 0.6,
    }
    trial._thread.join(0.1)
    assert allowed(trial) == 1, "the training went on before the verdict"
    assert trial.step()["training_iteration"] == 20  # another record comes too soon to be told
    assert trial.passed == [(record(5), True), (validated(10), True), (record(15), True)]


def test_the_verdict_is_not_given_before_the_validation_was_heard(begun):
    """A record that is told before the validation is heard first: hearing it lets nothing go on."""
    trial = begun([record(5), validated(10), validated(20)])
    wait_for(lambda: len(trial._told) == 2, PATIENCE)
    assert trial.step()["training_iteration"] == 5
    trial._thread.join(0.1)
    assert allowed(trial) == 1
    assert trial.step()["training_iteration"] == 10
    trial._thread.join(0.1)
    assert allowed(trial) == 1


def test_a_trial_that_ends_gives_its_number_and_seconds(begun):
    trial = begun([validated(10), Trained(step=90, seconds=12.5)])
    trial.step()
    assert trial.step() == {
        "number": 3,
        SECONDS: 12.5,
        "done": True,
    }


def test_remarks_of_the_training_are_not_told(begun):
    trial = begun(["worker 1 failed", validated(10)])
    assert trial.step()["training_iteration"] == 10


def test_a_stop_ends_the_training_at_the_validation_that_it_waits_at(begun):
    trial = begun([validated(10), validated(20)])
    trial.step()
    trial.cleanup()
    assert trial.passed == [(validated(10), False)]
    assert not trial._thread.is_alive()


def test_a_stop_between_validations_ends_the_training_at_its_next_word(begun):
    trial = begun([validated(10)])
    trial.step()
    trial.cleanup()
    assert not trial._watch(record(15))


def test_the_next_trial_begins_in_the_same_process(begun):
    trial = begun([validated(10), validated(20)], [validated(30)])
    trial.step()
    assert trial.reset_config({"number": 4, REFUSED: None})
    assert trial.step()["training_iteration"] == 30
    assert trial.step()["number"] == 4
    assert trial.passed == [(validated(10), False), (validated(30), True)]


def test_the_next_trial_begins_after_one_that_failed(begun):
    trial = begun([InputError("bad")], [validated(30)])
    assert trial.step() == {FAILED: "bad", HINDERED: True, "done": True, "training_iteration": 0}
    trial.reset_config({"number": 4, REFUSED: None})
    assert trial.step()["training_iteration"] == 30


@pytest.mark.parametrize(
    ("error", "hindered"),
    [
        (InputError("the dataset is gone"), True),
        (WorkFailedError("every worker died"), False),
        (ConfigurationError("its values do not go together"), False),
        (WeightsError("damaged weights"), True),
        (StorageError("the disk is full"), True),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_beginning_again_would_not_mend_is_a_result(begun, error, hindered):
    trial = begun([validated(10), error])
    trial.step()
    assert trial.step() == {
        **{FAILED: str(error), HINDERED: hindered},
        **{"done": True, "training_iteration": 10},
    }


def test_a_trial_that_diverged_names_its_step_and_not_its_folder(begun):
    trial = begun([record(5), TrainingDiverged("/sweeps/s/trial-0003: step 7: l1 not finite", 7)])
    trial.step()
    assert trial.step() == {
        **{FAILED: "step 7: l1 not finite", HINDERED: False},
        **{"done": True, "training_iteration": 7},
    }


@pytest.mark.parametrize(
    "error",
    [RuntimeError("a bug"), TransientError("the server is away"), KeyError("x"), SystemExit(1)],
    ids=lambda error: type(error).__name__,
)
def test_what_may_go_better_the_next_time_is_raised_after_what_was_told(begun, error):
    trial = begun([record(5), error])
    assert trial.step()["training_iteration"] == 5
    with pytest.raises(type(error)) as raised:
        trial.step()
    assert str(raised.value) == str(error)


def test_ray_tune_may_drive_it(begun):
    """Ray Tune calls `train`, which adds its own words; the step number stays the training's."""
    trial = begun([validated(40)])
    result = trial.train()
    assert (result["training_iteration"], result["validated/l1"], result["done"]) == (40, 0.5, False)
    assert trial.train()["done"]


def test_results_of_messages():
    assert validation(validated(10))["validated/copy_l1"] == 0.6
    assert progress(record(30), 8) == {"training_iteration": 30, "seconds_left": 120.0}


class Plain(SweepTrial):
    """A trial whose parts are called by hand."""

    def setup(self, config) -> None:
        pass

    def cleanup(self) -> None:
        pass


@pytest.fixture
def train(tmp_path, monkeypatch):
    """Runs the part of trial 3 that is not training; returns its result and what the sweep's board heard."""
    run_folder = SweepFolder(tmp_path).trial(3)
    run_folder.checkpoints.mkdir(parents=True)
    configuration.save(small_experiment(), run_folder.path / "config.json")
    monkeypatch.setattr(
        RunFolder, "open", lambda self: (configuration.load_experiment(self.path / "config.json"), None)
    )
    monkeypatch.setattr(trials, "validated_scores", lambda folder: {"l1": 0.25, "psnr": 20.0})
    monkeypatch.setattr(trials, "evaluated_scores", lambda *_: {"face_akd": 1.5})
    placement = Placement(share={"CPU": 1}, here=True)

    def train(step: int) -> tuple[dict, list]:
        def train_on(folder, records, *, placement: Placement, watch):
            records.take(validated(step))
            records.settle()
            assert placement.here
            if step == STEPS:
                folder.write_json("finished.json", {"step": step, "model_digest": None})
            return step

        monkeypatch.setattr(trials.recorded_training, "train_on", train_on)
        heard = []
        board = LocalBoard(heard.append, lambda: heard.append("settled"))
        trial = Plain()
        plan = small_plan(objectives=("l1", "face_akd"))
        trial._job = TrialJob(plan=plan, folder=str(tmp_path), placement=placement, board=board)
        trial._weights, trial._seconds = {}, 12.0
        return trial._train(3), heard

    return train


def test_a_trial_is_an_ordinary_training_whose_words_the_sweep_hears(train):
    result, heard = train(STEPS)
    assert result == {
        "training_iteration": 90,
        "done": True,
        SECONDS: 12.0,
        "score/l1": 0.25,
        "score/face_akd": 1.5,
        "validated/l1": 0.25,
        "validated/psnr": 20.0,
        "validated/face_akd": 1.5,
    }
    assert heard == [(3, validated(STEPS)), "settled"]


def test_a_trained_trial_without_an_objective_failed_and_keeps_the_scores_it_has(train, monkeypatch):
    def nothing(*_):
        raise NothingFound("face_akd: nothing found")

    monkeypatch.setattr(trials, "evaluated_scores", nothing)
    result, _ = train(STEPS)
    assert result == {
        "training_iteration": 90,
        "done": True,
        SECONDS: 12.0,
        "validated/l1": 0.25,
        "validated/psnr": 20.0,
        FAILED: "face_akd: nothing found",
    }


def test_a_stopped_trial_has_no_scores_and_keeps_its_checkpoints(train, tmp_path):
    """It may be the sweep that was stopped, and will go on."""
    result, _ = train(STEPS - 1)
    assert result == {"done": True}
    assert SweepFolder(tmp_path).trial(3).checkpoints.exists()


@pytest.mark.parametrize("hindered", [True, False])
def test_a_trial_whose_run_could_not_be_begun_says_why(hindered, begun):
    trial = begun([validated(10)])
    trial.step()
    trial.reset_config({"number": 4, REFUSED: Refusal("the dataset is gone", hindered=hindered)})
    assert trial.step() == {
        **{FAILED: "the dataset is gone", HINDERED: hindered},
        **{"done": True, "training_iteration": 0},
    }


def test_scores_are_those_of_the_last_checkpoint(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path)
    with pytest.raises(InputError, match="last checkpoint is gone"):
        validated_scores(folder)
    scores = {"l1": 0.1, "copy_l1": 0.3, "perceptual": 2.0}
    monkeypatch.setattr(trials.CheckpointStore, "newest_sound", lambda _: 90)
    monkeypatch.setattr(trials, "read_state", lambda path: [SimpleNamespace(validation=scores)])
    assert validated_scores(folder) == {"l1": 0.1, "copy_l1": 0.3, "perceptual": 2.0}


def test_objectives_of_evaluation_are_taken_where_there_are_any(tmp_path, monkeypatch):
    asked = []

    def mean_scores(model, plan, groups, weights):
        asked.append((model, groups))
        missed = {"face_missed": 0.1, "baseline_face_akd": 3.0}
        return {"face_akd": 2.0, "face_aed": 0.5, "baseline_face_aed": 0.6, **missed}

    monkeypatch.setattr(trials, "mean_scores", mean_scores)
    folder = RunFolder(tmp_path)
    assert evaluated_scores(folder, small_plan(), {}) == {}
    assert asked == []
    assert evaluated_scores(folder, small_plan(objectives=("l1", "face_akd")), {}) == {
        **{"face_akd": 2.0, "face_missed": 0.1, "baseline_face_akd": 3.0}
    }
    assert asked == [(folder.model, ("face",))]
    with pytest.raises(NothingFound, match="face_csim: in the images that the model makes"):
        evaluated_scores(folder, small_plan(objectives=("face_csim",)), {})
