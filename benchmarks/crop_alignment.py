"""How well prepare() recovers crops whose truth is known, against a frame early, a frame late and boxes a pixel off.

    python -m benchmarks.crop_alignment --corpus DIR --dataset vox [--size 256] [--neighbours 6] [--out FILE]

DIR holds `metadata.csv`, `videos/` and `truth/<video_id>#<start>#<end>.mp4`: a lossless square clip a row, at the
metadata's frame rate, that a right crop recovers before it is resized. Prints JSON, mean PSNR in dB over frames: `ours`
with the worst clip, what one frame early and late would give, the worst lead over either, and for some clips the best
gain of any box moved or stretched by a pixel through the same decode, scale and encode.
"""

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.corpus import machine
from pipelines.corpus.clip_table import Clip
from pipelines.corpus.metadata import Dataset, read_metadata
from pipelines.corpus.spans import Box
from pipelines.cropping.config import PrepareConfig
from pipelines.cropping.crop import crop, plan_crop
from pipelines.cropping.decoder_process import Decoders
from pipelines.cropping.ffmpeg_command import CropJob
from pipelines.media.images import RgbImage
from pipelines.media.video import decode_frames

Pictures = list[NDArray[np.uint8]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--dataset", choices=("vox", "taichi", "ted"), required=True)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--neighbours", type=int, default=6, help="clips whose neighbouring boxes are tried")
    parser.add_argument("--out", type=Path, help="where to write the JSON; printed in any case")
    options = parser.parse_args()
    text = json.dumps(measure(options), indent=2)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    videos, config = options.corpus / "videos", PrepareConfig(size=options.size)
    metadata = read_metadata(options.corpus / "metadata.csv", cast(Dataset, options.dataset), videos)
    rows = []
    with Decoders(config) as decoders, TemporaryDirectory() as folder:
        out = Path(folder) / "clip.mp4"
        for number, clip in enumerate(metadata.clips):
            job = plan_crop(clip, videos / clip.video_path, decoders.probe(videos / clip.video_path), config)
            expected = truth(options.corpus, clip, job, options.size)
            found = made(job, out, config, decoders)
            ours = psnr(found[1:-1], expected[1:-1])
            early, late = psnr(found[:-2], expected[1:-1]), psnr(found[2:], expected[1:-1])
            row = {"ours": ours, "early": early, "late": late, "lead": ours - max(early, late)}
            if number < options.neighbours:
                others = (
                    psnr(made(replace(job, box=box), out, config, decoders)[1:-1], expected[1:-1])
                    for box in neighbours(job.box, (job.info.width, job.info.height))
                )
                row["gain"] = max(others) - ours
            rows.append(row)
    return {
        "clips": len(rows),
        **{name: round(float(np.mean([row[name] for row in rows])), 2) for name in ("ours", "early", "late")},
        "ours_worst_clip": round(min(row["ours"] for row in rows), 2),
        "worst_lead_over_a_frame_early_or_late": round(min(row["lead"] for row in rows), 2),
        "best_gain_of_a_box_a_pixel_off": round(max(row.get("gain", -np.inf) for row in rows), 2),
        "machine": machine(len(os.sched_getaffinity(0))),
    }


def truth(corpus: Path, clip: Clip, job: CropJob, size: int) -> Pictures:
    """The picture that each native frame of the clip ought to show."""
    path = corpus / "truth" / f"{clip.video_id}#{clip.start:06d}#{clip.end:06d}.mp4"
    pictures = [resized(frame, size) for frame in decode_frames(path)]
    # A video stored at another rate shows, at each of its frames, the latest one begun at the metadata's.
    ratio = float(job.info.fps) / clip.fps
    begins = [round((clip.start + number) * ratio) for number in range(len(pictures))]
    return [pictures[max(0, int(np.searchsorted(begins, frame, "right")) - 1)] for frame in job.frames]


def resized(frame: RgbImage, size: int) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(frame).resize((size, size), Image.Resampling.BICUBIC))


def made(job: CropJob, out: Path, config: PrepareConfig, decoders: Decoders) -> Pictures:
    return list(decode_frames(crop(job, out, config, decoders).path))


def neighbours(box: Box, frame: tuple[int, int]) -> Iterator[Box]:
    """Boxes with an edge, or two opposite ones, a pixel further."""
    edges = ("left", "top", "right", "bottom")
    for moved in (*((edge,) for edge in edges), ("left", "right"), ("top", "bottom")):
        for by in (-1, 1):
            other = replace(box, **{edge: getattr(box, edge) + by for edge in moved})
            if min(other.left, other.top) >= 0 and other.right <= frame[0] and other.bottom <= frame[1]:
                yield other


def psnr(found: Sequence[NDArray[np.uint8]], expected: Sequence[NDArray[np.uint8]]) -> float:
    """Mean PSNR in dB over frames."""
    errors = [
        np.mean((one.astype(np.float64) - other) ** 2) for one, other in zip(found, expected, strict=True)
    ]
    return float(np.mean(10 * np.log10(255**2 / np.maximum(errors, 1e-9))))


if __name__ == "__main__":
    main()
