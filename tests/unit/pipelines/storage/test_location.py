"""Paths and URIs of datasets, and the secrets that must not be in them."""

import pickle
from pathlib import Path

import pytest

from pipelines.errors import InputError
from pipelines.storage.location import RemoteFolder, parse_location


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("data/vox", Path("data/vox")),
        (Path("data"), Path("data")),
        ("C:/data", Path("C:/data")),
        ("file:///data/my%20vox", Path("/data/my vox")),
        ("s3://bucket", RemoteFolder("s3://bucket")),
        ("S3://bucket/a/b/", RemoteFolder("s3://bucket/a/b")),
        ("s3://bucket/a?region=eu-west-1", RemoteFolder("s3://bucket/a?region=eu-west-1")),
        ("http://localhost:8000/a", RemoteFolder("http://localhost:8000/a")),
        ("https://[::1]:8000/a", RemoteFolder("https://[::1]:8000/a")),
        ("abfs://container@account.dfs.core.windows.net/a", RemoteFolder("abfs://container@account.dfs.core.windows.net/a")),
        ("hdfs:///a", RemoteFolder("hdfs:///a")),
        ("hdfs://name:9000/a?user=me", RemoteFolder("hdfs://name:9000/a?user=me")),
        ("gs://bucket/a?project_id=p", RemoteFolder("gs://bucket/a?project_id=p")),
        ("file://localhost/data", Path("/data")),
    ],
)  # fmt: skip
def test_what_a_text_names(text, expected):
    assert parse_location(text) == expected
    assert parse_location(parse_location(text)) == expected
    assert pickle.loads(pickle.dumps(parse_location(text))) == expected


def test_names_are_joined_before_the_query():
    folder = RemoteFolder("s3://bucket/a?region=x") / ".outcomes/train 0.parquet"
    assert str(folder) == "s3://bucket/a/.outcomes/train%200.parquet?region=x"
    assert folder.name == "train 0.parquet"


@pytest.mark.parametrize(
    "text",
    [
        "s3://AKIA:hunter2@bucket/a",
        "s3://AKIA:hun/hunter2@bucket/a",
        "s3://AKIA:hunter2/x@bucket",
        "s3://bucket/a?secret_key=hunter2",
        "http://user:hunter2@host/a",
        "https://host:hunter2/a",
        "gs://bucket/a?access_token=hunter2",
        "abfs://c@a.net/x?client_secret=hunter2",
        "https://bucket.s3.amazonaws.com/a?X-Amz-Signature=hunter2",
        "s3://bucket/a#hunter2",
        "https://ghp_hunter2@host/a",
        "s3://AKIAHUNTER2@bucket/a",
        "hdfs://hunter2@name/a",
        "gs://bucket/a?api_key=hunter2",
        "gs://bucket/a?pwd=hunter2",
        "gs://bucket/a?hunter2",
        "s3://bucket/a?endpoint_override=https://me:hunter2@host",
        "s3://bucket/a?endpoint_override=https://me:hunter2%40host",
        "https://host/a?api_key=hunter2",
        "abfs://c:hunter2@a.net/x",
        "abfs://9:hunter2@8/x",
        "http://[hunter2/a",
    ],
)
def test_secrets_are_refused_and_not_repeated(text):
    with pytest.raises(InputError, match="credentials in the environment") as refused:
        parse_location(text)
    assert "hunter2" not in str(refused.value).lower()


@pytest.mark.parametrize("text", ["s3://", "s3:///a", "http:///a", "http://host/a?x=1"])
def test_what_names_no_folder(text):
    with pytest.raises(InputError):
        parse_location(text)


def test_a_server_in_a_file_uri_is_not_taken_for_a_part_of_the_path():
    with pytest.raises(InputError, match="Write file:///PATH"):
        parse_location("file://data/my")
