"""A folder of small raw videos, sound and unsound, with the metadata that describes them."""

from collections import Counter
from pathlib import Path

from pipelines.corpus.clip_columns import ClipColumns
from pipelines.corpus.metadata import Metadata, read_metadata
from pipelines.cropping.config import PrepareConfig
from pipelines.media.ffmpeg_binary import ffmpeg_version
from pipelines.preparation.dataset_folder import DatasetFolder
from pipelines.preparation.plan import plan_shards
from pipelines.preparation.shard_task import ShardTask
from tests.coded_video import FPS_25, FPS_2997, HEIGHT, VP9, WIDTH, run_ffmpeg, write_coded

# Small shards, so that there are several.
CONFIG = PrepareConfig(size=256, shard_mb=1)

_HEADER = "video_id,start,end,bbox,fps,width,height,partition"
_WHOLE = f"0-0-{WIDTH}-{HEIGHT},{{fps}},{WIDTH},{HEIGHT}"

SOUND_CLIPS = 12
FAILURES = Counter(
    missing_video=2, empty_file=1, unreadable=1, no_video_stream=1, too_short=1, box_outside_frame=1
)


def write_corpus(folder: Path, *, with_failures: bool = True) -> tuple[Metadata, Path]:
    """Write videos and metadata; returns the metadata as read and the folder of videos."""
    videos = folder / "videos"
    videos.mkdir(parents=True)
    write_coded(videos / "a.mp4", 180, FPS_25, sound="aac")
    write_coded(videos / "b.mkv", 180, FPS_2997)
    write_coded(videos / "c.webm", 130, FPS_25, VP9)
    rows = [
        _row(name, start, start + 40, fps)
        for name, fps in (("a", 25), ("b", 29.97))
        for start in range(0, 160, 30)
    ]
    rows = [row for row in rows if int(row.split(",")[2]) <= 180][:10]
    rows += [_row("c", 10, 50, 25, "test"), _row("c", 60, 100, 25, "test")]
    if with_failures:
        (videos / "empty.mp4").touch()
        (videos / "text.mp4").write_text("not a video\n" * 50)
        run_ffmpeg("-f", "lavfi", "-i", "sine=d=1", videos / "sound.mp4")
        rows += [_row("absent", 0, 40, 25), _row("absent", 50, 90, 25, "test")]
        rows += [_row(name, 0, 40, 25) for name in ("empty", "text", "sound")]
        rows += [
            _row("a", 170, 210, 25),
            _row("a", 1, 41, 25).replace("0-0-", "160-0-").replace("-160-96", "-200-96"),
        ]
    metadata = folder / "metadata.csv"
    metadata.write_text("\n".join([_HEADER, *rows]) + "\n")
    return read_metadata(metadata, "taichi", videos), videos


def prepare_without_ray(
    metadata: Metadata, config: PrepareConfig, videos: Path, out: Path, threads: int = 2
) -> None:
    """What prepare() does, in this process and with the shards in reverse order."""
    clips = ClipColumns.of(metadata.clips)
    folder = DatasetFolder(out=out, config=config, clips=clips, producer=ffmpeg_version())
    folder.claim()
    task = ShardTask(
        videos=videos, out=out, config=config, plan_digest=folder.digest, producer=folder.producer
    )
    plans = plan_shards(clips, config)
    folder.announce(plans)
    for plan in reversed(plans):
        task.run([plan], threads, lambda clip_id, rejected: None)
    folder.describe(folder.require_published(plans), metadata)


def folder_bytes(out: Path) -> dict[str, bytes]:
    """All files of a folder, by their path in it."""
    return {
        str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()
    }


def _row(name: str, start: int, end: int, fps: float, partition: str = "train") -> str:
    return f"{name},{start},{end},{_WHOLE.format(fps=fps)},{partition}"
