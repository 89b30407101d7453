"""See what a model's motion directions do: a still image is moved along each of them, to both sides.

Writes a sheet of all directions (directions.png) and a looping video of each (direction-01.mp4, ...) into a folder.
"""

import argparse
import math
from pathlib import Path

from orchestration.cli.model_argument import add_model_argument
from pipelines.errors import InputError

NAME = "manipulate"
HELP = "move a still image along each motion direction"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_argument(parser)
    parser.add_argument("--source", type=Path, required=True, metavar="IMAGE", help="the still image")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new or empty folder")
    parser.add_argument(
        "--reach",
        type=float,
        default=3.0,
        metavar="D",
        help="largest magnitude, added to the image's own to either side [3]",
    )
    parser.add_argument(
        "--fit",
        choices=("crop", "stretch"),
        default="crop",
        help="how the image becomes square: centre crop or stretch [crop]",
    )


def run(args: argparse.Namespace) -> int:
    if not (math.isfinite(args.reach) and args.reach > 0):
        raise InputError(f"--reach {args.reach:g}: give a number above 0")
    if args.out.exists() and not (args.out.is_dir() and not any(args.out.iterdir())):
        raise InputError(f"{args.out}: is there already; name a new or empty folder")
    if not args.out.absolute().parent.is_dir():
        raise InputError(f"{args.out}: name a folder in one that exists")
    from orchestration.manipulate import SHEET, manipulate_file
    from orchestration.models import load_model

    generator = load_model(args.model)
    count = manipulate_file(generator, args.source, args.out, reach=args.reach, fit=args.fit, progress=True)
    print(f"{args.out}: {SHEET} and {count} videos, one a direction")
    return 0
