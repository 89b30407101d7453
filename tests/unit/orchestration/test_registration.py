"""What a run's model brings into the registry, and when it becomes champion."""

import json
from contextlib import nullcontext
from dataclasses import asdict, replace

import pytest
import torch

from lia_model.generator import Generator
from lia_model.weights import save_generator
from orchestration import cluster, configuration, registration
from orchestration.cli.main import main
from orchestration.cluster import Node, Resources
from orchestration.registration import (
    CHAMPION,
    CONFIG_TAG,
    Registration,
    register_run,
    registered_version,
    telling_what_is_made,
    version_settings,
)
from orchestration.training.run_folder import RunFolder, RunRecord
from tests.unit.orchestration.evaluation.test_scores import clip_score, evaluation_of
from tests.unit.orchestration.training.test_initial_model import EXPERIMENT
from tracking.errors import TrackingError
from tracking.provenance import Provenance
from tracking.registry import ModelVersion, find, tag_version
from tracking.run import Run


@pytest.fixture
def experiment(request):
    return replace(EXPERIMENT, name=request.node.name)


@pytest.fixture
def finish(experiment, store, tmp_path):
    """The folder and the record of a run whose training is over."""

    def finished(name, seed):
        run = Run.start(experiment.name, name=name, tracking_uri=store)
        provenance = Provenance.collect(config_digest="c", dataset_digest="d")
        record = RunRecord(
            run_id=run.run_id, tracking_uri=store, dataset="/d", dataset_digest="d", perceptual_weights=None,
            perceptual_sha256=None, provenance=replace(provenance, git_commit="abc").to_dict(),
        )  # fmt: skip
        folder = RunFolder(tmp_path / name)
        folder.create(experiment, record)
        torch.manual_seed(seed)
        save_generator(folder.model, Generator(experiment.model))
        folder.finish(1)
        return folder, run

    return finished


def test_the_first_version_is_champion_and_that_is_said_of_it_alone(experiment, finish, store):
    folder, run = finish("first", 0)
    first = register_run(folder, run)
    assert first == Registration(f"models:/{experiment.name}/1", first=True)
    assert first.words() == f"{first.uri}, and @champion since no version was: it was compared with nothing"
    assert register_run(folder, run) == replace(first, first=False)
    second = register_run(*finish("second", 1))
    assert (second.words(), second.first) == (f"models:/{experiment.name}/2", False)
    assert find(f"models:/{experiment.name}@{CHAMPION}", tracking_uri=store).version == 1


def test_a_version_carries_what_made_it_and_how_it_scored(experiment, finish, store, tmp_path):
    folder, run = finish("run", 0)
    version = find(
        register_run(folder, run, evaluation=evaluation_of(clip_score("a", 0.125))).uri, tracking_uri=store
    )
    for name, value in {
        "lia.dataset_digest": "d",
        "lia.config_digest": "c",
        "lia.git_commit": "abc",
        "lia.model_digest": folder.model_digest(),
        "eval.l1": "0.125",
        "eval.clips": "1",
        "eval.dataset_digest": "d",
        "lia.promotion.champion.finding": "no version had the alias",
    }.items():
        assert version.tags[name] == value
    (tmp_path / "config.json").write_text(version.tags[CONFIG_TAG])
    assert configuration.load_experiment(tmp_path / "config.json") == experiment
    assert version_settings(version)["model.motion_dim"] == "5"
    assert registered_version(folder) == version.uri


def test_a_store_that_is_away_is_not_taken_for_one_without_the_model(finish, monkeypatch):
    folder, run = finish("run", 0)
    register_run(folder, run)

    def find(uri, *, tracking_uri):
        raise TrackingError("the store does not answer")

    monkeypatch.setattr(registration, "find", find)
    with pytest.raises(TrackingError, match="does not answer"):
        registered_version(folder)


def test_a_store_that_is_away_when_training_is_over_costs_no_model_and_that_is_said(
    finish, tmp_path, monkeypatch, capsys
):
    folder, _ = finish("run", 0)
    (folder.path / "run.json").write_text(
        json.dumps(asdict(replace(folder.record(), tracking_uri="http://127.0.0.1:9")))
    )
    monkeypatch.chdir(tmp_path)
    here = nullcontext(Resources((Node(cpus=2, gpus=0),)))
    monkeypatch.setattr(cluster, "connected", lambda **_: here)
    assert main(["train", "--resume", "--out", "run"]) == 2
    away, made = capsys.readouterr().err.splitlines()
    assert away.startswith("lia train: http://127.0.0.1:9: the server does not answer.")
    assert made == (
        "Training is complete. The model is in run/model, not registered: `lia train --resume --out run` registers it "
        "and sends what waits, once the store takes it."
    )


def test_it_is_not_said_of_a_training_that_goes_on_nor_of_a_registered_model(finish):
    folder, run = finish("run", 0)
    registered = register_run(folder, run)
    with (
        pytest.raises(TrackingError, match=f"registered as {registered.uri}: the same does what is left"),
        telling_what_is_made(folder, "the same"),
    ):
        raise TrackingError("away")
    (folder.path / "finished.json").unlink()
    with pytest.raises(TrackingError, match=r"^away$"), telling_what_is_made(folder, "the same"):
        raise TrackingError("away")


def test_what_the_store_has_not_is_not_registered(finish):
    folder, run = finish("run", 0)
    noted = register_run(folder, run)
    folder.write_json("registered.json", {"uri": noted.uri + "99", "model_digest": folder.model_digest()})
    assert registered_version(folder) is None


def test_a_long_configuration_is_kept_whole(finish, store):
    """Tags of runs are cut at 8,000 characters; those of versions may have 100,000."""
    version = find(register_run(*finish("run", 0)).uri, tracking_uri=store)
    document = json.dumps({"name": "x" * 99_000})
    tag_version(version, {CONFIG_TAG: document}, tracking_uri=store)
    assert find(version.uri, tracking_uri=store).tags[CONFIG_TAG] == document


@pytest.mark.parametrize("tag", ["", "{", "[]", "[" * 90_000, '"text"'], ids=str.__len__)
def test_a_version_without_a_configuration_has_no_settings(tag):
    version = ModelVersion(
        name="n", version=1, aliases=(), run_id=None, model_id=None, tags={CONFIG_TAG: tag}, created_ms=0
    )
    assert version_settings(version) == version_settings(replace(version, tags={})) == {}
