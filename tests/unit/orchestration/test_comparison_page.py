"""Runs made by hand in a store of their own, and the page that compares them."""

import base64
import hashlib
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

from orchestration import configuration
from orchestration.cli.main import main
from orchestration.comparison_page import SCRIPT, spread
from orchestration.evaluation.metrics import METRICS
from orchestration.evaluation.scores import EVALUATION
from orchestration.experiment import OptimiserConfig
from orchestration.recipes import demo
from orchestration.training.run_folder import RunFolder, RunRecord
from pipelines.media.video import write_video
from tests.unit.orchestration.evaluation.test_scores import clip_score, evaluation_of
from tests.unit.tracking.test_report import Page
from tracking.run import Run

FRECHET = "frechet_efficientnet_lite0"

HARDNESS = np.linspace(0.05, 0.15, 30)
SHEET = np.zeros((8, 8, 3), np.uint8)


@pytest.fixture(autouse=True)
def _in_a_folder_with_a_store(store, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "animation.mp4"
    write_video(path, [np.full((32, 32, 3), 20 * number, np.uint8) for number in range(8)], 25)
    return path


@pytest.fixture
def add(video, tmp_path):
    """Records a run with all that `lia run` leaves, or less; returns it."""

    def added(name, *, lr=0.004, l1=HARDNESS, animated=True, grids=(), dataset="d", **changes):
        tags = {"lia.git_commit": "c" * 40, "lia.git_dirty": "true", "lia.dataset_digest": dataset}
        run = Run.start("tests", name=name, tags=tags)
        run.log_config(configuration.to_dict(replace(demo(), optimiser=OptimiserConfig(lr=lr))))
        for step in (20, 40):
            run.log_metrics({"loss/l1": 4 / step, "validation/l1": 2 / step, "speed/workers": 2}, step)
        if l1 is not None:
            clips = [clip_score(f"clip-{number:03d}", float(value)) for number, value in enumerate(l1)]
            found = replace(evaluation_of(*clips, dataset=dataset), **changes)
            found.save(tmp_path / run.run_id)
            run.log_folder(tmp_path / run.run_id, EVALUATION)
        if animated:
            run.log_file(video, "pictures")
        for step in grids:
            run.log_image(SHEET, f"samples/step-{step:08d}.png")
        run.end()
        return run

    return added


def compare(*runs, out="page"):
    """The page of the runs, as `lia compare` writes it."""
    assert main(["compare", *(getattr(run, "run_id", run) for run in runs), "--out", out]) == 0


def read(tmp_path, out="page"):
    return (tmp_path / out / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("steps", "most", "kept"),
    [
        pytest.param([1, 2, 3], 3, [1, 2, 3], id="all"),
        pytest.param([1, 2, 3], 1, [3], id="newest"),
        pytest.param(list(range(100)), 3, [0, 49, 99], id="spread"),
        pytest.param([], 3, [], id="none"),
    ],
)
def test_grids_are_spread_over_training(steps, most, kept):
    assert spread(steps, most) == kept


def test_the_page_has_all_parts_and_its_pictures_beside_it(add, tmp_path, capsys):
    first, second = add("first"), add("second", lr=0.001, l1=HARDNESS - 0.01)
    compare(first, second)
    assert "page/index.html: open it in a browser" in capsys.readouterr().out
    html = read(tmp_path)
    page = Page(html)
    assert sorted(path.name for path in (tmp_path / "page").iterdir()) == [
        "index.html", "run-1-animation.mp4", "run-2-animation.mp4",
    ]  # fmt: skip
    assert page.addresses == ["run-1-animation.mp4", "run-2-animation.mp4"]
    assert page.tags.count("svg") == 2
    for text in (
        "optimiser.lr",
        "0.004",
        "0.001",
        "40 of 1,600",
        "cccccccccccc, with changes",
        "loss/l1",
        "Play",
    ):
        assert text in page.text, text
    assert "model.image_size" not in page.text
    assert "speed/workers" not in page.text
    assert "by the model of step 40" in html
    assert re.search(
        r'class="best">0\.0900 \[.*\]<small>-0\.0100 \[-0\.0100, -0\.0100\] better</small>', html
    )
    assert html.count("undecided") == 2
    assert "second and first were evaluated on the same 30 test clips of dataset d." in page.text


def test_the_same_runs_give_the_same_bytes(add, tmp_path):
    runs = add("first", grids=(20,), animated=False), add("second")
    compare(*runs)
    compare(*runs, out="again")
    names = sorted(path.name for path in (tmp_path / "page").iterdir())
    assert names == ["index.html", "run-1-step-00000020.png", "run-2-animation.mp4"]
    for name in names:
        assert (tmp_path / "page" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_the_page_runs_its_own_script_only(add, tmp_path):
    run = add("<script>alert(1)</script>", lr=0.001)
    run.set_tags({"lia.initial_model": "<img src=x onerror=alert(1)>"})
    compare(run, add('"><b>'))
    html = read(tmp_path)
    digest = base64.b64encode(hashlib.sha256(SCRIPT.read_bytes()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in html
    assert f"<script>{SCRIPT.read_text()}</script>" in html
    page = Page(html)
    assert page.tags.count("script") == 1
    assert not {"b", "img"} & set(page.tags)
    assert not re.search(r"https?://|@import|url\(", html)


def test_runs_of_one_name_are_told_apart(add, tmp_path):
    runs = add("twin"), add("twin")
    compare(*runs)
    assert all(f"twin ({run.run_id[:8]})" in Page(read(tmp_path)).text for run in runs)
    assert "None." in Page(read(tmp_path)).text  # no setting differs


def test_scores_of_sets_of_images_have_no_verdict_and_the_page_says_why(add, tmp_path):
    compare(add("first", sets={FRECHET: 20.0}), add("second", sets={FRECHET: 10.0}))
    told = f"{METRICS[FRECHET].title}: of all images together. No clip has a value of its own"
    assert told in read(tmp_path)
    compare(add("third"), add("fourth"), out="without")
    assert "of all images together" not in read(tmp_path, "without")


@pytest.mark.parametrize(("clips", "verdict"), [(2, "undecided: 6 clips at least can decide"), (6, "better")])
def test_few_clips_decide_nothing_and_the_page_says_so(clips, verdict, add, tmp_path):
    compare(add("first", l1=HARDNESS[:clips]), add("second", l1=HARDNESS[:clips] - 0.01))
    html = read(tmp_path)
    assert f"-0.0100 [-0.0100, -0.0100] {verdict}<" in html
    assert "does not hold zero and is of 6 clips at least" in html
    assert ("interval: of fewer than 6 it is too narrow." in html) == (clips < 6)


def test_why_a_difference_beside_zero_decides_nothing(add, tmp_path):
    """Its faces are nearer, but it has fewer of them."""

    def faces(akd, missed):
        clips = [clip_score(f"clip-{number:03d}", float(value)) for number, value in enumerate(HARDNESS)]
        more = {"face_akd": akd, "face_missed": missed}
        return [replace(clip, values={**clip.values, **more}) for clip in clips]

    compare(add("first", clips=faces(2.0, 0.0)), add("second", clips=faces(1.0, 0.5)))
    assert "-1.000 [-1.000, -1.000] undecided: worse by faces lost" in read(tmp_path)


def test_clips_that_failed_are_told(add, tmp_path):
    scored = [clip_score(f"clip-{number:03d}", 0.1) for number in range(1, 30)]
    compare(add("first"), add("second", clips=scored, failures={"clip-000": "cut"}))
    assert "evaluated on the same 30 test clips of dataset d. 1 failed for one or both" in read(tmp_path)


def test_scores_of_different_clips_stand_beside_one_another_undecided(add, tmp_path):
    compare(add("first"), add("second", l1=HARDNESS - 0.01, dataset="other"), add("third", l1=None))
    html = read(tmp_path)
    assert "second and first cannot be compared: they were evaluated on different clips" in html
    assert "third: keeps no evaluation" in html
    assert "The datasets differ" in html
    assert "better</small>" not in html
    assert 'class="best"' not in html


def test_the_first_is_marked_where_the_others_are_worse(add, tmp_path):
    compare(add("first"), add("second", l1=HARDNESS + 0.01), add("third", l1=HARDNESS + 0.02))
    assert read(tmp_path).count("worse</small>") == 2
    assert 'class="best">0.1000' in read(tmp_path)


def test_without_videos_grids_take_their_place(add, tmp_path):
    compare(add("first", animated=False, grids=(20, 40)), add("second", animated=False))
    html = read(tmp_path)
    assert re.findall(r'data-step="(\d+)"', html) == ["20", "40"]
    assert "The run keeps neither an animation (`lia run` makes one) nor sample grids." in html
    assert 'id="controls"' in html


def test_a_bare_run_is_a_page_that_says_what_is_missing(tmp_path):
    runs = [Run.start("tests", name=name) for name in ("one", "two")]
    compare(*runs)
    page = Page(read(tmp_path))
    assert not {"svg", "video", "img", "script"} & set(page.tags)
    for text in (
        "one: has no configuration on record.",
        "one: has neither losses nor validation scores on record.",
    ):
        assert text in page.text
    assert "running" in page.text


def test_damaged_files_are_said_on_the_page(add, tmp_path):
    run = add("first", animated=False, l1=None)
    (tmp_path / "clips.parquet").write_bytes(b"PAR1")
    (tmp_path / "summary.json").write_text("{")
    (tmp_path / "animation.mp4").write_bytes(b"no video")
    (tmp_path / "step-00000020.png").write_bytes(b"no picture")
    for name, folder in (
        ("clips.parquet", EVALUATION),
        ("summary.json", EVALUATION),
        ("animation.mp4", "pictures"),
        ("step-00000020.png", "samples"),
    ):
        run.log_file(tmp_path / name, folder)
    compare(run, add("second"))
    html = read(tmp_path)
    for text in (
        "first: its evaluation cannot be read",
        "its animation cannot be played: the file is damaged",
        "its sample grid of step 20 is damaged",
    ):
        assert text in html
    assert not (tmp_path / "page" / "run-1-animation.mp4").exists()


@pytest.fixture
def folder(add, store, tmp_path):
    """A run's folder, as `lia train` leaves it; its evaluation was made afterwards."""
    run = add("in-folder", l1=None)
    record = RunRecord(
        run_id=run.run_id, tracking_uri=store, dataset="/d", dataset_digest="d", perceptual_weights=None,
        perceptual_sha256=None, provenance={},
    )  # fmt: skip
    made = RunFolder(tmp_path / "run")
    made.create(demo(), record)
    clips = [clip_score(f"clip-{number:03d}", float(value)) for number, value in enumerate(HARDNESS)]
    evaluation_of(*clips, model="m").save(made.path / EVALUATION)
    return made


def test_a_folder_is_compared_by_what_lies_in_it_and_in_mlflow(folder, add, tmp_path, monkeypatch):
    compare(add("first"), "run")
    html = read(tmp_path)
    assert "in-folder and first were evaluated on the same 30 test clips" in html
    assert 'src="run-2-animation.mp4"' in html
    monkeypatch.setattr(RunFolder, "model_digest", lambda self: "another")
    compare(add("first"), "run", out="stale")
    assert "in-folder: its evaluation is of another model" in read(tmp_path, "stale")


def test_bad_input_is_one_line_and_leaves_nothing(folder, add, tmp_path, capsys, monkeypatch):
    run = add("first")

    def refused(*argv):
        assert main(["compare", *argv, "--out", "page"]) == 2
        assert not (tmp_path / "page").exists()
        assert not list(tmp_path.glob(".page*"))
        message = capsys.readouterr().err.strip()
        assert message.count("\n") == 0
        return message

    assert "name two to 8 runs" in refused(run.run_id)
    assert "name two to 8 runs" in refused(*"abcdefghi")
    assert "nowhere: there is no such run; name a folder" in refused(run.run_id, "nowhere")
    assert "are the same run" in refused(run.run_id, f"runs:/{run.run_id}")
    assert "are the same run" in refused("run", folder.open()[1].run_id)
    assert f"{'0' * 32}: " in refused(run.run_id, "0" * 32)
    (tmp_path / "empty").mkdir()
    assert "empty: holds no run (no run.json)" in refused(run.run_id, "empty")
    shutil.copytree(tmp_path / "run", tmp_path / "damaged")
    (tmp_path / "damaged" / "run.json").write_text("{")
    assert "damaged/run.json" in refused(run.run_id, "damaged")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert "http://127.0.0.1:9: the server does not answer" in refused(run.run_id, "run")


def test_a_folder_that_is_there_already_stays_as_it_is(tmp_path, capsys):
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "mine.txt").touch()
    assert main(["compare", "a", "b", "--out", "page"]) == 2
    assert "page: is there already" in capsys.readouterr().err
    assert main(["compare", "a", "b", "--out", "nowhere/page"]) == 2
    assert "nowhere/page: name a folder in one that exists" in capsys.readouterr().err
