"""The one line for a shell that does again what a command line asked for, from any folder."""

import argparse
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from orchestration import configuration
from orchestration.cli.experiment_flags import FIELD
from orchestration.experiment import Experiment
from orchestration.recipes import RECIPES, recipe

PATHS = ("LIA_FFMPEG",)
"""Variables that name files which results depend on. They hold no secrets; of all others none is repeated."""
REGISTRY = ("models:/", "runs:/")
# What concerns this one call; the experiment is written out below.
_LEFT_OUT = ("help", "verbose", "dry_run", "resume", "stop_after", "config", "init")


def repeating_command(
    args: argparse.Namespace,
    experiment: Experiment | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """The command that repeats a parsed command line (`args` has its `verb` and `parser`).

    Paths are absolute. The experiment is a recipe and the fields in which it differs, so that neither a file given by
    --config nor its later changes matter. Variables are repeated where results depend on them. Raises TrackingError
    where --init names a model that is not in the registry.
    """
    environment = os.environ if environment is None else environment
    words = ["lia", args.verb, *(experiment_words(experiment, args.recipe) if experiment else [])]
    for action in args.parser._actions:
        flag = next(iter(reversed(action.option_strings)), None)
        if flag is None or action.dest in _LEFT_OUT or action.dest.startswith(FIELD):
            continue
        value = getattr(args, action.dest)
        words += _words(flag, value) if value != action.default else []
    variables = {
        name: str(_absolute(Path(environment[name]))) if os.sep in environment[name] else environment[name]
        for name in PATHS
        if environment.get(name)
    }
    if init := getattr(args, "init", None):
        reference, store = pinned_model(init)
        words += _words("--init", reference)
        variables |= store
    return " ".join(
        [*(f"{name}={shlex.quote(value)}" for name, value in variables.items()), shlex.join(words)]
    )


def experiment_words(experiment: Experiment, name: str | None = None) -> list[str]:
    """RECIPE and a flag for each field in which the experiment differs from it.

    Without a name it is the recipe of which the experiment differs least.
    """
    if name is None:
        name = min(RECIPES, key=lambda other: len(_differing(experiment, recipe(other))))
    words = [name]
    for field, value in _differing(experiment, recipe(name)).items():
        words += _words(f"--{field}", _text(value))
    return words


def pinned_model(init: str) -> tuple[str, dict[str, str]]:
    """The model to begin with as it is named for good, and the variables by which it is found.

    An alias moves on, so the version that has it now takes its place.
    """
    if not init.startswith(REGISTRY):
        return str(_absolute(Path(init))), {}
    from tracking.registry import find
    from tracking.store import resolve_tracking_uri

    store = resolve_tracking_uri()
    reference = find(init).uri if "@" in init else init
    # An address with a password, or one that may hold it, stays in the environment of whoever repeats the command.
    parts = urlsplit(store)
    return reference, {"MLFLOW_TRACKING_URI": store} if not ("@" in parts.netloc or parts.query) else {}


def _differing(experiment: Experiment, base: Experiment) -> dict[str, object]:
    there = {field.name: field.value for field in configuration.fields(base)}
    return {
        field.name: field.value
        for field in configuration.fields(experiment)
        if field.value != there[field.name]
    }


def _words(flag: str, value: object) -> Sequence[str]:
    if value is None or value is False:
        return []
    if value is True:
        return [flag]
    if hasattr(value, "absolute"):
        value = _absolute(value) if isinstance(value, Path) else value.absolute()  # else an address
    text = str(value)
    return [f"{flag}={text}"] if text.startswith("-") or not text else [flag, text]


def _absolute(path: Path) -> Path:
    """The path without `..`, which would tie it to the folder it was typed in; else links stay as they were given."""
    return path.resolve() if ".." in path.parts else path.absolute()


def _text(value: object) -> str:
    """A field's value as a flag takes it."""
    if isinstance(value, tuple):
        return ",".join(map(repr, value))
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if value is None else str(value)
