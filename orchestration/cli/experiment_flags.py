"""`[RECIPE] [--config FILE] [--section.field VALUE]`: how a verb is told which experiment to run."""

import argparse
from collections.abc import Mapping
from pathlib import Path

from orchestration import configuration
from orchestration.cli.model_argument import ACCEPTED
from orchestration.experiment import Experiment
from orchestration.recipes import RECIPES, recipe
from pipelines.errors import InputError

INIT_HELP = (
    f"begin with a trained model: {ACCEPTED}; its image size may be another, and it may have fewer "
    "motion directions"
)
FIELD = "field:"
"""Begins the name under which argparse keeps a field's flag."""


def add_experiment_arguments(parser: argparse.ArgumentParser) -> None:
    """The recipe, a saved configuration, and one flag a field of the configuration."""
    recipes = ", ".join(
        f"{name} ({(make.__doc__ or '').split(':')[0].strip().rstrip('.')})" for name, make in RECIPES.items()
    )
    parser.add_argument("recipe", nargs="?", metavar="RECIPE", help=f"a named experiment: {recipes}")
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="replay a run's config.json instead of a recipe"
    )
    add_field_arguments(parser, recipe("vox256"), "defaults are vox256's")


def add_field_arguments(
    parser: argparse.ArgumentParser, config: object, defaults: str, prefix: str = ""
) -> None:
    """One flag `--prefix.section.field` for each field of a configuration, grouped by section."""
    groups: dict[str, argparse._ArgumentGroup] = {}
    for field in configuration.fields(config, prefix):
        section = field.name.rpartition(".")[0]
        if section not in groups:
            groups[section] = parser.add_argument_group(f"{section or 'experiment'} ({defaults})")
        field_argument(groups[section], field, f"--{field.name}")


def field_argument(
    group: "argparse.ArgumentParser | argparse._ArgumentGroup", field: configuration.Field, flag: str
) -> None:
    """The flag of one field; `given_fields` reports it under the field's name. A switch needs no value."""
    group.add_argument(
        flag,
        dest=FIELD + field.name,
        default=argparse.SUPPRESS,
        metavar="VALUE",
        nargs="?" if field.value is False else None,
        const="true" if field.value is False else None,
        help=f"{field.doc} [{_shown(field.value)}]".replace("%", "%%"),
    )


def resolve_experiment(args: argparse.Namespace, defaults: Mapping[str, str] | None = None) -> Experiment:
    """The experiment that the flags describe; `defaults` replace fields that no flag sets. Raises InputError."""
    if args.config and args.recipe:
        raise InputError(f"give RECIPE ({args.recipe}) or --config ({args.config}), not both")
    if args.config:
        base = configuration.load_experiment(args.config)
    elif args.recipe in RECIPES:
        base = recipe(args.recipe)
    else:
        what = f"there is no recipe {args.recipe!r}" if args.recipe else "name a recipe"
        raise InputError(f"{what}; recipes: {', '.join(RECIPES)}")
    return configuration.override(base, {**(defaults or {}), **given_fields(args)}, origin="command line")


def given_fields(args: argparse.Namespace) -> dict[str, str]:
    """The fields that flags set, by dotted name, as text."""
    return {key.removeprefix(FIELD): value for key, value in vars(args).items() if key.startswith(FIELD)}


def has_overrides(args: argparse.Namespace) -> bool:
    """Whether the command line names a recipe, a configuration or a field."""
    return bool(args.recipe or args.config or given_fields(args))


def _shown(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
