"""Ray's part of `annotate`: processes that hold a detector each, beside processes that decode a video each."""

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import cycle
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from tqdm import tqdm

from pipelines.annotation.config import AnnotateConfig
from pipelines.annotation.detections import Detector
from pipelines.annotation.records import VideoRecord
from pipelines.annotation.video_task import RawVideo, annotate_video, failed
from pipelines.annotation.viewing import Detections
from pipelines.errors import InputError
from pipelines.ray_actors import beside_driver

LoadDetector = Callable[[], Detector]
POLL_SECONDS = 0.5
# A video that crashes the decoder would do so for ever.
MOST_ATTEMPTS = 3


@dataclass(frozen=True)
class Pools:
    """How many processes decode and how many detect."""

    decoders: int
    detectors: int


def plan_pools(config: AnnotateConfig, videos: int, cpus: int, gpus: float) -> Pools:
    """Share out what the cluster has; raises InputError when it is too little.

    A detector takes some four times as long for a frame as a decoder. With GPUs the processors are for decoding,
    but for the one that each detector needs beside its GPU.
    """
    if config.detector_gpus > gpus:
        raise InputError(
            f"annotate.detector_gpus = {config.detector_gpus:g}, but the cluster has {gpus:g} GPUs. Set it to 0."
        )
    if cpus < 2:
        raise InputError(
            f"the cluster has {cpus} processors; annotating needs two: one decodes, one detects."
        )
    most = cpus - 1
    if config.detector_gpus:
        most = min(most, int(gpus / config.detector_gpus + 1e-9))
    if config.detectors > most:
        raise InputError(
            f"annotate.detectors = {config.detectors}, but the cluster has room for {most}. Set it to 0 (automatic)."
        )
    if config.detectors or config.detector_gpus:
        detectors = config.detectors or most
        return Pools(decoders=min(cpus - detectors, videos), detectors=detectors)
    decoders = min(max(1, cpus // 4), videos)
    return Pools(decoders=decoders, detectors=cpus - decoders)


def run_videos(
    pending: Sequence[RawVideo],
    config: AnnotateConfig,
    load: LoadDetector,
    done: Counter[str],
    show: bool,
) -> Iterator[tuple[RawVideo, VideoRecord]]:
    """Look through `pending` on the connected cluster; yields each video's record as it is done.

    `done` counts "videos", "failed" and "clips" of videos done before, which the progress line begins with. A
    video over which processes die again and again is given up; any other error ends the run.
    """
    if not ray.is_initialized():
        raise RuntimeError(
            "annotate() needs Ray: call ray.init() before, or pass a context that does as cluster"
        )
    has = ray.cluster_resources()
    pools = plan_pools(config, len(pending), int(has.get("CPU", 0)), has.get("GPU", 0.0))
    detector: Any = ray.remote(_Detector).options(num_cpus=1, num_gpus=config.detector_gpus, max_restarts=-1)
    detectors = [detector.remote(load) for _ in range(pools.detectors)]
    tally: Any = ray.remote(_Tally).options(**beside_driver()).remote()

    def decoder(number: int) -> Any:
        # Each decoder begins with another detector, so that they do not all wait for the same one.
        mine = detectors[number % len(detectors) :] + detectors[: number % len(detectors)]
        return ray.remote(_Decoder).options(num_cpus=1).remote(config, mine, tally)

    try:
        ray.get([one.ready.remote() for one in detectors])
        with _progress_line(tally, len(pending), done, show) as line:
            for video, record in _hand_out(pending, decoder, pools.decoders, line.poll):
                line.add(record)
                yield video, record
    finally:
        for actor in (*detectors, tally):
            ray.kill(actor)


def _hand_out(
    pending: Sequence[RawVideo],
    decoder: Callable[[int], Any],
    decoders: int,
    poll: Callable[[], None],
) -> Iterator[tuple[RawVideo, VideoRecord]]:
    """A video to each decoder that is free; a decoder that died is replaced, and its video tried again."""
    waiting = deque(pending)
    idle = [(number, decoder(number)) for number in range(decoders)]
    attempts: Counter[str] = Counter()
    running: dict[Any, tuple[int, Any, RawVideo]] = {}
    try:
        while waiting or running:
            while waiting and idle:
                (number, actor), video = idle.pop(), waiting.popleft()
                running[actor.run.remote(video)] = (number, actor, video)
            ready, _ = ray.wait(list(running), num_returns=1, timeout=POLL_SECONDS)
            poll()
            for reference in ready:
                number, actor, video = running.pop(reference)
                try:
                    record: VideoRecord | None = ray.get(reference)
                except ray.exceptions.RayActorError:
                    record, actor = None, decoder(number)
                idle.append((number, actor))
                if record is None:
                    attempts[video.video_id] += 1
                    if attempts[video.video_id] < MOST_ATTEMPTS:
                        waiting.append(video)
                        continue
                    record = failed(
                        video, "crashed", _CRASHED.format(video=video.path, attempts=MOST_ATTEMPTS)
                    )
                yield video, record
    finally:
        for _, actor in (*idle, *((number, actor) for number, actor, _ in running.values())):
            ray.kill(actor)


_CRASHED = (
    "{video}: {attempts} processes died over it: it crashes the decoder or detector, or memory is short."
)


class _Detector:
    """Holds one detector for the length of the run."""

    def __init__(self, load: LoadDetector) -> None:
        # Loaded in a call and not here: of an error in here Ray passes on the text alone.
        self._loaded = cache(load)

    def ready(self) -> None:
        """Load the detector."""
        self._loaded()

    def detect(self, frames_NHW3: NDArray[np.uint8]) -> Detections:
        found = self._loaded()(frames_NHW3)
        if len(found) != len(frames_NHW3):
            raise RuntimeError(f"the detector answered {len(found)} of {len(frames_NHW3)} frames")
        return found


class _Decoder:
    """Looks through one video at a time."""

    def __init__(self, config: AnnotateConfig, detectors: Sequence[Any], tally: Any) -> None:
        self._config, self._tally = config, tally
        self._detectors = cycle(detectors)

    def run(self, video: RawVideo) -> VideoRecord | None:
        """The video's record, or None if a detector died over it."""
        try:
            return annotate_video(video, self._config, self._submit, self._tally.add.remote)
        except ray.exceptions.RayActorError:
            return None

    def _submit(self, frames_NHW3: NDArray[np.uint8]) -> Callable[[], Detections]:
        reference = next(self._detectors).detect.remote(frames_NHW3)
        return lambda: list(ray.get(reference))


class _Tally:
    """Frames decoded so far."""

    def __init__(self) -> None:
        self._frames = 0

    def add(self, frames: int) -> None:
        self._frames += frames

    def frames(self) -> int:
        return self._frames


class _Line:
    """The progress line."""

    def __init__(self, line: Any, tally: Any, done: Counter[str]) -> None:
        self._line, self._tally, self._done = line, tally, Counter(done)

    def add(self, record: VideoRecord) -> None:
        self._done["failed"] += record.failure is not None
        self._done["clips"] += len(record.clips)
        self._line.update()
        self.poll()

    def poll(self) -> None:
        if not self._line.disable:
            frames = ray.get(self._tally.frames.remote())
            self._line.set_postfix(frames=frames, clips=self._done["clips"], failed=self._done["failed"])


@contextmanager
def _progress_line(tally: Any, videos: int, done: Counter[str], show: bool) -> Iterator[_Line]:
    before = done["videos"]
    with tqdm(total=before + videos, desc="annotate", unit="video", disable=not show, initial=before) as line:
        yield _Line(line, tally, done)
