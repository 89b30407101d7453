"""A database for studies made once: Optuna takes half a second to create its tables."""

import shutil

import pytest
from optuna.storages import RDBStorage


@pytest.fixture(scope="session")
def blank_database(tmp_path_factory):
    """A SQLite file with Optuna's tables and no study."""
    path = tmp_path_factory.mktemp("blank") / "optuna.db"
    storage = RDBStorage(f"sqlite:///{path}")
    storage.remove_session()
    storage.engine.dispose()
    return path


@pytest.fixture
def sweep_with_database(blank_database, tmp_path):
    """Makes a sweep's folder of this name that has its database already."""
    from orchestration.sweep.plan import SweepFolder

    def make(name: str) -> SweepFolder:
        folder = SweepFolder(tmp_path / name)
        folder.path.mkdir()
        shutil.copy(blank_database, folder.database)
        return folder

    return make
