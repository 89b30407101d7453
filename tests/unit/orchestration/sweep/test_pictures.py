"""Pictures of a study: which there are, and the strip of reconstructions."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from optuna.trial import TrialState
from PIL import Image

from lia_model.config import LiaConfig
from lia_model.generator import Generator
from lia_model.weights import save_generator
from orchestration.sweep import pictures
from orchestration.sweep.pictures import STRIP, draw_pictures, left_out, log_ticks, reconstruction_strip
from orchestration.sweep.plan import SweepFolder
from orchestration.sweep.space import DEFAULT
from pipelines.errors import DatasetError
from tests.small_study import distributions_of, small_plan, study_of, told

M, LR = "model.motion_dim", "optimiser.lr"
PLAN = small_plan()


class TwoClips:
    """Stands for a PairDataset whose second clip is the longer one."""

    n_frames = np.array([4, 10])

    def frames(self, clip: int, numbers: tuple[int, int]) -> list[np.ndarray]:
        assert (clip, numbers) == (1, (0, 5))
        return [np.full((32, 32, 3), level, np.uint8) for level in (60, 200)]


@pytest.fixture
def folder(tmp_path, monkeypatch) -> SweepFolder:
    monkeypatch.setattr(pictures, "PairDataset", lambda location, partition: TwoClips())
    return SweepFolder(tmp_path)


@pytest.fixture
def drawn(monkeypatch):
    """Figures that were saved, not closed yet."""
    figures = []
    close = pictures.pyplot.close
    monkeypatch.setattr(pictures.pyplot, "close", figures.append)
    yield figures
    for figure in figures:
        close(figure)


def trial(number, values=None, plan=PLAN, **about):
    values_of = {M: (3, 5)[number % 2], LR: 0.001 * (number + 1)}
    return told(plan, number, {name: values_of[name] for name in plan.read_space().fields}, values, **about)


def captions(plan, count: int, fields: int = 2) -> set[str]:
    plan = replace(plan, space=plan.space[:fields])
    trials = [trial(n, [0.1 * (n + 1)] * len(plan.objectives), plan) for n in range(count)]
    return {caption.partition(" (")[0] for caption in pictures._plots(plan, study_of(plan, *trials))}


def test_which_pictures_there_are_goes_by_objectives_fields_and_trials():
    one = {"History, l1", "Slices, l1"}
    assert captions(PLAN, 1) == set(), "a point is no picture"
    several = {*one, "Parallel coordinates, l1"}
    assert captions(PLAN, 2) == several
    assert captions(PLAN, 4) == {*several, "Importance of the fields, l1"}
    assert captions(PLAN, 6) == {*several, "Contours, l1", "Importance of the fields, l1"}
    assert captions(PLAN, 6, fields=1) == one
    two = small_plan(objectives=("l1", "psnr"))
    assert captions(two, 2, fields=1) == {
        *("Pareto front, l1 and psnr", "History, psnr", "Slices, psnr"),
        *one,
    }
    three = captions(small_plan(objectives=("l1", "psnr", "ssim")), 2, fields=1)
    assert sum(caption.startswith("Pareto front") for caption in three) == 3


def test_a_caption_says_what_a_picture_rests_on_and_leaves_out(monkeypatch):
    trials = [trial(n, [0.1 * (n + 1)]) for n in range(4)]
    study = study_of(PLAN, *trials, trial(4, state=TrialState.PRUNED), trial(5, state=TrialState.FAIL))
    shown = "4 complete trials; not shown: 1 stopped, 1 failed"
    found = set(pictures._plots(PLAN, study))
    assert {f"History, l1 ({shown})", f"Importance of the fields, l1 ({shown}; of so few a guess)"} < found
    monkeypatch.setattr(pictures, "FEW_TRIALS", 4)
    assert f"Importance of the fields, l1 ({shown})" in pictures._plots(PLAN, study)


@pytest.mark.parametrize(
    ("objective", "label", "most", "legend"),
    [
        pytest.param("l1", "l1", 2, True, id="stopped-by-the-objective"),
        pytest.param("face_csim", "-l1", 1, False, id="stopped-by-a-score-of-the-other-direction"),
    ],
)
def test_curves_show_every_validation_also_of_trials_that_were_stopped(
    objective, label, most, legend, monkeypatch, tmp_path, drawn
):
    monkeypatch.setattr(pictures, "MOST_CURVES", most)
    plan = small_plan(objectives=(objective,))
    study = study_of(
        plan,
        trial(0, [0.3], plan, steps={10: 0.6, 90: 0.3}),
        trial(1, None, plan, state=TrialState.PRUNED, steps={10: 0.9}),
    )
    ((_, draw),) = (plot for name, plot in pictures._plots(plan, study).items() if name.startswith("Curves"))
    pictures._save(draw, tmp_path / "curves.png", "Curves", distributions_of(plan))
    (axes,) = drawn[0].axes
    assert [list(line.get_ydata()) for line in axes.lines] == [[0.6, 0.3], [0.9]]
    assert axes.get_ylabel() == label
    assert (axes.get_legend() is not None) == legend


@pytest.mark.parametrize(
    ("objectives", "fields"),
    [pytest.param(("l1",), 2, id="two-fields"), pytest.param(("l1", "psnr"), 1, id="two-objectives")],
)
def test_pictures_are_drawn_and_named_by_their_captions(objectives, fields, folder, monkeypatch):
    plan = small_plan(objectives=objectives, space=PLAN.space[:fields])
    monkeypatch.setattr(pictures, "INCHES", (4.0, 3.0))
    trials = [trial(n, [0.1 * (n + 1), 20.0 - n][: len(objectives)], plan) for n in range(2)]
    folder.trial(0).model.mkdir(parents=True)
    monkeypatch.setattr(pictures, "reconstruction_strip", lambda *_: Image.new("RGB", (8, 8)))
    drawn = draw_pictures(folder, plan, study_of(plan, *trials))
    assert set(drawn) == {*pictures._plots(plan, study_of(plan, *trials)), STRIP}
    assert len(set(drawn.values())) == len(drawn)
    assert {path.name for path in folder.pictures.iterdir()} == {path.name for path in drawn.values()}
    for path in drawn.values():
        with Image.open(path) as picture:
            assert picture.format == "PNG"


def test_what_is_left_out_is_told_with_the_reason():
    def of(*trials):
        return left_out(PLAN, study_of(PLAN, *trials))

    assert of(*(trial(n, [0.1]) for n in range(5))) == {"contours": "5 complete trials, 6 are needed"}
    assert of(trial(0, [0.1]), trial(1, state=TrialState.PRUNED)) == {
        "history, slices and Pareto front": "1 complete trial, 2 are needed",
        "parallel coordinates": "1 complete trial, 2 are needed",
        "contours": "1 complete trial, 6 are needed",
        "importance of the fields": "1 complete trial, 4 are needed",
    }
    assert of(*(trial(n, [0.1]) for n in range(6))) == {}
    same = [told(PLAN, n, {M: 3, LR: 0.004}, [0.1]) for n in range(6)]
    assert set(of(*same).values()) == {"complete trials differ in fewer than two fields"}
    shown = "(6 complete trials)"
    assert set(pictures._plots(PLAN, study_of(PLAN, *same))) == {
        f"History, l1 {shown}",
        f"Slices, l1 {shown}",
        f"Parallel coordinates, l1 {shown}",
    }


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        pytest.param(1e-4, 1e-2, [1e-4, 1e-3, 1e-2], id="powers"),
        pytest.param(1e-9, 1e2, [1e-9, 1e-6, 1e-3, 1], id="not-too-many"),
        pytest.param(0.0008, 0.0035, [0.001, 0.003], id="half-a-decade"),
        pytest.param(0.0015, 0.0044, [0.0015, 0.002, 0.003], id="between-two-powers"),
        pytest.param(0.00401, 0.00409, [0.00401, 0.00405, 0.00409], id="close-together"),
    ],
)
def test_a_few_round_numbers_on_a_logarithmic_axis(low, high, expected):
    assert log_ticks(low, high) == expected


def test_labels_of_a_logarithmic_axis_are_few_and_trials_are_whole(tmp_path, drawn):
    study = study_of(PLAN, trial(0, [0.3]), trial(1, [0.2]))
    captions = ("Slices, l1 (2 complete trials)", "History, l1 (2 complete trials)")
    for caption in captions:
        pictures._save(
            pictures._plots(PLAN, study)[caption][1],
            tmp_path / "picture.png",
            caption,
            distributions_of(PLAN),
        )
    slices, history = drawn
    assert (slices.get_suptitle(), history.get_suptitle()) == captions
    assert [axes.get_title(loc=side) for axes in history.axes for side in ("left", "center")] == ["", ""]
    rates = slices.axes[1].xaxis
    assert [label.get_text() for label in rates.get_ticklabels(minor=True) if label.get_text()] == []
    assert 1 < len(rates.get_ticklabels()) <= 4
    assert all(tick == int(tick) for tick in history.axes[0].get_xticks())


def with_model(folder: SweepFolder, number: int) -> None:
    torch.manual_seed(number)
    config = LiaConfig(image_size=32, style_dim=16, motion_dim=3, width=0.03)
    save_generator(folder.trial(number).model, Generator(config))


def test_the_strip_has_every_trial_that_has_a_model_the_best_first(folder, monkeypatch):
    shown = []

    def grid(tiles, captions, *, columns):
        shown.append((tiles, captions))
        return Image.new("RGB", (8, 8))

    monkeypatch.setattr(pictures, "captioned_grid", grid)
    study = study_of(
        PLAN,
        trial(0, [0.3]),
        trial(1, state=TrialState.PRUNED, steps={10: 0.5, 30: 0.4}, **{"validated/l1": 0.4}),
        trial(2, [0.1]),
        trial(3, [0.2]),
        trial(4, state=TrialState.FAIL),
    )
    for number in (0, 1, 2, 4):
        with_model(folder, number)
    reconstruction_strip(folder, PLAN, study)
    ((tiles, words),) = shown
    assert words == [
        "source",
        "driving",
        "trial 2: l1 0.1000\nM 3\nlr 0.003",
        "trial 0: l1 0.3000\nM 3\nlr 0.001",
        "trial 1: l1 0.4000\nstopped at 30\nM 5\nlr 0.002",
        "trial 4\nfailed\nM 3\nlr 0.005",
    ]
    assert [int(tile[0, 0, 0]) for tile in tiles[:2]] == [60, 200]
    assert {(tile.shape, tile.dtype.name) for tile in tiles} == {((32, 32, 3), "uint8")}
    assert not np.array_equal(tiles[2], tiles[3])


def test_a_dataset_that_is_gone_costs_the_strip_alone(folder, monkeypatch, capsys):
    def gone(*_):
        raise DatasetError("/data: no such folder")

    folder.trial(0).model.mkdir(parents=True)
    monkeypatch.setattr(pictures, "PairDataset", gone)
    assert draw_pictures(folder, PLAN, study_of(PLAN, trial(0, [0.3]))) == {}
    assert "strip.png: not drawn: /data: no such folder" in capsys.readouterr().err


def test_of_more_trials_than_there_is_room_for_the_best_are_shown(folder, monkeypatch):
    monkeypatch.setattr(pictures, "MOST_TRIALS", 2)
    asked = []
    monkeypatch.setattr(pictures, "_reconstruction", lambda model, *_: asked.append(model.parent.name))
    reconstruction_strip(folder, PLAN, study_of(PLAN, *(trial(n, [0.3 - 0.1 * n]) for n in range(3))))
    assert asked == ["trial-0002", "trial-0001"]


def test_the_papers_ablation_is_named_as_in_the_paper():
    plan = small_plan(space=DEFAULT)
    assert {pictures.title(spec.partition("=")[0]) for spec in plan.space} == {"M", "lambda"}
