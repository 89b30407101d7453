"""How detectors are named, and what is said when something is missing or wrong."""

import hashlib
import sys

import pytest

from pipelines.annotation import detectors
from pipelines.annotation.detectors import detector_name, load_detector, read_networks, weights_needed
from pipelines.annotation.litert import LiteRtModel
from pipelines.annotation.weights import WeightsFile, read_weights
from pipelines.errors import InputError

CONTENT = b"a network"
PINNED = WeightsFile("face.tflite", hashlib.sha256(CONTENT).hexdigest())


def test_weights_needed():
    assert weights_needed("face") == ("face_detection_full_range.tflite",)
    assert weights_needed("body") == ("pose_detection.tflite", "pose_landmark_full.tflite")


def test_pinned_weights_are_read(tmp_path):
    path = tmp_path / "any name"
    path.write_bytes(CONTENT)
    assert read_weights(PINNED, {"face.tflite": path}) == CONTENT


def test_damaged_weights(tmp_path):
    path = tmp_path / "face.tflite"
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(
        InputError, match=r"face\.tflite: the weights are damaged .* expected .*lia fetch face"
    ):
        read_weights(PINNED, {"face.tflite": path})


@pytest.mark.parametrize("kind", ["face", "body"])
def test_weights_that_are_not_there(tmp_path, kind):
    paths = {name: tmp_path / name for name in weights_needed(kind)}
    with pytest.raises(InputError, match=r"cannot be read: No such file.*lia fetch"):
        read_networks(kind, paths)


def test_weights_that_were_not_given():
    with pytest.raises(InputError, match=r"^pose_detection\.tflite: .* was not given"):
        read_networks("body", {})


def test_other_weights_are_another_detector(monkeypatch):
    name = detector_name("face")
    assert name.startswith("face ")
    monkeypatch.setitem(detectors._WEIGHTS, "face", (PINNED,))
    assert detector_name("face") != name


@pytest.mark.parametrize("score", [-0.1, 1.1, float("nan")])
def test_score_out_of_range(score):
    with pytest.raises(ValueError, match="min_score must be from 0 to 1"):
        load_detector("face", [b""], min_score=score)


def test_threshold_reaches_the_detector(tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(detectors, "FaceDetector", lambda *arguments: given.append(arguments))
    monkeypatch.setattr(detectors, "BodyDetector", lambda *arguments: given.append(arguments))
    load_detector("face", [b"face"])
    load_detector("body", [b"detection", b"landmark"], min_score=0.9)
    assert given == [(b"face", 0.6), (b"detection", b"landmark", 0.9)]


def test_without_ai_edge_litert(monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(
        InputError, match=r"ai-edge-litert, which is not installed .*lia-platform\[annotate\]"
    ):
        LiteRtModel(CONTENT)
