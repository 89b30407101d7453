"""Ray's part of `annotate`: processes that hold a detector each, beside processes that decode a video each."""

import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import count, cycle
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray

from pipelines.annotation.config import AnnotateConfig
from pipelines.annotation.detections import Detector
from pipelines.annotation.pools import Node, Pools, plan_apart, plan_pools
from pipelines.annotation.records import VideoRecord
from pipelines.annotation.video_task import RawVideo, annotate_video, failed
from pipelines.annotation.viewing import Detections
from pipelines.errors import InputError
from pipelines.placement import Machine, await_machine, demand, kind, machines, suits
from pipelines.progress import progress_line
from pipelines.ray_actors import beside_driver

LoadDetector = Callable[[], Detector]
POLL_SECONDS = 0.5
# Other work may hold the cluster's processors for ever.
START_SECONDS = 300.0
# A video over which processes die though nothing else is looked through would kill them for ever.
MOST_ATTEMPTS = 3


@contextmanager
def processes(config: AnnotateConfig, load: LoadDetector, videos: int) -> Iterator["Processes"]:
    """Processes for so many videos, each started and each detector loaded, on the connected cluster.

    Raises InputError when the cluster is too small, or busy for START_SECONDS, and whatever `load` raises.
    """
    if not ray.is_initialized():
        raise RuntimeError(
            "annotate() needs Ray: call ray.init() before, or pass a context that does as cluster"
        )
    pools = _plan(config, videos)
    shared = ray.put(load)
    detector: Any = ray.remote(_Detector).options(
        num_cpus=1, num_gpus=config.detector_gpus, resources=demand("train"), max_restarts=-1
    )
    tally: Any = ray.remote(_Tally).options(**beside_driver()).remote()
    started = Processes(config, [detector.remote(shared) for _ in range(pools.detectors)], tally)
    try:
        started.begin(pools.decoders)
        yield started
    finally:
        started.end()


class Processes:
    """Detectors, and decoders that give their frames to them."""

    def __init__(self, config: AnnotateConfig, detectors: list[Any], tally: Any) -> None:
        self._config, self._detectors, self._tally = config, detectors, tally
        self._numbers = count()
        self._idle: list[Any] = []
        self._running: dict[Any, tuple[Any, RawVideo]] = {}
        self._stalled: set[str] = set()
        self._detector_died = False
        self._frames = 0

    def begin(self, decoders: int) -> None:
        """Load the detectors, then start the decoders."""
        _await(self._detectors, "detector", f"a processor and {self._config.detector_gpus:g} GPUs")
        self._idle = [self._decoder() for _ in range(decoders)]
        _await(self._idle, "decoder", "a processor")

    def end(self) -> None:
        """End all of them."""
        for actor in (
            *self._detectors,
            self._tally,
            *self._idle,
            *(one for one, _ in self._running.values()),
        ):
            ray.kill(actor)

    def run(
        self, pending: Sequence[RawVideo], done: Iterable[VideoRecord], show: bool
    ) -> Iterator[tuple[RawVideo, VideoRecord]]:
        """Look through `pending`; yields each video's record as it is done.

        `done` are those of videos done before, which the progress line begins with. A detector's death says little
        about the several videos that it had frames of: they wait until the rest is done and are then tried one by
        one, and one over which processes still die is given up. Any other error ends the run.
        """
        ended: Counter[str] = Counter()
        clips = 0
        for record in done:
            ended[_ending(record)] += 1
            clips += len(record.clips)
        line = progress_line(
            ended.copy,
            ended.copy(),
            ended.total() + len(pending),
            sys.stderr if show else None,
            name="annotate",
            unit="videos",
            beside=lambda: f"{clips} clips, {self._frames} frames",
        )
        with line:
            for video, record in self._hand_out(deque(pending)):
                ended[_ending(record)] += 1
                clips += len(record.clips)
                yield video, record

    def _hand_out(self, waiting: deque[RawVideo]) -> Iterator[tuple[RawVideo, VideoRecord]]:
        """A video to each decoder that is free; a decoder that died is replaced."""
        suspects: deque[RawVideo] = deque()
        deaths: Counter[str] = Counter()
        alone = False
        while waiting or suspects or self._running:
            while waiting and self._idle:
                self._start(waiting.popleft())
            if not self._running:
                alone = True
                self._start(suspects.popleft())
            ready, _ = ray.wait(list(self._running), num_returns=1, timeout=POLL_SECONDS)
            self._kill_stalled()
            for reference in ready:
                video, record = self._finish(reference)
                if record is None:
                    deaths[video.video_id] += alone
                    if deaths[video.video_id] < MOST_ATTEMPTS:
                        suspects.append(video)
                        continue
                    record = failed(
                        video, "crashed", _CRASHED.format(video=video.path, attempts=MOST_ATTEMPTS)
                    )
                yield video, record

    def _start(self, video: RawVideo) -> None:
        if self._detector_died:  # until it is back, every video with frames for it would fail
            _await(self._detectors, "detector", f"a processor and {self._config.detector_gpus:g} GPUs")
            self._detector_died = False
        decoder = self._idle.pop()
        self._running[decoder.run.remote(video)] = decoder, video

    def _finish(self, reference: Any) -> tuple[RawVideo, VideoRecord | None]:
        """The video's record, or None if a process died over it."""
        decoder, video = self._running.pop(reference)
        record: VideoRecord | None = None
        try:
            record = ray.get(reference)
            self._detector_died |= record is None
            died = False
        except ray.exceptions.RayActorError:
            died = True
        self._tally.rests.remote(video.video_id)
        if video.video_id in self._stalled:
            self._stalled.remove(video.video_id)
            died = True
            message = _STALLED.format(video=video.path, seconds=self._config.stall_seconds)
            record = record or failed(video, "timed_out", message)
        self._idle.append(self._decoder() if died else decoder)
        return video, record

    def _kill_stalled(self) -> None:
        """End decoders of which nothing was heard for too long: what hangs in a decoding library hangs for ever."""
        self._frames, stalled = ray.get(self._tally.heard.remote(self._config.stall_seconds))
        for decoder, video in self._running.values():
            if video.video_id in stalled and video.video_id not in self._stalled:
                self._stalled.add(video.video_id)
                ray.kill(decoder)

    def _decoder(self) -> Any:
        # Each decoder begins with another detector, so that they do not all wait for the same one.
        first = next(self._numbers) % len(self._detectors)
        mine = self._detectors[first:] + self._detectors[:first]
        options = {"num_cpus": 1, "resources": demand("prepare")}
        return ray.remote(_Decoder).options(**options).remote(self._config, mine, self._tally)


