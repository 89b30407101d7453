"""What becomes of the sums: means over what was seen, and nothing where nothing was."""

import numpy as np
import pytest
import torch

from lia_model.feature_distance import FeatureDistance
from orchestration.evaluation.measures import NOISE_EVERY, FeatureMeasure, SeenMeasure, as_jpeg

SIZE = 16


def grey(*levels: float) -> torch.Tensor:
    """Frames (B,3,SIZE,SIZE) of one brightness each, in [-1,1]."""
    return torch.tensor(levels)[:, None, None, None].expand(-1, 3, SIZE, SIZE)


def brightness(frame_HW3) -> float | None:
    """What a detector of bright frames sees: how bright; nothing in those below the middle."""
    level = float(frame_HW3.mean()) / 127.5 - 1
    return level if level > -0.01 else None


def differences(truth, made):
    both = truth is not None and made is not None
    return {
        "distance": (abs(truth - made), 1) if both else (0, 0),
        "missed": (float(made is None), 1) if truth is not None else (0, 0),
    }


def measure(**options) -> SeenMeasure[float]:
    return SeenMeasure(brightness, differences, grey(0.0), **{"transfer": False, **options})


def test_frames_without_a_detection_are_left_out_of_one_mean_and_counted_in_the_other():
    seen = measure()
    seen.add(grey(0.1, 0.5, -0.9), grey(0.2, 0.2, 0.2))
    seen.add(grey(0.3), grey(-0.5))  # nothing to be seen in the truth
    scores = seen.scores()
    assert scores["distance"] == pytest.approx((0.1 + 0.3) / 2, abs=0.01)
    assert scores["missed"] == pytest.approx(1 / 3)
    assert scores["baseline_distance"] == pytest.approx(0.2, abs=0.01)
    assert scores["baseline_missed"] == 0


def test_frames_weigh_as_much_as_there_is_to_be_seen_in_them():
    """Of 17 joints none is missing, of 3 all, and one frame shows no one."""
    counts = iter([(0, 17), (0, 1), (0, 1), (3, 3), (0, 1), (0, 0), (0, 1)])
    seen = SeenMeasure(
        lambda frame_HW3: 0.0, lambda wanted, made: {"rate": next(counts)}, grey(0.0), transfer=False
    )
    seen.add(grey(0.1, 0.1, 0.1), grey(0.2, 0.2, 0.2))
    assert seen.scores()["rate"] == 3 / 20


def test_a_clip_in_which_nothing_is_seen_has_no_score():
    seen = measure()
    seen.add(grey(0.5, 0.5), grey(-0.5, -0.5))
    assert set(seen.scores()) >= {"distance", "missed", "baseline_distance", "noise_distance"}
    assert set(seen.scores().values()) == {None}


def test_noise_is_what_a_jpeg_changes_in_every_sixteenth_frame():
    looked = []

    def look(frame_HW3):
        looked.append(frame_HW3)
        return float(frame_HW3.mean())

    seen = SeenMeasure(look, differences, grey(0.0), transfer=False)
    frames = torch.rand(20, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    seen.add(frames, frames)
    assert len(looked) == 1 + 2 * 20 + len(range(0, 20, NOISE_EVERY))
    assert seen.scores()["distance"] == 0
    assert 0 < seen.scores()["noise_distance"] < 10


def test_a_jpeg_is_the_same_picture_but_not_the_same_pixels():
    image = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    compressed = as_jpeg(image)
    assert compressed.shape == image.shape
    assert compressed.dtype == np.uint8
    assert 0 < np.abs(compressed.astype(int) - image).mean() < 60


class OneLayer(torch.nn.Module):
    """A network whose feature is the image."""

    def forward(self, image):
        return [image]


def test_features_are_compared_as_whole_batches_would_be():
    """And images beyond the range are clamped first."""
    distance = FeatureDistance(OneLayer(), [torch.ones(3)])
    random = torch.Generator().manual_seed(0)
    made, frames, source = (torch.randn(n, 3, 8, 8, generator=random) for n in (6, 6, 1))
    frames, source = frames.clamp(-1, 1), source.clamp(-1, 1)
    measured = FeatureMeasure("features", distance, source)
    measured.add(made, frames)
    scores = measured.scores()
    assert scores["features"] == pytest.approx(float(distance(made.clamp(-1, 1), frames).mean()))
    assert scores["baseline_features"] == pytest.approx(
        float(distance(source.expand_as(frames), frames).mean())
    )
