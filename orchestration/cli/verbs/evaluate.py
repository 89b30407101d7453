"""Score a model by reconstruction: the first frame of each held-out clip, driven by every frame of that clip.

Prints L1 (mean |x - y| / 2 on [-1,1]), PSNR and SSIM, averaged over each clip and then over clips, beside the
baseline that copies the source, with the interval in which each mean lies by bootstrap over clips.
"""

import argparse
from pathlib import Path

from orchestration.cli.locations import dataset_location
from orchestration.cli.model_argument import add_model_argument
from pipelines.errors import InputError

NAME = "evaluate"
HELP = "score a model on held-out clips"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_argument(parser)
    parser.add_argument(
        "--data",
        type=dataset_location,
        required=True,
        metavar="DIR",
        help="a dataset that `lia prepare` wrote: a folder, s3:// or http://",
    )
    parser.add_argument("--partition", choices=("test", "train"), default="test", help="which clips [test]")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="write clips.parquet and summary.json here; an evaluation that was interrupted goes on",
    )


def run(args: argparse.Namespace) -> int:
    if args.out and args.out.exists() and not args.out.is_dir():
        raise InputError(f"{args.out}: is a file; --out names a folder")
    from orchestration.evaluation.evaluate import evaluate

    evaluation = evaluate(args.model, args.data, out=args.out, partition=args.partition, verbose=args.verbose)
    print(evaluation.table())
    return 0
