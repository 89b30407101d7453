"""prepare() with videos that crash, hang or swell what decodes them: each is one failed clip, no other is touched.

No known file crashes this libav, so Python's start-up file, in every process of the cluster alike, makes `av.open` do
to its own process what such a file would, by the file's name; a script does the same for the ffmpeg command line.
"""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from orchestration.cluster import start_locally
from pipelines.media.ffmpeg_binary import ffmpeg_binary
from pipelines.preparation.clip_folders import read_clip_folder
from pipelines.preparation.prepare import prepare
from tests.coded_video import FPS_25, write_coded
from tests.processes import descendants
from tests.small_corpus import CONFIG, SOUND_CLIPS, write_corpus

# Ray Data copies its settings, deprecated ones included, and warns itself of them.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="limits on memory are Linux's"),
]

SITECUSTOMIZE = """
import os, signal, sys
import av

def open_and_suffer(file, *args, _open=av.open, **kwargs):
    checking = any(f.f_code.co_name == "check_span" for f in sys._current_frames().values() for f in _stack(f))
    if "crashes-probe" in file or ("crashes-check" in file and checking):
        os.kill(os.getpid(), signal.SIGSEGV)
    if "swells" in file:
        swollen = [bytearray(1 << 28) for _ in range(64)]
    return _open(file, *args, **kwargs)

def _stack(frame):
    while frame:
        yield frame
        frame = frame.f_back

av.open = open_and_suffer
"""
FFMPEG = """#!/bin/sh
case "$*" in *crashes-ffmpeg*) kill -SEGV $$;; esac
exec "{ffmpeg}" "$@"
"""
HOLE_BYTES = 1 << 40
EXPECTED = {
    "crashes-probe": ("crashed_decoder", "SIGSEGV"),
    "crashes-check": ("crashed_decoder", "SIGSEGV"),
    "crashes-ffmpeg": ("crashed_decoder", "SIGSEGV"),
    "swells": ("crashed_decoder", "decoder_gb_limit"),
    "hangs": ("timed_out", "probe_seconds_limit"),
}
LIMITED = replace(CONFIG, probe_seconds_limit=20.0, decoder_gb_limit=1.0)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Sound videos, and beside them one of each kind of evil."""
    folder = tmp_path_factory.mktemp("corpus")
    metadata, videos = write_corpus(folder, with_failures=False)
    for name in EXPECTED:
        shutil.copy(videos / "a.mp4", videos / f"{name}.mp4")
    # Ends early, so that it is looked at a second time.
    write_coded(videos / "crashes-check.mp4", 20, FPS_25)
    # A Matroska header, and a terabyte of nothing in which libav looks for the next element.
    header = write_coded(folder / "header.mkv", 60, FPS_25).read_bytes()[:600]
    with (videos / "hangs.mp4").open("wb") as file:
        file.write(header)
        file.truncate(HOLE_BYTES)
    pattern = next(clip for clip in metadata.clips if clip.video_id == "a")
    evil = [
        replace(pattern, clip_id=f"{name}#{start:06d}", video_id=name, video_path=f"{name}.mp4", start=start,
                end=start + 40)
        for name in EXPECTED for start in (0, 50)
    ]  # fmt: skip
    return metadata, evil, videos


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    (folder / "sitecustomize.py").write_text(SITECUSTOMIZE)
    script = folder / "ffmpeg"
    script.write_text(FFMPEG.format(ffmpeg=ffmpeg_binary()))
    script.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
        patch.setenv("LIA_FFMPEG", str(script))
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        import ray

        start_locally(num_cpus=2, logging_level="ERROR", log_to_driver=False)
        yield
        ray.shutdown()


def test_every_evil_clip_is_counted_and_no_other_is_lost(corpus, cluster, tmp_path):
    sound, evil, videos = corpus
    metadata = replace(sound, clips=[*sound.clips, *evil])
    summary = prepare(metadata, LIMITED, videos, tmp_path / "out", progress=False)
    assert (summary.written, summary.failed) == (SOUND_CLIPS, len(evil))
    rows = pq.read_table(tmp_path / "out" / "failures.parquet").to_pylist()
    assert {row["clip_id"] for row in rows} == {clip.clip_id for clip in evil}
    for row in rows:
        reason, word = EXPECTED[row["video_id"]]
        assert (row["reason"], word in row["message"]) == (reason, True), row["message"]
        assert f"{row['video_id']}.mp4: " in row["message"]
    written = pq.read_table(tmp_path / "out" / "manifest.parquet", columns=["clip_id", "sha256"]).to_pylist()
    prepare(sound, LIMITED, videos, tmp_path / "alone", progress=False)
    alone = pq.read_table(tmp_path / "alone" / "manifest.parquet", columns=["clip_id", "sha256"]).to_pylist()
    assert sorted(written, key=str) == sorted(alone, key=str)
    assert descendants(os.getpid(), b"pipelines.cropping.decoder_process") == [], "none outlives its shard"


def test_a_folder_of_evil_clips_is_listed_and_counted(corpus, cluster, tmp_path):
    _, _, videos = corpus
    metadata = read_clip_folder(videos, 0.0, LIMITED)
    assert {clip.clip_id for clip in metadata.clips} == {"a", "b", "c", *EXPECTED}
    summary = prepare(metadata, LIMITED, videos, tmp_path / "out", progress=False)
    failed = pq.read_table(tmp_path / "out" / "failures.parquet").to_pylist()
    # Whole from its first to its last frame, the one that ends early is looked at once.
    evil = EXPECTED.keys() - {"crashes-check"}
    assert ({row["clip_id"] for row in failed}, summary.written) == (evil, 4)
    assert descendants(os.getpid(), b"pipelines.cropping.decoder_process") == [], "none outlives its folder"
