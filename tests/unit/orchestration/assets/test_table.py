"""The real table."""

from orchestration.assets.table import ASSETS, USER_FILES
from orchestration.evaluation.instruments import NEEDED


def test_the_table_is_whole():
    for name, asset in ASSETS.items():
        assert name == asset.name
        assert len(asset.wheel.sha256) == len(asset.member_sha256) == 64
        assert asset.wheel.filename.endswith(".whl")
        assert asset.source
    for name, file in USER_FILES.items():
        assert name == file.name
        if file.sha256:
            assert len(file.sha256) == 64
            assert name == file.url.rpartition("/")[2]
        assert name not in ASSETS


def test_every_file_that_a_metric_needs_is_in_it():
    assert {name for names in NEEDED.values() for name in names} <= ASSETS.keys() | USER_FILES.keys()
