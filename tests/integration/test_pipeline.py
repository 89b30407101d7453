"""The whole way, as a user goes it: raw videos and a metadata file, `lia run`, and what is there afterwards."""

import html
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import mlflow
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from orchestration.evaluation.inputs import digest_pairs
from orchestration.evaluation.instruments import choose
from orchestration.evaluation.scores import Evaluation
from orchestration.evaluation.unfinished import open_unfinished
from orchestration.models import model_digest
from orchestration.training.run_folder import RunFolder
from pipelines.dataset.pairs import PairDataset
from pipelines.media.video import decode_frames, read_info
from tests import faulty_http
from tests.processes import PATIENCE
from tests.small_pipeline import RECIPE, arguments, write_raw_corpus
from tracking.quiet import quiet_mlflow
from tracking.registry import find, tag_version
from tracking.run import Run

CHECKOUT = Path(__file__).parents[2]


def lia(*arguments: str | Path, cwd: Path, status: int = 0) -> str:
    """Run the command line as a user does; returns all it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "orchestration.cli", *map(str, arguments)],
        cwd=cwd, env=user_environment(), text=True, capture_output=True, check=False, timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def user_environment() -> dict[str, str]:
    """This process's, with the checkout's packages first and runs recorded in the working directory."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(CHECKOUT)}
    for name in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS"):
        environment.pop(name, None)
    return environment


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """Two raw videos, one of them to test on, and a third that is not there."""
    return write_raw_corpus(tmp_path_factory.mktemp("corpus"))


def pipeline(corpus: Path, cwd: Path, *changes: str, status: int = 0) -> str:
    return lia(
        "run", *arguments(corpus), "--out", "out", "--schedule.steps", "6", *changes, cwd=cwd, status=status
    )


@pytest.fixture(scope="module")
def finished(corpus, tmp_path_factory) -> tuple[Path, str]:
    """A folder in which `lia run` has been run, and what it printed."""
    cwd = tmp_path_factory.mktemp("work")
    return cwd, pipeline(corpus, cwd)


@pytest.fixture(scope="module")
def folder(finished) -> Path:
    """The run's folder."""
    (found,) = (finished[0] / "out").glob("run-*")
    return found


def test_the_sum_of_clips_and_the_table_are_printed(finished):
    printed = finished[1]
    assert "5 clips = 4 written + 1 failed" in printed
    assert "missing_video" in printed
    assert "copy of the source" in printed
    assert "2 of 2 clips that the metadata lists were evaluated" in printed
    assert "registered as models:/lia-demo/1, and @champion since no version was" in printed
    assert "mlflow ui --backend-store-uri sqlite:///" in printed
    assert "Traceback" not in printed


def test_everything_is_there(folder):
    for name in (
        "config.json",
        "model/model.safetensors",
        "evaluation/clips.parquet",
        "pictures/contact-sheet.png",
        "pictures/directions.png",
        "report.html",
        "model-card.md",
        "model-card.html",
    ):
        assert (folder / name).stat().st_size > 0
    animation = folder / "pictures" / "animation.mp4"
    assert read_info(animation).fps == 25
    assert len(list(decode_frames(animation))) == 18
    summary = json.loads((folder / "evaluation" / "summary.json").read_text())
    assert 0 < summary["baseline_l1"] < summary["l1"] < 1


def test_mlflow_has_settings_losses_scores_pictures_and_provenance(finished, folder):
    with quiet_mlflow():
        client = mlflow.MlflowClient(f"sqlite:///{finished[0] / 'mlflow.db'}")
        run = client.get_run(json.loads((folder / "run.json").read_text())["run_id"])
        assert run.info.status == "FINISHED"
        assert run.data.params["model.motion_dim"] == "3"
        assert {"loss/l1", "loss/discriminator", "eval/l1", "eval/baseline_l1"} <= set(run.data.metrics)
        assert len(client.get_metric_history(run.info.run_id, "loss/l1")) == 3
        assert {"lia.config_digest", "lia.dataset_digest", "lia.lock_digest"} <= set(run.data.tags)
        artefacts = {file.path for file in client.list_artifacts(run.info.run_id)}
        assert {
            "config.json",
            "samples",
            "evaluation",
            "pictures",
            "report.html",
            "model-card.html",
        } <= artefacts
        (kept,) = (finished[0] / "out").glob("dataset-*/inspect.html")
        (page,) = client.list_artifacts(run.info.run_id, "dataset")
        assert (page.path, page.file_size) == ("dataset/inspect.html", kept.stat().st_size)
        version = client.get_model_version_by_alias("lia-demo", "champion")
        assert version.tags["eval.l1"]
        assert json.loads(version.tags["lia.config"]) == json.loads((folder / "config.json").read_text())


