"""Frozen configuration dataclasses to and from JSON, flags and digests.

Fields are addressed by dotted names (`optimiser.lr`). Importing this module is cheap; pydantic loads when a value
is first validated.
"""

import ast
import dataclasses
import difflib
import functools
import inspect
import json
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from orchestration.experiment import Experiment
from pipelines.errors import InputError
from pipelines.storage.atomic import atomic_path

Config = TypeVar("Config")


_CLASS = re.compile(r"^[A-Z]\w*\.")


class ConfigurationError(InputError):
    """A configuration file or flag names an unknown field or an unusable value."""


@dataclasses.dataclass(frozen=True)
class Field:
    """One leaf of a configuration: its dotted name, type, docstring and value."""

    name: str
    kind: Any
    doc: str
    value: object


def to_dict(config: Any) -> dict[str, Any]:
    """Nested plain dict, ready for JSON (tuples become lists)."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain


def fields(config: Any, prefix: str = "") -> Iterator[Field]:
    """All leaves of a configuration, depth first, in order of definition."""
    kind: type = type(config)
    hints, docs = get_type_hints(kind), _field_docs(kind)
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from fields(value, f"{prefix}{field.name}.")
        else:
            yield Field(prefix + field.name, hints[field.name], docs.get(field.name, ""), value)


def override(config: Config, changes: Mapping[str, str], *, origin: str = "flag", prefix: str = "") -> Config:
    """A copy with dotted fields replaced by values given as text ('1e-4', 'true', '1,0.5').

    `prefix` is what the names begin with where `config` is only a section of what the user sees.
    Raises ConfigurationError for an unknown name, a value of the wrong type, or one the configuration refuses.
    """
    tree = to_dict(config)
    known = {field.name: field for field in fields(config, prefix)}
    for name, text in changes.items():
        if name not in known:
            raise ConfigurationError(f"{origin}: {_unknown(name, known)}")
        *parents, leaf = name.removeprefix(prefix).split(".")
        functools.reduce(lambda node, key: node[key], parents, tree)[leaf] = _parse(text, known[name].kind)
    return _validated(type(config), tree, origin, prefix)


def differing(configurations: Sequence[Mapping[str, str]]) -> list[tuple[str, list[str | None]]]:
    """The fields that are not alike in all, by dotted name, each with its values; None where one has no such field."""
    names = sorted(set().union(*configurations))
    rows = [(name, [configuration.get(name) for configuration in configurations]) for name in names]
    return [(name, values) for name, values in rows if len(set(values)) > 1]


def load_experiment(path: Path) -> Experiment:
    """Read a resolved configuration that a run saved (`config.json`)."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(
            f"{path}: there is no such file; give the config.json that a run saved"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path}: not a JSON configuration: {error}") from error
    return experiment_from_dict(tree, origin=str(path))


def experiment_from_dict(tree: object, *, origin: str) -> Experiment:
    """Validate a nested dict; `origin` is named in errors. Fields left out keep their defaults."""
    if not isinstance(tree, dict):
        raise ConfigurationError(f"{origin}: expected an object of fields, got {type(tree).__name__}")
    return _validated(Experiment, tree, origin)


def save(config: Any, path: Path) -> None:
    """Write a configuration as JSON, whole or not at all."""
    with atomic_path(path) as partial:
        partial.write_text(json.dumps(to_dict(config), indent=2) + "\n", encoding="utf-8")


def _validated(kind: type[Config], tree: dict[str, Any], origin: str, prefix: str = "") -> Config:
    from pydantic import TypeAdapter, ValidationError

    unknown = next(_unknown_names(kind, tree), None)
    if unknown:
        raise ConfigurationError(f"{origin}: {unknown}")
    try:
        return TypeAdapter(kind).validate_python(tree)
    except ValidationError as error:
        first = error.errors()[0]
        where = prefix + ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "value_error":
            # Raised by a __post_init__, which begins with Class.field: users know the section, not the class.
            section = f"{where.rstrip('.')}." if where else ""
            raise ConfigurationError(f"{origin}: {re.sub(_CLASS, section, message)}") from None
        if first["type"] == "missing":
            raise ConfigurationError(f"{origin}: the field {where!r} is missing") from None
        raise ConfigurationError(f"{origin}: {where} = {first['input']!r}: {message}") from None


def _unknown_names(kind: Any, tree: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    hints = get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]
    for key, value in tree.items():
        if key not in names:
            yield _unknown(prefix + str(key), [prefix + name for name in names])
        elif dataclasses.is_dataclass(hints[key]) and isinstance(value, dict):
            yield from _unknown_names(hints[key], value, f"{prefix}{key}.")


def _unknown(name: str, known: Mapping[str, Any] | list[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"there is no field {name!r}" + (f"; did you mean {close[0]!r}?" if close else "")


def _parse(text: str, kind: Any) -> object:
    """Flag text to a value that validation can judge."""
    if get_origin(kind) is tuple:
        return [part.strip() for part in text.strip("()[] ").split(",") if part.strip()]
    if get_origin(kind) in (types.UnionType,) and type(None) in get_args(kind) and text.lower() == "none":
        return None
    return text


@functools.cache
def _field_docs(kind: type) -> dict[str, str]:
    """The string literal under each field of a dataclass, by field name."""
    (definition,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(definition, ast.ClassDef)
    docs = {}
    for statement, following in zip(definition.body, definition.body[1:], strict=False):
        if (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and isinstance(following, ast.Expr)
            and isinstance(following.value, ast.Constant)
        ):
            docs[statement.target.id] = inspect.cleandoc(str(following.value.value))
    return docs
