"""The whole pipeline: raw videos to shards, training, evaluation, pictures, a registered model.

Every step is skipped when its inputs are unchanged, so the same command goes on after an interruption.
"""

import argparse
from pathlib import Path

from orchestration.cli.experiment_flags import INIT_HELP, add_experiment_arguments, resolve_experiment
from orchestration.cli.locations import dataset_location
from orchestration.cli.repeating import repeating_command
from orchestration.cli.verbs.prepare import add_corpus_arguments, read_corpus
from orchestration.cli.verbs.train import print_estimate

NAME = "run"
HELP = "the whole pipeline, from raw video to registered model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_corpus_arguments(parser)
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder for all that is made; on a cluster one that all machines share",
    )
    parser.add_argument(
        "--shards",
        type=dataset_location,
        metavar="DIR",
        help="folder for datasets, or s3://BUCKET/PATH, for all runs that share them [OUT]",
    )
    parser.add_argument(
        "--wait-for",
        choices=("all", "first"),
        default="all",
        help="shards that training waits for: first begins with what is prepared and takes in more after checkpoints, "
        "so that the model depends on how fast it comes [all]",
    )
    parser.add_argument("--dry-run", action="store_true", help="only print what training would take")
    parser.add_argument("--vgg", type=Path, metavar="FILE", help="torchvision's vgg19-dcbb9e9d.pth")
    parser.add_argument("--init", metavar="MODEL", help=INIT_HELP)
    add_experiment_arguments(parser)


def run(args: argparse.Namespace) -> int:
    experiment = resolve_experiment(args)
    if args.dry_run:
        return print_estimate(experiment, None)
    from orchestration.pipeline import run_pipeline

    result = run_pipeline(
        experiment,
        read_corpus(args, experiment.prepare),
        args.videos,
        args.out,
        shards=args.shards,
        vgg=args.vgg,
        init=args.init,
        retry_failed=args.retry_failed,
        max_failure_rate=args.max_failure_rate,
        wait_for=args.wait_for,
        command=repeating_command(args, experiment),
        verbose=args.verbose,
    )
    print(result.closing_words())
    return 0
