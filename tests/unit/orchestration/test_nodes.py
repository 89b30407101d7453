"""The scripts that the cluster launcher runs on nodes, in a home folder of the test's."""

import json
import os
import signal
import subprocess
from contextlib import suppress

import pytest

from tests.node_home import NodeHome
from tests.processes import wait_for

START = ("ray", "start", "--address=10.0.0.1:6379")


@pytest.fixture
def node(tmp_path):
    return NodeHome(tmp_path / "home")


def own_address() -> str:
    addresses = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=False).stdout.split()
    return addresses[0] if addresses else pytest.skip("this machine has no address but loopback")


class TestSettings:
    @pytest.mark.parametrize("value", ["300", "10.0.0.1=train 10.0.0.2=prepare", "it's $HOME; `id`", ""])
    def test_values_arrive_as_they_were_given(self, node, value):
        assert node.run("settings.sh", f"LIA_NOTE={value}", "AWS_REGION=us-west-2").returncode == 0
        assert node.variable("LIA_NOTE") == value
        assert node.variable("AWS_REGION") == "us-west-2"

    def test_they_replace_those_of_before(self, node):
        node.run("settings.sh", "LIA_NOTE=1")
        node.run("settings.sh", "LIA_OTHER=2")
        assert node.run("settings.sh").returncode == 0
        assert not (node.path / ".lia" / "settings.sh").read_text()

    @pytest.mark.parametrize(
        "setting",
        [
            "LIA_CACHE_GB=300",
            "LIA_MLFLOW_ARTIFACTS=s3://b/mlflow",
            "LIA_MLFLOW_ARTIFACTS=/mnt/lia/artifacts",
            "LIA_MLFLOW_ARTIFACTS=file:///mnt/lia/artifacts",
            "LIA_SHARED_SOURCE=fs-0123.efs.us-west-2.amazonaws.com:/",
            "LIA_ROLES=",
            "LIA_ROLES=a=train  10.0.0.2=prepare+train",
        ],
    )
    def test_values_that_will_do(self, node, setting):
        assert node.run("settings.sh", setting).returncode == 0

    @pytest.mark.parametrize(
        ("setting", "remedy"),
        [
            *(
                (name, "NAME=VALUE")
                for name in ("PATH=/tmp", "LIA_NOTE", "lia_note=1", "LIA_NOTE 1=2", "; id")
            ),
            *((f"LIA_CACHE_GB={value}", "whole GB") for value in ("300GB", "", "1.5", "-1", "0", "1e3")),
            ("LIA_ROLES=a=train b=both", "HOST=ROLE"),
            ("LIA_ROLES=train", "HOST=ROLE"),
            *((f"LIA_MLFLOW_ARTIFACTS={value}", "s3://BUCKET") for value in ("", "bucket/x", "s3:///x")),
            *((f"LIA_SHARED_SOURCE={value}", "HOST:/FOLDER") for value in ("", "fs-1", "fs-1.efs:", ":/x")),
            *((f"AWS_REGION={value}", "region") for value in ("", "Oregon")),
            ("LIA_ROLES=*", "HOST=ROLE"),
            ("LIA_ROLES=a=train\nb=both", "one line"),
        ],
    )
    def test_anything_else_is_refused_and_changes_nothing(self, node, setting, remedy):
        node.run("settings.sh", "LIA_NOTE=1")
        refused = node.run("settings.sh", "LIA_NOTE=2", setting)
        assert refused.returncode == 2
        assert setting.removeprefix("LIA_ROLES=").removeprefix("a=train ") in refused.stderr
        assert remedy in refused.stderr
        assert node.variable("LIA_NOTE") == "1"
        assert [file.name for file in (node.path / ".lia").iterdir()] == ["settings.sh"]


