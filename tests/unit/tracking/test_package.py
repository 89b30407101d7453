"""Packaging with a stand-in script; the real one, loaded in another process, is an integration test."""

import json
from importlib.metadata import PackageNotFoundError, version

import pytest
import yaml

from tracking import package, registry
from tracking.errors import TrackingError
from tracking.package import log_model, pinned_requirements
from tracking.run import Run

SCRIPT = """
import mlflow
import pandas as pd
from mlflow.pyfunc.model import PythonModel

class Echo(PythonModel):
    def predict(self, context, model_input: pd.DataFrame, params=None) -> pd.DataFrame:
        return model_input

mlflow.models.set_model(Echo())
"""
EXAMPLE = {"source": b"\x89PNG", "driving": b"\0\0\0 ftyp"}


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """The files that a package is made of."""
    folder = tmp_path_factory.mktemp("parts")
    for name, text in {
        "generator/config.json": "{}",
        "code/mypackage/__init__.py": "",
        "model.py": SCRIPT,
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "generator" / "model.safetensors").write_bytes(b"weights")
    return {
        "generator": folder / "generator",
        "script": folder / "model.py",
        "code_paths": [folder / "code" / "mypackage"],
        "example": EXAMPLE,
    }


@pytest.fixture(scope="module")
def published(store, parts):
    """(run, registered version) of one packaged model."""
    with Run.start("packages", tracking_uri=store) as run:
        model_id = log_model(run, name="echo", tags={"l1": 0.1, "none": None}, **parts)
    made = registry.register("echo", model_id, aliases=("best",), tags={"l1": 0.1}, tracking_uri=store)
    return run, made


def test_package_holds_code_weights_and_exact_requirements(published, store):
    run, made = published
    folder = registry.resolve(made.uri, tracking_uri=store)
    described = yaml.safe_load((folder / "MLmodel").read_text())
    assert described["flavors"]["python_function"]["loader_module"] == "mlflow.pyfunc.loaders.code_model"
    assert described["run_id"] == run.run_id
    assert (folder / "code" / "mypackage" / "__init__.py").is_file()
    assert (registry.generator_folder(folder) / "model.safetensors").read_bytes() == b"weights"
    assert f"av=={version('av')}" in (folder / "requirements.txt").read_text().splitlines()
    assert not list(folder.rglob("*.pkl"))


def test_signature_and_input_example(published, store):
    from mlflow.models import Model

    folder = registry.resolve(published[1].uri, tracking_uri=store)
    model = Model.load(str(folder))
    assert json.loads(model.signature.to_dict()["params"])[0]["default"] == "absolute"
    example = model.load_input_example(str(folder))
    assert example.iloc[0].to_dict() == EXAMPLE


def test_every_address_leads_to_the_same_package(published, store, tmp_path):
    run, made = published
    addresses = [
        "models:/echo@best",
        "models:/echo/1",
        f"models:/{made.model_id}",
        f"runs:/{run.run_id}/echo",
    ]
    assert len({registry.resolve(address, tracking_uri=store) for address in addresses}) == 1
    copy = registry.resolve("models:/echo@best", to=tmp_path / "copy", tracking_uri=store)
    assert copy.is_relative_to(tmp_path)
    assert registry.generator_folder(copy).is_relative_to(tmp_path)


def test_registered_version_knows_its_origin(published, store):
    run, made = published
    found = registry.find("models:/echo@best", tracking_uri=store)
    assert found == made
    assert (found.run_id, found.version, found.aliases) == (run.run_id, 1, ("best",))
    assert found.tags["l1"] == "0.1"


def test_aliases_move_and_versions_are_listed(published, store):
    second = registry.register("twins", published[1].model_id, aliases=("best",), tracking_uri=store)
    third = registry.register("twins", published[1].model_id, tracking_uri=store)
    registry.set_alias("twins", "best", third.version, tracking_uri=store)
    versions = registry.list_versions("twins", tracking_uri=store)
    assert [(v.version, v.aliases) for v in versions] == [(second.version, ()), (third.version, ("best",))]
    assert {"echo", "twins"} <= set(registry.list_models(tracking_uri=store))


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("models:/echo@nobody", "alias nobody not found"),
        ("models:/echo/99", "version=99"),
        ("models:/nothing/1", "nothing"),
        ("models:/m-0123", "m-0123"),
        ("runs:/{run_id}/other", "no model of that name"),
        ("echo", "not a model's address; write models:/NAME@ALIAS"),
    ],
)
def test_addresses_that_lead_nowhere(published, store, address, message):
    with pytest.raises(TrackingError, match=message):
        registry.resolve(address.format(run_id=published[0].run_id), tracking_uri=store)


def test_unknown_model_has_no_versions(store):
    with pytest.raises(TrackingError, match="no-such-model"):
        registry.list_versions("no-such-model", tracking_uri=store)


def test_other_folders_are_no_packages(tmp_path):
    with pytest.raises(TrackingError, match="not a model packaged"):
        registry.generator_folder(tmp_path)


def test_failed_packaging_is_marked(run, parts, tmp_path):
    broken = tmp_path / "broken.py"
    broken.write_text("raise RuntimeError('no such layer')")
    with pytest.raises(TrackingError, match="no such layer"):
        log_model(run, name="broken", **{**parts, "script": broken})
    models = run.client.search_logged_models([run.experiment_id], filter_string="name = 'broken'")
    assert [str(model.status) for model in models] == ["FAILED"]


def test_no_other_store_is_touched(run, parts, store, monkeypatch, tmp_path):
    import mlflow

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    model_id = log_model(run, name="echo", **parts)
    registry.register("elsewhere", model_id, aliases=("a",), tracking_uri=store)
    registry.resolve("models:/elsewhere@a", tracking_uri=store)
    assert list(tmp_path.iterdir()) == []
    assert mlflow.active_run() is None
    assert not mlflow.is_tracking_uri_set()


def test_requirements_drop_the_build(monkeypatch):
    monkeypatch.setattr(package, "version", lambda project: "2.13.0+cpu" if project == "torch" else "1.2")
    assert pinned_requirements(["torch", "av"]) == ["torch==2.13.0", "av==1.2"]


def test_requirement_that_is_not_installed(monkeypatch):
    def missing(project):
        raise PackageNotFoundError(project)

    monkeypatch.setattr(package, "version", missing)
    with pytest.raises(TrackingError, match="av: not installed"):
        pinned_requirements(["av"])
