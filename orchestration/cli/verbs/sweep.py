"""Find out which settings are best: Optuna proposes them, every trial is an ordinary training run.

Varies the number of motion directions and lambda (the weight of the perceptual distance), or the fields of --space,
and compares trials on held-out clips. Weak trials are stopped early. A sweep that was killed goes on with --resume:
finished trials are kept, and those under way go on from their last checkpoint. Pictures, a report and the winner's
model are recorded in MLflow.

  --space FIELD=A,B,C          one of these values
  --space FIELD=uniform:A:B    a number between; log:A:B over its logarithm; int:A:B, logint:A:B whole numbers
"""

import argparse
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from orchestration.cli.experiment_flags import (
    add_experiment_arguments,
    given_fields,
    has_overrides,
    resolve_experiment,
)
from orchestration.cli.locations import dataset_location
from orchestration.experiment import Experiment
from orchestration.sweep.objectives import EVALUATED, VALIDATED
from orchestration.sweep.plan import Pruner, Sampler, SweepFolder, SweepPlan, sweep_folder
from orchestration.sweep.space import DEFAULT
from pipelines.errors import InputError
from tracking.errors import without_credentials

if TYPE_CHECKING:
    from orchestration.sweep.space import Space
    from orchestration.training.recorded_training import PerceptualWeights

NAME = "sweep"
HELP = "find the best settings by many short trainings"
RUNGS = 10
"""Validations in a trial, unless --schedule.validate_every says otherwise."""
ONE_WORKER = {"schedule.workers": "1", "schedule.min_workers": "0"}
"""Of a trial, unless flags say otherwise, whatever the recipe has: its batch need not be a multiple of more."""
_FIXED_AT_BEGIN = ("data", "space", "objective", "seed", "sampler", "pruner", "grace", "clips", "vgg")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--study", metavar="NAME", help="name of the new sweep; its folder is OUT/NAME")
    parser.add_argument(
        "--resume", metavar="NAME", help="go on with the sweep of this name, as it was configured"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", default=Path("sweeps"), help="folder of all sweeps [sweeps]"
    )
    parser.add_argument(
        "--data", type=dataset_location, metavar="DIR", help="a dataset that `lia prepare` wrote"
    )
    parser.add_argument(
        "--space",
        action="append",
        metavar="FIELD=VALUES",
        help=f"a field to vary; may be given several times [{' '.join(DEFAULT)}]",
    )
    parser.add_argument(
        "--objective",
        nargs="+",
        metavar="METRIC",
        help="what to optimise on held-out clips, several for a Pareto front: "
        f"{', '.join([*VALIDATED, *EVALUATED])} [l1]",
    )
    parser.add_argument(
        "--trials", type=int, metavar="N", help="trials in all; with --resume, more than before [20]"
    )
    parser.add_argument(
        "--concurrent", type=int, metavar="N", help="trials at once, 0 for what the cluster allows [0]"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="of the proposals [0]")
    parser.add_argument("--sampler", choices=get_args(Sampler), help="Optuna's TPE, or random search [tpe]")
    parser.add_argument(
        "--pruner",
        choices=get_args(Pruner),
        help="what stops weak trials: successive halving (asha), below the median [asha]",
    )
    parser.add_argument(
        "--grace", type=int, metavar="STEPS", help="steps that every trial is given [a tenth]"
    )
    parser.add_argument(
        "--clips",
        type=int,
        metavar="N",
        help="held-out clips for metrics of `lia evaluate`; 0 takes all [16]",
    )
    parser.add_argument(
        "--storage",
        metavar="URL",
        help="the study's database, such as postgresql+psycopg2://HOST/DATABASE [a SQLite file in the folder]",
    )
    parser.add_argument("--price", type=float, metavar="MONEY", help="of a machine-hour, for the forecast")
    parser.add_argument("--dry-run", action="store_true", help="only check everything and print the forecast")
    parser.add_argument("--vgg", type=Path, metavar="FILE", help="torchvision's vgg19-dcbb9e9d.pth")
    add_experiment_arguments(parser)


def run(args: argparse.Namespace) -> int:
    done = 0
    if args.resume is None:
        folder, plan = _new(args)
    else:
        folder, plan = _resumed(args)
        done = _finished(folder, plan, args.storage)
    if args.price is not None and not 0 <= args.price < math.inf:
        raise InputError(f"--price {args.price:g}: give the price of a machine-hour, 0 or more")
    if args.dry_run:
        return _print_forecast(plan, plan.trials - done, args.price)
    from orchestration.cluster import connected
    from orchestration.sweep.slots import find_slots
    from orchestration.sweep.sweep import begin_sweep, run_sweep

    base = plan.experiment()
    try:
        with connected(at_least=base.schedule.workers, verbose=args.verbose) as resources:
            # Before anything is kept: a sweep that cannot run would only be in the way of the next.
            find_slots(base, resources, plan.trials, plan.concurrent)
            if args.resume is None:
                plan = begin_sweep(folder, plan)
            result = run_sweep(folder, plan, storage=args.storage, price=args.price, verbose=args.verbose)
    except KeyboardInterrupt:
        if folder.exists():
            print(f"\n`{folder.resume_command()}` goes on{_with_password(args.storage)}")
        raise
    print(result.closing_words())
    return 0


