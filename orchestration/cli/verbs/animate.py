"""Make a still image move like a video: PNG or JPEG and any video in, an mp4 out.

The animation has the driving video's frame rate and sound. Absolute: the face takes the driving poses. Relative:
it makes the driving movement, starting from its own pose. The picture is cropped to the model's square; with
--paste-back only the face in it is, and the video has the picture's own size.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from orchestration.cli.model_argument import add_model_argument
from pipelines.corpus.spans import Box
from pipelines.errors import InputError

if TYPE_CHECKING:
    from orchestration.best_start import Look
    from pipelines.annotation.detections import Detector
    from pipelines.annotation.detectors import DetectorKind

NAME = "animate"
HELP = "animate a still image with a driving video"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_argument(parser)
    parser.add_argument("--source", type=Path, required=True, metavar="IMAGE", help="the still image")
    parser.add_argument(
        "--driving", type=Path, required=True, metavar="VIDEO", help="the video whose motion it gets"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="MP4", help="the video to write")
    parser.add_argument("--mode", choices=("absolute", "relative"), default="absolute", help="[absolute]")
    parser.add_argument(
        "--fit",
        choices=("crop", "stretch"),
        help="how inputs become square: centre crop or stretch [crop]",
    )
    parser.add_argument(
        "--start",
        choices=("first", "best"),
        default="first",
        help="the driving frame from which relative movement is counted: the first, or the one whose face is most "
        "like the picture's [first]",
    )
    in_place = parser.add_argument_group("in a larger picture")
    in_place.add_argument(
        "--paste-back",
        action="store_true",
        help="find the face in the picture and in the video, animate it, and paste it back where it was",
    )
    in_place.add_argument("--subject", choices=("face", "body"), help="what to find [face]")
    in_place.add_argument(
        "--box",
        type=_box,
        metavar="L,T,R,B",
        help="find nothing, but animate this part of the picture: the square around these pixels",
    )
    in_place.add_argument(
        "--driving-box", type=_box, metavar="L,T,R,B",
        help="with --box, the part of the video that drives it [all, made square as --fit says]",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    if args.out.suffix.lower() != ".mp4":
        raise InputError(f"{args.out}: an animation is an mp4; give a name that ends in .mp4")
    if args.out.is_dir() or not args.out.absolute().parent.is_dir():
        raise InputError(f"{args.out}: name a file in a folder that exists")
    if args.out.resolve() in (args.source.resolve(), args.driving.resolve()):
        raise InputError(f"{args.out}: would overwrite an input; give --out another name")
    _check_boxes(args)
    if args.start == "best" and args.mode != "relative":
        raise InputError("--start best is for --mode relative: absolute poses are counted from nothing")
    from orchestration.animate import animate_file
    from orchestration.best_start import face_look
    from orchestration.models import load_model

    look = face_look() if args.start == "best" else None
    if args.paste_back:
        return _paste_back(args, look)
    generator = load_model(args.model)
    frames = animate_file(
        *(generator, args.source, args.driving, args.out),
        **{"mode": args.mode, "fit": args.fit or "crop", "look": look, "progress": True},
    )
    print(f"{args.out}: {frames} frames")
    return 0


def _paste_back(args: argparse.Namespace, look: "Look | None") -> int:
    from orchestration.models import load_model
    from orchestration.paste_back import animate_in_place, detected_squares, named_squares, shown

    if args.box:
        squares = named_squares(args.source, args.driving, args.box, args.driving_box)
    else:
        kind: DetectorKind = args.subject or "face"
        squares = detected_squares(args.source, args.driving, _detector(kind), kind=kind, progress=True)
    generator = load_model(args.model)
    frames = animate_in_place(
        *(generator, args.source, args.driving, args.out, squares),
        **{"mode": args.mode, "fit": args.fit or "crop", "look": look, "progress": True},
    )
    driven = f", by {shown(squares.driving)} of {args.driving}" if squares.driving else ""
    print(f"{args.out}: {frames} frames; {shown(squares.source)} of {args.source} moves{driven}")
    return 0


def _detector(kind: "DetectorKind") -> "Detector":
    from orchestration.assets.cache import cache_paths
    from pipelines.annotation.detectors import load_detector, read_networks, weights_needed

    return load_detector(kind, read_networks(kind, cache_paths(weights_needed(kind))))


def _check_boxes(args: argparse.Namespace) -> None:
    """Refuse flags that would be ignored."""
    for flag in ("subject", "box", "driving_box"):
        if getattr(args, flag) and not args.paste_back:
            raise InputError(f"--{flag.replace('_', '-')} is for --paste-back, which was not given")
    if args.box and args.subject:
        raise InputError(
            "--subject says what to find, and --box that nothing is to be found: give one of them"
        )
    if args.driving_box and not args.box:
        raise InputError("--driving-box goes with --box; without, both boxes are found")
    if args.fit and args.paste_back and (args.driving_box or not args.box):
        raise InputError(
            f"--fit {args.fit}: there is nothing to make square: --paste-back cuts squares out of the picture and the "
            "video. Leave it out, or give --box without --driving-box: then the whole video is made square"
        )


def _box(text: str) -> Box:
    """Parse --box."""
    try:
        left, top, right, bottom = (int(edge) for edge in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not left,top,right,bottom in whole pixels, such as 100,40,300,240"
        ) from None
    if left >= right or top >= bottom:
        raise argparse.ArgumentTypeError(
            f"{text!r} holds no pixel: left must be less than right, and top less than bottom"
        )
    return Box(left, top, right, bottom)
