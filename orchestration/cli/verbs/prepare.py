"""Cut the clips of a metadata file out of raw videos: cropped, resized, encoded as WebDataset shards.

Videos are found as DIR/<video_id>.<any container>. Clips that cannot be used never stop a run: they are counted by
reason, in the output and in OUT/failures.parquet. The same command goes on where an interrupted one stopped.
"""

import argparse
from pathlib import Path

from orchestration import configuration
from orchestration.cli.experiment_flags import add_field_arguments, given_fields
from orchestration.cli.locations import dataset_location
from pipelines.config import PrepareConfig

NAME = "prepare"
HELP = "raw videos and metadata to WebDataset shards"
DATASETS = ("vox", "taichi", "ted")
NOTHING_WRITTEN = 1


def add_corpus_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the raw videos are and what describes them."""
    parser.add_argument("--dataset", choices=DATASETS, required=True, help="whose metadata format")
    parser.add_argument(
        "--metadata", type=Path, required=True, metavar="CSV", help="the published metadata file"
    )
    parser.add_argument("--videos", type=Path, required=True, metavar="DIR", help="folder of the raw videos")
    parser.add_argument(
        "--retry-failed",
        action="store_true",
        help="try clips that failed again, as after replacing their videos",
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_corpus_arguments(parser)
    parser.add_argument(
        "--out",
        type=dataset_location,
        required=True,
        metavar="DIR",
        help="the dataset's folder, or s3://BUCKET/PATH",
    )
    add_field_arguments(parser, PrepareConfig(), "defaults in brackets", prefix="prepare.")


def run(args: argparse.Namespace) -> int:
    from orchestration.cluster import connected
    from pipelines.metadata import read_metadata
    from pipelines.prepare import prepare

    config = configuration.override(
        PrepareConfig(), given_fields(args), origin="command line", prefix="prepare."
    )
    metadata = read_metadata(args.metadata, args.dataset, args.videos)
    summary = prepare(
        metadata,
        config,
        args.videos,
        args.out,
        retry_failed=args.retry_failed,
        cluster=lambda: connected(verbose=args.verbose),
    )
    print(summary.report())
    return 0 if summary.written else NOTHING_WRITTEN
