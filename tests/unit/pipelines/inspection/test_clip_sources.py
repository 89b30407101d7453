import json

import numpy as np
import pytest

from pipelines.inspection.clip_sources import COLUMNS, ClipSources, parse_source

RECORD = {
    "box_used": [10, 20, 110, 220],
    "video_width": 1280,
    "video_height": 720,
    "video_fps": "30000/1001",
    "fps": 29.97,
    "ref_width": 640,
    "ref_height": 320,
}


def test_the_box_and_the_frame_of_a_clip():
    assert parse_source(json.dumps(RECORD).encode()) == (100, 200, 1280, 720, 30000 / 1001, 29.97, 2)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"box_used": [10, 20, 10, 220]}, id="empty-box"),
        pytest.param({"box_used": [10, 20, 1281, 220]}, id="box-outside"),
        pytest.param({"box_used": [-1, 20, 100, 220]}, id="negative"),
        pytest.param({"box_used": [10, 20, 110]}, id="three-edges"),
        pytest.param({"box_used": None}, id="no-box"),
        pytest.param({"box_used": [True, 20, 110, 220]}, id="not-a-number"),
        pytest.param({"video_width": 10**12}, id="absurd-width"),
        pytest.param({"video_fps": "1e999999999"}, id="exponent"),
        pytest.param({"video_fps": "0/1"}, id="no-rate"),
        pytest.param({"video_fps": "25/0"}, id="division-by-zero"),
        pytest.param({"video_fps": 25}, id="rate-is-a-number"),
        pytest.param({"fps": float("nan")}, id="nan"),
        pytest.param({"ref_width": 0}, id="no-stated-width"),
        pytest.param({"ref_height": 0}, id="no-stated-height"),
    ],
)
def test_a_record_that_cannot_be_right_is_refused(change):
    with pytest.raises(ValueError, match=r"damaged|frame"):
        parse_source(json.dumps({**RECORD, **change}).encode())


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"[" * 100_000, b"\xff"])
def test_no_json_is_refused(data):
    with pytest.raises(ValueError, match="json member is damaged"):
        parse_source(data)


def test_enlargement_is_the_mean_of_both_axes():
    rows = np.array([(64, 64, 640, 320, 25, 25, 2), (128, 512, 640, 720, 25, 25, 2)], float).T
    sources = ClipSources(**dict(zip(COLUMNS, rows, strict=True)))
    assert sources.enlargement(256).tolist() == [4, 1]
    assert sources.aspect.tolist() == [1, 0.25]
    assert sources.reshaping.tolist() == [1, pytest.approx(4 / 9)]
