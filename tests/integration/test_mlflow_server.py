"""A tracking server of MLflow's own, on loopback, that goes away in the middle of a run and comes back."""

from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from orchestration.cli.main import main
from tests.loopback import ServerProcess
from tests.postgres import PostgresServer, running_postgres
from tests.processes import wait_for
from tests.small_model import register_small_model
from tracking import recorder as recording
from tracking import registry
from tracking.errors import TrackingError
from tracking.recorder import Recorder
from tracking.run import Run


@dataclass(frozen=True)
class Tracking:
    """A tracking server, and the database server behind it if that is one."""

    server: ServerProcess
    database: PostgresServer | None


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def tracking(request, tmp_path_factory):
    """Started once for all tests: it takes ten seconds and more."""
    folder = tmp_path_factory.mktemp("tracking")
    with ExitStack() as stack:
        database = stack.enter_context(running_postgres()) if request.param == "postgresql" else None
        store = database.create_database("mlflow") if database else f"sqlite:///{folder}/mlflow.db"
        places = ["--backend-store-uri", store, "--artifacts-destination", str(folder / "artifacts")]
        server = ServerProcess(
            ["mlflow", "server", "--workers", "1", *places],
            folder / "server.log",
            MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false",
        )
        stack.callback(server.kill)
        yield Tracking(server, database)


@pytest.fixture
def server(tracking, monkeypatch):
    """The tracking server, which runs, whatever the test before did."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    monkeypatch.setattr(recording, "SEND_SECONDS", 0.2)
    if not tracking.server.answers():
        tracking.server.start()
    return tracking.server


def test_records_of_a_server_that_goes_away_arrive_in_order_when_it_is_back(server, tmp_path):
    run = Run.start("training", tracking_uri=server.uri)
    said: list[str] = []
    recorder = Recorder(tmp_path / "unsent", run.run_id, server.uri, said.append)
    recorder.log_metrics({"loss": 1.0}, 1)
    wait_for(lambda: recorder.waiting() == 0)
    server.kill()
    for step in range(2, 50):
        recorder.log_metrics({"loss": 1 / step}, step)
    recorder.log_image(Image.fromarray(np.zeros((4, 4, 3), np.uint8)), "samples/step-49.png")
    wait_for(lambda: said)
    assert recorder.waiting() == 49
    server.start()
    recorder.close(60)
    assert [message for message in said if not message.startswith("not recorded yet")] == []
    assert run.history("loss") == [(step, 1 / step) for step in range(1, 50)]
    times = [point.timestamp for point in run.client.get_metric_history(run.run_id, "loss")]
    assert times == sorted(times)
    assert run.download("samples/step-49.png", tmp_path).read_bytes().startswith(b"\x89PNG")
    run.end()
    assert run.client.get_run(run.run_id).info.status == "FINISHED"


@pytest.mark.parametrize("tracking", ["postgresql"], indirect=True)
def test_records_arrive_in_order_when_the_database_behind_a_server_is_back(server, tracking, tmp_path):
    run = Run.start("training", tracking_uri=server.uri)
    said: list[str] = []
    recorder = Recorder(tmp_path / "unsent", run.run_id, server.uri, said.append)
    recorder.log_metrics({"loss": 1.0}, 1)
    wait_for(lambda: recorder.waiting() == 0)
    tracking.database.kill()
    for step in range(2, 50):
        recorder.log_metrics({"loss": 1 / step}, step)
    wait_for(lambda: said)
    assert "503" in said[0]
    assert recorder.waiting() == 48
    with pytest.raises(TrackingError, match="503"):
        Run.attach(run.run_id, tracking_uri=server.uri)
    tracking.database.start()
    recorder.close(60)
    assert [message for message in said if not message.startswith("not recorded yet")] == []
    assert run.history("loss") == [(step, 1 / step) for step in range(1, 50)]
    run.end()


def test_models_are_registered_and_found_again(server, tmp_path):
    at = {"tracking_uri": register_small_model(tmp_path, server.uri)}
    first = registry.find("models:/lia@demo", **at)
    assert (first.version, first.aliases, first.tags["l1"]) == (1, ("demo",), "0.1")
    assert first.model_id is not None
    second = registry.register("lia", first.model_id, aliases=("champion",), tags={"l1": 0.2}, **at)
    registry.set_alias("lia", "demo", second.version, **at)
    registry.tag_version(second, {"l1": None, "why": "better"}, **at)
    assert registry.list_models(**at) == ["lia"]
    found = [(version.version, version.aliases) for version in registry.list_versions("lia", **at)]
    assert found == [(1, ()), (2, ("champion", "demo"))]
    tags = registry.find("models:/lia@champion", **at).tags
    assert tags["why"] == "better"
    assert "l1" not in tags
    copied = registry.generator_folder(registry.resolve("models:/lia@demo", to=tmp_path / "copy", **at))
    for name in ("config.json", "model.safetensors"):
        assert (copied / name).read_bytes() == (tmp_path / "generator" / name).read_bytes()


def test_runs_on_a_server_are_compared_as_long_as_it_is_there(server, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    runs = [Run.start("training", name=name, tracking_uri=server.uri) for name in ("first", "second")]
    for run in runs:
        run.log_metrics({"loss/l1": 1.0}, 1)
        run.log_image(np.zeros((4, 4, 3), np.uint8), "samples/step-00000001.png")
        run.end()
    command = ["compare", *(run.run_id for run in runs), "--out"]
    assert main([*command, "page"]) == 0
    written = {path.name for path in (tmp_path / "page").iterdir()}
    assert written == {"index.html", "run-1-step-00000001.png", "run-2-step-00000001.png"}
    server.kill()
    assert main([*command, "again"]) == 2
    message = capsys.readouterr().err.strip()
    assert f"{server.uri}: the server does not answer" in message
    assert message.count("\n") == 0
    assert not (tmp_path / "again").exists()
