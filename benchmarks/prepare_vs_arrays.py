"""prepare() against the way the published preprocessing works, on the same videos and clips.

    python -m benchmarks.prepare_vs_arrays [--videos 8] [--clips 6] [--frames 206] [--coverage 0.21] [--key-frames 5]

The other side, written from its description: each video is decoded by imageio from its first frame to its last into
whole RGB arrays; the frames of a clip are cropped, resized by scikit-image with anti-aliasing and written as PNGs; one
process a core, each with videos of its own. Both sides run in one process on the same cores, in alternating rounds.
The defaults are VoxCeleb's means, by its metadata: 5.8 clips a video of 206 frames, which together cover 21 % of the
video up to the end of the last one; key frames are 5 s apart in what YouTube serves, 10 s where x264 is left to itself.
Prints JSON; `ratio` is the other side's time over prepare's, under a Ray that was started before;
`ratio_with_ray_start` counts its start too.
"""

import argparse
import json
import os
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.corpus import FPS, HEIGHT, WIDTH, machine, write_corpus
from benchmarks.warm_ray import start_ray, stop_ray
from pipelines.corpus.clip_table import Clip
from pipelines.corpus.metadata import Metadata
from pipelines.cropping.config import PrepareConfig
from pipelines.preparation.prepare import prepare

SIZE = 256


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--videos", type=int, default=8)
    parser.add_argument("--clips", type=int, default=6, help="clips a video")
    parser.add_argument("--frames", type=int, default=206, help="frames a clip")
    parser.add_argument("--coverage", type=float, default=0.21, help="share of a video that is in its clips")
    parser.add_argument(
        "--key-frames", type=float, default=5.0, help="seconds from one key frame to the next"
    )
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--out", type=Path, help="where to write the JSON; printed in any case")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        report = measure(Path(folder), options)
    text = json.dumps(report, indent=2)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


def measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    every = round(options.frames / options.coverage)
    metadata, videos = write_corpus(
        folder, options.videos, options.clips, options.frames, every, key_frames_s=options.key_frames
    )
    ray_start = start_ray(options.cores)
    arrays_s, prepare_s = [], []
    for number in range(options.rounds):
        began = time.perf_counter()
        by_arrays(metadata, videos, folder / f"frames-{number}", options.cores)
        arrays_s.append(time.perf_counter() - began)
        began = time.perf_counter()
        summary = prepare(
            metadata, PrepareConfig(size=SIZE), videos, folder / f"dataset-{number}", progress=False
        )
        prepare_s.append(time.perf_counter() - began)
        if summary.failed:
            raise RuntimeError(summary.report())
    stop_ray()
    return {
        "clips": len(metadata.clips),
        "frames": len(metadata.clips) * options.frames,
        "video": f"{WIDTH}x{HEIGHT} H.264, {FPS} fps, {every * options.clips} frames",
        "key_frames_s": options.key_frames,
        "arrays_s": [round(seconds, 2) for seconds in arrays_s],
        "prepare_s": [round(seconds, 2) for seconds in prepare_s],
        "ratio": round(min(arrays_s) / min(prepare_s), 2),
        "ray_start_s": round(ray_start, 2),
        "ratio_with_ray_start": round(min(arrays_s) / (min(prepare_s) + ray_start), 2),
        "machine": machine(options.cores),
    }


def by_arrays(metadata: Metadata, videos: Path, out: Path, cores: int) -> None:
    """The published way: a process a core, a video at a time."""
    names = sorted({clip.video_path for clip in metadata.clips})
    of = {name: [clip for clip in metadata.clips if clip.video_path == name] for name in names}
    # Ray's threads are in this process by now: forking it would copy their locks.
    with ProcessPoolExecutor(cores, mp_context=get_context("spawn")) as pool:
        list(pool.map(decode_whole, [videos / name for name in names], of.values(), [out] * len(names)))


def decode_whole(video: Path, clips: list[Clip], out: Path) -> None:
    """Decode all of a video; write the frames of its clips as PNGs."""
    import imageio.v2 as imageio
    from skimage import img_as_ubyte
    from skimage.transform import resize

    for clip in clips:
        (out / clip.clip_id).mkdir(parents=True)
    for number, frame in enumerate(imageio.get_reader(video)):
        for clip in clips:
            if clip.start <= number < clip.end:
                crop = frame[clip.top : clip.bottom, clip.left : clip.right]
                picture = img_as_ubyte(resize(crop, (SIZE, SIZE), anti_aliasing=True))
                imageio.imwrite(out / clip.clip_id / f"{number - clip.start:07d}.png", picture)


if __name__ == "__main__":
    main()
