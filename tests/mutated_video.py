"""Small coded videos, broken on purpose from a seed, each with the endings that a person would expect of it."""

import io
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.random import Generator
from PIL import Image

from tests.coded_video import FPS_25, H264, HEIGHT, HEVC, MPEG4, VP9, WIDTH, run_ffmpeg, write_coded

FRAMES, CLIP = 70, range(30, 50)
# Where the container's description lies: at the front (f), at the end (e), or spread (s).
SOURCES = {
    "h264.mp4": (H264, "e"),
    "fast.mp4": ((*H264, "-movflags", "+faststart"), "f"),
    "h264.mkv": (H264, "s"),
    "h264.ts": (H264, "s"),
    "h264.flv": (H264, "s"),
    "hevc.mp4": ((*HEVC, "-movflags", "+faststart"), "f"),
    "vp9.webm": (VP9, "s"),
    "mpeg4.avi": (MPEG4, "s"),
}
WRITTEN = "written"
TORN = frozenset({"too_short", "damaged", "unreadable"})
# Broken bytes may spare the clip, tear its frames, or hide the stream's description.
HIT_OR_MISS = TORN | {WRITTEN, "no_video_stream"}


@dataclass(frozen=True)
class Mutation:
    """One broken file."""

    kind: str
    endings: frozenset[str]
    """`written` or reasons of failure that fit what was done to it."""
    intact: bool
    """Whether the bytes of the clip, and all that are needed to reach them, are untouched."""
    content: bytes


@dataclass(frozen=True)
class _Source:
    name: str
    content: bytes
    clip_begin: int
    """First byte of the clip's packets, counted from the key frame they build on."""
    clip_end: int
    layout: str


