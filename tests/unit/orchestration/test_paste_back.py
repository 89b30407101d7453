"""A part of a picture animated at its place, with generators that make nothing up and a detector of bright squares."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from lia_model.config import LiaConfig
from lia_model.generator import Generator
from lia_model.weights import save_generator
from orchestration import animate
from orchestration.cli.main import main
from orchestration.paste_back import (
    FEATHER,
    Squares,
    animate_in_place,
    cut,
    detected_squares,
    feather,
    named_squares,
    paste,
)
from pipelines.corpus.spans import Box
from pipelines.errors import InputError
from pipelines.media.video import decode_frames, read_info
from tests.bright_squares import BLUE, GREEN, BrightSquareDetector, still, write_scenes

DETECT = BrightSquareDetector()
WIDTH, HEIGHT = 120, 90


class Identity(nn.Module):
    """Gives the source back, whatever drives it."""

    def __init__(self, size: int):
        super().__init__()
        self.config = SimpleNamespace(image_size=size)
        self.device = nn.Parameter(torch.zeros(1))

    def encode(self, images_B3SS):
        self.encoded_B3SS = images_B3SS
        return torch.zeros(len(images_B3SS), 1), images_B3SS

    def motion(self, appearance_B1):
        return appearance_B1

    def directions(self):
        return torch.zeros(1, 1)

    def synthesise(self, latent_B1, features_13SS):
        return features_13SS.expand(len(latent_B1), -1, -1, -1)


class Copier(Identity):
    """Shows what drives it."""

    def synthesise(self, latent_B1, features_13SS):
        return self.encoded_B3SS


def smooth_picture() -> np.ndarray:
    """Slow waves of colour: uint8 (H,W,3)."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    waves = [np.sin(x / 15), np.cos(y / 20), np.sin((x + y) / 25)]
    return np.stack([128 + 100 * wave for wave in waves], axis=-1).astype(np.uint8)


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "picture.png"
    Image.fromarray(smooth_picture()).save(path)
    return path


@pytest.fixture
def driving(tmp_path):
    """Twenty frames, 320 x 240, in which a bright square of 60 moves from 40 to 78."""
    return write_scenes(
        tmp_path / "driving.mp4", [(BLUE, 20, lambda number: [(40 + 2 * number, 80, 60)])], fps=12
    )


squares = st.integers(1, HEIGHT).flatmap(
    lambda side: st.builds(
        lambda left, top: Box(left, top, left + side, top + side),
        st.integers(0, WIDTH - side),
        st.integers(0, HEIGHT - side),
    )
)


@given(squares, st.integers(1, 80))
def test_whatever_is_pasted_the_rest_of_the_picture_stays(square, size):
    picture = smooth_picture()
    noise = np.random.default_rng(0).integers(0, 255, (size, size, 3), dtype=np.uint8)
    pasted = paste(picture, square, noise, feather(square, (WIDTH, HEIGHT)))
    outside = np.ones((HEIGHT, WIDTH), bool)
    outside[square.top : square.bottom, square.left : square.right] = False
    assert (pasted[outside] == picture[outside]).all()
    assert (picture == smooth_picture()).all()


@given(squares)
def test_what_was_cut_out_unscaled_and_is_pasted_back_gives_the_picture(square):
    picture = smooth_picture()
    part = cut(picture, square, square.width)
    assert (paste(picture, square, part, feather(square, (WIDTH, HEIGHT))) == picture).all()


@pytest.mark.parametrize("size", [32, 64, 100])
def test_what_was_cut_out_scaled_and_is_pasted_back_gives_the_picture_up_to_resampling(size):
    picture, square = smooth_picture(), Box(20, 10, 90, 80)
    pasted = paste(picture, square, cut(picture, square, size), feather(square, (WIDTH, HEIGHT)))
    assert np.abs(pasted.astype(int) - picture).max() <= 4


def test_the_middle_is_all_new_and_the_seam_fades():
    square = Box(20, 10, 80, 70)
    white = np.full((30, 30, 3), 255, np.uint8)
    black = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pasted = paste(black, square, white, feather(square, (WIDTH, HEIGHT)))[..., 0].astype(int)
    seam = round(FEATHER * square.width)
    assert (pasted[10 + seam : 70 - seam, 20 + seam : 80 - seam] == 255).all()
    for row in (pasted[40, 20:80], pasted[10:70, 50]):
        assert (np.diff(row[: seam + 1]) > 0).all()
        assert (row == row[::-1]).all()
        assert row[0] < 10


