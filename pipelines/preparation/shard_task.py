"""What one worker does: crop the clips of shards, several at once, and publish each shard. No Ray in here.

Idempotent: running it again, on any machine, gives the same bytes.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipelines.corpus.clip_table import Clip
from pipelines.corpus.failures import ClipError, Rejected
from pipelines.cropping.config import PrepareConfig
from pipelines.cropping.crop import Cropped, crop, crop_sequence, plan_crop
from pipelines.cropping.decoder_process import Decoders
from pipelines.cropping.ffmpeg_command import CropJob
from pipelines.preparation.outcomes import (
    ClipOutcome,
    ShardOutcome,
    Written,
    read_outcome,
    remove_outcome,
    write_outcome,
)
from pipelines.preparation.plan import SCHEMA_VERSION, ShardPlan
from pipelines.preparation.shards import ShardWriter
from pipelines.storage.location import Location
from pipelines.storage.scratch import scratch_folder
from pipelines.storage.store import store_at


class _NothingWritten(Exception):
    """Keeps a tar without members from being published."""


@dataclass(frozen=True)
class _Done:
    """A clip as encoded, and what ffmpeg was told."""

    job: CropJob
    cropped: Cropped


CLIPS_A_SYNC = 16
"""Clips after which what is written goes to disk: all at the end would keep the cores waiting for it."""
Progress = Callable[[str, Rejected | None], None]
"""Called with a clip's id, and why it failed if it did, as each clip is done; from several threads."""


@dataclass(frozen=True, kw_only=True)
class ShardTask:
    """What all shards of one dataset have in common."""

    videos: Path
    """Folder that the clips' video paths are relative to."""
    out: Location
    """Folder of the dataset."""
    config: PrepareConfig
    plan_digest: str
    producer: str
    """Version of the ffmpeg that the clips' bytes depend on."""

    def published(self, plan: ShardPlan) -> ShardOutcome | None:
        """The record of a shard that is there whole."""
        return read_outcome(self.out, plan, self.plan_digest)

    def run(self, plans: Sequence[ShardPlan], threads: int, progress: Progress) -> None:
        """Crop the clips with `threads` ffmpegs at once and publish each shard's tar and sidecar, in order."""
        pool = ThreadPoolExecutor(threads)
        with scratch_folder("prepare") as scratch, Decoders(self.config) as decoders:

            def work(name: str, clip: Clip) -> _Done | Rejected:
                return self._crop(clip, scratch / f"{name}.mp4", decoders, progress)

            results = [
                [
                    pool.submit(work, f"{plan.name}-{number:06d}", clip)
                    for number, clip in enumerate(plan.clips)
                ]
                for plan in plans
            ]
            try:
                for plan, clips in zip(plans, results, strict=True):
                    self._publish(plan, zip(plan.clips, (clip.result() for clip in clips), strict=True))
            finally:
                # After an error that is no clip's fault, such as a full disk, the rest is not worth doing.
                pool.shutdown(cancel_futures=True)

    def _crop(self, clip: Clip, mp4: Path, decoders: Decoders, progress: Progress) -> _Done | Rejected:
        result: _Done | Rejected
        try:
            if not clip.video_path:
                raise ClipError(
                    "missing_video", f"{self.videos / clip.video_id}.*: no such video. Download it."
                )
            video = self.videos / clip.video_path
            if os.path.isdir(
                video
            ):  # unlike pathlib's, False where the answer is an error: the decoder's to tell
                result = self._crop_images(clip, video, mp4, decoders)
            else:
                result = self._crop_video(clip, video, mp4, decoders)
        except ClipError as error:
            result = error.rejected
        progress(clip.clip_id, result if isinstance(result, Rejected) else None)
        return result

    def _crop_video(self, clip: Clip, video: Path, mp4: Path, decoders: Decoders) -> _Done:
        job = plan_crop(clip, video, decoders.probe(video), self.config)
        return _Done(job, crop(job, mp4, self.config, decoders))

    def _crop_images(self, clip: Clip, folder: Path, mp4: Path, decoders: Decoders) -> _Done:
        sequence = decoders.read_sequence(folder)
        job = plan_crop(clip, folder, sequence.info(clip.fps), self.config)
        return _Done(job, crop_sequence(job, sequence, mp4, self.config, decoders))

    def _publish(self, plan: ShardPlan, results: Iterator[tuple[Clip, _Done | Rejected]]) -> None:
        store = store_at(self.out)
        remove_outcome(self.out, plan.name)
        outcomes: list[ClipOutcome] = []
        index = 0
        with suppress(_NothingWritten), store.publish(plan.file_name) as partial:
            with partial.open("wb") as file:
                writer = ShardWriter(file)
                for clip, result in results:
                    if isinstance(result, Rejected):
                        outcomes.append(ClipOutcome(clip, result))
                        continue
                    outcomes.append(ClipOutcome(clip, self._add(writer, plan, index, clip, result)))
                    index += 1
                    if index % CLIPS_A_SYNC == 0:
                        file.flush()
                        os.fdatasync(file.fileno())
                size = writer.finish()
            if index == 0:
                raise _NothingWritten
        if index == 0:
            store.remove(plan.file_name)
            size = 0
        write_outcome(self.out, plan.name, self.plan_digest, size, outcomes)

    def _add(self, writer: ShardWriter, plan: ShardPlan, index: int, clip: Clip, done: _Done) -> Written:
        mp4 = writer.add_file(f"{clip.clip_id}.mp4", done.cropped.path)
        done.cropped.path.unlink()
        record = json.dumps(self._member(clip, done), separators=(",", ":"), sort_keys=True)
        described = writer.add_bytes(f"{clip.clip_id}.json", record.encode())
        return Written(
            shard=plan.file_name,
            index_in_shard=index,
            mp4_offset=mp4.offset,
            mp4_size=mp4.size,
            json_offset=described.offset,
            json_size=described.size,
            n_frames=len(done.cropped.ranges.sizes),
            sha256=mp4.sha256,
        )

    def _member(self, clip: Clip, done: _Done) -> dict[str, Any]:
        """The content of `<key>.json`; nothing in it depends on the machine or the time."""
        job, info, ranges = done.job, done.job.info, done.cropped.ranges
        return {
            **asdict(clip),
            "n_frames": len(ranges.sizes),
            "size": self.config.size,
            "frame_offsets": ranges.offsets,
            "frame_sizes": ranges.sizes,
            "video_width": info.width,
            "video_height": info.height,
            "video_fps": f"{info.fps.numerator}/{info.fps.denominator}",
            "native_start": job.frames.start,
            "native_end": job.frames.stop,
            "box_used": [job.box.left, job.box.top, job.box.right, job.box.bottom],
            "provenance": {
                "schema_version": SCHEMA_VERSION,
                "platform": "lia-platform",
                "ffmpeg": self.producer,
                "jpeg_q": self.config.jpeg_q,
                "chroma": self.config.chroma,
            },
        }