class TestEnvironment:
    def test_it_asks_for_the_token_and_names_the_nodes_for_each_work(self, node):
        assert node.variable("RAY_AUTH_MODE") == "token"
        assert node.variable("LIA_PREPARE_ON") == "prepare_node"
        assert node.variable("LIA_TRAIN_ON") == "train_node"

    def test_settings_come_before_its_defaults(self, node):
        node.run("settings.sh", "LIA_TRAIN_ON=", "LIA_PREPARE_ON=other")
        assert (node.variable("LIA_TRAIN_ON"), node.variable("LIA_PREPARE_ON")) == ("", "other")

    def test_mlflow_is_on_loopback_unless_it_is_elsewhere(self, node):
        assert node.variable("MLFLOW_TRACKING_URI") == "http://mlflow.example.org"
        del node.variables["MLFLOW_TRACKING_URI"]
        assert node.variable("MLFLOW_TRACKING_URI") == "http://127.0.0.1:5000"

    def test_the_projects_programs_come_first_and_once(self, node):
        source = "source ~/lia/orchestration/nodes/environment.sh; " * 2 + 'echo "$PATH"'
        done = subprocess.run(
            ["bash", "-euc", source], env=node.environment, capture_output=True, text=True, check=True
        )
        programs = f"{node.path}/lia/.venv/bin"
        assert done.stdout.split(os.pathsep)[0] == programs
        assert done.stdout.count(programs) == 1

    @pytest.mark.parametrize(
        ("disk_gb", "given", "kept"), [(450, 300, 300), (450, 200, 200), (250, 300, 100), (150, 300, 20)]
    )
    def test_the_cache_is_no_larger_than_the_nodes_disk_allows(self, node, disk_gb, given, kept):
        node.program("df", f"#!/bin/sh\necho 1G-blocks\necho ' {disk_gb}G'\n")
        node.run("settings.sh", f"LIA_CACHE_GB={given}")
        assert node.variable("LIA_CACHE_GB") == str(kept)

    def test_the_caches_folder_need_not_be_there_yet(self, node):
        node.run("settings.sh", "LIA_CACHE_GB=30", f"LIA_CACHE={node.path}/not/yet")
        assert node.variable("LIA_CACHE") == f"{node.path}/not/yet"
        assert 20 <= int(node.variable("LIA_CACHE_GB")) <= 30

    def test_the_cache_lies_on_the_instances_own_disk_where_there_is_one(self, node):
        node.program("df", "#!/bin/sh\necho 1G-blocks\necho ' 3500G'\n")
        node.program("mountpoint", "#!/bin/sh\nexit 0\n")
        own = node.path / "nvme"
        own.mkdir()
        node.run("settings.sh", "LIA_CACHE_GB=300", f"LIA_NVME={own}")
        assert (node.variable("LIA_CACHE"), node.variable("LIA_CACHE_GB")) == (f"{own}/lia", "3150")


class TestStart:
    @pytest.mark.parametrize("script", ["start_head.sh", "start_worker.sh"])
    def test_ray_inherits_the_environment(self, node, script):
        done = node.run(script, *START)
        assert done.returncode == 0, done.stderr
        started = node.started()
        assert started["arguments"][:2] == ["start", "--address=10.0.0.1:6379"]
        for name in ("RAY_AUTH_MODE", "LIA_PREPARE_ON", "LIA_TRAIN_ON", "MLFLOW_TRACKING_URI"):
            assert started["environment"][name] == node.variable(name)

    @pytest.mark.parametrize("script", ["start_head.sh", "start_worker.sh"])
    def test_without_a_token_nothing_starts(self, node, script):
        (node.path / ".ray" / "auth_token").unlink()
        done = node.run(script, *START)
        assert done.returncode == 1
        assert "~/.ray/auth_token" in done.stderr
        assert node.started() is None

    def test_the_older_autoscaler_may_be_asked_for(self, node):
        node.run("start_head.sh", *START, RAY_enable_autoscaler_v2="0")
        assert node.started()["environment"]["RAY_enable_autoscaler_v2"] == "0"


