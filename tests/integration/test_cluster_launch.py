"""`ray up` on AWS, all of it, against moto's EC2: what is launched, what is run on it, and what is refused.

Programs in ssh's and rsync's place record what they are asked for and report success.
"""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster_files import AWS, MARK, ROOT, filled_text
from tests.launcher_process import HEAD_ADDRESS
from tests.s3_server import moto_server

boto3 = pytest.importorskip("boto3")
pytestmark = pytest.mark.slow

REGION = "us-west-2"
TYPES = ("m6i.xlarge", "g5.12xlarge", "c6i.8xlarge")
TOKEN = "a-token-that-is-nobody-elses"
RECORDER = """#!{python}
import json, os, shutil, sys
with open({home!r} + "/calls", "a") as calls:
    calls.write(json.dumps([os.path.basename(sys.argv[0]), *sys.argv[1:]]) + "\\n")
if sys.argv[-1].endswith("ray_bootstrap_config.yaml"):
    shutil.copy(sys.argv[-2], {home!r} + "/bootstrap.json")
"""


@dataclass
class Account:
    """An account of AWS's with what docs/cluster.md has users make, and a home from which `ray up` is called."""

    endpoint: str
    home: Path
    environment: dict[str, str]
    group: str
    image: str

    @property
    def ec2(self):
        return _client("ec2", self.endpoint)

    def launcher(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Ray's launcher, called in the checkout, as the file names what it mounts from there."""
        return subprocess.run(
            [sys.executable, "-m", "tests.launcher_process", str(self.home / "requests"), *arguments],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def up(self, *unchanged: str) -> subprocess.CompletedProcess[str]:
        """`ray up` with the user's values in the file, but for these placeholders."""
        values = {"group": self.group, "image": self.image, "settings": "- >-"}
        file = self.home / "cluster.yaml"
        file.write_text(filled_text(AWS, **{key: values[key] for key in values if key not in unchanged}))
        return self.launcher("up", "--yes", "--no-config-cache", str(file))

    def requests(self) -> list[dict]:
        """The RunInstances requests, as they were sent."""
        return _json_lines(self.home / "requests")

    def instances(self) -> dict[str, dict]:
        found = self.ec2.describe_instances()["Reservations"]
        return {each["InstanceId"]: each for reservation in found for each in reservation["Instances"]}

    def rules(self) -> dict[str, list]:
        """Who may come in, by security group."""
        found = self.ec2.describe_security_groups()["SecurityGroups"]
        return {group["GroupId"]: group["IpPermissions"] for group in found}

    def calls(self, program: str) -> list[list[str]]:
        """What a program was asked for, in order."""
        return [call[1:] for call in _json_lines(self.home / "calls") if call[0] == program]

    def commands(self) -> list[str]:
        """What nodes were told to run, without the shell around it."""
        whole = (shlex.split(call[-1])[0] for call in self.calls("ssh"))
        return [command.partition("&& (")[2].removesuffix(")") for command in whole]

    def copied(self) -> dict[str, str]:
        """What was copied to nodes, by its path there."""
        return {call[-1].partition(":")[2]: call[-2] for call in self.calls("rsync")}


@pytest.fixture(scope="module")
def server():
    """moto, which knows three types of instances: to describe all of them takes half a minute."""
    pytest.importorskip("moto.server")
    from moto import settings
    from moto.ec2.models import instance_types

    with moto_server() as url, pytest.MonkeyPatch.context() as patch:
        known = {name: instance_types.INSTANCE_TYPES[name] for name in TYPES}
        patch.setattr(instance_types, "INSTANCE_TYPES", known)
        patch.setattr(settings, "ENABLE_AMI_VALIDATION", True)  # as AWS does
        yield url


@contextmanager
def new_account(endpoint: str, home: Path) -> Iterator[Account]:
    """With a group that lets in the office, two roles, and a token at home. Its instances end with it."""
    iam, ec2 = _client("iam", endpoint), _client("ec2", endpoint)
    known = {each["InstanceProfileName"] for each in iam.list_instance_profiles()["InstanceProfiles"]}
    for name in {"lia-head", "lia-worker"} - known:
        iam.create_instance_profile(InstanceProfileName=name)
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    group = ec2.create_security_group(GroupName=home.name, Description="nodes", VpcId=vpc)["GroupId"]
    ec2.authorize_security_group_ingress(
        GroupId=group,
        IpPermissions=[
            {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "198.51.100.0/24"}]},
            {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]},
        ],
    )
    image = ec2.describe_images()["Images"][0]["ImageId"]
    account = Account(endpoint, home, _environment(endpoint, home), group, image)
    yield account
    if instances := list(account.instances()):
        ec2.terminate_instances(InstanceIds=instances)
    for key in ec2.describe_key_pairs()["KeyPairs"]:  # Ray's, whose other half is in this home
        ec2.delete_key_pair(KeyName=key["KeyName"])


