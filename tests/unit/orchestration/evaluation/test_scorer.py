"""The reconstruction protocol on cases whose answer is known."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from lia_model.config import LiaConfig
from lia_model.generator import Generator
from orchestration.evaluation.evaluate import PSNR_CAP_DB, score_clip
from pipelines.dataset.pairs import ClipInfo


class GreyClip:
    """Stands for a PairDataset with one clip: frame 0 is mid-grey, each later frame a little brighter."""

    levels = (100, 120, 140, *[160] * 17)

    def clip(self, clip: int):
        for level in self.levels:
            yield np.full((32, 32, 3), level, np.uint8)

    def info(self, clip: int) -> ClipInfo:
        return ClipInfo(clip_id="a#000000#000020", video_id="a", subject_id="", fps=Fraction(25), n_frames=20)


class Copier(Generator):
    """A generator that has learned nothing but to give back the driving image, or the source's."""

    def __init__(self, *, perfect: bool) -> None:
        super().__init__(LiaConfig(image_size=32, style_dim=4, motion_dim=1, width=0.01))
        self.perfect = perfect

    def encode(self, image):
        # The code carries the picture itself; the features are the source's, shared by the batch.
        return image.flatten(1), [image]

    def motion(self, appearance):
        return appearance

    def directions(self):
        side = 3 * 32 * 32
        return torch.eye(side)

    def synthesise(self, latent, features):
        pictures = latent.unflatten(1, (3, 32, 32)) - features[0]
        return pictures if self.perfect else features[0].expand_as(pictures)


@pytest.fixture(scope="module")
def expected_baseline() -> float:
    return float(np.mean([(level - 100) / 127.5 / 2 for level in GreyClip.levels]))


def test_a_perfect_model_scores_perfectly_and_the_baseline_is_what_arithmetic_says(expected_baseline):
    score = score_clip(Copier(perfect=True), GreyClip(), 0)
    assert score.n_frames == 20
    assert score.l1 == pytest.approx(0, abs=1e-6)
    assert score.psnr == PSNR_CAP_DB
    assert score.ssim == pytest.approx(1, abs=1e-5)
    assert score.baseline_l1 == pytest.approx(expected_baseline, rel=1e-5)


def test_a_model_that_copies_the_source_scores_as_the_baseline():
    score = score_clip(Copier(perfect=False), GreyClip(), 0)
    assert (score.l1, score.psnr, score.ssim) == pytest.approx(
        (score.baseline_l1, score.baseline_psnr, score.baseline_ssim)
    )