_CRASHED = (
    "{video}: {attempts} processes died over it: it crashes the decoder or detector, or memory is short."
)
_STALLED = "{video}: decoding it stood still for {seconds:g} s (annotate.stall_seconds). Re-encode it, or allow more."


def _ending(record: VideoRecord) -> str:
    return record.failure.reason if record.failure else ""


def _plan(config: AnnotateConfig, videos: int) -> Pools:
    """Decoders on machines that prepare, detectors on those that run networks, where the two are told apart."""
    detecting = [_node(machine) for machine in await_machine("train", gpus=config.detector_gpus)]
    if not kind("prepare") and not kind("train"):
        return plan_pools(config, videos, detecting)
    await_machine("prepare")
    decoding = [_node(machine) for machine in machines("prepare") if not suits(machine, "train")]
    if not decoding:  # the same machines do both
        return plan_pools(config, videos, detecting)
    return plan_apart(config, videos, decoding, detecting)


def _node(machine: Machine) -> Node:
    return Node(int(machine["CPU"]), int(machine.get("GPU", 0)))


def _await(actors: Sequence[Any], what: str, needs: str) -> None:
    """Wait until all are ready, those that are being restarted included."""
    deadline = time.monotonic() + START_SECONDS
    missing = list(actors)
    while missing:
        asked = {actor.ready.remote(): actor for actor in missing}
        left_s = max(0.0, deadline - time.monotonic())
        answered, silent = ray.wait(list(asked), num_returns=len(asked), timeout=left_s)
        missing = [asked[reference] for reference in silent]
        for reference in answered:
            try:
                ray.get(reference)
            except ray.exceptions.RayActorError:
                missing.append(asked[reference])
        if missing and time.monotonic() >= deadline:
            has = ", ".join(f"{ray.available_resources().get(name, 0):g} {name}s" for name in ("CPU", "GPU"))
            raise InputError(
                f"{len(missing)} of {len(actors)} {what} processes, which need {needs} each, did not start within "
                f"{START_SECONDS:g} s; free are {has}. Wait for other work to end, or set annotate.detectors lower."
            )
        if missing:
            time.sleep(POLL_SECONDS)


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

    def ready(self) -> None:
        """Say that it has started."""

    def run(self, video: RawVideo) -> VideoRecord | None:
        """The video's record, or None if a detector died over it."""

        def works(frames: int) -> None:
            self._tally.works.remote(video.video_id, frames)

        def submit(frames_NHW3: NDArray[np.uint8]) -> Callable[[], Detections]:
            reference = next(self._detectors).detect.remote(frames_NHW3)

            def found() -> Detections:
                self._tally.rests.remote(video.video_id)
                detections = list(ray.get(reference))
                works(0)
                return detections

            return found

        works(0)
        try:
            return annotate_video(video, self._config, submit, works)
        except ray.exceptions.RayActorError:
            return None


class _Tally:
    """Frames decoded so far, and since when each decoder has been at work on its next ones."""

    def __init__(self) -> None:
        self._frames = 0
        self._since: dict[str, float] = {}

    def works(self, video_id: str, frames: int) -> None:
        """A decoder has decoded more frames and goes on."""
        self._frames += frames
        self._since[video_id] = time.monotonic()

    def rests(self, video_id: str) -> None:
        """A decoder waits for a detector, or is done."""
        self._since.pop(video_id, None)

    def heard(self, seconds: float) -> tuple[int, set[str]]:
        """Frames decoded in all, and the videos of which nothing was heard for so long."""
        now = time.monotonic()
        return self._frames, {video for video, since in self._since.items() if now - since > seconds}