@pytest.fixture(scope="module")
def up(server, tmp_path_factory):
    """An account after `ray up`: itself, what the command said, and the rules before."""
    with new_account(server, tmp_path_factory.mktemp("up")) as account:
        before = account.rules()
        done = account.up()
        assert done.returncode == 0, done.stdout
        yield account, done.stdout, before


@pytest.fixture
def account(up):
    return up[0]


def test_ray_up_asks_for_one_instance_the_head(account):
    request = account.requests()[0]
    assert request["InstanceType"] == "m6i.xlarge"
    assert (request["MinCount"], request["MaxCount"]) == (1, 1)
    assert (request["ImageId"], request["SecurityGroupIds"]) == (account.image, [account.group])
    assert request["IamInstanceProfile"] == {"Name": "lia-head"}
    assert request["MetadataOptions"]["HttpTokens"] == "required"
    assert "InstanceMarketOptions" not in request
    (disk,) = request["BlockDeviceMappings"]
    assert disk["Ebs"] == {"VolumeSize": 150, "VolumeType": "gp3", "Encrypted": True}


def test_ec2_has_the_head(account):
    (head,) = (each for each in account.instances().values() if each["InstanceType"] == "m6i.xlarge")
    assert head["ImageId"] == account.image
    assert [group["GroupId"] for group in head["SecurityGroups"]] == [account.group]
    assert head["IamInstanceProfile"]["Arn"].endswith("/lia-head")
    tags = {tag["Key"]: tag["Value"] for tag in head["Tags"]}
    assert (tags["ray-cluster-name"], tags["ray-node-status"]) == ("lia", "up-to-date")


def test_no_security_group_is_made_and_none_opened(up):
    account, _, before = up
    assert account.rules() == before
    assert not [
        rule for rules in before.values() for rule in rules if "0.0.0.0/0" in str(rule) or "::/0" in str(rule)
    ]


def test_the_token_reaches_the_head_as_a_file_and_in_no_command(up):
    account, said, _ = up
    assert account.copied()["~/.ray/auth_token"] == str(account.home / ".ray" / "auth_token")
    assert (
        TOKEN
        not in (account.home / "calls").read_text() + (account.home / "bootstrap.json").read_text() + said
    )


def test_the_project_is_copied_and_not_what_lies_beside_it(account):
    assert {path.rstrip("/") for path in account.copied() if path.startswith("~/lia/")} == {
        f"~/lia/{name}"
        for name in (
            "lia_model", "pipelines", "orchestration", "tracking", "requirements", "pyproject.toml", "Makefile",
            "README.md", "LICENSE", ".git", ".gitignore",
        )
    }  # fmt: skip
    assert all(call[call.index("/config") - 1] == "--exclude" for call in account.calls("rsync"))


def test_the_head_is_set_up_and_started(account):
    scripts = [command for command in account.commands() if "orchestration/nodes" in command][:3]
    names = ["settings.sh", "install.sh", "start_head.sh"]
    assert [name for command, name in zip(scripts, names, strict=True) if name in command] == names
    assert scripts[-1].endswith(
        "start_head.sh ray start --head --port=6379 --num-cpus=0 --num-gpus=0 --dashboard-host=127.0.0.1 "
        "--autoscaling-config=~/ray_bootstrap_config.yaml"
    )
    assert _offered(scripts[-1]) == {"CPU": 0, "GPU": 0}


