"""What an evaluation keeps, goes on with, refuses and counts; its clips are scored here, one after another."""

import json
import shutil
from contextlib import nullcontext

import pytest
import torch

from lia_model.config import LiaConfig
from lia_model.generator import Generator
from lia_model.weights import save_generator
from orchestration.cluster import Node, Resources
from orchestration.errors import WorkFailedError
from orchestration.evaluation import evaluate as job
from orchestration.evaluation.evaluate import evaluate, useful_actors
from orchestration.evaluation.instruments import Instruments
from orchestration.evaluation.scorer import ClipScorer, NoNumbersError
from orchestration.evaluation.scores import Evaluation
from orchestration.evaluation.unfinished import NAME
from orchestration.models import load_model
from pipelines.corpus.metadata import read_metadata
from pipelines.cropping.config import PrepareConfig
from pipelines.dataset.pairs import PairDataset
from pipelines.errors import DatasetError, InputError, StorageError
from tests.coded_video import FPS_25, HEIGHT, WIDTH, write_coded
from tests.small_corpus import prepare_without_ray

FRAMES = 6
CLIPS = 3


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Three test clips of 32 px."""
    folder = tmp_path_factory.mktemp("prepared")
    (folder / "videos").mkdir()
    write_coded(folder / "videos" / "a.mp4", 40, FPS_25)
    rows = ["video_id,start,end,bbox,fps,width,height,partition"]
    spans = [(start, start + FRAMES) for start in range(0, 10 * CLIPS, 10)]
    rows += [f"a,{start},{end},0-0-{HEIGHT}-{HEIGHT},25,{WIDTH},{HEIGHT},test" for start, end in spans]
    (folder / "metadata.csv").write_text("\n".join(rows) + "\n")
    metadata = read_metadata(folder / "metadata.csv", "taichi", folder / "videos")
    prepare_without_ray(metadata, PrepareConfig(size=32), folder / "videos", folder / "dataset")
    return folder / "dataset"


@pytest.fixture
def dataset(prepared, tmp_path):
    return shutil.copytree(prepared, tmp_path / "dataset")


def save_model(folder, seed=0, **changes):
    torch.manual_seed(seed)
    config = LiaConfig(**{"image_size": 32, "style_dim": 16, "motion_dim": 3, "width": 0.03, **changes})
    save_generator(folder, Generator(config))
    return folder


@pytest.fixture
def model(tmp_path):
    return save_model(tmp_path / "model")


@pytest.fixture
def scored(monkeypatch):
    """How many clips each evaluation scored, in order."""
    counts = []

    def in_this_process(model, opened, pending, inputs, workers, resources):
        scorer = ClipScorer.__new__(ClipScorer)  # its __init__ asks Ray for the weights
        scorer.generator, scorer.dataset = load_model(str(model)), PairDataset(opened.root, opened.partition)
        scorer.protocol, scorer.instruments = inputs.protocol, Instruments(inputs.measured, {})
        counts.append(len(pending))
        for pair in pending:
            (score,) = scorer({"source": [pair.source], "driving": [pair.driving]})["score"]
            yield {"score": score}

    monkeypatch.setattr(job, "_scored", in_this_process)
    monkeypatch.setattr(job, "connected", lambda **_: nullcontext())
    return counts


@pytest.fixture
def run(model, dataset, scored, tmp_path):
    """Evaluates into OUT."""

    def evaluated(**changes):
        arguments = {"out": tmp_path / "out", "measure": ["pixels"], **changes}
        return evaluate(str(arguments.pop("model", model)), arguments.pop("dataset", dataset), **arguments)

    return evaluated


def damage(dataset, *clips):
    """Change a byte in the middle of each clip's last frame; returns what puts the shard right again."""
    opened = PairDataset(dataset, "test")
    (shard,) = dataset.glob("test-*.tar")
    sound = shard.read_bytes()
    torn = bytearray(sound)
    for clip in clips:
        jpeg = opened.jpeg(clip, FRAMES - 1)
        torn[sound.index(jpeg) + len(jpeg) // 2] ^= 0xFF
    shard.write_bytes(torn)
    return lambda: shard.write_bytes(sound)


def test_the_very_same_evaluation_is_kept_and_says_so(run, scored, tmp_path, capsys):
    first = run()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert run() == first == Evaluation.load(tmp_path / "out")
    assert scored == [CLIPS]
    assert f"evaluate: unchanged, the table in {tmp_path / 'out'} is kept" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == before
    assert run(drop_others=True) == first


@pytest.mark.parametrize("what", ["model", "measure", "partition"])
def test_another_one_is_not_overwritten_in_silence(what, run, dataset, tmp_path, monkeypatch, capsys):
    first = run()
    if what == "model":
        changes = {"model": save_model(tmp_path / "other", seed=1)}
    elif what == "measure":
        monkeypatch.setattr(job, "choose", lambda *_: (("pixels", "face"), {}))
        changes = {}
    else:
        changes = {"dataset": dataset, "partition": "train"}
        monkeypatch.setattr(job, "PairDataset", lambda root, partition: PairDataset(root, "test"))
    named = {
        "model": f"model {first.inputs.model_digest[:12]}, now ",
        "measure": "measured pixels, now pixels face",
        "partition": "partition test, now train",
    }[what]
    with pytest.raises(InputError, match=rf"out: holds .* of other inputs \({named}.* Name another folder"):
        run(**changes)
    assert Evaluation.load(tmp_path / "out") == first
    if what == "model":
        replaced = run(**changes, drop_others=True)
        assert "it is replaced" in capsys.readouterr().out
        assert Evaluation.load(tmp_path / "out") == replaced != first


def test_one_that_cannot_be_read_is_replaced_only_where_that_was_asked_for(run, tmp_path, capsys):
    first = run()
    (tmp_path / "out" / "summary.json").write_text("{}")
    with pytest.raises(InputError, match="holds no whole evaluation of this release"):
        run()
    assert run(drop_others=True) == first
    assert "of another release or damaged: it is replaced" in capsys.readouterr().out


def test_a_damaged_clip_is_counted_and_the_others_are_scored(run, dataset, scored, tmp_path):
    mend = damage(dataset, 1)
    found = run()
    names = PairDataset(dataset, "test").clip_ids
    assert {clip.clip_id for clip in found.clips} == {names[0], names[2]}
    assert set(found.failures) == {names[1]}
    assert names[1] in found.failures[names[1]]
    assert "sha256" in found.failures[names[1]]
    assert Evaluation.load(tmp_path / "out") == found
    again = run()  # the clip is tried again, the others are not
    assert again == found
    mend()
    whole = run()
    assert scored == [CLIPS, 1, 1]
    assert not whole.failures
    assert len(whole.clips) == CLIPS
    assert not (tmp_path / "out" / NAME).exists()
    assert Evaluation.load(tmp_path / "out") == whole == run()


def test_where_every_clip_fails_the_evaluation_does(run, dataset, tmp_path):
    damage(dataset, 0, 1, 2)
    with pytest.raises(WorkFailedError, match=r"all 3 clips failed; the first: .*sha256"):
        run()
    assert not Evaluation.is_saved(tmp_path / "out")


@pytest.mark.parametrize("error", [StorageError("no answer"), NoNumbersError("nan")])
def test_what_says_nothing_of_one_clip_stops_it_and_what_was_scored_is_kept(
    error, run, scored, tmp_path, monkeypatch
):
    sound = PairDataset.verify

    def verify(self, clip):
        if clip == 1:
            raise error
        sound(self, clip)

    monkeypatch.setattr(PairDataset, "verify", verify)
    with pytest.raises(type(error), match=str(error)):
        run()
    assert not Evaluation.is_saved(tmp_path / "out")
    monkeypatch.setattr(PairDataset, "verify", sound)
    assert len(run().clips) == CLIPS
    assert scored == [CLIPS, CLIPS - 1]


def test_a_model_of_another_size_or_of_no_weights_is_refused(run, tmp_path):
    with pytest.raises(DatasetError, match=r"clips are 32 px, the model .* needs 64 px"):
        run(model=save_model(tmp_path / "large", image_size=64))
    (save_model(tmp_path / "torn") / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"model\.safetensors: no such file"):
        run(model=tmp_path / "torn")


def test_the_summary_says_of_what_it_is(run, tmp_path):
    found = run()
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["inputs"] == found.inputs.to_dict()
    assert (summary["image_size"], summary["dataset"]) == (32, "taichi")


def machines(count: int, cpus: int, gpus: int) -> Resources:
    return Resources((Node(cpus, gpus),) * count)


@pytest.mark.parametrize(
    ("clips", "there", "resources", "actors"),
    [
        pytest.param(50, machines(1, 48, 4), machines(2, 48, 4), 4, id="few-clips-on-the-gpus-that-run"),
        pytest.param(600, machines(1, 48, 4), machines(2, 48, 4), 6, id="more-are-worth-another-machine"),
        pytest.param(9000, machines(1, 48, 4), machines(2, 48, 4), 8, id="as-many-as-may-come"),
        pytest.param(50, machines(1, 48, 0), machines(2, 48, 4), 1, id="the-first-gpu"),
        pytest.param(50, machines(1, 16, 0), machines(2, 16, 0), 32, id="cpus"),
    ],
)
def test_a_machine_with_gpus_is_started_for_many_clips_only(clips, there, resources, actors):
    assert useful_actors(clips, there, resources) == actors
