"""Lay training runs side by side on one HTML page: what differs in their settings, how they score and look.

Losses and validation scores are drawn over one another, and the runs' animations (where there are none, their sample
grids) play in step. Scores are called better or worse only where both runs were evaluated on the same clips, six at
least, and the bootstrap interval of the mean difference lies on one side of zero. The folder needs no server and no
network.
"""

import argparse
from pathlib import Path

from pipelines.errors import InputError

NAME = "compare"
HELP = "training runs side by side: one HTML page to look at"
MOST_RUNS = 8
"""More curves in one chart are not told apart."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="a run's folder, or its id in MLflow (ID or runs:/ID); the others are compared with the first",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="a new or empty folder for the page"
    )


def run(args: argparse.Namespace) -> int:
    if not 2 <= len(args.runs) <= MOST_RUNS:
        raise InputError(f"{' '.join(args.runs)}: name two to {MOST_RUNS} runs to compare")
    if args.out.exists() and not (args.out.is_dir() and not any(args.out.iterdir())):
        raise InputError(f"{args.out}: is there already; name a new or empty folder")
    if not args.out.absolute().parent.is_dir():
        raise InputError(f"{args.out}: name a folder in one that exists")
    from orchestration.comparison_page import PAGE, write_comparison

    write_comparison(args.runs, args.out)
    print(f"{args.out / PAGE}: open it in a browser")
    return 0
