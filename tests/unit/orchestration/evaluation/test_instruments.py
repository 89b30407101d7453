"""What is measured, by what is asked for and what is there."""

import hashlib

import numpy as np
import pytest

from orchestration.assets import cache, table
from orchestration.evaluation import instruments
from orchestration.evaluation.bodies import JOINTS, Body
from orchestration.evaluation.faces import Face
from orchestration.evaluation.instruments import (
    IMAGES,
    METRICS_OF,
    NEEDED,
    body_differences,
    choose,
    face_differences,
    identity_differences,
    too_few,
    unpinned_digests,
)
from orchestration.evaluation.metrics import GROUPS, METRICS
from pipelines.errors import InputError


@pytest.fixture(autouse=True)
def everything_there(monkeypatch, tmp_path):
    monkeypatch.setattr(cache, "cached", lambda name: tmp_path / name)
    monkeypatch.setattr(instruments, "find_spec", lambda package: package)
    monkeypatch.setattr(instruments, "_unpinned", lambda group: [])


@pytest.mark.parametrize(
    ("dataset", "groups"),
    [
        ("vox", (*IMAGES, "face")),
        ("taichi", (*IMAGES, "body")),
        ("ted", (*IMAGES, "body")),
        ("mine", IMAGES),
        ("", IMAGES),
    ],
)
def test_a_dataset_is_measured_by_what_it_shows(dataset, groups):
    assert choose(None, dataset, "reconstruction") == (groups, {})


def test_what_lacks_weights_is_absent_or_if_it_was_asked_for_an_error(monkeypatch):
    monkeypatch.setattr(cache, "cached", lambda name: None)
    groups, absent = choose(None, "vox", "reconstruction")
    assert groups == ("pixels",)
    assert set(absent) == set(METRICS) - {*METRICS_OF["pixels"], *METRICS_OF["body"]}
    assert all(NEEDED["face"][0] in absent[name] for name in METRICS_OF["face"])
    with pytest.raises(InputError, match="face metrics: weights absent: lia fetch "):
        choose(["pixels", "face"], "vox", "reconstruction")
    assert absent["fid"].startswith("weights absent: lia fetch --status says where to put pt_inception")
    assert absent["video_fid"].startswith("weights absent: lia fetch --status says where to put resnext-101")
    with pytest.raises(InputError, match="lia fetch"):
        choose(None, "vox", "relative")


def test_a_library_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(instruments, "find_spec", lambda package: None)
    with pytest.raises(InputError, match=r"dlib is not installed: pip install 'lia-platform\[faces\]'"):
        choose(["face"], "", "reconstruction")


@pytest.fixture
def brought(monkeypatch, tmp_path):
    """A file without a digest, as the user has put it into the cache."""
    path = tmp_path / table.RESNEXT3D.name
    path.write_bytes(b"weights")
    monkeypatch.undo()
    monkeypatch.setenv("LIA_CACHE", str(tmp_path))
    return path


def test_a_file_that_no_digest_tells_is_loaded_before_it_is_counted_on(brought):
    _, absent = choose(None, "mine", "reconstruction")
    assert absent["video_fid"].startswith(f"weights unusable: {brought}: not a torch file")
    with pytest.raises(InputError, match=r"video-fid metrics: weights unusable: .*resnext-101-kinetics\.pth"):
        choose(["video-fid"], "mine", "relative")


def test_its_digest_is_told_and_those_that_are_known_are_not(brought):
    digest = hashlib.sha256(b"weights").hexdigest()
    assert unpinned_digests(("pixels", "fid", "video-fid")) == {"video_fid": digest}
    assert unpinned_digests(("pixels", "fid")) == {}


def test_sets_of_less_than_two_samples_are_told():
    found = too_few(("pixels", "fid", "video-fid"), {"fid": 3.0})
    assert found == {"video_fid": "too few samples: the clips have less than two of 16 frames"}


def test_transfer_is_measured_by_what_needs_no_true_frame():
    assert choose(None, "vox", "relative") == (("frechet", "fid", "video-fid", "face"), {})
    assert choose(None, "taichi", "relative") == (("frechet", "fid", "video-fid"), {})
    with pytest.raises(InputError, match="--measure frechet fid video-fid face"):
        choose(["pixels"], "vox", "absolute")


def test_every_metric_of_a_group_has_its_place_in_the_table():
    assert set(METRICS_OF) == set(NEEDED) == set(GROUPS)
    assert {name for names in METRICS_OF.values() for name in names} <= set(METRICS)


def face(x: float, identity: float) -> Face:
    return Face(np.full((68, 2), x), np.array([identity, 1.0]))


def test_faces_differ_by_landmarks_and_identity():
    found = face_differences(face(10, 0), face(12, 0))
    assert found["face_akd"] == (2.0, 1)
    assert found["face_aed"] == (0.0, 1)
    assert found["face_csim"] == (pytest.approx(1.0), 1)
    assert found["face_missed"] == (0, 1)
    assert identity_differences(face(10, 0), face(12, 2))["face_aed"] == (4.0, 1)


def test_a_face_that_is_lost_counts_as_that_alone_and_one_that_never_was_not_at_all():
    lost, never = face_differences(face(0, 0), None), face_differences(None, face(0, 0))
    assert {name for name, (_, weight) in lost.items() if weight} == {"face_missed"}
    assert lost["face_missed"] == (1, 1)
    assert not any(weight for _, weight in never.values())
    assert set(lost) == set(never) == set(METRICS_OF["face"])


def body(x: float, present: int) -> Body:
    return Body(np.full((len(JOINTS), 2), x), np.arange(len(JOINTS)) < present)


def test_bodies_differ_by_the_joints_of_both_and_miss_those_of_the_truth():
    assert body_differences(body(5, 4), body(8, 3)) == {"body_akd": (3.0, 1), "body_mkr": (1, 4)}
    assert body_differences(body(5, 4), None) == {"body_akd": (0, 0), "body_mkr": (4, 4)}
    assert body_differences(None, body(5, 4)) == {"body_akd": (0, 0), "body_mkr": (0, 0)}
