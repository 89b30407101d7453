"""Train a model on a prepared dataset, and record the run in MLflow.

One worker a GPU, or as many CPU workers as the recipe says. A run that was stopped or killed goes on with --resume; on
as many cores its weights end up the same to the bit. The trained model becomes a new version in MLflow's registry.
"""

import argparse
import shlex
from pathlib import Path

from orchestration.cli.experiment_flags import (
    INIT_HELP,
    add_experiment_arguments,
    has_overrides,
    resolve_experiment,
)
from orchestration.cli.locations import dataset_location
from orchestration.cli.repeating import repeating_command
from orchestration.experiment import Experiment
from pipelines.errors import InputError
from pipelines.storage.location import Location

NAME = "train"
HELP = "train on a prepared dataset"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        type=dataset_location,
        metavar="DIR",
        help="a dataset that `lia prepare` wrote: a folder, s3:// or http://",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of this run")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="only print what the run would take (memory, time, traffic, disk), after a minute of measuring; writes "
        "nothing",
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on with the run in --out, as it was configured"
    )
    parser.add_argument("--stop-after", type=int, metavar="STEP", help="checkpoint and stop after this step")
    parser.add_argument("--vgg", type=Path, metavar="FILE", help="torchvision's vgg19-dcbb9e9d.pth")
    parser.add_argument("--init", metavar="MODEL", help=INIT_HELP)
    add_experiment_arguments(parser)


def run(args: argparse.Namespace) -> int:
    if args.dry_run and not args.resume:
        return print_estimate(resolve_experiment(args), args.data)
    if args.out is None:
        raise InputError("--out DIR is missing: name the folder of this run")
    if args.stop_after is not None and args.stop_after < 1:
        raise InputError(f"--stop-after {args.stop_after}: give a step of 1 or more")
    if args.resume and (has_overrides(args) or args.data or args.vgg or args.init):
        raise InputError("--resume goes on with the run as it was configured: leave all but --out out")
    if not args.resume and args.data is None:
        raise InputError("--data DIR is missing: name a dataset that `lia prepare` wrote, or use --resume")
    experiment = None if args.resume else resolve_experiment(args)

    from orchestration.cluster import connected, cpus_of, worker_share
    from orchestration.registration import register_run, telling_what_is_made
    from orchestration.reproduction import how_to_repeat
    from orchestration.training import recorded_training
    from orchestration.training.checkpoint_store import CheckpointStore
    from orchestration.training.initial_model import read_initial_model
    from orchestration.training.run_folder import RunFolder
    from pipelines.dataset.pairs import PairDataset

    folder = RunFolder(args.out)
    again = f"lia train --resume --out {shlex.quote(str(args.out))}"
    if experiment is None:
        wanted = folder.open()[0]
        if args.dry_run:
            return print_estimate(wanted, None)
    else:
        wanted = experiment
        folder.require_new()
        PairDataset(args.data, "train")
    initial = read_initial_model(args.init, wanted) if args.init else None
    command = repeating_command(args, experiment) if experiment else None
    with (
        telling_what_is_made(folder, f"`{again}`"),
        connected(at_least=wanted.schedule.workers, verbose=args.verbose) as resources,
    ):
        cpus = cpus_of(worker_share(wanted, resources))
        if experiment is not None:
            recorded_training.begin(
                experiment,
                args.data,
                folder,
                vgg=args.vgg,
                initial=initial,
                command=command,
                worker_cpus=cpus,
            )
        for line in how_to_repeat(folder.record().provenance):
            print(line, flush=True)
        trained = recorded_training.go_on(folder, stop_after=args.stop_after, verbose=args.verbose)
    if not trained.complete:
        print(f"stopped after step {trained.step}; `{again}` goes on")
        return 0
    with telling_what_is_made(folder, f"`{again}`"), trained.run as mlflow_run:
        registered = register_run(folder, mlflow_run)
    print(f"trained {trained.step} steps; model in {folder.model}, registered as {registered.words()}")
    checkpoints = CheckpointStore(folder.checkpoints)
    if best := checkpoints.best():
        print(f"best checkpoint by held-out L1: {checkpoints.path(best[0])} ({best[1]:.4f})")
    return 0


def print_estimate(experiment: Experiment, dataset: Location | None) -> int:
    """Print what training would take; returns the exit status."""
    from orchestration.training.estimate import estimate
    from orchestration.training.estimate_report import report

    print(report(estimate(experiment, dataset)))
    return 0