@pytest.mark.parametrize(
    ("square", "hard"),
    [
        pytest.param(Box(0, 20, 50, 70), "left", id="left"),
        pytest.param(Box(70, 20, 120, 70), "right", id="right"),
        pytest.param(Box(30, 0, 80, 50), "top", id="top"),
        pytest.param(Box(30, 40, 80, 90), "bottom", id="bottom"),
    ],
)
def test_where_the_square_ends_with_the_picture_there_is_no_seam(square, hard):
    shown = feather(square, (WIDTH, HEIGHT))[..., 0]
    rims = {"left": shown[25, 0], "right": shown[25, -1], "top": shown[0, 25], "bottom": shown[-1, 25]}
    assert rims.pop(hard) == 1
    assert max(rims.values()) < 0.1


def test_a_square_picture_that_is_all_square_is_all_replaced():
    assert (feather(Box(0, 0, 90, 90), (90, 90)) == 1).all()


def test_a_generator_that_changes_nothing_gives_a_still_video_of_the_picture(picture, driving, tmp_path):
    out = tmp_path / "out.mp4"
    chosen = Squares(source=Box(20, 10, 90, 80), driving=Box(30, 50, 200, 220))
    assert animate_in_place(Identity(64), picture, driving, out, chosen) == 20
    info = read_info(out)
    assert (info.width, info.height, info.fps) == (WIDTH, HEIGHT, 12)
    for frame in decode_frames(out):
        assert np.abs(frame.astype(int) - smooth_picture()).mean() < 2  # H.264


def test_the_square_shows_the_driving_square(picture, driving, tmp_path):
    """The bright square of the driving video is all that is cut out of it, and so fills the picture's square."""
    out = tmp_path / "out.mp4"
    chosen = Squares(source=Box(20, 10, 60, 50), driving=Box(48, 84, 92, 128))
    animate_in_place(Copier(32), picture, driving, out, chosen)
    frames = np.stack(list(decode_frames(out))).astype(int)
    assert frames[0, 26:34, 36:44].min() > 240
    assert frames[-1, 30, 25:30].max() < 240 < frames[-1, 30, 50:54].min()  # it has gone to the right
    assert np.abs(frames[:, :, 70:] - smooth_picture()[:, 70:]).mean() < 2


def test_an_odd_picture_becomes_even(driving, tmp_path):
    Image.fromarray(smooth_picture()[:61, :75]).save(tmp_path / "odd.png")
    chosen = Squares(source=Box(0, 0, 61, 61), driving=None)
    animate_in_place(Identity(32), tmp_path / "odd.png", driving, tmp_path / "out.mp4", chosen)
    info = read_info(tmp_path / "out.mp4")
    assert (info.width, info.height) == (76, 62)


def test_a_picture_too_wide_for_a_video(driving, tmp_path):
    Image.new("RGB", (20_000, 10)).save(tmp_path / "wide.png")
    chosen = Squares(source=Box(0, 0, 10, 10), driving=None)
    with pytest.raises(InputError, match=r"wide\.png: 20000x10 pixels are too many for a video"):
        animate_in_place(Identity(32), tmp_path / "wide.png", driving, tmp_path / "out.mp4", chosen)
    assert not (tmp_path / "out.mp4").exists()


def test_the_driving_square_holds_all_places_and_the_source_is_as_large_in_its_own(driving, tmp_path):
    image = np.zeros((200, 300, 3), np.uint8)
    image[60:100, 100:140] = 255
    Image.fromarray(image).save(tmp_path / "source.png")
    found = detected_squares(tmp_path / "source.png", driving, DETECT, kind="face")
    assert found.driving is not None
    # From 40 to 78 + 60 is 98 wide; 1.2 times that. Around the source's 40 pixels, 40 / 60 of it.
    for square, expected in [(found.driving, Box(30, 51, 148, 169)), (found.source, Box(81, 41, 159, 119))]:
        assert square.width == square.height
        for edge in ("left", "top", "right", "bottom"):
            assert abs(getattr(square, edge) - getattr(expected, edge)) <= 3  # H.264 softens edges


def test_nobody_in_the_source(picture, driving):
    with pytest.raises(InputError, match=r"picture\.png: no face found in it.* --box LEFT,TOP,RIGHT,BOTTOM"):
        detected_squares(picture, driving, DETECT, kind="face")


def test_nobody_in_the_driving_video(tmp_path):
    Image.fromarray(np.full((40, 40, 3), 255, np.uint8)).save(tmp_path / "source.png")
    dull = write_scenes(tmp_path / "dull.mp4", [(GREEN, 5, still())])
    with pytest.raises(InputError, match=r"dull\.mp4: no body found in it.* --box and --driving-box"):
        detected_squares(tmp_path / "source.png", dull, DETECT, kind="body")


