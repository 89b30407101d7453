"""The folder that the first download makes."""

import pytest

from pipelines.download.folder import folder_made
from pipelines.errors import InputError, MetadataError


def test_it_is_made_and_may_be_there(tmp_path):
    for _ in range(2):
        with folder_made(tmp_path / "v"):
            assert (tmp_path / "v").is_dir()


def test_it_goes_again_when_the_metadata_is_no_good(tmp_path):
    with pytest.raises(MetadataError), folder_made(tmp_path / "v"):
        raise MetadataError("no good")
    assert list(tmp_path.iterdir()) == []


def test_one_that_was_there_stays(tmp_path):
    with pytest.raises(MetadataError), folder_made(tmp_path):
        raise MetadataError("no good")
    assert tmp_path.is_dir()


def test_a_mistyped_path_is_not_made(tmp_path):
    with (
        pytest.raises(InputError, match="none to make it in"),
        folder_made(tmp_path / "none/v"),
    ):
        pass
