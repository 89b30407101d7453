import os
import pickle
import random
from pathlib import Path

import pytest
import torch

from lia_model.plain_data import load_plain_data
from lia_model.weights import WeightsError


class Hostile:
    """Creates a file when unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file.pt"


@pytest.fixture
def hostile(tmp_path):
    return Hostile(tmp_path / "owned")


formats = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy-format"])


@formats
def test_reads_tensors_and_plain_values(path, zipped):
    torch.save({"a": torch.ones(2), "b": [1, "x", None]}, path, _use_new_zipfile_serialization=zipped)
    loaded = load_plain_data(path)
    assert loaded["b"] == [1, "x", None]
    assert loaded["a"].tolist() == [1, 1]


@formats
@pytest.mark.parametrize("harmless", [[], [Path]])
def test_pickled_code_is_not_run(path, hostile, zipped, harmless):
    torch.save({"weights": torch.ones(2), "args": hostile}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        WeightsError, match=r"refused: its pickle wants \S*mkdir, which is not plain data"
    ) as caught:
        load_plain_data(path, harmless=harmless)
    assert "\n" not in str(caught.value)
    assert not hostile.marker.exists()


def test_bare_pickle_is_not_run(path, hostile):
    path.write_bytes(pickle.dumps(hostile, protocol=2))
    with pytest.raises(WeightsError, match=r"file\.pt"):
        load_plain_data(path)
    assert not hostile.marker.exists()


def complaint(path):
    """The message of WeightsError, if there is one; any other error ends the test."""
    try:
        load_plain_data(path)
    except WeightsError as error:
        return str(error)
    return ""


@formats
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_damaged_files_are_refused_in_one_line_or_read(path, zipped):
    torch.save({"a": torch.ones(2), "b": [1, "x"]}, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    dice = random.Random(0)
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(dice.choice([1, 3, 20])):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        path.write_bytes(damaged[: dice.randrange(1, len(damaged))] if dice.random() < 0.3 else damaged)
        assert "\n" not in complaint(path)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "the file is empty"),
        (b"not a checkpoint", "not a torch file, or a damaged one"),
        (b"PK\x03\x04 cut zip", "not a torch file, or a damaged one"),
    ],
    ids=["empty", "text", "cut-zip"],
)
def test_refuses_other_files_in_one_line(path, content, what):
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=rf"file\.pt: {what}") as caught:
        load_plain_data(path)
    assert "\n" not in str(caught.value)


def test_absent_file(path):
    with pytest.raises(WeightsError, match=r"file.pt: there is no such file"):
        load_plain_data(path)
