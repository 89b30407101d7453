"""Make a still image move like a video: PNG or JPEG and any video in, an mp4 out.

The animation has the driving video's frame rate and sound. Absolute: the face takes the driving poses. Relative:
it makes the driving movement, starting from its own pose.
"""

import argparse
from pathlib import Path

from orchestration.cli.model_argument import add_model_argument
from pipelines.errors import InputError

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
        default="crop",
        help="how inputs become square: centre crop or stretch [crop]",
    )


def run(args: argparse.Namespace) -> int:
    if args.out.suffix.lower() != ".mp4":
        raise InputError(f"{args.out}: an animation is an mp4; give a name that ends in .mp4")
    if args.out.is_dir() or not args.out.absolute().parent.is_dir():
        raise InputError(f"{args.out}: name a file in a folder that exists")
    if args.out.resolve() in (args.source.resolve(), args.driving.resolve()):
        raise InputError(f"{args.out}: would overwrite an input; give --out another name")
    from orchestration.animate import animate_file
    from orchestration.models import load_model

    generator = load_model(args.model)
    frames = animate_file(
        generator, args.source, args.driving, args.out, mode=args.mode, fit=args.fit, progress=True
    )
    print(f"{args.out}: {frames} frames")
    return 0