@pytest.mark.parametrize(
    "warning", ["will not be started", "will not launch", "Failed to autodetect", "default AMI"]
)
def test_ray_has_no_such_warning(up, warning):
    assert warning not in up[1]


@pytest.mark.parametrize(
    ("kind", "instance_type", "market", "offers"),
    [
        pytest.param("gpu", "g5.12xlarge", None, {"CPU": 48, "GPU": 4, "train_node": 1000}, id="gpu"),
        pytest.param("cpu", "c6i.8xlarge", "spot", {"CPU": 32, "prepare_node": 1000}, id="cpu"),
    ],
)
def test_the_head_launches_and_starts_workers(account, kind, instance_type, market, offers):
    """By the configuration that `ray up` gave it, with its mounts where they are on the head."""
    if not (account.home / "lia").exists():
        (account.home / "lia").symlink_to(ROOT)
    before = len(account.commands())
    done = account.launcher("worker", kind, str(account.home / "bootstrap.json"))
    assert done.returncode == 0, done.stdout

    request = account.requests()[-1]
    assert request["InstanceType"] == instance_type
    assert (request["ImageId"], request["SecurityGroupIds"]) == (account.image, [account.group])
    assert request["IamInstanceProfile"] == {"Name": "lia-worker"}
    assert request.get("InstanceMarketOptions", {}).get("MarketType") == market
    assert account.instances()[done.stdout.split()[-1]].get("InstanceLifecycle") == market

    commands = account.commands()[before:]
    assert any("install.sh" in command for command in commands)
    assert not any("start_head.sh" in command for command in commands)
    assert commands[-1].endswith("start_worker.sh ray start --address=$RAY_HEAD_IP:6379")
    assert f"export RAY_HEAD_IP={HEAD_ADDRESS};" in commands[-1]
    offered = _offered(commands[-1])
    assert {name: offered.get(name) for name in offers} == offers
    assert offered.get("GPU", 0) == offers.get("GPU", 0)


@pytest.mark.parametrize(
    ("unchanged", "says"),
    [
        pytest.param(["settings"], MARK, id="settings"),
        pytest.param(["group"], "Failed to detect a security group", id="security-group"),
        pytest.param(["image"], "ami-REPLACE_ME", id="image"),
    ],
)
def test_a_placeholder_that_stays_launches_nothing(server, tmp_path, unchanged, says):
    with new_account(server, tmp_path) as account:
        instances, rules = set(account.instances()), account.rules()
        done = account.up(*unchanged)
        assert done.returncode != 0
        assert says in done.stdout
        assert (set(account.instances()), account.rules()) == (instances, rules)
        assert account.calls("ssh") == []


def _offered(command: str) -> dict[str, float]:
    """What the launcher has a node offer, as a start command hands it over."""
    text = shlex.split(command.partition("RAY_OVERRIDE_RESOURCES=")[2])[0]
    return json.JSONDecoder().raw_decode(text)[0]  # the next command follows without a space


def _environment(endpoint: str, home: Path) -> dict[str, str]:
    """Of a user at `home` whose AWS is at `endpoint`, and whose ssh and rsync only record."""
    programs = home / "programs"
    programs.mkdir()
    for name in ("ssh", "rsync"):
        (programs / name).write_text(RECORDER.format(python=sys.executable, home=str(home)))
        (programs / name).chmod(0o755)
    (home / ".ray").mkdir()
    (home / ".ray" / "auth_token").write_text(TOKEN)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "RAY_"))}
    return kept | {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_EC2_METADATA_DISABLED": "true",
        "RAY_USAGE_STATS_ENABLED": "0",
        "HOME": str(home),
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }


def _client(service: str, endpoint: str):
    return boto3.client(
        service, REGION, endpoint_url=endpoint, aws_access_key_id="testing", aws_secret_access_key="testing"
    )


def _json_lines(file: Path) -> list:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
