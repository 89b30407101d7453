"""Random access to the frames of a prepared dataset: the training side of the shards.

A frame costs one slice of a memory map and one JPEG decode. Published shards are never changed in place, so
their maps stay valid for as long as they are held.
"""

import hashlib
import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from pipelines.dataset.clip_index import (
    FrameRanges,
    count_failures,
    parse_frame_ranges,
    read_clip_index,
    read_digests,
)
from pipelines.dataset.source import RESUME, DatasetSource, open_source
from pipelines.errors import DatasetError, InputError, StorageError
from pipelines.storage.location import Location

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")
# N frames, H W height and width in pixels; 3: red, green, blue
Frames = NDArray[np.uint8]

# Each open map holds a file descriptor, and processes are often allowed 1,024.
MAX_OPEN_SHARDS = 256
# About 2 KB for a clip of 200 frames; enough for all of VoxCeleb, of which each pass uses every clip once.
MAX_INDEXED_CLIPS = 32_768


@dataclass(frozen=True, kw_only=True)
class ClipInfo:
    """What is known about one clip besides its frames."""

    clip_id: str
    video_id: str
    subject_id: str
    """Who is seen; empty where the metadata does not say."""
    fps: Fraction
    """Frames a second, as recorded."""
    n_frames: int


class PairDataset:
    """The clips of one partition of a prepared dataset, numbered from 0 in the manifest's order.

    The dataset lies in a folder, or on a server that a URI names (s3://, https://, ...): its shards then come to this
    machine's cache, each whole and when it is first used.

    It may be pickled and sent to other processes, which map the shards again; one object is not meant to be shared
    between threads.

    Raises DatasetError on opening if the dataset is absent, unfinished or damaged or the partition has no
    clips, and on reading where a shard's content contradicts the manifest; StorageError when a server fails.
    """

    def __init__(self, root: str | Location | DatasetSource, partition: str) -> None:
        self._source = open_source(root)
        self.root = self._source.root
        self.partition = partition
        self._index = read_clip_index(self._source, partition)
        self._maps: dict[str, mmap.mmap] = {}
        self._ranges: dict[int, FrameRanges] = {}

    @property
    def size(self) -> int:
        """Side of the square frames in pixels."""
        return self._index.size

    @property
    def name(self) -> str:
        """The dataset's name, such as vox."""
        return self._index.dataset

    @property
    def digest(self) -> str:
        """Digest of the dataset, all partitions together: equal for equal clips and frames."""
        return self._index.digest

    @property
    def failed(self) -> int:
        """Clips of this partition that the metadata lists and that could not be prepared."""
        return count_failures(self._source, self.partition)

    @property
    def n_frames(self) -> NDArray[np.int64]:
        """Frames of each clip, as PairSampler wants them."""
        return self._index.n_frames

    @property
    def clip_ids(self) -> Sequence[str]:
        """The clips' names, as the manifest has them."""
        return self._index.clip_id

    @property
    def people(self) -> Sequence[str]:
        """Who is seen in each clip, as far as the metadata says: the subject, else the video."""
        return [
            subject or video
            for subject, video in zip(self._index.subject_id, self._index.video_id, strict=True)
        ]

    @property
    def mp4_sizes(self) -> NDArray[np.int64]:
        """Bytes of each clip's mp4."""
        return self._index.mp4_size

    def __len__(self) -> int:
        return len(self._index.clip_id)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": {}, "_ranges": {}}

    def info(self, clip: int) -> ClipInfo:
        """Names, rate and length of a clip."""
        index = self._index
        return ClipInfo(
            clip_id=index.clip_id[clip],
            video_id=index.video_id[clip],
            subject_id=index.subject_id[clip],
            fps=self._frame_ranges(clip).fps,
            n_frames=int(index.n_frames[clip]),
        )

    def frames(self, clip: int, numbers: Sequence[int]) -> Frames:
        """The frames of a clip with the given numbers, uint8 RGB (N,H,W,3)."""
        out_NHW3 = np.empty((len(numbers), self.size, self.size, 3), np.uint8)
        for out_HW3, number in zip(out_NHW3, numbers, strict=True):
            jpeg = self.jpeg(clip, number)
            try:
                decode_jpeg_into(out_HW3, jpeg)
            except ValueError as error:
                what = f"frame {number} is no {self.size}x{self.size} JPEG ({error})"
                raise self.damaged(clip, what) from error
        return out_NHW3

    def jpeg(self, clip: int, number: int) -> bytes:
        """One frame as it is stored."""
        ranges = self._frame_ranges(clip)
        if not 0 <= number < len(ranges.offsets):
            raise IndexError(f"clip {clip} has {len(ranges.offsets)} frames, asked for frame {number}")
        begin = int(self._index.mp4_offset[clip]) + int(ranges.offsets[number])
        return self._shard(self._index.shard[clip])[begin : begin + int(ranges.sizes[number])]

    def description(self, clip: int) -> bytes:
        """The json member of a clip as it is stored."""
        start = int(self._index.json_offset[clip])
        return self._shard(self._index.shard[clip])[start : start + int(self._index.json_size[clip])]

    def mp4(self, clip: int) -> bytes:
        """A clip's mp4 as it is stored."""
        begin = int(self._index.mp4_offset[clip])
        return self._shard(self._index.shard[clip])[begin : begin + int(self._index.mp4_size[clip])]

    def verify(self, clip: int) -> None:
        """Raise DatasetError unless a clip's mp4 has the bytes whose sha256 the manifest records."""
        if hashlib.sha256(self.mp4(clip)).hexdigest() != self._digests[clip]:
            raise self.damaged(clip, "its mp4 has other bytes than the manifest's sha256 says")

    @cached_property
    def _digests(self) -> list[str]:
        """Read when they are first asked for: training does without."""
        return read_digests(self._source, self.partition)

    def clip(self, clip: int) -> Iterator[Frames]:
        """All frames of a clip in order, each uint8 RGB (H,W,3)."""
        for number in range(int(self._index.n_frames[clip])):
            yield self.frames(clip, (number,))[0]

    def _frame_ranges(self, clip: int) -> FrameRanges:
        ranges = self._ranges.get(clip)
        if ranges is None:
            index = self._index
            try:
                ranges = parse_frame_ranges(
                    self.description(clip),
                    clip_id=index.clip_id[clip],
                    n_frames=int(index.n_frames[clip]),
                    mp4_size=int(index.mp4_size[clip]),
                )
            except ValueError as error:
                raise self.damaged(clip, str(error)) from error
            _remember(self._ranges, clip, ranges, MAX_INDEXED_CLIPS)
        return ranges

    def _shard(self, name: str) -> mmap.mmap:
        shard = self._maps.get(name)
        if shard is None:
            shard = _mapped(self._source, name)
            _remember(
                self._maps, name, shard, min(MAX_OPEN_SHARDS, self._source.most_open or MAX_OPEN_SHARDS)
            )
        return shard

    def damaged(self, clip: int, what: str) -> DatasetError:
        """The error to raise where a clip's members contradict the manifest."""
        index = self._index
        return DatasetError(
            f"{self.root / index.shard[clip]}: clip {index.clip_id[clip]}: {what}. The shard or manifest was "
            f"changed: delete the shard. {RESUME}"
        )


def decode_jpeg_into(out_HW3: Frames, jpeg: bytes) -> None:
    """Decode a JPEG of exactly the size of `out_HW3`; ValueError for any other content."""
    height, width = simplejpeg.decode_jpeg_header(jpeg)[:2]
    if (height, width) != out_HW3.shape[:2]:  # asked first: the decoder itself trusts the header
        raise ValueError(f"{width}x{height} pixels")
    simplejpeg.decode_jpeg(jpeg, "RGB", buffer=out_HW3)


def _mapped(source: DatasetSource, name: str) -> mmap.mmap:
    try:
        with source.open_shard(name) as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (InputError, StorageError):
        raise
    except (OSError, ValueError) as error:
        raise DatasetError(f"{source.root / name}: cannot be read ({error}). {RESUME}") from error


def _remember(cache: dict[_Key, _Value], key: _Key, value: _Value, limit: int) -> None:
    """Add to a cache, forgetting what was added first. Use does not count: access is random anyway."""
    while len(cache) >= limit:
        del cache[next(iter(cache))]
    cache[key] = value
