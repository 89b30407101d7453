"""Recovered crops against the truth they were made from: the right pixels of the right frames.

A small textured picture moves about inside a larger frame. The video is stored as the metadata state it, at
another resolution, or at another frame rate, as re-encoded downloads are. The clip must match the truth
better than one frame earlier or later, and about as well as any neighbouring box would.
"""

import itertools
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.corpus.metadata import read_metadata
from pipelines.cropping.config import PrepareConfig
from pipelines.cropping.crop import crop, plan_crop
from pipelines.cropping.decoder_process import Decoders
from pipelines.dataset.pairs import PairDataset
from pipelines.media.probe import probe
from tests.coded_video import decode, run_ffmpeg
from tests.small_corpus import prepare_without_ray

CONFIG = PrepareConfig(size=64)
WIDTH, HEIGHT, FPS = 320, 180, 25
START, FRAMES, SIDE, LEFT, TOP = 11, 24, 100, 134, 38


@dataclass(frozen=True)
class Variant:
    video_id: str
    size: tuple[int, int] = (WIDTH, HEIGHT)
    fps: int = FPS

    def shown_at(self, frame: int) -> int:
        """Which frame of the truth the stored frame shows (ffmpeg's fps filter shows the latest begun one)."""
        return next(i for i in itertools.count(FRAMES + START + 9, -1) if round(i * self.fps / FPS) <= frame)


VARIANTS = [Variant("as-stated"), Variant("smaller", size=(240, 136)), Variant("faster", fps=30)]


def texture() -> np.ndarray:
    """Smooth coloured noise, larger than the picture, for the picture to wander over: (H, W, 3)."""
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
    return np.asarray(Image.fromarray(noise).resize((300, 300), Image.Resampling.BICUBIC))


def truth() -> list[np.ndarray]:
    pattern = texture()
    return [pattern[3 * i : 3 * i + SIDE, 2 * i : 2 * i + SIDE] for i in range(FRAMES)]


def write_raw(path: Path, variant: Variant) -> None:
    ramp = np.linspace(40, 160, WIDTH, dtype=np.uint8)
    background = np.repeat(np.repeat(ramp[None, :, None], HEIGHT, 0), 3, 2)
    frames = []
    for picture in [None] * START + truth() + [None] * 8:
        frame = background.copy()
        if picture is not None:
            frame[TOP : TOP + SIDE, LEFT : LEFT + SIDE] = picture
        frames.append(frame.tobytes())
    source = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{WIDTH}x{HEIGHT}", "-r", str(FPS), "-i", "-")
    stored = f"fps={variant.fps},scale={variant.size[0]}:{variant.size[1]}:flags=bicubic"
    encoder = ("-c:v", "libx264", "-crf", "12", "-preset", "veryfast", "-pix_fmt", "yuv420p")
    run_ffmpeg(*source, "-vf", stored, *encoder, path, stdin=b"".join(frames))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    (folder / "videos").mkdir()
    rows = ["video_id,start,end,bbox,fps,width,height,partition"]
    for variant in VARIANTS:
        write_raw(folder / "videos" / f"{variant.video_id}.mp4", variant)
        box = f"{LEFT}-{TOP}-{LEFT + SIDE}-{TOP + SIDE}"
        rows.append(f"{variant.video_id},{START},{START + FRAMES},{box},{FPS},{WIDTH},{HEIGHT},test")
    (folder / "metadata.csv").write_text("\n".join(rows) + "\n")
    return read_metadata(folder / "metadata.csv", "taichi", folder / "videos"), folder / "videos"


@pytest.fixture(scope="module")
def dataset(corpus, tmp_path_factory):
    metadata, videos = corpus
    out = tmp_path_factory.mktemp("dataset") / "out"
    prepare_without_ray(metadata, CONFIG, videos, out)
    return PairDataset(out, "test")


def psnr(found, expected) -> float:
    error = np.mean((np.stack(found).astype(float) - np.stack(expected)) ** 2)
    return float(10 * np.log10(255**2 / error))


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.video_id)
def test_crops_align_with_the_truth(corpus, dataset, variant, tmp_path):
    metadata, videos = corpus
    clip = next(clip for clip in metadata.clips if clip.video_id == variant.video_id)
    number = next(n for n in range(len(dataset)) if dataset.info(n).clip_id == clip.clip_id)
    found = dataset.frames(number, range(int(dataset.n_frames[number])))
    video = videos / clip.video_path
    job = plan_crop(clip, video, probe(video), CONFIG)
    pictures = [np.asarray(Image.fromarray(p).resize((64, 64), Image.Resampling.BICUBIC)) for p in truth()]
    expected = [pictures[variant.shown_at(frame) - START] for frame in job.frames]
    assert len(found) == len(expected)
    ours = psnr(found[1:-1], expected[1:-1])
    assert ours > max(psnr(found[:-2], expected[1:-1]), psnr(found[2:], expected[1:-1])) + 3

    def through(box) -> float:
        with Decoders(CONFIG) as decoders:
            result = crop(replace(job, box=box), tmp_path / "neighbour.mp4", CONFIG, decoders)
        return psnr(decode(result.path)[0][1:-1], expected[1:-1])

    edges = ("left", "top", "right", "bottom")
    neighbours = [replace(job.box, **{edge: getattr(job.box, edge) + by}) for edge in edges for by in (-1, 1)]
    moved = [
        replace(job.box, **{low: getattr(job.box, low) + by, high: getattr(job.box, high) + by})
        for low, high in (("left", "right"), ("top", "bottom"))
        for by in (-1, 1)
    ]
    assert ours > max(through(box) for box in neighbours + moved) - 1
