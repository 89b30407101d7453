"""Distances between faces whose answer is known; the observer with a stand-in for dlib, and with dlib itself."""

import hashlib
import io
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from skimage import data

from orchestration.assets import cache, table
from orchestration.evaluation import faces
from orchestration.evaluation.faces import (
    Face,
    FaceObserver,
    aed,
    akd,
    best_frame,
    csim,
    normalised,
)
from pipelines.annotation.weights import WeightsFile
from pipelines.errors import InputError
from pipelines.media.video import decode_frames


def face(seed=0, shift=(0.0, 0.0), scale=1.0, identity=None):
    landmarks = np.random.default_rng(seed).uniform(50, 200, (68, 2)) * scale + shift
    return Face(landmarks, identity)


def axis(index, length=1.0):
    return length * np.eye(128)[index]


ALICE, BOB = face(1, identity=axis(0, 1.5)), face(2, identity=axis(1, 2.0))


def test_a_face_is_at_no_distance_from_itself():
    assert akd(ALICE, ALICE) == aed(ALICE, ALICE) == 0
    assert csim(ALICE, ALICE) == 1


def test_akd_of_shifted_landmarks_is_the_mean_over_coordinates():
    assert akd(face(shift=(3, -2)), face()) == pytest.approx(2.5)
    assert akd(face(), face(shift=(3, -2))) == pytest.approx(2.5)


def test_identities():
    assert aed(ALICE, BOB) == aed(BOB, ALICE) == 1.5**2 + 2**2
    assert csim(ALICE, BOB) == 0
    assert csim(ALICE, face(identity=axis(0, -0.1))) == -1
    assert csim(ALICE, face(identity=axis(0) + axis(1))) == pytest.approx(np.sqrt(0.5))


def test_swapped_identities_are_told_by_aed_and_csim_alone():
    impostor = Face(ALICE.landmarks, BOB.identity)
    assert akd(impostor, ALICE) == 0
    assert aed(impostor, ALICE) == aed(BOB, ALICE)
    assert csim(impostor, ALICE) == csim(BOB, ALICE)


@pytest.mark.parametrize("distance", [aed, csim])
def test_identities_that_were_not_observed(distance):
    with pytest.raises(ValueError, match="identity=True"):
        distance(ALICE, face())


def test_normalised_landmarks_have_neither_place_nor_size():
    landmarks = face().landmarks
    np.testing.assert_allclose(normalised(landmarks * 3.7 + (-40, 12)), normalised(landmarks), atol=1e-12)
    np.testing.assert_allclose(normalised(landmarks).mean(axis=0), 0, atol=1e-12)


def test_normalised_landmarks_have_a_hull_of_area_one():
    square = np.array([(0.0, 0.0), (4.0, 0.0), (4.0, 4.0), (0.0, 4.0), (2.0, 2.0)])
    assert normalised(square).tolist() == [[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5], [0.0, 0.0]]


def test_best_frame_is_the_nearest_in_pose_wherever_it_lies():
    driving = [None, face(3), face(1, shift=(90, -30), scale=0.5), face(4)]
    assert best_frame(ALICE, driving) == 2


def test_best_frame_of_two_alike_is_the_first():
    assert best_frame(ALICE, [BOB, BOB]) == 0


@pytest.mark.parametrize("driving", [[], [None, None]])
def test_no_best_frame_without_a_face(driving):
    with pytest.raises(InputError, match=f"any of its {len(driving)} frames"):
        best_frame(ALICE, driving)


class StandIn:
    """In place of dlib: `boxes` are found, all landmarks lie at the left top corner of the box, the identity is 2."""

    def __init__(self, *boxes):
        self.boxes, self.doublings, self.loaded, self.embedded = boxes, [], [], 0

    def get_frontal_face_detector(self):
        def find(_frame, doublings):
            self.doublings.append(doublings)
            return [
                SimpleNamespace(corner=(x, y), area=lambda side=side: side**2) for x, y, side in self.boxes
            ]

        return find

    def shape_predictor(self, path):
        self.loaded.append(path)
        return lambda _frame, box: SimpleNamespace(
            parts=lambda: [SimpleNamespace(x=box.corner[0], y=box.corner[1])] * 68
        )

    def face_recognition_model_v1(self, path):
        self.loaded.append(path)
        return SimpleNamespace(compute_face_descriptor=self.embed)

    def embed(self, _frame, _shape):
        self.embedded += 1
        return [2.0] * 128


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """Files whose digests are pinned, by name."""
    paths, pins = {}, []
    for number, file in enumerate((faces.FACE_LANDMARKS, faces.FACE_IDENTITY)):
        paths[file.name] = tmp_path / file.name
        paths[file.name].write_bytes(bytes([number]))
        pins.append(WeightsFile(file.name, hashlib.sha256(bytes([number])).hexdigest()))
    monkeypatch.setattr(faces, "FACE_LANDMARKS", pins[0])
    monkeypatch.setattr(faces, "FACE_IDENTITY", pins[1])
    return paths


def stand_in(monkeypatch, *boxes):
    dlib = StandIn(*boxes)
    monkeypatch.setitem(sys.modules, "dlib", dlib)
    return dlib


def blank(height=256, width=256):
    return np.zeros((height, width, 3), np.uint8)


