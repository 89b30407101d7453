"""What --space may say: every kind of values, and every mistake with its remedy."""

import math
from dataclasses import replace

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from orchestration import configuration
from orchestration.configuration import ConfigurationError
from orchestration.experiment import LossConfig
from orchestration.recipes import vox256
from orchestration.sweep.space import DEFAULT, FIXED, Dimension, apply, read_space, require_choice

BASE = vox256()
MIXED = read_space(
    ["model.motion_dim=logint:5:100", "optimiser.lr=log:1e-4:1e-2", "data.flip=true,false"], BASE
)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param("model.motion_dim=5,10,20", CategoricalDistribution((5, 10, 20)), id="list"),
        pytest.param("model.motion_dim= 5, 10", CategoricalDistribution((5, 10)), id="list-with-blanks"),
        pytest.param("optimiser.beta1=0,0.5", CategoricalDistribution((0.0, 0.5)), id="list-of-numbers"),
        pytest.param("data.flip=true,false", CategoricalDistribution((True, False)), id="list-of-switches"),
        pytest.param(
            "compute.precision=fp32,bf16", CategoricalDistribution(("fp32", "bf16")), id="list-of-words"
        ),
        pytest.param("loss.l1_scales=1|1,0.5", CategoricalDistribution(("1", "1,0.5")), id="list-of-lists"),
        pytest.param("loss.perceptual=log:1:100", FloatDistribution(1, 100, log=True), id="log"),
        pytest.param("optimiser.lr=log:1e-4:1e-2", FloatDistribution(1e-4, 1e-2, log=True), id="log-small"),
        pytest.param("optimiser.beta1=uniform:0:0.9", FloatDistribution(0, 0.9), id="uniform"),
        pytest.param("model.motion_dim=int:5:100", IntDistribution(5, 100), id="int"),
        pytest.param("model.motion_dim=logint:5:100", IntDistribution(5, 100, log=True), id="logint"),
    ],
)
def test_values_as_optuna_knows_them(spec, expected):
    space = read_space([spec], BASE)
    assert space.fields == (spec.partition("=")[0],)
    assert space.distributions() == {space.fields[0]: expected}


def test_one_value_is_no_choice():
    require_choice(read_space(["model.motion_dim=5,10", "optimiser.lr=log:1e-4:1e-2"], BASE))
    with pytest.raises(
        ConfigurationError, match=r"one value leaves nothing to vary.*set --model\.motion_dim 20"
    ):
        require_choice(read_space(["model.motion_dim=20"], BASE))


@pytest.mark.parametrize(
    ("specs", "count"),
    [
        pytest.param(["model.motion_dim=5,10,20", "data.flip=true,false"], 6, id="lists"),
        pytest.param(["model.motion_dim=int:5:7"], 3, id="whole-numbers"),
        pytest.param(["model.motion_dim=5,10", "optimiser.lr=log:1e-4:1e-2"], math.inf, id="numbers"),
    ],
)
def test_combinations(specs, count):
    assert read_space(specs, BASE).combinations() == count


def test_the_space_that_is_taken_without_flags_is_the_papers_ablation():
    assert read_space(DEFAULT, BASE).distributions() == {
        "model.motion_dim": CategoricalDistribution((5, 10, 20, 40, 100)),
        "loss.perceptual": FloatDistribution(1, 100, log=True),
    }


