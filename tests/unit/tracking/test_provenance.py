import json
import os
import subprocess
from dataclasses import fields, replace

import pytest

from tracking.provenance import Provenance, digest_config, digest_file, git_state

SAMPLE = Provenance(
    git_commit="a" * 40,
    git_dirty=False,
    config_digest="c",
    lock_digest=None,
    dataset_digest="d",
    platform_version=None,
    python_version="3.11.7",
    torch_version="2.13.0+cpu",
    ray_version=None,
    command="lia run demo --out /o",
    worker_cpus=1,
)


def git(folder, *arguments):
    who = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    subprocess.run(["git", *who, *arguments], cwd=folder, env=environment, check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path):
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / "a.py").write_text("1")
    git(folder, "init")
    git(folder, "add", "a.py")
    git(folder, "commit", "-m", "first")
    return folder


def test_there_and_back():
    assert Provenance.from_dict(json.loads(json.dumps(SAMPLE.to_dict()))) == SAMPLE
    assert SAMPLE.to_dict().keys() == {field.name for field in fields(Provenance)}


def test_other_records_are_refused():
    with pytest.raises(ValueError, match=r"missing \['git_commit'\], unknown \['extra'\]"):
        Provenance.from_dict({**{k: v for k, v in SAMPLE.to_dict().items() if k != "git_commit"}, "extra": 1})


def test_records_of_earlier_releases_are_read():
    earlier = {name: value for name, value in SAMPLE.to_dict().items() if name != "command"}
    assert Provenance.from_dict(earlier) == replace(SAMPLE, command=None)


def test_tags_hold_what_is_known():
    tags = SAMPLE.to_tags()
    assert (tags["lia.command"], tags["lia.worker_cpus"]) == ("lia run demo --out /o", "1")
    assert tags["lia.git_dirty"] == "false"
    assert tags["mlflow.source.git.commit"] == tags["lia.git_commit"] == "a" * 40
    assert "lia.lock_digest" not in tags
    assert "mlflow.source.git.commit" not in replace(SAMPLE, git_commit=None).to_tags()


def test_collect(checkout, tmp_path):
    lock = tmp_path / "requirements.lock"
    lock.write_text("torch==2\n")
    found = Provenance.collect(repo=checkout, config_digest="c", lock_file=lock, dataset_digest="d")
    assert len(found.git_commit) == 40
    assert (found.git_dirty, found.config_digest, found.dataset_digest) == (False, "c", "d")
    assert found.lock_digest == digest_file(lock)
    assert found.torch_version


def test_collect_with_nothing_at_hand(tmp_path):
    found = Provenance.collect(repo=tmp_path, lock_file=tmp_path / "none.lock")
    assert (found.git_commit, found.git_dirty, found.lock_digest) == (None, None, None)


def test_config_digest_ignores_order_only():
    assert digest_config({"a": 1, "b": {"c": 2, "d": 3}}) == digest_config({"b": {"d": 3, "c": 2}, "a": 1})
    assert digest_config({"a": 1}) != digest_config({"a": 1.5})


@pytest.mark.parametrize("change", ["edit", "new file"])
def test_changes_are_seen(checkout, change):
    (checkout / ("a.py" if change == "edit" else "b.py")).write_text("2")
    assert git_state(checkout)[1] is True


def test_repository_above_is_not_asked(checkout):
    inner = checkout / "vendor"
    inner.mkdir()
    assert git_state(inner) == (None, None)


def test_broken_repository_does_not_fall_back_to_the_one_above(checkout):
    inner = checkout / "vendor"
    (inner / ".git").mkdir(parents=True)
    assert git_state(inner) == (None, None)


def test_environment_does_not_lead_to_another_repository(checkout, tmp_path, monkeypatch):
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    assert git_state(checkout)[0] is not None


def test_repository_without_a_commit(tmp_path):
    git(tmp_path, "init")
    assert git_state(tmp_path) == (None, None)


def test_no_git(checkout, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert git_state(checkout) == (None, None)


def test_no_program_that_the_repository_names_is_run(checkout, tmp_path):
    trap = tmp_path / "trap.sh"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/sprung\n")
    trap.chmod(0o755)
    git(checkout, "config", "core.fsmonitor", str(trap))
    for hook in ("post-index-change", "post-checkout"):
        (checkout / ".git" / "hooks" / hook).write_text(trap.read_text())
        (checkout / ".git" / "hooks" / hook).chmod(0o755)
    os.utime(checkout / "a.py", (1, 1))  # git would refresh its index
    index = (checkout / ".git" / "index").read_bytes()
    assert git_state(checkout)[1] is False
    assert not (tmp_path / "sprung").exists()
    assert (checkout / ".git" / "index").read_bytes() == index