def mutations(folder: Path, count: int, seed: int) -> Iterator[Mutation]:
    """`count` broken videos, every kind of mutation in turn, on every source in turn."""
    sources = [_source(folder / name, encoder, layout) for name, (encoder, layout) in SOURCES.items()]
    rng = np.random.default_rng(seed)
    for number in range(count):
        source = sources[(number // len(KINDS)) % len(sources)]
        yield KINDS[number % len(KINDS)](source, rng)


def _flip_bits(source: _Source, rng: Generator) -> Mutation:
    content = np.frombuffer(source.content, np.uint8).copy()
    for at in rng.integers(len(content), size=rng.integers(1, 21)):
        content[at] ^= 1 << rng.integers(8)
    return Mutation("bits flipped", HIT_OR_MISS, False, content.tobytes())


def _overwrite_clip(source: _Source, rng: Generator) -> Mutation:
    begin = int(rng.integers(source.clip_begin, source.clip_end))
    end = min(source.clip_end, begin + int(rng.integers(20, 400)))
    return Mutation(
        "noise in the clip", TORN | {WRITTEN}, False, _with(source, begin, rng.bytes(end - begin))
    )


def _zero_clip(source: _Source, rng: Generator) -> Mutation:
    # Half way from the key frame to the clip's end lie frames before it, which nothing may build on.
    begin = (source.clip_begin + 3 * source.clip_end) // 4
    length = min(int(rng.integers(300, 2000)), source.clip_end - begin)
    return Mutation("a hole in the clip", TORN, False, _with(source, begin, bytes(length)))


def _overwrite_behind(source: _Source, rng: Generator) -> Mutation:
    """Behind the clip; where the container is described at its end, that is still whole."""
    last = len(source.content) - (3000 if source.layout == "e" else 0)
    begin = int(rng.integers(source.clip_end, max(last, source.clip_end + 1)))
    noise = rng.bytes(min(max(last - begin, 0), int(rng.integers(1, 300))))
    return Mutation("noise behind the clip", frozenset({WRITTEN}), True, _with(source, begin, noise))


def _cut_before(source: _Source, rng: Generator) -> Mutation:
    length = int(rng.integers(1, source.clip_begin + 1))
    return Mutation("cut before the clip", TORN | {"no_video_stream"}, False, source.content[:length])


def _cut_inside(source: _Source, rng: Generator) -> Mutation:
    # Two thirds in, more than the one frame is lost that may be absent.
    most = source.clip_begin + (source.clip_end - source.clip_begin) * 2 // 3
    return Mutation(
        "cut in the clip", TORN, False, source.content[: rng.integers(source.clip_begin + 1, most)]
    )


def _cut_behind(source: _Source, rng: Generator) -> Mutation:
    length = int(rng.integers(source.clip_end, len(source.content)))
    described = source.layout != "e"
    endings = frozenset({WRITTEN if described else "unreadable"})
    return Mutation("cut behind the clip", endings, described, source.content[:length])


def _insert(source: _Source, rng: Generator) -> Mutation:
    at = int(rng.integers(len(source.content)))
    content = source.content[:at] + rng.bytes(rng.integers(1, 500)) + source.content[at:]
    return Mutation("bytes inserted", HIT_OR_MISS, False, content)


def _remove(source: _Source, rng: Generator) -> Mutation:
    at = int(rng.integers(len(source.content)))
    content = source.content[:at] + source.content[at + int(rng.integers(1, 500)) :]
    return Mutation("bytes removed", HIT_OR_MISS, False, content)


def _swap_container(source: _Source, rng: Generator) -> Mutation:
    """Nothing broken: every file here is called .mp4, whatever it is."""
    return Mutation("another container's name", frozenset({WRITTEN}), True, source.content)


def _absurd_header(source: _Source, rng: Generator) -> Mutation:
    """Runs of 00 or FF over the first or last bytes, where sizes, rates and counts stand."""
    described = len(source.content) - 2500 if source.layout == "e" else 0
    begin = described + int(rng.integers(8, 600))
    value = bytes([rng.choice([0x00, 0xFF])])
    return Mutation(
        "absurd header", HIT_OR_MISS, False, _with(source, begin, value * int(rng.integers(2, 9)))
    )


def _absurd_size(source: _Source, rng: Generator) -> Mutation:
    """The picture's size in the header, wherever it stands there, replaced; the frames themselves state theirs."""
    big, little = (b"".join(n.to_bytes(2, order) for n in (WIDTH, HEIGHT)) for order in ("big", "little"))
    absurd = bytes([rng.choice([0x00, 0x7F, 0xFF])]) * 4
    content = source.content.replace(big, absurd).replace(little, absurd)
    return Mutation("absurd size", frozenset({WRITTEN}), False, content)


def _no_streams(source: _Source, rng: Generator) -> Mutation:
    """A container's first box or header and nothing in it."""
    empty_mp4 = source.content[:32] + (8).to_bytes(4, "big") + b"moov"
    content = empty_mp4 if source.name.endswith("mp4") else source.content[: min(source.clip_begin, 64)]
    return Mutation("no streams", frozenset({"unreadable", "no_video_stream"}), False, content)


def _no_video(source: _Source, rng: Generator) -> Mutation:
    kind = int(rng.integers(len(_NO_VIDEO)))
    name, ending, make = _NO_VIDEO[kind]
    return Mutation(name, frozenset({ending}), False, make(rng))


def _sound(suffix: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"sound.{suffix}"
        run_ffmpeg("-f", "lavfi", "-i", "sine=d=1", path)
        return path.read_bytes()


def _picture(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (WIDTH, HEIGHT), (90, 120, 30)).save(buffer, kind)
    return buffer.getvalue()


_PAGE = b"<!DOCTYPE html><html><head><title>404 Not Found</title></head><body>gone</body></html>\n"
_NO_VIDEO: list[tuple[str, str, Callable[[Generator], bytes]]] = [
    ("an empty file", "empty_file", lambda rng: b""),
    ("a web page", "unreadable", lambda rng: _PAGE * int(rng.integers(1, 50))),
    ("noise", "unreadable", lambda rng: rng.bytes(5000)),
    ("zeros", "unreadable", lambda rng: bytes(5000)),
    ("a zip", "unreadable", lambda rng: b"PK\x03\x04" + rng.bytes(3000)),
    ("sound in m4a", "no_video_stream", lambda rng: _sound("m4a")),
    ("sound in wav", "no_video_stream", lambda rng: _sound("wav")),
    ("sound in mp3", "no_video_stream", lambda rng: _sound("mp3")),
    ("a JPEG", "still_image", lambda rng: _picture("JPEG")),
    ("a PNG", "still_image", lambda rng: _picture("PNG")),
    ("a WebP", "still_image", lambda rng: _picture("WEBP")),
]

KINDS = (
    _flip_bits, _overwrite_clip, _zero_clip, _overwrite_behind, _cut_before, _cut_inside, _cut_behind, _insert,
    _remove, _swap_container, _absurd_header, _absurd_size, _no_streams, _no_video, _flip_bits,
)  # fmt: skip


def _with(source: _Source, begin: int, noise: bytes) -> bytes:
    return source.content[:begin] + noise + source.content[begin + len(noise) :]


def _source(path: Path, encoder: tuple[str, ...], layout: str) -> _Source:
    write_coded(path, FRAMES, FPS_25, encoder, sound="mp3" if path.suffix == ".avi" else "")
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.pts is not None and p.size]
    start = min(packet.pts * packet.time_base for packet in packets)
    when = [round((packet.pts * packet.time_base - start) * FPS_25) for packet in packets]
    keys = [p.pos for p, at in zip(packets, when, strict=True) if p.is_keyframe and at <= CLIP.start]
    ends = [p.pos + p.size for p, at in zip(packets, when, strict=True) if at in CLIP]
    return _Source(path.name, path.read_bytes(), max(keys), max(ends), layout)
