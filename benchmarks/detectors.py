"""What the face and body detectors of `lia annotate` cost a frame, on one core.

    python -m benchmarks.detectors [--video FILE] [--every 10] [--rounds 3] [--out FILE]

Every tenth frame of a video (the demo's, unless one is given) is decoded first and then shown to each
detector one by one, in alternating rounds. Processor time is counted, and the best round: other programs can only
slow a round down. A frame costs as many runs of the detection network as there are views of it, and bodies one
run of the landmark network for each find, so both numbers are in the output. "look" is the part of the time that
goes into cutting the networks' inputs out of the frame. Prints JSON.
"""

import argparse
import json
import math
import os
import platform
import time
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from orchestration.assets.table import DEMO_VIDEO
from orchestration.assets.wheels import fetch
from pipelines.annotation.body import search_views
from pipelines.annotation.detections import Detector
from pipelines.annotation.detectors import DetectorKind, load_detector, read_networks, weights_needed
from pipelines.annotation.square_view import letterbox, look
from pipelines.media.video import decode_frames

INPUT_SIZE = {"face": 192, "body": 224}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--video", type=Path, help="default: the demo's")
    parser.add_argument("--every", type=int, default=10, help="take each frame whose number this divides")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="where to write the JSON; printed in any case")
    options = parser.parse_args()
    report = measure(options.video or fetch(DEMO_VIDEO.name), options.every, options.rounds)
    text = json.dumps(report, indent=2)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


def measure(video: Path, every: int, rounds: int) -> dict[str, Any]:
    frames = list(islice(decode_frames(video), 0, None, every))
    detectors = {kind: load(kind) for kind in get_args(DetectorKind)}
    best = dict.fromkeys(detectors, math.inf)
    for _ in range(rounds):
        for kind, detector in detectors.items():
            best[kind] = min(best[kind], detection_seconds(detector, frames))
    height, width = frames[0].shape[:2]
    return {
        "benchmark": "detectors",
        "video": f"{video.name}, {width}x{height}",
        "frames": len(frames),
        "detectors": {
            kind: describe(kind, detector, frames, best[kind]) for kind, detector in detectors.items()
        },
        "machine": machine(),
    }


def describe(
    kind: DetectorKind, detector: Detector, frames: list[NDArray[np.uint8]], seconds: float
) -> dict[str, Any]:
    found = [len(detector(frame[None])[0]) for frame in frames]
    height, width = frames[0].shape[:2]
    views = [letterbox(width, height)] if kind == "face" else search_views(width, height)
    began = time.process_time()
    for frame in frames:
        for view in views:
            look(frame, view, INPUT_SIZE[kind])
    return {
        "ms_a_frame": round(1000 * seconds / len(frames), 2),
        "of_which_look_ms": round(1000 * (time.process_time() - began) / len(frames), 2),
        "views_a_frame": len(views),
        "frames_with_a_find": sum(number > 0 for number in found),
        "finds": sum(found),
    }


def load(kind: DetectorKind) -> Detector:
    return load_detector(kind, read_networks(kind, {name: fetch(name) for name in weights_needed(kind)}))


def detection_seconds(detector: Detector, frames: list[NDArray[np.uint8]]) -> float:
    began = time.process_time()
    for frame in frames:
        detector(frame[None])
    return time.process_time() - began


def machine() -> dict[str, Any]:
    model = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cpu": model[0].split(":")[1].strip() if model else platform.processor(),
        "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
        **{name: version(name) for name in ("ai-edge-litert", "numpy", "pillow")},
    }


if __name__ == "__main__":
    main()
