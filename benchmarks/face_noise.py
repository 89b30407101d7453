"""What the networks behind AKD, AED and CSIM see where nothing differs, and where the person does; and their cost.

    python -m benchmarks.face_noise FILE [FILE ...] [--size 256] [--every 5] [--identity-every 5] [--out FILE]

Each file, a video or a still image, shows one person, none of them twice. Every fifth frame, as a centred square, is
compared with itself after JPEG of quality 75 (the noise floor). Identities, of every fifth of these, are also compared
with that of the file's first frame, and with those of the other files' first frames. Times are processor time. Prints
JSON; distances as [lowest, mean, highest].
"""

import argparse
import io
import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain, combinations, islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.corpus import machine
from orchestration.assets.wheels import fetch
from orchestration.evaluation.faces import Face, FaceObserver, aed, akd, csim
from pipelines.media.images import RgbImage, is_still_image, read_image
from pipelines.media.video import decode_frames

QUALITY = 75


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE")
    parser.add_argument("--size", type=int, default=256, help="side of the frames in pixels")
    parser.add_argument("--every", type=int, default=5, help="take each frame whose number this divides")
    parser.add_argument(
        "--identity-every", type=int, default=5, help="of these, take the identity of each such"
    )
    parser.add_argument("--out", type=Path, help="where to write the JSON; printed in any case")
    options = parser.parse_args()
    text = json.dumps(measure(options.files, options.size, options.every, options.identity_every), indent=2)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


@dataclass(frozen=True)
class Observation:
    """What was seen of one frame."""

    face: Face | None
    after_jpeg: Face | None
    with_identity: bool
    seconds: float
    """Processor time of the first of the two."""


def measure(files: list[Path], size: int, every: int, identity_every: int) -> dict[str, Any]:
    observe = FaceObserver({file.name: fetch(file.name) for file in FaceObserver.WEIGHTS})
    by_file = [observed(observe, file, size, every, identity_every) for file in files]
    every_one = list(chain.from_iterable(by_file))
    noise = [(seen.after_jpeg, seen.face) for seen in every_one if seen.after_jpeg and seen.face]
    akds = [akd(*pair) for pair in noise]
    persons = [[seen.face for seen in one if seen.face and seen.with_identity] for one in by_file]
    return {
        "benchmark": "face_noise",
        "files": [file.name for file in files],
        "size": size,
        "frames": len(every_one),
        "faces": sum(seen.face is not None for seen in every_one),
        "faces_after_jpeg": sum(seen.after_jpeg is not None for seen in every_one),
        "noise_floor": {
            "akd_px": spread(akds),
            "akd_px_of_95_percent_below": round(float(np.quantile(akds, 0.95)), 3),
            **identities([pair for pair in noise if pair[0].identity is not None]),
        },
        "one_person": identities([(face, one[0]) for one in persons for face in one[1:]]),
        "two_persons": identities(list(combinations([one[0] for one in persons if one], 2))),
        "ms_a_frame": {
            "landmarks": milliseconds(every_one, with_identity=False),
            "landmarks_and_identity": milliseconds(every_one, with_identity=True),
        },
        "dlib_bin": version("dlib-bin"),
        "machine": machine(1),
    }


def observed(
    observe: FaceObserver, file: Path, size: int, every: int, identity_every: int
) -> list[Observation]:
    found = []
    for index, frame in enumerate(islice(frames_of(file, size), 0, None, every)):
        identity = index % identity_every == 0
        began = time.process_time()
        face = observe(frame, identity=identity)
        seconds = time.process_time() - began
        found.append(Observation(face, observe(after_jpeg(frame), identity=identity), identity, seconds))
    return found


def milliseconds(seen: list[Observation], *, with_identity: bool) -> float | None:
    times = [one.seconds for one in seen if one.with_identity == with_identity]
    return round(1000 * statistics.median(times), 1) if times else None


def frames_of(file: Path, size: int) -> Iterator[RgbImage]:
    return iter([read_image(file, size)]) if is_still_image(file) else decode_frames(file, size)


def after_jpeg(frame: RgbImage) -> RgbImage:
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "JPEG", quality=QUALITY)
    return np.asarray(Image.open(file))


def identities(pairs: list[tuple[Face, Face]]) -> dict[str, Any]:
    return {
        "pairs": len(pairs),
        "aed": spread([aed(*pair) for pair in pairs]),
        "csim": spread([csim(*pair) for pair in pairs]),
    }


def spread(values: list[float]) -> list[float] | None:
    return [round(x, 4) for x in (min(values), statistics.mean(values), max(values))] if values else None


if __name__ == "__main__":
    main()
