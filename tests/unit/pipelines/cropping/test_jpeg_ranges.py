"""Positions of JPEGs in a motion-JPEG mp4."""

import io

from PIL import Image

from pipelines.cropping.jpeg_ranges import read_jpeg_ranges
from tests.coded_video import FPS_25, run_ffmpeg, write_coded


def test_every_range_is_one_jpeg(tmp_path):
    video = write_coded(tmp_path / "v.mp4", 7, FPS_25, ("-c:v", "mjpeg", "-q:v", "2"))
    content = video.read_bytes()
    ranges = read_jpeg_ranges(video)
    assert len(ranges.offsets) == len(ranges.sizes) == 7
    for offset, size in zip(ranges.offsets, ranges.sizes, strict=True):
        assert Image.open(io.BytesIO(content[offset : offset + size])).size == (160, 96)


def test_what_is_no_motion_jpeg_has_none(tmp_path):
    assert read_jpeg_ranges(write_coded(tmp_path / "h264.mp4", 5, FPS_25)) is None
    run_ffmpeg("-f", "lavfi", "-i", "sine=d=0.1", tmp_path / "sound.mp4")
    assert read_jpeg_ranges(tmp_path / "sound.mp4") is None
    (tmp_path / "torn.mp4").write_bytes(b"torn")
    assert read_jpeg_ranges(tmp_path / "torn.mp4") is None
