"""The house rules that code must keep: which way imports go, what may be heavy, what every recipe and verb owes."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from orchestration.cli.verbs import VERBS
from orchestration.experiment import Experiment
from orchestration.recipes import RECIPES

ROOT = Path(__file__).parents[2]
PACKAGES = ("lia_model", "pipelines", "orchestration", "tracking")
MAY_IMPORT = {
    "lia_model": {"lia_model"},
    "pipelines": {"pipelines"},
    "tracking": {"tracking"},
    "orchestration": set(PACKAGES),
}
# Folders of `pipelines`, each of which may import those before it.
STAGES = (
    "storage",
    "media",
    "corpus",
    "cropping",
    "preparation",
    "dataset",
    "inspection",
    "download",
    "annotation",
)
# What a bare GPU box lacks: the model and its training step must do without.
HEAVY = ("ray", "mlflow", "webdataset", "pyarrow", "av")


def imported_names(path: Path) -> set[str]:
    """Full names of all modules that a file imports (from), at any depth of its code."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module)
    return found


def imported_modules(path: Path) -> set[str]:
    """Top-level names of everything a file imports."""
    return {name.partition(".")[0] for name in imported_names(path)}


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_flow_one_way(package):
    for path in (ROOT / package).rglob("*.py"):
        siblings = imported_modules(path) & set(PACKAGES)
        assert siblings <= MAY_IMPORT[package], (
            f"{path.relative_to(ROOT)} imports {siblings - MAY_IMPORT[package]}"
        )


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_of_the_pipelines_leans_on_earlier_ones_only(stage):
    later = {f"pipelines.{name}" for name in STAGES[STAGES.index(stage) + 1 :]}
    for path in (ROOT / "pipelines" / stage).rglob("*.py"):
        found = {".".join(name.split(".")[:2]) for name in imported_names(path)} & later
        assert not found, f"{path.relative_to(ROOT)} imports {found}"


def test_every_folder_of_the_pipelines_is_a_stage():
    assert {path.parent.name for path in (ROOT / "pipelines").glob("*/__init__.py")} == set(STAGES)


def test_lia_model_imports_only_torch_numpy_and_safetensors():
    allowed = {"lia_model", "torch", "numpy", "safetensors"} | set(sys.stdlib_module_names)
    for path in (ROOT / "lia_model").rglob("*.py"):
        assert imported_modules(path) <= allowed, f"{path.name}: {imported_modules(path) - allowed}"


def _run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        pytest.param("orchestration.training.step", HEAVY, id="training-step-is-plain-pytorch"),
        pytest.param("orchestration.cli", (*HEAVY, "torch", "numpy", "pydantic"), id="command-line-is-light"),
        pytest.param("pipelines.dataset.pairs", ("torch", "ray"), id="reader-needs-no-torch"),
    ],
)
def test_import_stays_light(module, forbidden):
    loaded = _run(f"import sys, {module}; print(*[m for m in {forbidden!r} if m in sys.modules])")
    assert loaded.split() == []


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_instantiates_and_is_documented(name):
    assert isinstance(RECIPES[name](), Experiment)
    assert RECIPES[name].__doc__


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.NAME)
def test_every_verb_answers_help(verb, capsys):
    from orchestration.cli import main

    with pytest.raises(SystemExit) as stopped:
        main([verb.NAME, "--help"])
    assert stopped.value.code == 0
    assert verb.__doc__.splitlines()[0] in capsys.readouterr().out


def test_no_file_has_a_name_that_says_nothing():
    vague = {"utils", "util", "helpers", "common", "misc"}
    assert not [path for package in PACKAGES for path in (ROOT / package).rglob("*.py") if path.stem in vague]
