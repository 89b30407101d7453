"""Which metrics a sweep may go by, and which way is better."""

from dataclasses import replace

import pytest

from orchestration.evaluation.metrics import METRICS, OF_CLIPS
from orchestration.experiment import LossConfig
from orchestration.recipes import vox256
from orchestration.sweep.objectives import (
    EVALUATED,
    VALIDATED,
    check_objectives,
    directions,
    groups_of,
    pruned_by,
)
from orchestration.sweep.space import read_space
from pipelines.errors import InputError

BASE = vox256()
M = ("model.motion_dim=5,10",)


def test_every_metric_of_clips_is_an_objective_and_better_on_its_own_side():
    assert set(OF_CLIPS) <= {*VALIDATED, *EVALUATED}
    assert not set(VALIDATED) & set(EVALUATED)
    for name, metric in METRICS.items():
        if name in OF_CLIPS:
            assert directions([name]) == ["minimize" if metric.lower_is_better else "maximize"]


def test_directions_are_in_the_order_of_the_objectives():
    assert directions(["psnr", "face_akd", "face_csim", "l1"]) == [
        "maximize",
        "minimize",
        "maximize",
        "minimize",
    ]


@pytest.mark.parametrize(
    ("names", "by"),
    [
        (["l1"], "l1"),
        (["psnr"], "psnr"),
        (["perceptual"], "perceptual"),
        (["face_akd"], "l1"),
        (["face_csim"], "l1"),
    ],
)
def test_trials_are_stopped_by_what_is_known_early(names, by):
    assert pruned_by(names) == by


@pytest.mark.parametrize(
    ("names", "groups"),
    [
        (["l1", "psnr", "perceptual"], ()),
        (["l1", "face_akd"], ("face",)),
        (["face_akd", "face_csim"], ("face",)),
        (["body_akd", "lpips"], ("lpips", "body")),
        (["vgg16_hed"], ("vgg16-hed",)),
    ],
)
def test_networks_are_loaded_for_what_is_asked_alone(names, groups):
    assert groups_of(names) == groups


def test_objectives_are_taken_once_each_in_their_order():
    assert check_objectives(["ssim", "l1", "ssim"], read_space(M, BASE), BASE) == ("ssim", "l1")


@pytest.mark.parametrize(
    ("names", "space", "changes", "words"),
    [
        pytest.param(["loss"], M, {}, ["loss", "no such metric", "l1", "face_akd"], id="unknown"),
        pytest.param(["fid"], M, {}, ["fid", "no such metric"], id="not-of-clips"),
        pytest.param(
            ["l1"],
            M,
            {"schedule": replace(BASE.schedule, validation_pairs=0)},
            ["schedule.validation_pairs = 0", "1 or more"],
            id="no-validation",
        ),
        pytest.param(
            ["perceptual"],
            M,
            {"loss": LossConfig(perceptual_features="none")},
            ["--objective perceptual", "--loss.perceptual_features", "l1"],
            id="no-perceptual-term",
        ),
        pytest.param(
            ["perceptual"],
            M,
            {"loss": LossConfig(perceptual=0.0, perceptual_features="vgg19")},
            ["loss.perceptual = 0, loss.perceptual_features = vgg19", "set --loss.perceptual above 0"],
            id="lambda-0",
        ),
        pytest.param(
            ["l1", "perceptual"],
            ("loss.perceptual_scales=1|1,0.5",),
            {},
            ["loss.perceptual_scales", "rescale", "l1"],
            id="rescaled-by-scales",
        ),
        pytest.param(
            ["perceptual"],
            ("loss.perceptual_features=vgg19,vgg16-hed",),
            {},
            ["loss.perceptual_features", "rescale"],
            id="rescaled-by-features",
        ),
        pytest.param(
            ["perceptual"],
            ("loss.perceptual=0,1,10",),
            {},
            ["loss.perceptual", "leave 0 out"],
            id="0-in-a-list",
        ),
        pytest.param(
            ["perceptual"], ("loss.perceptual=uniform:0:10",), {}, ["leave 0 out"], id="0-in-a-range"
        ),
    ],
)
def test_what_would_not_compare_is_refused_with_the_remedy(names, space, changes, words):
    base = replace(BASE, **changes)
    with pytest.raises(InputError) as raised:
        check_objectives(names, read_space(space, base), base)
    assert [word for word in words if word not in str(raised.value)] == []


def test_lambda_may_be_swept_with_the_perceptual_distance_as_objective():
    """It is the distance that is compared, not lambda times it."""
    space = read_space(["loss.perceptual=log:1:100"], BASE)
    assert check_objectives(["perceptual"], space, BASE) == ("perceptual",)


def test_lambda_may_be_swept_where_the_recipe_has_no_perceptual_term():
    base = replace(BASE, loss=LossConfig(perceptual=0.0, perceptual_features="vgg19"))
    assert check_objectives(["perceptual"], read_space(["loss.perceptual=1,10"], base), base) == (
        "perceptual",
    )