def test_the_registered_model_animates_with_plain_mlflow(finished, corpus, folder):
    source = (folder / "pictures" / "example-source.png").read_bytes()
    driving = (corpus / "videos" / "two.mp4").read_bytes()
    code = (
        "import sys, mlflow, pandas as pd, pathlib\n"
        f"mlflow.set_tracking_uri('sqlite:///{finished[0] / 'mlflow.db'}')\n"
        "model = mlflow.pyfunc.load_model('models:/lia-demo@champion')\n"
        "row = {name: pathlib.Path(name).read_bytes() for name in ('source', 'driving')}\n"
        "pathlib.Path('video').write_bytes(model.predict(pd.DataFrame([row]))['video'][0])\n"
    )
    (finished[0] / "source").write_bytes(source)
    (finished[0] / "driving").write_bytes(driving)
    subprocess.run([sys.executable, "-c", code], cwd=finished[0], check=True, capture_output=True)
    assert len(list(decode_frames(finished[0] / "video"))) == 40


def printed_command(printed: str) -> str:
    """The command that a run says would repeat it; it is said before the training and at the end."""
    commands = re.findall(r"To repeat this run.*:\n  (.*)", printed)
    assert len(set(commands)) == 1
    return commands[0]


def in_a_shell(command: str, cwd: Path, tracking_uri: str) -> str:
    """Run a command as a user types it, in an activated environment; returns what it printed."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**user_environment(), "PATH": path, "MLFLOW_TRACKING_URI": tracking_uri}
    done = subprocess.run(
        command, shell=True, cwd=cwd, env=environment, text=True, capture_output=True, check=False,
        timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_command_that_repeats_a_run_is_on_record(finished, folder):
    command = printed_command(finished[1])
    record = RunFolder(folder).record()
    run = Run.attach(record.run_id, tracking_uri=f"sqlite:///{finished[0] / 'mlflow.db'}")
    assert run.facts().tags["lia.command"] == record.provenance["command"] == command
    assert run.facts().tags["lia.worker_cpus"].isdigit()
    assert html.escape(command) in (folder / "report.html").read_text()
    version = find("models:/lia-demo@candidate", tracking_uri=run.tracking_uri)
    assert version.tags["lia.command"] == command


@pytest.mark.thorough
def test_the_command_gives_the_same_data_and_weights_in_another_folder(finished, folder, tmp_path):
    """Of all that is made, only the place and the record differ."""
    words = shlex.split(printed_command(finished[1]))
    words[words.index("--out") + 1] = str(tmp_path / "again")
    in_a_shell(shlex.join(words), tmp_path, f"sqlite:///{tmp_path / 'mlflow.db'}")
    (repeated,) = (tmp_path / "again").glob("run-*")
    assert repeated.name == folder.name
    before, after = RunFolder(folder), RunFolder(repeated)
    assert after.record().dataset_digest == before.record().dataset_digest
    assert after.model_digest() == before.model_digest() is not None
    kept = "checkpoints/step-00000006/discriminator.safetensors"
    assert (repeated / kept).read_bytes() == (folder / kept).read_bytes()


def test_unchanged_steps_are_skipped_from_another_folder_too(finished, corpus, folder, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    printed = in_a_shell(printed_command(finished[1]), tmp_path, f"sqlite:///{finished[0] / 'mlflow.db'}")
    assert list(tmp_path.iterdir()) == []
    assert "2 of them unchanged" in printed
    for step in ("train", "evaluate", "pictures", "register"):
        assert f"{step}: unchanged" in printed
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before


def test_animate_and_evaluate_take_the_run_and_the_registered_model(finished, corpus, folder):
    cwd, example = finished[0], folder / "pictures" / "example-source.png"
    arguments = ("--source", example, "--driving", corpus / "videos" / "two.mp4", "--mode", "relative")
    for number, model in enumerate((folder, "models:/lia-demo@candidate")):
        lia("animate", "--model", model, *arguments, "--out", f"{number}.mp4", cwd=cwd)
    assert (cwd / "0.mp4").read_bytes() == (cwd / "1.mp4").read_bytes()
    (dataset,) = (cwd / "out").glob("dataset-*")
    recorded = Evaluation.load(folder / "evaluation")
    # An evaluation was interrupted after its first clip, which says so by a score that no clip has.
    first = replace(recorded.clips[0], values={**recorded.clips[0].values, "l1": 0.875})
    assert recorded.inputs.model_digest == model_digest(folder / "model")
    opened = PairDataset(dataset, "test")
    assert recorded.inputs.dataset_digest == opened.digest
    assert recorded.inputs.pairs == digest_pairs(opened.clip_ids)
    assert recorded.inputs.measured == choose(None, "taichi", "reconstruction")[0]
    with suppress(KeyboardInterrupt), open_unfinished(cwd / "table", recorded.inputs) as begun:
        begun.add(first.row())
        raise KeyboardInterrupt
    printed = lia("evaluate", "--model", folder, "--data", dataset, "--out", "table", cwd=cwd)
    assert "1 clips were scored before" in printed
    found = Evaluation.load(cwd / "table")
    assert found.clips[0] == first
    assert found.clips[1:] == recorded.clips[1:] != []
    assert f"{found.mean('l1'):.4f}" in printed


def test_an_evaluation_is_recorded_with_the_run_and_its_version(finished, folder):
    cwd = finished[0]
    (dataset,) = (cwd / "out").glob("dataset-*")
    run = Run.attach(RunFolder(folder).record().run_id, tracking_uri=f"sqlite:///{cwd / 'mlflow.db'}")
    version = find("models:/lia-demo@candidate", tracking_uri=run.tracking_uri)
    tag_version(version, {"eval.l1": None}, tracking_uri=run.tracking_uri)
    assert "l1 -" in lia("registry", "list", cwd=cwd)
    ended = run.facts().ended_ms
    (folder / "model-card.md").unlink()
    run.client.log_text(run.run_id, "of an earlier evaluation", "model-card.md")
    lia("evaluate", "--model", folder, "--data", dataset, "--record", cwd=cwd)
    assert run.facts().ended_ms == ended
    card = run.download("model-card.md", cwd).read_text()
    assert card == (folder / "model-card.md").read_text()
    assert "contact-sheet.png" in card
    assert (folder / "report.html").is_file()
    recorded = Evaluation.load(folder / "evaluation")
    assert f"l1 {recorded.mean('l1'):.6g}" in lia("registry", "list", cwd=cwd)


@pytest.mark.thorough
def test_a_stopped_run_ends_with_the_same_bits_as_one_that_never_stopped(
    finished, folder, tmp_path, monkeypatch
):
    """Two gloo workers under Ray Train; the data come from a server, and the newest checkpoint is lost."""
    cwd = finished[0]
    (dataset,) = (cwd / "out").glob("dataset-*")
    recipe = (*RECIPE, "--schedule.steps", "6")
    monkeypatch.setenv("LIA_CACHE", str(tmp_path / "cache"))
    with faulty_http.serving(faulty_http.folder(dataset)) as server:
        lia("train", *recipe, "--data", server.url, "--out", "halves", "--stop-after", "4", cwd=cwd)
        assert not (cwd / "halves" / "finished.json").exists()
        newest = cwd / "halves" / "checkpoints" / "step-00000004"
        (newest / "optimisers.pt").write_bytes(b"damaged")
        assert "it is set aside" in lia("train", "--resume", "--out", "halves", cwd=cwd)
    assert server.asked("train-000000.tar") == 1
    assert newest.with_name("damaged-step-00000004").is_dir()
    for name in ("model/model.safetensors", "checkpoints/step-00000006/discriminator.safetensors"):
        assert (cwd / "halves" / name).read_bytes() == (folder / name).read_bytes()
    refused = lia("train", *recipe, "--data", dataset, "--out", "halves", cwd=cwd, status=2)
    assert "holds a run already" in refused


def test_a_training_begins_with_the_model_of_another_run(finished, folder, tmp_path):
    """One more motion direction, and a step too small to be seen."""
    cwd = finished[0]
    (dataset,) = (cwd / "out").glob("dataset-*")
    changes = (
        "--name",
        "tuned",
        "--model.motion_dim",
        "4",
        "--schedule.steps",
        "1",
        "--optimiser.lr",
        "1e-9",
    )
    lia(
        *("train", *RECIPE, *changes, "--data", dataset),
        *("--init", folder, "--out", tmp_path / "tuned"),
        cwd=cwd,
    )
    before, after = (load_file(run / "model" / "model.safetensors") for run in (folder, tmp_path / "tuned"))
    for name, weight in after.items():
        old = before[name]
        if name == "motion_basis.weight":
            weight = weight[:, :3]
        elif name.startswith("motion_head.layers.4"):
            assert weight[3:].abs().max() < 1e-6
            weight = weight[:3]
        torch.testing.assert_close(weight, old, rtol=0, atol=1e-6)
    record = json.loads((tmp_path / "tuned" / "run.json").read_text())
    with quiet_mlflow():
        client = mlflow.MlflowClient(f"sqlite:///{cwd / 'mlflow.db'}")
        tags = client.get_run(record["run_id"]).data.tags
    assert tags["lia.initial_model"] == str(folder / "model")
    assert tags["lia.initial_digest"] == json.loads((folder / "finished.json").read_text())["model_digest"]


@pytest.mark.thorough
@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_training_saves_a_checkpoint_and_is_on_record_as_killed(
    sent, status, finished, tmp_path
):
    (dataset,) = (finished[0] / "out").glob("dataset-*")
    command = ["train", *RECIPE, "--data", dataset, "--out", "run", "--schedule.steps", "100000"]
    with subprocess.Popen(
        [sys.executable, "-m", "orchestration.cli", *map(str, command)],
        cwd=tmp_path, env=user_environment(), text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        while not list(tmp_path.glob("run/checkpoints/step-*/state.json")):
            assert process.poll() is None
            time.sleep(0.2)
        process.send_signal(sent)
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == status
    assert "stopping after this step" in said
    (step,) = re.findall(r"checkpoint of step (\d+) saved", said)
    assert (tmp_path / "run" / "checkpoints" / f"step-{int(step):08d}" / "state.json").is_file()
    assert "lia train: interrupted; what was finished is kept" in said
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    with quiet_mlflow():
        client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
        assert client.get_run(record["run_id"]).info.status == "KILLED"


@pytest.mark.thorough
def test_a_shard_damaged_after_it_was_published_ends_the_training_with_its_name(finished, tmp_path):
    """Only the rank that reads the clip meets the damage, while the other waits for it in the middle of a step."""
    (dataset,) = (finished[0] / "out").glob("dataset-*")
    shutil.copytree(dataset, tmp_path / "dataset")
    shard = tmp_path / "dataset" / "train-000000.tar"
    manifest = pd.read_parquet(tmp_path / "dataset" / "manifest.parquet")
    clip = manifest[manifest["partition"] == "train"].iloc[0]
    with shard.open("r+b") as file:
        file.seek(clip.mp4_offset)
        file.write(bytes(clip.mp4_size))
    where = ("--data", "dataset", "--out", "run", "--schedule.steps", "6")
    printed = lia("train", *RECIPE, *where, cwd=tmp_path, status=2)
    assert f"{shard}: clip {clip.clip_id}: frame" in printed
    assert "delete the shard" in printed


def test_a_shard_damaged_after_it_was_published_leaves_nothing_to_evaluate_and_is_named(
    finished, folder, tmp_path
):
    (dataset,) = (finished[0] / "out").glob("dataset-*")
    shutil.copytree(dataset, tmp_path / "dataset")
    test_shard = tmp_path / "dataset" / "test-000000.tar"
    test_shard.write_bytes(bytes(test_shard.stat().st_size))
    printed = lia("evaluate", "--model", folder, "--data", "dataset", cwd=tmp_path, status=1)
    assert "all 2 clips failed" in printed
    assert f"{test_shard}: clip" in printed


def test_a_run_in_which_every_clip_fails_says_so_with_status_1(corpus, tmp_path):
    (tmp_path / "empty").mkdir()
    metadata = ("--dataset", "taichi", "--metadata", corpus / "metadata.csv", "--videos", tmp_path / "empty")
    printed = lia("run", *RECIPE, *metadata, "--out", "out", cwd=tmp_path, status=1)
    assert "5 clips = 0 written + 5 failed" in printed
    assert "all 5 clips failed" in printed


def test_metadata_without_test_clips_is_refused_before_any_work(corpus, tmp_path):
    text = (corpus / "metadata.csv").read_text().replace(",test", ",train")
    (tmp_path / "metadata.csv").write_text(text)
    source = ("--dataset", "taichi", "--metadata", tmp_path / "metadata.csv", "--videos", corpus / "videos")
    assert "no test clips" in lia("run", *RECIPE, *source, "--out", "out", cwd=tmp_path, status=2)
    assert not (tmp_path / "out").exists()
