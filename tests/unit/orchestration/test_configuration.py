"""Configurations to JSON and back, overridden by dotted names, refused with messages that name the field."""

import json

import pytest

from orchestration import configuration
from orchestration.configuration import ConfigurationError, differing
from orchestration.recipes import RECIPES, demo, vox256


@pytest.mark.parametrize("name", RECIPES)
def test_saved_experiment_is_read_back(name, tmp_path):
    configuration.save(RECIPES[name](), tmp_path / "config.json")
    assert configuration.load_experiment(tmp_path / "config.json") == RECIPES[name]()


def test_override_replaces_dotted_fields_with_their_own_types():
    changed = configuration.override(
        vox256(),
        {
            "optimiser.lr": "1e-4",
            "data.flip": "true",
            "schedule.batch_size": "16",
            "loss.perceptual_scales": "1,0.5",
            "name": "other",
        },
    )
    assert changed.optimiser.lr == 1e-4
    assert changed.data.flip is True
    assert changed.schedule.batch_size == 16
    assert changed.loss.perceptual_scales == (1.0, 0.5)
    assert changed.name == "other"
    assert changed.model == vox256().model


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param({"optimizer.lr": "1"}, ["optimizer.lr", "optimiser.lr"], id="unknown-name-suggests"),
        pytest.param({"schedule.steps": "many"}, ["schedule.steps", "many"], id="wrong-type"),
        pytest.param({"schedule.steps": "0"}, ["flag: schedule.steps must", "0"], id="refused-by-config"),
        pytest.param({"schedule.batch_size": "31"}, ["multiple of workers"], id="batch-and-workers"),
        pytest.param({"model.image_size": "100"}, ["image_size", "100"], id="not-a-power-of-two"),
        pytest.param({"model.image_size": "128"}, ["prepare.size", "128"], id="sizes-disagree"),
        pytest.param(
            {"loss.perceptual_features": "alexnet"}, ["perceptual_features", "alexnet"], id="choice"
        ),
        pytest.param({"schedule.seed": "-1"}, ["seed", "-1"], id="negative-seed"),
        pytest.param({"loss.l1_scales": "0.3"}, ["l1_scales", "0.3"], id="scale-that-is-no-fraction"),
        pytest.param({"optimiser.lr": "inf"}, ["lr", "inf"], id="not-finite"),
        pytest.param({"name": "../up"}, ["name", "../up"], id="name-with-slash"),
    ],
)
def test_bad_override_names_field_and_value(changes, words):
    with pytest.raises(ConfigurationError) as refused:
        configuration.override(vox256(), changes)
    assert all(word in str(refused.value) for word in words)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("not json", id="not-json"),
        pytest.param("[]", id="not-an-object"),
        pytest.param('{"nam": "x"}', id="unknown-field"),
        pytest.param('{"name": "x", "schedule": {"steps": -1}}', id="refused-value"),
        pytest.param('{"name": "x", "schedule": 3}', id="section-is-a-number"),
    ],
)
def test_bad_file_is_named(text, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"config\.json"):
        configuration.load_experiment(path)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match="no such file"):
        configuration.load_experiment(tmp_path / "absent.json")


def test_content_leaves_out_what_changes_no_result():
    slower = configuration.override(
        demo(), {"data.loader_workers": "3", "schedule.log_every": "7", "prepare.clip_seconds_limit": "9"}
    )
    assert slower.content() == demo().content()
    assert configuration.override(demo(), {"schedule.seed": "1"}).content() != demo().content()


def test_every_field_has_a_docstring():
    assert [field.name for field in configuration.fields(vox256()) if not field.doc] == []


def test_to_dict_is_json():
    assert json.loads(json.dumps(configuration.to_dict(demo()))) == configuration.to_dict(demo())


def test_what_differs():
    rows = differing([{"a": "1", "b": "2", "c": "3"}, {"a": "1", "b": "9"}])
    assert rows == [("b", ["2", "9"]), ("c", ["3", None])]
    assert differing([{"a": "1"}, {"a": "1"}]) == []
