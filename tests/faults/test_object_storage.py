"""prepare() into S3: the same files as on a disk, whatever requests fail; and reading them back through the cache."""

import os
from multiprocessing import get_context
from pathlib import Path

import pytest
from pyarrow import fs

from orchestration.cli import main
from orchestration.cluster import start_locally
from pipelines.dataset.pairs import PairDataset
from pipelines.preparation.watching import read_progress
from pipelines.storage.location import parse_location
from tests.faulty_http import before, first, serving
from tests.processes import PATIENCE
from tests.s3_server import BUCKET, SECRET, bucket_bytes, moto_server, using_s3
from tests.small_corpus import CONFIG, FAILURES, SOUND_CLIPS, folder_bytes, prepare_without_ray, write_corpus

# Ray Data copies its settings, deprecated ones included, and warns itself of them.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")


@pytest.fixture(scope="module")
def s3():
    """A server before moto's S3, and this process and its children set up to use it."""
    with (
        moto_server() as url,
        serving(before(url.removeprefix("http://"))) as proxy,
        using_s3(proxy.url, AWS_MAX_ATTEMPTS="3"),
    ):
        yield proxy


@pytest.fixture(scope="module", autouse=True)
def cluster(s3):
    import ray

    start_locally(num_cpus=2, logging_level="ERROR", log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture
def server(s3):
    s3.requests.clear()
    yield s3
    s3.fault = lambda method, path: None


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    root = tmp_path_factory.mktemp("corpus")
    metadata, _ = write_corpus(root)
    return root, metadata


@pytest.fixture(scope="module")
def on_disk(corpus, tmp_path_factory):
    """What the same corpus gives on a disk."""
    out = tmp_path_factory.mktemp("disk") / "out"
    prepare_without_ray(corpus[1], CONFIG, corpus[0] / "videos", out)
    return folder_bytes(out)


def files(**options):
    return fs.S3FileSystem(endpoint_override=os.environ["AWS_ENDPOINT_URL"], **options)


def prepare(corpus: tuple[Path, object], folder: str) -> int:
    root = corpus[0]
    return main(
        [
            "prepare", "--dataset", "taichi", "--metadata", str(root / "metadata.csv"),
            "--videos", str(root / "videos"), "--out", f"s3://{BUCKET}/{folder}",
            "--prepare.size", str(CONFIG.size), "--prepare.shard_mb", str(CONFIG.shard_mb),
        ]
    )  # fmt: skip


FAULTS = {"train-000000.tar": 500, "train-000001.tar": 503, "train-000002.tar": "cut", "outcomes/": 500}


@pytest.fixture(scope="module")
def published(s3, corpus):
    """A dataset whose uploads all failed at first, in several ways."""
    faults = [first(1, fault, method="PUT", part=part) for part, fault in FAULTS.items()]
    s3.fault = lambda method, path: next(filter(None, (fault(method, path) for fault in faults)), None)
    status = prepare(corpus, "published")
    s3.fault = lambda method, path: None
    return "published", status


def test_requests_that_fail_at_first_change_nothing(published, on_disk):
    folder, status = published
    assert status == 0
    assert bucket_bytes(folder) == on_disk


def test_a_shard_that_cannot_be_uploaded_ends_the_run_and_the_rerun_finishes(server, corpus, on_disk, capfd):
    server.fault = lambda method, path: 503 if method == "PUT" and "train-000001.tar" in path else None
    assert prepare(corpus, "stopped") == 1
    message = capfd.readouterr().err.splitlines()[-1]
    assert message.startswith(f"lia prepare: s3://{BUCKET}/stopped/train-000001.tar: cannot be written (")
    assert message.endswith("the same command goes on from there.")
    left = bucket_bytes("stopped")
    assert "dataset.json" not in left
    assert "train-000001.tar" not in left
    assert all(on_disk[name] == data for name, data in left.items())
    server.fault = lambda method, path: None
    where = parse_location(f"s3://{BUCKET}/stopped")
    seen = read_progress(where, seconds=PATIENCE)
    later = bucket_bytes("stopped")  # a worker may finish the shard in hand after the run has ended
    assert seen.state == "unfinished"
    assert _records(left) <= seen.shards <= _records(later)
    assert seen.looked_at == seen.shards < seen.shards_planned
    assert prepare(corpus, "stopped") == 0
    assert bucket_bytes("stopped") == on_disk
    seen = read_progress(where, seconds=PATIENCE)
    assert (seen.state, seen.clips, seen.failed) == (
        "finished",
        SOUND_CLIPS + FAILURES.total(),
        FAILURES.total(),
    )


def _records(files: dict[str, bytes]) -> int:
    return sum(name.endswith(".parquet") for name in files)


def test_nothing_is_written_again_when_all_is_there(server, corpus, published, capfd):
    assert prepare(corpus, published[0]) == 0
    requests = [method for method, path in server.requests if published[0] in path]
    assert requests
    assert not {"PUT", "POST", "DELETE"}.intersection(requests)
    assert "unchanged" in capfd.readouterr().out


def test_a_server_that_is_down_is_named(server, corpus, capfd):
    server.fault = lambda method, path: 500
    assert prepare(corpus, "down") == 1
    message = capfd.readouterr().err
    assert f"s3://{BUCKET}/down/.outcomes/plan.json: cannot be read" in message
    assert len(message.splitlines()) <= 2


def test_a_bucket_that_is_not_there(server, corpus, capfd):
    root = corpus[0]
    status = main(
        ["prepare", "--dataset", "taichi", "--metadata", str(root / "metadata.csv"), "--videos", str(root / "videos"),
         "--out", "s3://nobody-made-this/x"]
    )  # fmt: skip
    message = capfd.readouterr().err
    assert (status, len(message.splitlines())) == (1, 1)
    assert "s3://nobody-made-this/x" in message
    assert "bucket" in message


def test_a_folder_with_other_things_is_refused(server, corpus, capfd):
    with files().open_output_stream(f"{BUCKET}/thesis/thesis.tex") as stream:
        stream.write(b"x")
    assert prepare(corpus, "thesis") == 2
    assert "holds other files" in capfd.readouterr().err
    assert list(bucket_bytes("thesis")) == ["thesis.tex"]


def test_credentials_go_nowhere(server, corpus, published, capfd):
    assert prepare(corpus, published[0]) == 0
    server.fault = lambda method, path: 403
    assert prepare(corpus, published[0]) == 1
    server.fault = lambda method, path: None
    printed = "".join(capfd.readouterr())
    assert "Check the bucket's name, your credentials and rights." in printed
    for text in (printed.encode(), *bucket_bytes(published[0]).values()):
        assert SECRET.encode() not in text
        assert b"AKIAIOSFODNN7EXAMPLE" not in text


def test_pairs_are_read_from_s3(server, corpus, published, on_disk, tmp_path, monkeypatch):
    monkeypatch.setenv("LIA_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "out"
    for name, data in on_disk.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(data)
    server.fault = first(2, 503, method="GET", part="train-0000")
    local, remote = PairDataset(out, "train"), PairDataset(f"s3://{BUCKET}/{published[0]}", "train")
    assert (len(remote), remote.digest, remote.failed) == (len(local), local.digest, local.failed)
    for clip in range(len(local)):
        assert remote.jpeg(clip, 3) == local.jpeg(clip, 3)


def test_forked_readers_make_connections_of_their_own(server, published, tmp_path, monkeypatch):
    """As PyTorch's loader does: the parent opens the dataset, its children read it."""
    monkeypatch.setenv("LIA_CACHE", str(tmp_path))
    dataset = PairDataset(f"s3://{BUCKET}/{published[0]}", "train")
    with get_context("fork").Pool(2) as pool:
        jpegs = pool.starmap(dataset.jpeg, [(0, 3), (0, 4)])
    assert jpegs == [dataset.jpeg(0, 3), dataset.jpeg(0, 4)]
