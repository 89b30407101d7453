"""Cut the clips of a metadata file out of raw videos: cropped, resized, encoded as WebDataset shards.

Videos are found as DIR/<video_id>.<any container>; --dataset own reads what `lia annotate` wrote. With --dataset clips
or frames there is no metadata file: DIR holds clips that are cropped already, as video files anywhere below it or as
folders of numbered png or jpg images, optionally below DIR/train and DIR/test. Clips that cannot be used never stop a
run: they are counted by reason, in the output and in OUT/failures.parquet. The same command goes on where an
interrupted one stopped.
"""

import argparse
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from orchestration import configuration
from orchestration.cli.experiment_flags import add_field_arguments, given_fields
from orchestration.cli.locations import dataset_location
from pipelines.cropping.config import PrepareConfig
from pipelines.errors import InputError

if TYPE_CHECKING:
    from pipelines.corpus.metadata import Metadata

NAME = "prepare"
HELP = "raw videos and metadata to WebDataset shards"
DESCRIBED = ("vox", "taichi", "ted", "own")
FOLDERS = ("clips", "frames")
NOTHING_WRITTEN = 1


def add_corpus_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the raw videos are and what describes them."""
    parser.add_argument(
        "--dataset",
        choices=(*DESCRIBED, *FOLDERS),
        required=True,
        help="whose metadata format (own: as `lia annotate` writes), or that DIR holds cropped clips or frames",
    )
    parser.add_argument("--metadata", type=Path, metavar="CSV", help="the metadata file")
    parser.add_argument("--videos", type=Path, required=True, metavar="DIR", help="folder of the videos")
    parser.add_argument(
        "--fps", type=float, metavar="RATE", help="frames only: how many are shown a second [25]"
    )
    parser.add_argument(
        "--test-fraction",
        type=float,
        metavar="SHARE",
        help="clips and frames without train/ and test/: share of the subjects to test on [0.1]",
    )
    parser.add_argument(
        "--retry-failed",
        action="store_true",
        help="try clips that failed again, as after replacing their videos",
    )
    parser.add_argument(
        "--max-failure-rate",
        type=_fraction,
        metavar="R",
        help="stop, with exit status 1, once more than this part of all clips (0 to 1) has failed",
    )


def read_corpus(args: argparse.Namespace, limits: PrepareConfig) -> "Metadata":
    """The clip table that the corpus arguments mean, files being opened within `limits`. Raises InputError."""
    described = args.dataset in DESCRIBED
    if described and args.metadata is None:
        raise InputError(f"--metadata CSV is missing: --dataset {args.dataset} needs its metadata file")
    for flag, value, fits in (
        ("--metadata", args.metadata, described),
        ("--fps", args.fps, args.dataset == "frames"),
        ("--test-fraction", args.test_fraction, not described),
    ):
        if value is not None and not fits:
            raise InputError(f"{flag} {value}: means nothing for --dataset {args.dataset}; leave it out")
    if described:
        from pipelines.corpus.metadata import read_metadata

        return read_metadata(args.metadata, args.dataset, args.videos)
    from pipelines.preparation.clip_folders import DEFAULT_FPS, read_clip_folder, read_frame_folders

    if args.dataset == "clips":
        return read_clip_folder(args.videos, args.test_fraction, limits)
    fps = DEFAULT_FPS if args.fps is None else args.fps
    return read_frame_folders(args.videos, fps, args.test_fraction, limits)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_corpus_arguments(parser)
    parser.add_argument(
        "--out",
        type=dataset_location,
        required=True,
        metavar="DIR",
        help="the dataset's folder, or s3://BUCKET/PATH",
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="read all clips that are there and make shards again whose bytes are not those that were written",
    )
    add_field_arguments(parser, PrepareConfig(), "defaults in brackets", prefix="prepare.")


def _fraction(text: str) -> float:
    with suppress(ValueError):
        if 0 <= (value := float(text)) <= 1:
            return value
    raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")


def run(args: argparse.Namespace) -> int:
    from orchestration.cluster import connected
    from pipelines.preparation.prepare import prepare

    config = configuration.override(
        PrepareConfig(), given_fields(args), origin="command line", prefix="prepare."
    )
    summary = prepare(
        read_corpus(args, config),
        config,
        args.videos,
        args.out,
        retry_failed=args.retry_failed,
        verify=args.verify,
        max_failure_rate=args.max_failure_rate,
        cluster=lambda: connected(verbose=args.verbose),
    )
    print(summary.report())
    return 0 if summary.written else NOTHING_WRITTEN
