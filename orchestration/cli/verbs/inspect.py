"""Show a dataset on one HTML page: sample clips, lengths, boxes, rates, subjects, failures, and what to act on.

The page needs no server and no network. With --metadata it also says how much of that file the dataset covers; without,
how much of the clips that it was prepared from.
"""

import argparse
from pathlib import Path

from orchestration.cli.locations import dataset_location
from orchestration.cli.verbs.prepare import DESCRIBED
from pipelines.errors import InputError

NAME = "inspect"
HELP = "a dataset's report: one HTML page to look at"
ENDINGS = (".html", ".htm")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "data",
        type=dataset_location,
        metavar="DATASET",
        help="a dataset that `lia prepare` wrote: a folder or a URI",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="the page to write [DATASET/inspect.html]")
    parser.add_argument(
        "--metadata", type=Path, metavar="CSV", help="a published metadata file to compare with"
    )
    parser.add_argument("--dataset", choices=DESCRIBED, help="whose metadata format; goes with --metadata")


def run(args: argparse.Namespace) -> int:
    if (args.metadata is None) != (args.dataset is None):
        raise InputError("--metadata and --dataset go together: give both or neither")
    if args.out and args.out.suffix.lower() not in ENDINGS:
        raise InputError(f"{args.out}: --out names an HTML page; its name must end in .html")
    from orchestration.dataset_page import write_dataset_page
    from pipelines.corpus.metadata import read_metadata
    from pipelines.inspection.advice import advice
    from pipelines.preparation.dataset_folder import INSPECTION

    metadata = read_metadata(args.metadata, args.dataset, None) if args.metadata else None
    if args.out is None and not isinstance(args.data, Path):
        raise InputError(f"{args.data}: is not on this machine; name the page to write with --out")
    if args.out is None and metadata is not None:
        raise InputError("--metadata needs --out: DATASET/inspect.html is the dataset's own page")
    page = args.out or args.data / INSPECTION
    surveyed = write_dataset_page(args.data, page, metadata)
    for line in advice(surveyed):
        # Names come from the dataset: control characters in them are not for the terminal.
        print("- " + "".join(sign if sign.isprintable() else "?" for sign in line))
    print(f"{page}: open it in a browser")
    return 0