@pytest.mark.parametrize(
    ("box", "square"),
    [
        pytest.param(Box(20, 10, 60, 50), Box(20, 10, 60, 50), id="square"),
        pytest.param(Box(20, 10, 60, 30), Box(20, 0, 60, 40), id="flat"),
        pytest.param(Box(0, 0, WIDTH, HEIGHT), Box(15, 0, 105, 90), id="all-of-it"),
        pytest.param(Box(119, 89, 120, 90), Box(119, 89, 120, 90), id="one-pixel"),
    ],
)
def test_the_square_around_a_box_that_is_named(box, square, picture, driving):
    assert named_squares(picture, driving, box) == Squares(source=square, driving=None)
    both = named_squares(picture, driving, box, Box(100, 100, 200, 200))
    assert both == Squares(source=square, driving=Box(100, 100, 200, 200))


@pytest.mark.parametrize(
    "box",
    [Box(-1, 0, 40, 40), Box(0, 0, WIDTH + 1, 40), Box(0, 50, 40, HEIGHT + 1), Box(0, 0, 10**30, 10**30)],
)
def test_a_box_must_be_inside(box, picture, driving):
    with pytest.raises(
        InputError, match=rf"picture\.png: the box {box.left},.* is not inside its 120x90 pixels"
    ):
        named_squares(picture, driving, box)
    with pytest.raises(InputError, match=r"driving\.mp4: the box 0,0,321,240 is not inside its 320x240"):
        named_squares(picture, driving, Box(0, 0, 9, 9), Box(0, 0, 321, 240))


@pytest.mark.parametrize("in_place", [False, True])
def test_movement_is_counted_from_the_best_start_in_both_ways(
    in_place, picture, driving, tmp_path, monkeypatch
):
    asked = []

    def best_start(source_SS3, frames, look, **names):
        asked.append((source_SS3.shape, len(list(frames())), look, names))
        return next(iter(frames()))

    monkeypatch.setattr(animate, "best_start", best_start)
    ways = {"mode": "relative", "look": len}
    files = picture, driving, tmp_path / "out.mp4"
    if in_place:
        chosen = Squares(source=Box(10, 10, 50, 50), driving=Box(40, 80, 100, 140))
        assert animate_in_place(Identity(32), *files, chosen, **ways) == 20
    else:
        assert animate.animate_file(Identity(32), *files, **ways) == 20
    assert asked == [((32, 32, 3), 20, len, {"source": picture, "driving": driving})]


@pytest.fixture
def words(picture, driving, tmp_path):
    """A command without what says where the face is."""
    torch.manual_seed(0)
    model = tmp_path / "model"
    save_generator(model, Generator(LiaConfig(image_size=32, style_dim=16, motion_dim=3, width=0.03)))
    inputs = ["--model", str(model), "--source", str(picture), "--driving", str(driving)]
    return ["animate", *inputs, "--out", str(tmp_path / "out.mp4"), "--paste-back"]


def test_with_a_box_no_detector_is_needed(words, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LIA_CACHE", str(tmp_path / "empty"))
    assert main([*words, "--box", "20,10,60,40"]) == 0
    printed = capsys.readouterr().out
    assert printed == f"{tmp_path}/out.mp4: 20 frames; 20,5,60,45 of {tmp_path}/picture.png moves\n"
    frames = np.stack(list(decode_frames(tmp_path / "out.mp4"))).astype(int)
    assert frames.shape == (20, HEIGHT, WIDTH, 3)
    assert np.abs(frames[:, :, 64:] - smooth_picture()[:, 64:]).mean() < 2


def test_with_a_box_the_whole_video_is_made_square_as_fit_says(words, tmp_path):
    """The driving video is wider than high: cropped and stretched, it drives otherwise."""
    pictures = []
    for fit in ([], ["--fit", "crop"], ["--fit", "stretch"]):
        assert main([*words, "--box", "20,10,60,40", *fit]) == 0
        pictures.append((tmp_path / "out.mp4").read_bytes())
    assert pictures[0] == pictures[1] != pictures[2]


@pytest.mark.parametrize("subject", ["face", "body"])
def test_without_weights_it_says_what_to_fetch(subject, words, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LIA_CACHE", str(tmp_path / "empty"))
    assert main([*words, "--subject", subject]) == 2
    message = capsys.readouterr().err
    assert "`lia fetch " in message
    assert message.count("\n") == 1
    assert not (tmp_path / "out.mp4").exists()


def test_a_torn_driving_video_leaves_nothing(words, driving, tmp_path, capsys):
    driving.write_bytes(driving.read_bytes()[:-400])
    assert main([*words, "--box", "20,10,60,40"]) == 2
    assert "driving.mp4" in capsys.readouterr().err
    assert not (tmp_path / "out.mp4").exists()
