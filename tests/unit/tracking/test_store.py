import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tracking import registry
from tracking import store as store_module
from tracking.errors import TrackingError, naming_store, without_credentials
from tracking.store import connect, database_path, experiment_artifacts, page_command, resolve_tracking_uri


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


def test_default_is_a_file_in_the_working_directory(elsewhere):
    assert resolve_tracking_uri() == f"sqlite:///{elsewhere}/mlflow.db"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("sqlite:///runs/my.db", "sqlite:///{cwd}/runs/my.db"),
        ("sqlite:////data/my.db", "sqlite:////data/my.db"),
        ("http://host:5000", "http://host:5000"),
        ("postgresql://user:word@host/db", "postgresql://user:word@host/db"),
        ("databricks", "databricks"),
    ],
)
def test_environment_variable_is_honoured_and_made_absolute(elsewhere, monkeypatch, given, expected):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", given)
    assert resolve_tracking_uri() == expected.format(cwd=elsewhere)


def test_argument_comes_before_environment(elsewhere, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host:5000")
    assert resolve_tracking_uri("sqlite:////a.db") == "sqlite:////a.db"


@pytest.mark.parametrize("given", ["mlruns", "sqlite:////data/100%/mlflow.db", "sqlite:////data/a?b.db"])
def test_addresses_that_cannot_work_are_refused(given):
    with pytest.raises(TrackingError, match="MLFLOW_TRACKING_URI"):
        resolve_tracking_uri(given)


def test_artifacts_lie_beside_a_sqlite_store_and_names_stay_apart():
    folders = [
        experiment_artifacts("sqlite:////data/x.db", name) for name in ("demo", "a/b", "a b", "...", "é")
    ]
    assert folders[0] == "file:///data/mlartifacts/demo"
    assert len(set(folders)) == len(folders)
    for folder in folders:
        assert Path(unquote(urlsplit(folder).path)).parent == Path("/data/mlartifacts")


def test_servers_choose_where_artifacts_lie():
    assert database_path("http://host") is None
    assert experiment_artifacts("http://host", "demo") is None


def test_store_in_a_folder_with_an_odd_name(tmp_path):
    uri = f"sqlite:///{tmp_path}/new folder/#1 ü/mlflow.db"
    assert connect(uri).search_experiments()[0].name == "Default"
    assert Path(f"{tmp_path}/new folder/#1 ü/mlflow.db").is_file()


@pytest.mark.parametrize("content", [b"not a database", b"SQLite format 3\0 but cut"])
def test_another_kind_of_file_is_refused_and_left_alone(tmp_path, content):
    path = tmp_path / "mlflow.db"
    path.write_bytes(content)
    with pytest.raises(TrackingError, match=r"mlflow\.db.*MLFLOW_TRACKING_URI"):
        connect(f"sqlite:///{path}")
    assert path.read_bytes() == content


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(TrackingError, match="correct MLFLOW_TRACKING_URI"):
        connect(f"sqlite:///{tmp_path}/file/mlflow.db")


@pytest.fixture
def closed_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.mark.parametrize("scheme", ["http", "postgresql"])
def test_server_that_is_not_there_fails_at_once_without_telling_the_password(closed_port, scheme):
    started = time.monotonic()
    with pytest.raises(
        TrackingError, match=f"{scheme}://127.0.0.1:{closed_port}.* does not answer"
    ) as caught:
        connect(f"{scheme}://user:word@127.0.0.1:{closed_port}/x")
    assert time.monotonic() - started < 5
    assert "word" not in str(caught.value)


def test_server_that_hangs_fails_within_the_limit(monkeypatch):
    monkeypatch.setattr(store_module, "ANSWER_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        started = time.monotonic()
        with pytest.raises(TrackingError, match="does not answer"):
            connect(f"http://127.0.0.1:{listener.getsockname()[1]}")
        assert time.monotonic() - started < 5


@pytest.fixture
def server():
    """Starts HTTP servers that answer everything with one status; gives their address."""
    running = []

    def start(status):
        class Answer(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_arguments):
                pass

        running.append(HTTPServer(("127.0.0.1", 0), Answer))
        threading.Thread(target=running[-1].serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{running[-1].server_port}"

    yield start
    for http_server in running:
        http_server.shutdown()
        http_server.server_close()


def test_proxy_without_a_server_behind_it(server):
    with pytest.raises(TrackingError, match="does not answer"):
        connect(server(503))


def test_any_answer_of_its_own_shows_a_server(server):
    connect(server(401))


def test_page_command(monkeypatch):
    program = Path(sys.executable).with_name("mlflow")
    monkeypatch.setattr("shutil.which", lambda _name: "/usr/bin/mlflow")
    assert page_command("http://user:word@host:5000") == "http://host:5000"
    assert page_command("sqlite:////a b/x.db").endswith(
        "ui --backend-store-uri 'sqlite:////a b/x.db' --port 5000"
    )
    monkeypatch.chdir(program.parents[1])
    assert page_command("sqlite:////x.db").startswith(f"{program.parent.name}/mlflow ui ")
    monkeypatch.setattr("shutil.which", lambda _name: str(program))
    assert page_command("sqlite:////x.db").startswith("mlflow ui ")


def test_credentials_are_hidden():
    assert without_credentials("see http://a:b@host/x and mysql://c:d@e") == "see http://host/x and mysql://e"
    assert without_credentials("models:/lia@demo") == "models:/lia@demo"


def test_only_the_first_line_of_an_exception_is_told():
    with pytest.raises(TrackingError) as caught, naming_store("sqlite:////x.db"):
        raise OSError("\nthe disk is full.\nTraceback and SQL ...")
    assert str(caught.value) == "sqlite:////x.db: the disk is full"


def test_a_reader_leaves_no_empty_store_behind(elsewhere):
    with pytest.raises(TrackingError, match=r"mlflow\.db: there is no MLflow store.*MLFLOW_TRACKING_URI"):
        registry.resolve("models:/lia@champion")
    assert not list(elsewhere.iterdir())
