"""Write a dataset's clips as folders of PNG frames, which the published evaluation code reads, or as mp4 files.

DIR/{train,test}/<clip_id>/0000000.png and on, or DIR/{train,test}/<clip_id>.mp4. The same command goes on where an
interrupted one stopped.
"""

import argparse
from pathlib import Path

from orchestration.cli.locations import dataset_location

NAME = "export"
HELP = "a prepared dataset to folders of frames"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "data",
        type=dataset_location,
        metavar="DATASET",
        help="a dataset that `lia prepare` wrote: a folder or a URI",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to write")
    parser.add_argument("--partition", choices=("test", "train"), default="test", help="which clips [test]")
    parser.add_argument(
        "--format", choices=("frames", "clips"), default="frames", help="PNG frames, or mp4 files [frames]"
    )


def run(args: argparse.Namespace) -> int:
    from orchestration.export import export

    print(export(args.data, args.out, args.partition, args.format, verbose=args.verbose).report())
    return 0
