"""Evaluation as a Ray Data job, with a network for sets of images that has no training."""

import pytest
import torch
from safetensors.torch import save_file

from lia_model.animation import animate
from lia_model.config import LiaConfig
from lia_model.efficientnet import FEATURES, EfficientNetLite0Features
from lia_model.generator import Generator
from lia_model.pixels import to_float
from lia_model.weights import save_generator
from orchestration.assets import cache, table
from orchestration.cluster import connected
from orchestration.evaluation import evaluate as job
from orchestration.evaluation.evaluate import evaluate
from orchestration.evaluation.frechet import FeatureMoments, frechet_distance
from orchestration.evaluation.image_sets import EVERY
from orchestration.evaluation.scores import Evaluation
from orchestration.evaluation.transfer import pairs_file, transfer_pairs
from pipelines.corpus.metadata import read_metadata
from pipelines.cropping.config import PrepareConfig
from pipelines.dataset.pairs import PairDataset
from tests.coded_video import FPS_25, HEIGHT, WIDTH, write_coded
from tests.small_corpus import prepare_without_ray

# Ray Data copies its settings, deprecated ones included, and warns itself of them.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")

FRAMES = 40
NAME = "frechet_efficientnet_lite0"


@pytest.fixture
def dataset(tmp_path):
    """Three test clips of two people."""
    rows = ["video_id,start,end,bbox,fps,width,height,partition"]
    (tmp_path / "videos").mkdir()
    for name, starts in (("a", (0, 50)), ("b", (10,))):
        write_coded(tmp_path / "videos" / f"{name}.mp4", 100, FPS_25)
        rows += [f"{name},{s},{s + FRAMES},0-0-{HEIGHT}-{HEIGHT},25,{WIDTH},{HEIGHT},test" for s in starts]
    (tmp_path / "metadata.csv").write_text("\n".join(rows) + "\n")
    metadata = read_metadata(tmp_path / "metadata.csv", "taichi", tmp_path / "videos")
    prepare_without_ray(metadata, PrepareConfig(size=32), tmp_path / "videos", tmp_path / "dataset")
    return tmp_path / "dataset"


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    generator = Generator(LiaConfig(image_size=32, style_dim=16, motion_dim=3, width=0.05))
    save_generator(tmp_path / "model", generator)
    return generator


@pytest.fixture
def network(tmp_path, monkeypatch):
    torch.manual_seed(1)
    features = EfficientNetLite0Features()
    save_file(features.state_dict(), tmp_path / "features.safetensors")
    there = {table.EFFICIENTNET_LITE0.name: tmp_path / "features.safetensors"}
    monkeypatch.setattr(cache, "cached", there.get)
    return features.eval()


def expected(model, network, dataset):
    """Of the sets of every 16th frame, made here one clip after the other."""
    opened = PairDataset(dataset, "test")
    made, true = FeatureMoments(FEATURES), FeatureMoments(FEATURES)
    with torch.no_grad():
        for pair in transfer_pairs(opened):
            source, driving = (
                [to_float(torch.from_numpy(frame)) for frame in opened.clip(clip)]
                for clip in (pair.source, pair.driving)
            )
            images = list(animate(model, source[0][None], driving))
            made.add(network(torch.stack(images[::EVERY]).clamp(-1, 1)).numpy())
            true.add(network(torch.stack(driving[::EVERY])).numpy())
    return frechet_distance(made, true)


def test_transfer_that_was_interrupted_is_gone_on_with(dataset, model, network, tmp_path, monkeypatch):
    taken = []

    def interrupt(row):
        if len(taken) == 1:
            raise KeyboardInterrupt
        taken.append(row)
        return require_score(row)

    require_score = job._require_score
    arguments = {"protocol": "absolute", "out": tmp_path / "scores"}
    with connected():
        monkeypatch.setattr(job, "_require_score", interrupt)
        with pytest.raises(KeyboardInterrupt):
            evaluate(str(tmp_path / "model"), dataset, **arguments)
        monkeypatch.setattr(job, "_require_score", require_score)
        found = evaluate(str(tmp_path / "model"), dataset, **arguments)
    assert Evaluation.load(tmp_path / "scores") == found
    assert len(found.clips) == found.expected_clips == 3
    assert all(" driven by " in clip.clip_id and clip.n_frames == FRAMES for clip in found.clips)
    assert found.sets == {NAME: pytest.approx(expected(model, network, dataset), rel=1e-3)}
    assert pairs_file(dataset, "test").exists()
    assert sorted(path.name for path in (tmp_path / "scores").iterdir()) == ["clips.parquet", "summary.json"]


def test_a_damaged_clip_is_counted_by_the_actors_too(dataset, model, tmp_path):
    opened = PairDataset(dataset, "test")
    (shard,) = dataset.glob("test-*.tar")
    content, description = shard.read_bytes(), opened.description(1)
    shard.write_bytes(content.replace(description, b"[" + description[1:]))
    with connected():
        found = evaluate(str(tmp_path / "model"), dataset, measure=["pixels"], out=tmp_path / "scores")
        assert set(found.failures) == {opened.clip_ids[1]}
        assert len(found.clips) == 2
        shard.write_bytes(content)
        mended = evaluate(str(tmp_path / "model"), dataset, measure=["pixels"], out=tmp_path / "scores")
    assert (len(mended.clips), mended.failures) == (3, {})