@pytest.mark.parametrize(
    ("specs", "words"),
    [
        pytest.param([], ["at least one field", "model.motion_dim=5,10,20"], id="none"),
        pytest.param(["model.motion_dim"], ["model.motion_dim", "FIELD=VALUES"], id="no-values"),
        pytest.param(["model.motion_dim="], ["model.motion_dim=", "FIELD=VALUES"], id="empty-values"),
        pytest.param(["model.motion=5"], ["'model.motion'", "'model.motion_dim'"], id="unknown-field"),
        pytest.param(["model.motion_dim=5,x"], ["model.motion_dim", "'x'", "integer"], id="no-integer"),
        pytest.param(
            ["model.motion_dim=5,,10"], ["model.motion_dim", "''", "integer"], id="a-comma-too-many"
        ),
        pytest.param(
            ["model.motion_dim=0,5"], ["model.motion_dim", "between 1", "got 0"], id="refused-by-the-model"
        ),
        pytest.param(["optimiser.lr=0.1,0.10"], ["optimiser.lr=0.1,0.10", "twice"], id="value-twice"),
        pytest.param(
            ["data.flip=true,false", "data.flip=false,true"], ["data.flip", "twice"], id="field-twice"
        ),
        pytest.param(
            ["compute.precision=fp32,fp8"], ["compute.precision", "'fp8'", "'bf16'"], id="no-choice"
        ),
        pytest.param(
            ["model.motion_dim=uniform:5:10"],
            ["model.motion_dim=uniform:5:10", "type int", "int:LOW:HIGH or logint:LOW:HIGH"],
            id="uniform-of-an-integer",
        ),
        pytest.param(
            ["optimiser.lr=int:1:2"],
            ["optimiser.lr=int:1:2", "type float", "uniform:LOW:HIGH or log:LOW:HIGH"],
            id="int-of-a-number",
        ),
        pytest.param(
            ["optimiser.lr=loguniform:1e-4:1e-2"],
            ["loguniform", "uniform:LOW:HIGH or log:LOW:HIGH"],
            id="unknown-range",
        ),
        pytest.param(["data.flip=uniform:0:1"], ["type bool", "data.flip=A,B,C"], id="range-of-a-switch"),
        pytest.param(["optimiser.lr=log:1e-4"], ["log:LOW:HIGH", "two numbers"], id="one-bound"),
        pytest.param(["optimiser.lr=log:1:2:3"], ["log:LOW:HIGH", "two numbers"], id="three-bounds"),
        pytest.param(["optimiser.lr=log:a:b"], ["log:LOW:HIGH", "two numbers"], id="no-numbers"),
        pytest.param(
            ["model.motion_dim=int:5:9.5"], ["int:LOW:HIGH", "two whole numbers"], id="no-whole-number"
        ),
        pytest.param(["optimiser.lr=log:1e-2:1e-4"], ["1e-2:1e-4", "below"], id="bounds-the-wrong-way-round"),
        pytest.param(["model.motion_dim=int:5:5"], ["int:5:5", "below"], id="bounds-alike"),
        pytest.param(["optimiser.lr=uniform:0.1:inf"], ["inf", "finite"], id="infinite"),
        pytest.param(["optimiser.lr=uniform:nan:1"], ["nan", "finite"], id="no-number"),
        pytest.param(["optimiser.lr=log:0:1"], ["log:0:1", "above 0"], id="log-from-0"),
        pytest.param(["optimiser.beta1=uniform:0:1"], ["optimiser.beta1", "[0, 1)", "1.0"], id="refused-end"),
        pytest.param(
            ["schedule.batch_size=8,12", "schedule.micro_batches=1,8"],
            ["schedule.batch_size", "micro_batches = 8", "got 12"],
            id="refused-together",
        ),
        pytest.param(["prepare.shard_mb=1,2"], ["prepare.shard_mb", "prepared already"], id="prepared"),
    ],
)
def test_a_mistake_is_answered_with_field_value_and_remedy(specs, words):
    with pytest.raises(ConfigurationError) as raised:
        read_space(specs, replace(BASE, schedule=replace(BASE.schedule, workers=1)))
    assert [word for word in words if word not in str(raised.value)] == []
    assert str(raised.value).startswith("--space")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("field", FIXED)
def test_what_trials_must_share_is_not_swept(field):
    assert field in {known.name for known in configuration.fields(BASE)}
    with pytest.raises(ConfigurationError, match=f"--space {field}: cannot be swept: {FIXED[field]}"):
        read_space([f"{field}=1"], BASE)


def test_lambda_is_not_swept_where_nothing_has_it():
    base = replace(BASE, loss=LossConfig(perceptual_features="none"))
    with pytest.raises(
        ConfigurationError, match=r"loss\.perceptual: has no effect.*vgg16-hed, or name other fields"
    ):
        read_space(["loss.perceptual=log:1:100"], base)


@pytest.mark.parametrize(
    ("dimension", "ends"),
    [
        (Dimension("f", choices=(5, 10, 20)), (5, 10, 20)),
        (Dimension("f", low=0.5, high=2.0), (0.5, 2.0)),
        (Dimension("f", low=5.0, high=100.0, whole=True), (5, 100)),
    ],
)
def test_ends(dimension, ends):
    assert dimension.ends == ends
    assert [type(end) for end in dimension.ends] == [type(end) for end in ends]


@pytest.mark.parametrize(
    ("values", "path", "expected"),
    [
        ({"data.flip": True}, ("data", "flip"), True),
        ({"data.flip": False}, ("data", "flip"), False),
        ({"loss.l1_scales": "1,0.5"}, ("loss", "l1_scales"), (1.0, 0.5)),
        ({"compute.precision": "bf16"}, ("compute", "precision"), "bf16"),
        ({"model.motion_dim": 7}, ("model", "motion_dim"), 7),
    ],
)
def test_a_trials_experiment_differs_in_its_fields_alone(values, path, expected):
    section, name = path
    made = apply(BASE, values)
    assert made == replace(BASE, **{section: replace(getattr(BASE, section), **{name: expected})})


@settings(max_examples=20)
@given(st.floats(1e-300, 1e300))
def test_a_proposed_number_reaches_the_experiment_exactly(value):
    assert apply(BASE, {"optimiser.lr": value}).optimiser.lr == value


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1))
def test_whatever_is_proposed_lies_between_the_bounds_and_suits_the_experiment(seed):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    made = apply(BASE, study.ask(MIXED.distributions()).params)
    assert 5 <= made.model.motion_dim <= 100
    assert 1e-4 <= made.optimiser.lr <= 1e-2
    assert isinstance(made.data.flip, bool)


def test_switches_come_back_from_a_database_as_switches(sweep_with_database):
    space = read_space(["data.flip=true,false"], BASE)
    url = f"sqlite:///{sweep_with_database('s').database}"
    study = optuna.create_study(storage=url, study_name="s", sampler=optuna.samplers.RandomSampler(seed=1))
    asked = [study.ask(space.distributions()).params["data.flip"] for _ in range(6)]
    kept = [trial.params["data.flip"] for trial in optuna.load_study(storage=url, study_name="s").trials]
    assert asked == kept
    assert {True, False} == set(kept)
    assert all(isinstance(value, bool) for value in kept)