PREPARE, TRAIN = {"prepare_node": 1000}, {"train_node": 1000}
SMI = '#!/bin/sh\n[ "$1" = --list-gpus ] && {then}\n'


class TestRoles:
    """What a host on premise offers."""

    def offered(self, node: NodeHome, **variables: str) -> dict | None:
        done = node.run("start_worker.sh", *START, **variables)
        assert done.returncode == 0, done.stderr
        arguments = node.started()["arguments"]
        return (
            json.loads(arguments[arguments.index("--resources") + 1]) if "--resources" in arguments else None
        )

    def test_hosts_with_a_gpu_train(self, node):
        node.program("nvidia-smi", SMI.format(then='echo "GPU 0: NVIDIA H200"'))
        assert self.offered(node) == TRAIN

    @pytest.mark.parametrize("then", ["true", "exit 9"], ids=["no-gpu", "no-driver"])
    def test_hosts_without_one_prepare(self, node, then):
        node.program("nvidia-smi", SMI.format(then=then))
        assert self.offered(node) == PREPARE

    @pytest.mark.parametrize(
        ("role", "offers"),
        [
            ("prepare", PREPARE),
            ("train", TRAIN),
            ("prepare+train", PREPARE | TRAIN),
            ("train+prepare", PREPARE | TRAIN),
        ],
    )
    def test_a_role_may_be_given_by_address(self, node, role, offers):
        assert self.offered(node, LIA_ROLES=f"192.0.2.1=prepare {own_address()}={role}") == offers

    def test_a_role_may_be_given_by_name(self, node):
        assert self.offered(node, LIA_ROLES=f"{os.uname().nodename}=train") == TRAIN

    def test_other_hosts_roles_are_theirs(self, node):
        node.program("nvidia-smi", SMI.format(then="true"))
        assert self.offered(node, LIA_ROLES="192.0.2.1=train") == PREPARE

    def test_an_unknown_role_is_refused(self, node):
        done = node.run("start_worker.sh", *START, LIA_ROLES=f"{os.uname().nodename}=both")
        assert done.returncode == 2
        assert "LIA_ROLES: both" in done.stderr
        assert node.started() is None

    def test_on_aws_the_node_type_says_it(self, node):
        assert self.offered(node, RAY_OVERRIDE_RESOURCES='{"GPU":4,"train_node":1000}') is None


class TestSharedFolder:
    def test_it_has_to_be_there(self, node):
        done = node.run("shared_folder.sh", LIA_SHARED=str(node.path / "missing"))
        assert done.returncode == 1
        assert str(node.path / "missing") in done.stderr
        assert node.run("shared_folder.sh").returncode == 0


PYTHON_THAT_MAKES_ENVIRONMENTS = """#!/bin/bash
[ "$1 $2" = "-m venv" ] || exit 0
mkdir -p "$3/bin"
printf '#!/bin/sh\\necho "$@" >>~/pip\\n' >"$3/bin/python"
printf '#!/bin/sh\\necho "$@" >>~/uv\\n[ "$2" = install ] || echo /uv/python3.11\\n' >"$3/bin/uv"
chmod +x "$3"/bin/*
"""


