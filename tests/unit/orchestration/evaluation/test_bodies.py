"""AKD and MKR against bodies whose answer is known, and the observer on a real picture where its networks are."""

import numpy as np
import pytest
from skimage import data

from orchestration.assets import cache
from orchestration.evaluation import bodies
from orchestration.evaluation.bodies import (
    JOINTS,
    Body,
    BodyObserver,
    JointCounts,
    akd,
    body_of,
    count_joints,
)
from pipelines.annotation.detectors import read_networks, weights_needed
from pipelines.annotation.landmarks import LANDMARKS, Landmarks


def body(shift=(0, 0), absent=()):
    """Joints along a diagonal, moved by `shift`; those named are guesses far away."""
    joints_J2 = np.arange(len(JOINTS))[:, None] * (10.0, 5.0) + shift
    present_J = np.array([name not in absent for name in JOINTS])
    joints_J2[~present_J] += 1000
    return Body(joints_J2, present_J)


HALF_UP = JOINTS[:11]


@pytest.mark.parametrize(
    ("truth", "made", "distance", "counts"),
    [
        pytest.param(body(), body(), 0, (17, 0), id="identical"),
        pytest.param(body(), body(shift=(3, 0)), 1.5, (17, 0), id="shifted-along-x"),
        pytest.param(body(), body(shift=(-3, 5)), 4, (17, 0), id="shifted-both-ways"),
        pytest.param(body(), body(shift=(2, 2), absent=["nose"]), 2, (17, 1), id="one-missing"),
        pytest.param(body(absent=["nose"]), body(shift=(2, 2)), 2, (16, 0), id="one-too-many"),
        pytest.param(body(absent=HALF_UP), body(absent=JOINTS[11:]), None, (6, 6), id="none-shared"),
        pytest.param(body(), body(absent=JOINTS), None, (17, 17), id="body-without-joints"),
        pytest.param(body(absent=["nose"]), None, None, (16, 16), id="no-body-made"),
        pytest.param(None, body(), None, (0, 0), id="no-body-in-truth"),
        pytest.param(None, None, None, (0, 0), id="no-body-in-either"),
    ],
)
def test_two_bodies(truth, made, distance, counts):
    assert akd(truth, made) == (None if distance is None else pytest.approx(distance))
    assert count_joints(truth, made) == JointCounts(*counts)


def test_joints_are_the_landmarks_of_their_names():
    places = np.arange(len(LANDMARKS))[:, None] * (1.0, 1.0)
    found = body_of(Landmarks(places, np.ones(len(LANDMARKS))), width=100, height=100)
    assert found.joints[:, 0].tolist() == [LANDMARKS.index(name) for name in JOINTS]
    assert found.present.all()


@pytest.mark.parametrize(
    ("point", "visibility", "present"),
    [
        pytest.param((50, 20), 0.8, True, id="seen"),
        pytest.param((50, 20), 0.79, False, id="hidden"),
        pytest.param((100, 40), 1, True, id="in-the-corner"),
        pytest.param((101, 20), 1, False, id="right-of-the-frame"),
        pytest.param((50, -1), 1, False, id="above-the-frame"),
    ],
)
def test_a_joint_is_present_where_it_can_be_seen(point, visibility, present):
    landmarks = Landmarks(np.tile(point, (33, 1)).astype(float), np.full(33, visibility))
    assert body_of(landmarks, width=100, height=40).present.tolist() == [present] * len(JOINTS)


class FinderOfTheLight:
    """In place of the networks: someone whose landmarks all lie at (2, 1), unless the frame is black."""

    def __init__(self, detection, landmark, min_score):
        assert (detection, landmark, min_score) == (b"detection", b"landmark", 0.5)

    def surest(self, frame_HW3):
        return self if frame_HW3.any() else None

    landmarks = Landmarks(np.tile((2.0, 1.0), (33, 1)), np.ones(33))


def test_observer(monkeypatch):
    monkeypatch.setattr(bodies, "PersonFinder", FinderOfTheLight)
    observe = BodyObserver([b"detection", b"landmark"])
    assert observe(np.zeros((4, 4, 3), np.uint8)) is None
    for width, present in ((4, True), (1, False)):
        found = observe(np.ones((4, width, 3), np.uint8))
        assert found.joints.tolist() == [[2, 1]] * len(JOINTS)
        assert found.present.tolist() == [present] * len(JOINTS)


@pytest.fixture(scope="module")
def observe():
    paths = {row.name: row.path for row in cache.status() if row.cached}
    if missing := [name for name in weights_needed("body") if name not in paths]:
        pytest.skip(f"not cached: lia fetch {' '.join(missing)}")
    return BodyObserver(read_networks("body", paths))


@pytest.fixture(scope="module")
def astronaut():
    """A woman from the thighs up, 512x512."""
    return data.astronaut()


def test_a_real_body(observe, astronaut):
    found = observe(astronaut)
    place = dict(zip(JOINTS, found.joints, strict=True))
    present = {name for name, there in zip(JOINTS, found.present, strict=True) if there}
    # Looked up in the picture, by eye: the network is some 10 of 512 pixels off.
    for name, expected in {"nose": (222, 117), "left eye": (249, 104), "right eye": (206, 99)}.items():
        np.testing.assert_allclose(place[name], expected, atol=16)
    assert place["right shoulder"][0] < place["nose"][0] < place["left shoulder"][0]
    assert present >= {"nose", "left eye", "right eye", "left shoulder", "right shoulder"}
    assert present.isdisjoint({"left knee", "right knee", "left ankle", "right ankle"})


def test_a_real_body_against_itself_moved_hidden_and_gone(observe, astronaut):
    still = observe(astronaut[:480, :480])
    assert akd(still, still) == 0
    moved = observe(astronaut[12:492, 24:504])
    assert akd(still, moved) == pytest.approx((12 + 24) / 2, abs=2)
    assert count_joints(still, moved).missing <= 1
    gone = observe(np.zeros_like(astronaut))
    assert gone is None
    lost = count_joints(still, gone)
    assert lost.missing == lost.present > 0
