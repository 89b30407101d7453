"""The Optuna study of a sweep: its storage, what proposes trials and what stops them, and how they ended.

The study alone knows which trials there are and how they went; whoever opens it can go on. `optuna-dashboard` opens the
same storage.
"""

import hashlib
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import optuna
from optuna.distributions import check_distribution_compatibility
from optuna.exceptions import StorageInternalError
from optuna.pruners import BasePruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from orchestration.sweep.objectives import directions
from orchestration.sweep.plan import PLAN, SweepFolder, SweepPlan
from pipelines.errors import InputError
from tracking.errors import without_credentials

if TYPE_CHECKING:
    from optuna.study import Study

STARTUP_TRIALS = 10
"""Trials proposed at random before TPE has something to learn from."""
REDUCTION = 3
"""Of so many trials that reach a rung, successive halving lets one go on."""
FAILURE, SECONDS, STEP = "failure", "training_seconds", "training_iteration"
"""Attributes of a trial: why it failed, how long it trained, and to which step."""
HINDERED, AGAIN = "hindered", "again"
"""Attributes: whether a trial failed for a reason that lies outside it (a shard that is gone, a full disk), and the
number of such a trial that this one tries again."""
DONE = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


def last_step(trial: FrozenTrial) -> int | None:
    """The last that was heard of; of several objectives, or of a trial without a validation, Optuna knows none."""
    return trial.user_attrs.get(STEP, trial.last_step)


def score(plan: SweepPlan, trial: FrozenTrial, metric: str) -> float | None:
    """A trial's score by this metric; of one that ended early the last that was heard of."""
    if metric in plan.objectives and trial.values:
        return float(trial.values[plan.objectives.index(metric)])
    return trial.user_attrs.get(f"validated/{metric}")


def storage_url(folder: SweepFolder, storage: str | None) -> str:
    """The address of the study's database."""
    return storage or f"sqlite:///{folder.database.absolute()}"


@contextmanager
def open_study(folder: SweepFolder, plan: SweepPlan, storage: str | None = None) -> "Iterator[Study]":
    """The study of a sweep, created where no trial was begun yet. `storage` is the plan's, with its password.

    Raises InputError where the database cannot be opened, or has lost the study.
    """
    url = storage or plan.storage
    own_file = None if url else folder.database
    begun = any(folder.path.glob("trial-*"))
    if own_file and begun and not (own_file.is_file() and own_file.stat().st_size):
        raise _lost(str(own_file))
    with _database(storage_url(folder, url), own_file=own_file, forgotten=not storage) as opened:
        if begun and plan.name not in optuna.get_all_study_names(opened):
            raise _lost(str(own_file or f"--storage {without_credentials(url or '')}"))
        study = optuna.create_study(
            storage=opened,
            study_name=plan.name,
            directions=directions(plan.objectives),
            sampler=sampler(plan, 0),
            pruner=pruner(plan),
            load_if_exists=True,
        )
        if study.metric_names is None:
            _name_objectives(study, plan)
        yield study


_MEND = "Make room, or let this user write there, and go on with --resume"


def _lost(place: str) -> InputError:
    return InputError(
        f"{place}: the study of this sweep is gone, by which its trials are known. Put back a copy of it, or begin "
        "another sweep with --study"
    )


def _name_objectives(study: "Study", plan: SweepPlan) -> None:
    """For the axes of optuna-dashboard."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(list(plan.objectives))


def require_new_study(storage: str, name: str) -> None:
    """Raise InputError where the database cannot be used, or holds a study of this name: it would be gone on with."""
    with _database(storage) as opened:
        if name in optuna.get_all_study_names(opened):
            raise InputError(
                f"--study {name}: {without_credentials(storage)} holds a study of this name already; take another"
            )


@contextmanager
def _database(url: str, *, own_file: Path | None = None, forgotten: bool = False) -> Iterator[RDBStorage]:
    """A database for studies: a sweep's `own_file`, or one whose password may be `forgotten`, as it is kept nowhere."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    opened = None
    try:
        opened = _open_storage(url)
        yield opened
    except (SQLAlchemyError, StorageInternalError) as error:
        reason = without_credentials(str(error.__cause__ or error).splitlines()[0])
        if own_file:
            damaged = "not a database" in reason or "malformed" in reason
            remedy = "Put back a copy of it, or begin another sweep with --study" if damaged else _MEND
            raise InputError(f"{own_file}: cannot be used ({reason}). {remedy}") from None
        raise InputError(
            f"--storage {without_credentials(url)}: cannot be used ({reason}). {_remedy(url, reason, forgotten)}"
        ) from None
    finally:
        if opened is not None:
            opened.remove_session()
            opened.engine.dispose()