class TestInstall:
    """With stand-ins for make and for the machine's Python; git is git."""

    @pytest.fixture
    def node(self, node):
        self.checkout(node)
        # Asked with -q, make says whether what was made is still good.
        node.program(
            "make", '#!/bin/sh\nif [ "$1" = -q ]; then test -e ~/made; else echo "$@" >>~/made; fi\n'
        )
        node.program("python3.11", "#!/bin/sh\nexit 0\n")
        node.program("apt-get", "#!/bin/sh\necho nothing is to be fetched >&2\nexit 1\n")
        return node

    def checkout(self, node: NodeHome) -> None:
        """A repository of which only a part came along, without its settings."""
        root = node.path / "lia"
        for name in ("docs/page.md", "tests/test.py", "pipelines/code.py"):
            (root / name).parent.mkdir()
            (root / name).write_text(name)
        (root / ".gitignore").write_text(".venv/\norchestration\n")
        for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "all"]):
            who = ["-c", "user.name=n", "-c", "user.email=e"]
            subprocess.run(["git", *who, *command], cwd=root, env=node.environment, check=True)
        for name in ("docs/page.md", "tests/test.py", ".git/config"):
            (root / name).unlink()

    def changes(self, node: NodeHome) -> str:
        command = ["git", "status", "--porcelain"]
        return subprocess.run(
            command, cwd=node.path / "lia", env=node.environment, capture_output=True, text=True, check=True
        ).stdout

    def test_it_is_make_setup_and_one_line_of_bashrc_however_often(self, node):
        for _ in range(2):
            done = node.run("install.sh")
            assert done.returncode == 0, done.stderr
        assert (node.path / "made").read_text() == f"-C {node.path}/lia setup PYTHON=python3.11\n"
        assert (node.path / ".bashrc").read_text().splitlines() == [
            f"source {node.path}/lia/orchestration/nodes/environment.sh"
        ]

    def test_what_was_left_at_home_is_no_change_to_the_code(self, node):
        assert node.run("install.sh").returncode == 0
        assert self.changes(node) == ""
        (node.path / "lia" / "pipelines" / "code.py").write_text("changed")
        assert self.changes(node) == " M pipelines/code.py\n"

    def test_it_goes_on_without_a_repository(self, node):
        subprocess.run(["rm", "-r", str(node.path / "lia" / ".git")], check=True)
        done = node.run("install.sh", GIT_CEILING_DIRECTORIES=str(node.path))
        assert done.returncode == 0, done.stderr
        assert "without a commit" in done.stderr

    def test_without_python_311_uv_fetches_it_and_is_itself_checked_by_digest(self, node):
        node.program("python3.11", "#!/bin/sh\nexit 1\n")
        node.program("python3", PYTHON_THAT_MAKES_ENVIRONMENTS)
        done = node.run("install.sh")
        assert done.returncode == 0, done.stderr
        assert (
            (node.path / "pip")
            .read_text()
            .endswith(f"--no-deps --require-hashes -r {node.path}/lia/orchestration/nodes/uv.txt\n")
        )
        assert (node.path / "uv").read_text().splitlines() == [
            "python install --quiet 3.11.18",
            "python find 3.11.18",
        ]
        assert (node.path / "made").read_text() == f"-C {node.path}/lia setup PYTHON=/uv/python3.11\n"

    def test_it_stops_where_the_shared_folder_is_missing(self, node):
        assert node.run("install.sh", LIA_SHARED="/nowhere/at/all").returncode == 1


class TestKeepRunning:
    @pytest.fixture
    def kept(self, node):
        yield node
        for file in node.path.glob("state/*.pid"):
            with suppress(ProcessLookupError):
                os.killpg(int(file.read_text()), signal.SIGKILL)

    def test_a_second_call_starts_no_second_one(self, kept):
        for _ in range(2):
            assert (
                kept.run("keep_running.sh", "name", "bash", "-c", "echo $$ >>~/runs; sleep 600").returncode
                == 0
            )
            wait_for(lambda: (kept.path / "runs").exists())
        assert len((kept.path / "runs").read_text().splitlines()) == 1

    def test_it_can_be_ended_and_started_again(self, kept):
        command = ("keep_running.sh", "name", "bash", "-c", "echo $$ >>~/runs; sleep 600")
        kept.run(*command)
        wait_for(lambda: (kept.path / "runs").exists())
        os.killpg(int((kept.path / "state" / "name.pid").read_text()), signal.SIGTERM)
        (kept.path / "runs").unlink()

        def again() -> bool:
            kept.run(*command)
            return (kept.path / "runs").exists()

        wait_for(again)

    def test_its_folder_is_nobody_elses_to_read(self, kept):
        kept.run("keep_running.sh", "name", "sleep", "600")
        assert (kept.path / "state").stat().st_mode & 0o777 == 0o700
