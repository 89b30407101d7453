import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from orchestration.evaluation.transfer import TransferPair, pairs_file, transfer_pairs
from pipelines.errors import InputError

PAIR = '{"source": "clip0", "driving": "clip2"}'
PEOPLE = ["ann", "ann", "ben", "cid", "ben", "ann"]


def dataset(root, people=PEOPLE, digest: str = "d"):
    names = [f"clip{number}" for number in range(len(people))]
    return SimpleNamespace(root=root, partition="test", digest=digest, clip_ids=names, people=people)


def test_every_clip_is_a_source_once_and_someone_else_drives(tmp_path):
    pairs = transfer_pairs(dataset(tmp_path))
    assert [pair.source for pair in pairs] == list(range(len(PEOPLE)))
    assert all(PEOPLE[pair.source] != PEOPLE[pair.driving] for pair in pairs)


def test_the_pairs_are_kept_with_the_dataset_and_read_again(tmp_path):
    pairs = transfer_pairs(dataset(tmp_path))
    path = pairs_file(tmp_path, "test")
    document = json.loads(path.read_text())
    document["pairs"][0]["driving"] = "clip3"
    path.write_text(json.dumps(document))
    assert transfer_pairs(dataset(tmp_path)) == [TransferPair(0, 3), *pairs[1:]]


def test_a_dataset_on_a_server_gets_the_same_pairs(tmp_path):
    assert transfer_pairs(dataset("s3://bucket/vox")) == transfer_pairs(dataset(tmp_path))


def test_a_folder_that_cannot_be_written_gets_them_too(tmp_path, capsys, monkeypatch):
    def refuse(path: Path):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("orchestration.evaluation.transfer.atomic_path", refuse)
    assert transfer_pairs(dataset(tmp_path)) == transfer_pairs(dataset("s3://bucket/vox"))
    assert "the pairs are not kept (Read-only file system)" in capsys.readouterr().out


def test_one_person_alone_cannot_be_transferred_to(tmp_path):
    with pytest.raises(InputError, match=r"of one \(ann\): evaluate by reconstruction"):
        transfer_pairs(dataset(tmp_path, ["ann", "ann"]))
    assert not pairs_file(tmp_path, "test").exists()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"dataset_digest": "d", "pairs": [{"source": "clip0", "driving": "clip9"}]}',
        '{"dataset_digest": "d", "pairs": [["clip0", "clip1"]]}',
        '{"dataset_digest": "d", "pairs": []}',
        '{"dataset_digest": "d", "pairs": [{"source": "clip0", "driving": "clip1"}]}',
        '{"dataset_digest": "d", "pairs": [{"source": "clip0", "driving": "clip0"}]}',
        f'{{"dataset_digest": "d", "pairs": [{PAIR}, {PAIR}]}}',
        '{"dataset_digest": "other", "pairs": [{"source": "gone", "driving": "clip2"}]}',
        '{"dataset_digest": "other", "pairs": [{"source": "clip0", "driving": "clip2"}]}',
    ],
)
def test_a_damaged_file_is_named(content, tmp_path):
    path = pairs_file(tmp_path, "test")
    path.write_text(content)
    with pytest.raises(InputError, match=r"transfer-test.json: .*Delete it"):
        transfer_pairs(dataset(tmp_path))
