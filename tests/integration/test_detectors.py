"""The real networks on real pictures. Needs what `lia fetch` brings; skipped where it has not been run."""

from itertools import islice

import numpy as np
import pytest
from PIL import Image
from skimage import data

from orchestration.assets import cache, table
from orchestration.paste_back import detected_squares
from pipelines.annotation.detectors import load_detector, read_networks, weights_needed
from pipelines.annotation.regions import overlap
from pipelines.media.video import decode_frames

# (left, top, right, bottom) of the face in every 59th frame of the demo video, as found and looked at.
FACES = [
    (294, 90, 547, 343), (322, 92, 545, 315), (315, 122, 554, 360), (293, 54, 553, 314),
    (322, 59, 581, 317), (311, 50, 586, 324), (348, 62, 618, 332), (325, 108, 541, 323),
]  # fmt: skip


def cached(name):
    found = next(row for row in cache.status() if row.name == name)
    if not found.cached:
        pytest.skip(f"{found.path} is not cached: lia fetch {name}")
    return found.path


def loaded(kind, **options):
    return load_detector(
        kind, read_networks(kind, {name: cached(name) for name in weights_needed(kind)}), **options
    )


@pytest.fixture(scope="module")
def find_faces():
    return loaded("face")


@pytest.fixture(scope="module")
def find_bodies():
    return loaded("body")


@pytest.fixture(scope="module")
def frames():
    return np.stack(list(islice(decode_frames(cached(table.DEMO_VIDEO.name)), 0, None, 59)))


@pytest.fixture(scope="module")
def astronaut():
    """A woman from the thighs up, 512x512."""
    return data.astronaut()


def agreement(found, box):
    corners = np.array([(found.left, found.top), (found.right, found.bottom)])
    return overlap(corners[None], np.array(box, dtype=float).reshape(2, 2))[0]


def test_the_face_in_the_demo_video(find_faces, frames):
    found = find_faces(frames)
    assert [len(faces) for faces in found] == [1] * len(FACES)
    for (face,), box in zip(found, FACES, strict=True):
        assert agreement(face, box) > 0.9


def test_the_squares_by_which_a_face_is_animated_at_its_place(find_faces, frames, tmp_path):
    Image.fromarray(frames[0]).save(tmp_path / "source.png")
    video = cached(table.DEMO_VIDEO.name)
    squares = detected_squares(tmp_path / "source.png", video, find_faces, kind="face")
    assert agreement(squares.source, (242, 3, 599, 360)) > 0.9
    assert squares.driving is not None
    for left, top, right, bottom in FACES:
        assert squares.driving.left <= left + 9
        assert squares.driving.top <= top + 9
        assert squares.driving.right >= right - 9
        assert squares.driving.bottom >= bottom - 9


def test_two_faces(find_faces, frames):
    both = np.concatenate([frames[0], frames[0][:, ::-1]], axis=1)
    left, right = sorted(find_faces(both[None])[0], key=lambda face: face.left)
    assert agreement(left, FACES[0]) > 0.8
    mirrored = (1280 - FACES[0][2], FACES[0][1], 1280 - FACES[0][0], FACES[0][3])
    assert agreement(right, mirrored) > 0.8


@pytest.mark.parametrize("size", [(1280, 720), (720, 1280), (512, 512)])
def test_boxes_are_in_pixels_of_the_frame_whatever_its_shape(find_faces, astronaut, size):
    width, height = size
    frame = np.zeros((height, width, 3), np.uint8)
    left, top = width - 512, height - 512
    frame[top:, left:] = astronaut
    (face,) = find_faces(frame[None])[0]
    assert agreement(face, (left + 174, top + 70, left + 279, top + 175)) > 0.7


def test_a_body_with_all_that_belongs_to_it(find_bodies, astronaut):
    """From the hair to the picture's lower edge, sleeves included, though not the flag or the shuttle."""
    frame = np.zeros((720, 1280, 3), np.uint8)
    frame[400:, 600:920] = Image.fromarray(astronaut).resize((320, 320))
    (body,) = find_bodies(frame[None])[0]
    assert agreement(body, (607, 410, 830, 720)) > 0.8


def test_no_one_there(find_faces, find_bodies):
    pictures = [np.zeros((360, 640, 3), np.uint8), np.ascontiguousarray(data.coffee())]
    for picture in pictures:
        assert find_faces(picture[None]) == [[]]
        assert find_bodies(picture[None]) == [[]]


def test_no_frames(find_faces):
    assert find_faces(np.zeros((0, 360, 640, 3), np.uint8)) == []


def test_score_threshold(frames):
    assert loaded("face", min_score=0.99)(frames) == [[]] * len(frames)
    assert all(len(faces) >= 1 for faces in loaded("face", min_score=0.3)(frames))


def test_the_same_frame_gives_the_same_boxes(find_bodies, astronaut):
    twice = find_bodies(np.stack([astronaut, astronaut]))
    assert twice[0] == twice[1] == find_bodies(astronaut[None])[0]