def test_the_largest_face_is_observed(monkeypatch, weights):
    dlib = stand_in(monkeypatch, (1, 2, 90), (3, 4, 120), (5, 6, 80))
    observer = FaceObserver(weights)
    found = observer(blank())
    assert dlib.loaded == [str(path) for path in weights.values()]
    assert found.landmarks.tolist() == [[3.0, 4.0]] * 68
    assert found.landmarks.dtype == found.identity.dtype == np.float64
    assert found.identity.tolist() == [2.0] * 128


def test_landmarks_alone(monkeypatch, weights):
    dlib = stand_in(monkeypatch, (1, 2, 90))
    assert FaceObserver(weights)(blank(), identity=False).identity is None
    assert dlib.embedded == 0


def test_an_observer_of_landmarks_needs_and_loads_no_identity_network(monkeypatch, weights):
    dlib = stand_in(monkeypatch, (1, 2, 90))
    landmarks = {faces.FACE_LANDMARKS.name: weights[faces.FACE_LANDMARKS.name]}
    found = FaceObserver(landmarks, identity=False)(blank())
    assert found.identity is None
    assert dlib.loaded == [str(path) for path in landmarks.values()]


def test_no_face(monkeypatch, weights):
    stand_in(monkeypatch)
    assert FaceObserver(weights)(blank()) is None


@pytest.mark.parametrize(
    ("size", "doublings"),
    [
        ((720, 1280), 0),
        ((256, 256), 0),
        ((256, 255), 1),
        ((128, 128), 1),
        ((127, 300), 2),
        ((64, 64), 2),
        ((1, 1), 8),
    ],
)
def test_small_frames_are_doubled_until_their_faces_are_large_enough(monkeypatch, weights, size, doublings):
    dlib = stand_in(monkeypatch)
    FaceObserver(weights)(blank(*size))
    assert dlib.doublings == [doublings]


@pytest.mark.parametrize(
    "frame", [blank().astype(np.float32), blank()[..., 0], np.zeros((8, 8, 4), np.uint8)]
)
def test_what_is_no_frame(monkeypatch, weights, frame):
    stand_in(monkeypatch)
    with pytest.raises(ValueError, match=r"must be uint8 of shape \(H,W,3\)"):
        FaceObserver(weights)(frame)


@pytest.mark.parametrize("number", [0, 1])
def test_damaged_weights_do_not_reach_dlib(monkeypatch, weights, number):
    dlib = stand_in(monkeypatch)
    path = list(weights.values())[number]
    path.write_bytes(b"other")
    with pytest.raises(InputError, match=rf"{path.name}: the weights are damaged .* expected .*lia fetch"):
        FaceObserver(weights)
    assert str(path) not in dlib.loaded


def test_without_dlib(monkeypatch, weights):
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(InputError, match=r"dlib, which is not installed .*lia-platform\[faces\]"):
        FaceObserver(weights)


def cached(name):
    found = next(row for row in cache.status() if row.name == name)
    if not found.cached:
        pytest.skip(f"{found.path} is not cached: lia fetch {name}")
    return found.path


@pytest.fixture(scope="module")
def observe():
    pytest.importorskip("dlib", reason="dlib is not installed: pip install 'lia-platform[faces]'")
    return FaceObserver({file.name: cached(file.name) for file in FaceObserver.WEIGHTS})


@pytest.fixture(scope="module")
def portrait():
    """A woman's face, looking at the camera, 256x256."""
    return np.ascontiguousarray(data.astronaut()[:256, 96:352])


def after_jpeg(frame):
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "JPEG", quality=75)
    return np.asarray(Image.open(file))


@pytest.mark.parametrize(
    ("part", "place"),
    [
        pytest.param(slice(36, 42), (107, 101), id="right-eye"),
        pytest.param(slice(42, 48), (151, 103), id="left-eye"),
        pytest.param(slice(30, 31), (129, 128), id="tip-of-the-nose"),
        pytest.param(slice(48, 68), (128, 145), id="mouth"),
        pytest.param(slice(8, 9), (126, 178), id="chin"),
    ],
)
def test_landmarks_of_a_real_face(observe, portrait, part, place):
    """Places as looked at."""
    found = observe(portrait, identity=False).landmarks[part].mean(axis=0)
    np.testing.assert_allclose(found, place, atol=2.5)


def test_a_real_face_that_moved_by_whole_pixels(observe, portrait):
    still, moved = (observe(data.astronaut()[y : y + 256, x : x + 256]) for x, y in ((96, 0), (88, 8)))
    assert akd(moved, still) == pytest.approx(8, abs=0.5)
    assert aed(moved, still) < 0.01


def test_noise_floor(observe, portrait):
    truth, noisy = observe(portrait), observe(after_jpeg(portrait))
    assert akd(noisy, truth) < 0.5
    assert aed(noisy, truth) < 0.02
    assert csim(noisy, truth) > 0.99


def test_another_person_in_the_demo_video(observe, portrait):
    other = observe(next(decode_frames(cached(table.DEMO_VIDEO.name))))
    assert aed(other, observe(portrait)) > 0.36


@pytest.mark.parametrize("size", [64, 128, 512])
def test_a_real_face_at_other_sizes(observe, portrait, size):
    scaled = np.asarray(Image.fromarray(portrait).resize((size, size), Image.Resampling.BICUBIC))
    np.testing.assert_allclose(observe(scaled).landmarks * 256 / size, observe(portrait).landmarks, atol=8)


def test_a_picture_without_a_face(observe):
    assert observe(np.ascontiguousarray(data.coffee())) is None
