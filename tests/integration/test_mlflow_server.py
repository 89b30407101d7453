"""A tracking server of MLflow's own, on loopback, that goes away in the middle of a run and comes back."""

import numpy as np
import pytest
from PIL import Image

from orchestration.cli.main import main
from tests.loopback import ServerProcess
from tests.processes import wait_for
from tracking import recorder as recording
from tracking.recorder import Recorder
from tracking.run import Run

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    monkeypatch.setattr(recording, "SEND_SECONDS", 0.2)
    places = [
        *("--backend-store-uri", f"sqlite:///{tmp_path}/mlflow.db"),
        *("--artifacts-destination", str(tmp_path / "artifacts")),
    ]
    server = ServerProcess(
        ["mlflow", "server", "--workers", "1", *places],
        tmp_path / "server.log",
        MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false",
    )
    try:
        server.start()
        yield server
    finally:
        server.kill()


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