def _remedy(url: str, reason: str, forgotten: bool) -> str:
    if url.startswith("sqlite:"):
        return "Correct the path"
    if "password" in reason:
        ways = "in the address, by PGUSER and PGPASSWORD, or by ~/.pgpass"
        kept = " (they are kept nowhere, so again)" if forgotten else ""
        return f"Give user name and password {ways}{kept}"
    kept = "; user name and password are kept nowhere and have to be given again" if forgotten else ""
    return f"Start the server, or correct the address{kept}"


def _open_storage(url: str) -> RDBStorage:
    # Two processes on one SQLite file wait for each other rather than fail: the dashboard may be open.
    waiting = {"connect_args": {"timeout": 60}} if url.startswith("sqlite:") else {"pool_pre_ping": True}
    try:
        return RDBStorage(url, engine_kwargs=waiting)
    except ImportError as error:
        raise InputError(
            f"--storage {without_credentials(url)}: {error.__cause__ or error}. For PostgreSQL write "
            "postgresql+psycopg2://HOST/DATABASE, and pip install 'lia-platform[postgres]'"
        ) from None
    except RuntimeError:  # Optuna's own message takes any other tables for those of a release to come
        raise InputError(
            f"--storage {without_credentials(url)}: holds tables of another program, or another release of Optuna. "
            "Give the sweeps a database of their own, apart from MLflow's"
        ) from None
    except ValueError as error:
        raise InputError(f"--storage {without_credentials(url)}: cannot be used ({error})") from None


def sampler(plan: SweepPlan, number: int) -> BaseSampler:
    """What proposes the trial of this number.

    Made anew for each, with a seed of its own: a sweep that was killed and goes on proposes what it would have.
    """
    seed = int.from_bytes(hashlib.sha256(f"{plan.seed} {number}".encode()).digest()[:4])
    if plan.sampler == "random":
        return RandomSampler(seed=seed)
    return TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS)


def pruner(plan: SweepPlan) -> BasePruner:
    """What stops weak trials; it goes by the study alone, so it knows trials of earlier drivers, too."""
    if plan.pruner == "asha":
        return SuccessiveHalvingPruner(min_resource=plan.grace, reduction_factor=REDUCTION)
    if plan.pruner == "median":
        return MedianPruner(n_startup_trials=4, n_warmup_steps=plan.grace)
    return NopPruner()


def unfinished(study: "Study") -> list[FrozenTrial]:
    """Trials that a driver left when it was killed."""
    return study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))


def finished(study: "Study") -> list[FrozenTrial]:
    """Trials that ended, however, but for those that are tried again."""
    others = replaced(study)
    return [trial for trial in study.get_trials(deepcopy=False, states=DONE) if trial.number not in others]


def require_space(study: "Study", folder: SweepFolder, plan: SweepPlan) -> None:
    """Raise InputError where the plan's space is not that of the trials: Optuna would refuse the next one."""
    space = plan.read_space().distributions()
    for trial in study.get_trials(deepcopy=False):
        for name in {*trial.distributions, *(space if trial.distributions else ())}:
            try:
                check_distribution_compatibility(trial.distributions[name], space[name])
            except (KeyError, ValueError):
                raise InputError(
                    f"{folder.path / PLAN}: the space of {name} is no longer that of trial {trial.number}. Put it back "
                    "as it was, or begin another sweep with --study"
                ) from None


def replaced(study: "Study") -> set[int]:
    """Numbers of the trials that others try again."""
    return {
        trial.user_attrs[AGAIN] for trial in study.get_trials(deepcopy=False) if AGAIN in trial.user_attrs
    }


def proposed(study: "Study") -> int:
    """How many trials the sampler has proposed; those that try others again it has not."""
    return len(study.get_trials(deepcopy=False)) - len(replaced(study))


def was_hindered(trial: FrozenTrial) -> bool:
    """Whether it failed for a reason outside it."""
    return trial.state is TrialState.FAIL and bool(trial.user_attrs.get(HINDERED))


def hindered(study: "Study") -> list[FrozenTrial]:
    """Trials that are to be tried again, and are not yet."""
    return [trial for trial in finished(study) if was_hindered(trial)]


def try_again(study: "Study") -> None:
    """Have trials that were hindered proposed again, from their first step, before any others."""
    for trial in hindered(study):
        study.enqueue_trial(trial.params, user_attrs={AGAIN: trial.number})


def complete(study: "Study") -> list[FrozenTrial]:
    """Trials with scores, in their order."""
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def ranked(plan: SweepPlan, trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """Complete trials, the best in the first objective first."""
    sign = 1 if directions(plan.objectives)[0] == "minimize" else -1
    return sorted(trials, key=lambda trial: (sign * trial.values[0], trial.number))


def best(study: "Study") -> Sequence[FrozenTrial]:
    """The best trial; of several objectives, those that no other beats in all (the Pareto front). Empty if none."""
    if not complete(study):
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return study.best_trials
