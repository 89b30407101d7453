"""The protocols on cases whose answer is known."""

import base64

import numpy as np
import pytest
import torch

from lia_model.config import LiaConfig
from lia_model.generator import Generator
from orchestration.evaluation.image_sets import EVERY, LENGTHS, SetMeasure, SetNetwork
from orchestration.evaluation.instruments import PSNR_CAP_DB, Instruments
from orchestration.evaluation.measures import SeenMeasure
from orchestration.evaluation.scorer import NoNumbersError, score
from orchestration.evaluation.scores import ClipScore
from orchestration.evaluation.transfer import MAX_FRAMES, TransferPair
from orchestration.evaluation.unfinished import FEATURES


class GreyClip:
    """Stands for a PairDataset with one clip: frame 0 is mid-grey, each later frame a little brighter."""

    clip_ids = ("a#000000#000020",)
    levels = (100, 120, 140, *[160] * 17)

    def clip(self, clip: int):
        for level in self.levels:
            yield np.full((32, 32, 3), level, np.uint8)


class TwoPeople(GreyClip):
    """A dark clip and a bright one, both longer than transfer wants."""

    clip_ids = ("dark", "bright")

    def clip(self, clip: int):
        for frame in range(MAX_FRAMES + 7):
            yield np.full((32, 32, 3), (40, 120)[clip] + frame % 50, np.uint8)


class BrightnessInstruments(Instruments):
    """What is seen in a frame is how bright it is; two frames differ by the difference."""

    def __init__(self):
        super().__init__((), {})

    def measures(self, source_13HW, *, transfer):
        differences = lambda wanted, made: {"face_aed": (abs(wanted - made), 1)}  # noqa: E731
        return [SeenMeasure(lambda frame: float(frame.mean()), differences, source_13HW, transfer=transfer)]


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


def reconstructed(generator: Generator) -> ClipScore:
    pixels = Instruments(("pixels",), {})
    return ClipScore.from_row(score(generator, GreyClip(), TransferPair(0, 0), "reconstruction", pixels))


def test_a_perfect_model_scores_perfectly_and_the_baseline_is_what_arithmetic_says(expected_baseline):
    found = reconstructed(Copier(perfect=True))
    assert (found.clip_id, found.n_frames) == ("a#000000#000020", 20)
    assert found.values["l1"] == pytest.approx(0, abs=1e-6)
    assert found.values["psnr"] == PSNR_CAP_DB
    assert found.values["ssim"] == pytest.approx(1, abs=1e-5)
    assert found.values["baseline_l1"] == pytest.approx(expected_baseline, rel=1e-5)


def test_a_model_that_copies_the_source_scores_as_the_baseline():
    values = reconstructed(Copier(perfect=False)).values
    assert [values[name] for name in ("l1", "psnr", "ssim")] == pytest.approx(
        [values[f"baseline_{name}"] for name in ("l1", "psnr", "ssim")]
    )


@pytest.mark.parametrize(("perfect", "expected"), [(False, 0.0), (True, 80 + sum(range(50)) / 50)])
def test_transfer_compares_with_the_source_and_takes_the_first_frames(perfect, expected):
    """A model that gives back the driving frame is as unlike the source as that: the baseline."""
    pair = TransferPair(source=0, driving=1)
    found = score(Copier(perfect=perfect), TwoPeople(), pair, "absolute", BrightnessInstruments())
    assert (found["clip_id"], found["n_frames"]) == ("dark driven by bright", MAX_FRAMES)
    assert found["face_aed"] == pytest.approx(expected, abs=0.01)
    assert found["baseline_face_aed"] == pytest.approx(80 + sum(range(50)) / 50, abs=0.01)


def test_relative_transfer_begins_with_the_source():
    """The movement since the driving clip's first frame, added to the source: never more than that movement."""
    pair = TransferPair(source=0, driving=1)
    found = score(Copier(perfect=True), TwoPeople(), pair, "relative", BrightnessInstruments())
    assert found["face_aed"] == pytest.approx(sum(range(50)) / 50, abs=0.01)


class Levels(Instruments):
    """Sets of frames, whose features are a fixed vector times how bright they are."""

    def __init__(self):
        super().__init__((), {})

    def measures(self, source_13HW, *, transfer):
        network = SetNetwork("fid", lambda image: image.mean((1, 2, 3))[:, None].expand(1, LENGTHS["fid"]))
        return [
            SetMeasure(network, source_13HW, transfer=transfer),
            *super().measures(source_13HW, transfer=transfer),
        ]


@pytest.mark.parametrize(("protocol", "sets"), [("reconstruction", 3), ("absolute", 2)])
def test_what_a_clip_adds_to_sets_stands_in_its_row(protocol, sets):
    found = score(Copier(perfect=True), TwoPeople(), TransferPair(0, 1), protocol, Levels())
    features = found.pop(FEATURES)
    assert set(features) == {"fid", "true_fid", "baseline_fid"} - ({"baseline_fid"} if sets == 2 else set())
    frames = len(range(0, found["n_frames"], EVERY))
    assert len(base64.b64decode(features["fid"])) == 4 * frames * LENGTHS["fid"]
    ClipScore.from_row(found)


class Diverged(Copier):
    def synthesise(self, latent, features):
        return super().synthesise(latent, features) * float("nan")


def test_images_that_are_no_numbers_are_an_error_whatever_is_measured():
    with pytest.raises(NoNumbersError, match=r"clip dark driven by bright: .* no numbers"):
        score(Diverged(perfect=True), TwoPeople(), TransferPair(0, 1), "absolute", BrightnessInstruments())