def _new(args: argparse.Namespace) -> tuple[SweepFolder, SweepPlan]:
    """The sweep that the flags describe, all of it checked. Raises InputError."""
    if not args.study:
        raise InputError("--study NAME is missing: name the sweep, or go on with one by --resume NAME")
    if not all(c.isalnum() or c in "._-" for c in args.study) or args.study.startswith("."):
        raise InputError(f"--study {args.study}: use letters, digits, '.', '_' and '-'")
    if args.data is None:
        raise InputError("--data DIR is missing: name a dataset that `lia prepare` wrote")
    base = sweep_experiment(resolve_experiment(args, ONE_WORKER), set(given_fields(args)))

    from orchestration.sweep.objectives import check_objectives
    from orchestration.sweep.space import read_space, require_choice
    from pipelines.dataset.clip_index import count_clips
    from pipelines.dataset.pairs import PairDataset
    from tracking.store import resolve_tracking_uri

    space = read_space(args.space or DEFAULT, base)
    require_choice(space)
    objectives = check_objectives(args.objective or ["l1"], space, base)
    opened = PairDataset(args.data, "train")
    if opened.size != base.model.image_size:
        raise InputError(
            f"{args.data}: clips are {opened.size} px, the experiment wants {base.model.image_size} px: set "
            f"--model.image_size {opened.size} --prepare.size {opened.size}"
        )
    if not count_clips(args.data)["test"]:
        raise InputError(f"{args.data}: holds no test clips to compare trials on")
    PairDataset(args.data, "test")  # their shards are there
    weights = _perceptual_weights(base, space, args.vgg)
    trials = _at_least(1, args, "trials", 20)
    grace = _at_least(1, args, "grace", max(1, base.schedule.steps // RUNGS))
    pruner: Pruner = args.pruner or ("none" if len(objectives) > 1 else "asha")
    if pruner != "none" and len(objectives) > 1:
        raise InputError(f"--pruner {pruner}: no trial is stopped early for several objectives: leave it out")
    steps = base.schedule.steps
    if (
        args.grace is not None
        and pruner != "none"
        and "schedule.steps" not in space.fields
        and grace >= steps
    ):
        raise InputError(
            f"--grace {grace}: trials have {steps} steps, so none is stopped early: give fewer, or --pruner none"
        )
    plan = SweepPlan(
        name=args.study,
        base=_as_dict(base),
        space=tuple(args.space or DEFAULT),
        objectives=objectives,
        trials=trials,
        seed=args.seed or 0,
        sampler=args.sampler or "tpe",
        pruner=pruner,
        grace=grace,
        clips=_at_least(0, args, "clips", 16),
        concurrent=_at_least(0, args, "concurrent", 0),
        dataset=str(args.data.absolute()),
        dataset_digest=opened.digest,
        vgg=str(weights.path) if weights and args.vgg else None,
        perceptual_sha256=weights.sha256 if weights else None,
        storage=args.storage,
        tracking_uri=resolve_tracking_uri(),
        run_id="",
    )
    _require_networks(plan)
    folder = SweepFolder(args.out / args.study)
    folder.require_new()
    if plan.storage:
        from orchestration.sweep.study import require_new_study

        require_new_study(plan.storage, plan.name)
    return folder, plan


def _perceptual_weights(base: Experiment, space: "Space", vgg: Path | None) -> "PerceptualWeights | None":
    """Of the perceptual term; VGG19's where several kinds are swept. Raises InputError where any are absent."""
    from orchestration.sweep.space import corners
    from orchestration.training.recorded_training import perceptual_weights

    fields = ("loss.perceptual", "loss.perceptual_features")
    kinds = {e.loss.perceptual_features: e for e in corners(space, base, fields) if e.loss.uses_perceptual}
    if not kinds:
        return perceptual_weights(base, vgg)
    wants_file = "vgg19" in kinds
    weights = {
        kind: perceptual_weights(experiment, vgg if kind == "vgg19" or not wants_file else None)
        for kind, experiment in kinds.items()
    }
    return weights["vgg19"] if wants_file else next(iter(weights.values()))


def _resumed(args: argparse.Namespace) -> tuple[SweepFolder, SweepPlan]:
    """The sweep to go on with, with as many trials and places as the flags say. Raises InputError."""
    fixed = [name for name in _FIXED_AT_BEGIN if getattr(args, name) is not None]
    if args.study or fixed or has_overrides(args):
        raise InputError(
            "--resume goes on with the sweep as it was configured: leave all but --out, --trials, --concurrent, "
            "--storage and --price out"
        )
    folder = sweep_folder(args.out, args.resume)
    plan = folder.read()
    trials = _at_least(1, args, "trials", plan.trials)
    if trials < plan.trials:
        raise InputError(f"--trials {trials}: the sweep was begun with {plan.trials}; give as many or more")
    if args.storage and without_credentials(args.storage) != plan.storage:
        where = plan.storage or f"{folder.database}: leave --storage out"
        raise InputError(
            f"--storage {without_credentials(args.storage)}: the study of this sweep is in {where}"
        )

    from pipelines.dataset.pairs import PairDataset
    from pipelines.storage.location import parse_location

    digest = PairDataset(parse_location(plan.dataset), "train").digest
    PairDataset(parse_location(plan.dataset), "test")
    if digest != plan.dataset_digest:
        raise InputError(
            f"{plan.dataset}: the dataset changed since this sweep began (digest {digest[:12]}, then "
            f"{plan.dataset_digest[:12]}); start a new sweep"
        )
    weights = _perceptual_weights(plan.experiment(), plan.read_space(), Path(plan.vgg) if plan.vgg else None)
    if weights and weights.sha256 != plan.perceptual_sha256:
        raise InputError(
            f"{weights.path}: is not the file that this sweep began with (sha256 {weights.sha256[:12]}, then "
            f"{str(plan.perceptual_sha256)[:12]}): put that one back, or start a new sweep"
        )
    extended = replace(plan, trials=trials, concurrent=_at_least(0, args, "concurrent", plan.concurrent))
    return folder, extended


def sweep_experiment(base: Experiment, given: set[str]) -> Experiment:
    """The experiment as a trial wants it where no flag says otherwise: ten validations, a checkpoint with each."""
    schedule = base.schedule
    every = max(1, schedule.steps // RUNGS)
    wanted = {
        "validate_every": every,
        "checkpoint_every": every,
        "sample_every": schedule.steps,
        "keep_checkpoints": 1,
        "log_every": min(schedule.log_every, every),
    }
    left = {name: value for name, value in wanted.items() if f"schedule.{name}" not in given}
    return replace(base, schedule=replace(schedule, **left))


def _as_dict(base: Experiment) -> dict[str, object]:
    from orchestration import configuration

    return configuration.to_dict(base)


def _at_least(least: int, args: argparse.Namespace, name: str, default: int) -> int:
    value: int | None = getattr(args, name)
    if value is not None and value < least:
        raise InputError(f"--{name} {value}: give {least} or more")
    return default if value is None else value


def _require_networks(plan: SweepPlan) -> None:
    """Raise InputError where networks or libraries of the objectives are absent, or find nothing in the clips."""
    from orchestration.evaluation.instruments import choose
    from orchestration.sweep.clip_scores import require_detected
    from orchestration.sweep.objectives import groups_of

    if groups := groups_of(plan.objectives):
        choose(groups, "", "reconstruction")
        require_detected(plan, groups)


def _with_password(storage: str | None) -> str:
    if storage is None or without_credentials(storage) == storage:
        return ""
    return "; give --storage again, too: user name and password are kept nowhere"


def _finished(folder: SweepFolder, plan: SweepPlan, storage: str | None) -> int:
    """Trials that ended for good. Raises InputError where the study is no more: to start Ray takes longer."""
    from orchestration.sweep.study import finished, hindered, open_study, require_space

    with open_study(folder, plan, storage) as study:
        require_space(study, folder, plan)
        return len(finished(study)) - len(hindered(study))


def _print_forecast(plan: SweepPlan, trials: int, price: float | None) -> int:
    if trials <= 0:
        print(f"nothing is left: {plan.trials} of {plan.trials} trials are done")
        return 0
    from orchestration.cluster import Node, Resources, local_cpus
    from orchestration.sweep.forecast import forecast
    from orchestration.sweep.slots import find_slots
    from orchestration.training.measured_step import this_machine

    place = this_machine(plan.experiment())
    here = Resources((Node(local_cpus(), 0 if place.threads else 1),))
    slots = find_slots(plan.experiment(), here, trials, plan.concurrent)
    found = forecast(
        plan.experiment(),
        plan.read_space(),
        slots,
        trials=trials,
        machines=1,
        done=plan.trials - trials,
        objectives=plan.objectives,
        price=price,
    )
    print("\n".join(found.lines()))
    return 0
