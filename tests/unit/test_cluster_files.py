"""The cluster launcher's files: valid by Ray's own account, and nothing in them opens a door or costs by surprise."""

import itertools
import os
import re
import shlex
import subprocess

import jsonschema
import pytest
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.autoscaler.v2.instance_manager.config import NodeTypeConfig
from ray.autoscaler.v2.scheduler import (
    ClusterResourceConstraint,
    ResourceDemandScheduler,
    ResourceRequestByCount,
    SchedulingRequest,
)
from ray.autoscaler.v2.utils import ResourceRequestUtil
from ray.core.generated.common_pb2 import LabelSelectorOperator

from pipelines.placement import LABEL
from tests.cluster_files import AWS, EXAMPLES, MARK, ON_PREMISE, PLACEHOLDERS, ROOT, filled

NODES = ROOT / "orchestration" / "nodes"
FILES = pytest.mark.parametrize("name", [AWS, ON_PREMISE])
COMMANDS = [
    "setup_commands",
    "head_setup_commands",
    "worker_setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
]


def config(name: str) -> dict:
    return filled(name, **EXAMPLES[name])


def prepared(name: str) -> dict:
    """As `ray up` has it after its defaults."""
    return prepare_config(config(name))


def node_configs() -> dict[str, dict]:
    return {name: kind["node_config"] for name, kind in config(AWS)["available_node_types"].items()}


def commands(name: str) -> list[str]:
    return list(itertools.chain.from_iterable(config(name).get(key, []) for key in COMMANDS))


@FILES
def test_ray_finds_it_valid(name):
    validate_config(prepared(name))


@FILES
def test_nothing_of_rays_defaults_is_run_on_nodes(name):
    """They install another Ray, and let the dashboard listen everywhere."""
    ready, own = prepared(name), config(name)
    shared = own["setup_commands"]
    assert ready["head_setup_commands"] == shared + own.get("head_setup_commands", [])
    assert ready["worker_setup_commands"] == shared + own.get("worker_setup_commands", [])
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        assert ready[key] == own[key]
    assert not ready["initialization_commands"]


@pytest.mark.parametrize(
    ("name", "placeholder"),
    [(name, placeholder) for name in PLACEHOLDERS for placeholder in PLACEHOLDERS[name]],
)
def test_every_placeholder_that_stays_is_refused_by_name(name, placeholder, tmp_path):
    """Before anything is launched. Groups and images only AWS can know: see test_cluster_launch. Values of settings
    are refused on the head.
    """
    values = {key: value for key, value in EXAMPLES[name].items() if key != placeholder}
    left = filled(name, **values)
    assert MARK in str(left)
    if placeholder in ("group", "image"):
        assert not re.fullmatch(r"(sg|ami)-[0-9a-f]+", PLACEHOLDERS[name][placeholder])
        return
    if placeholder in ("files", "bucket"):
        validate_config(prepare_config(left))
        settings = shlex.split(left["setup_commands"][0])
        run = subprocess.run(
            ["bash", NODES / "settings.sh", *settings[2:]],
            env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 2
        assert MARK in run.stderr
        assert not list((tmp_path / ".lia").iterdir())
        return
    with pytest.raises(jsonschema.ValidationError, match=MARK):
        validate_config(prepare_config(left))


@FILES
def test_no_placeholder_is_forgotten(name):
    assert MARK not in str(config(name))


@FILES
def test_the_head_schedules_no_work(name):
    head = config(name)["head_start_ray_commands"][-1].split()
    assert {"--num-cpus=0", "--num-gpus=0"} <= set(head)


def test_the_head_of_aws_schedules_no_work_for_the_autoscaler_either():
    kinds = config(AWS)["available_node_types"]
    assert kinds[config(AWS)["head_node_type"]]["resources"] == {"CPU": 0, "GPU": 0}


def test_workers_scale_from_zero_and_offer_what_work_asks_for():
    types = config(AWS)["available_node_types"]
    workers = {name: kind for name, kind in types.items() if name != config(AWS)["head_node_type"]}
    assert {name: kind["min_workers"] for name, kind in workers.items()} == {"gpu": 0, "cpu": 0}
    assert {name: kind["resources"] for name, kind in workers.items()} == {
        "gpu": {"train_node": 1000},
        "cpu": {"prepare_node": 1000},
    }


@pytest.mark.parametrize("asked", [32, 160, 256])
def test_when_ray_data_asks_for_processors_no_gpu_node_is_started(asked):
    """It asks for processors alone, and only its label keeps the autoscaler from taking those of GPU nodes."""
    types = config(AWS)["available_node_types"]
    has = {"gpu": {"CPU": 48, "GPU": 4}, "cpu": {"CPU": 32}, "head": {}}
    kinds = {
        name: NodeTypeConfig(
            name=name,
            min_worker_nodes=0,
            max_worker_nodes=kind.get("max_workers", 1),
            resources={**has[name], **kind["resources"]},
            labels=kind.get("labels", {}),
        )
        for name, kind in types.items()
    }
    selector = [[(LABEL, LabelSelectorOperator.LABEL_OPERATOR_IN, [types["cpu"]["labels"][LABEL]])]]
    bundle = ResourceRequestUtil.make({"CPU": 1.0}, label_selectors=selector)
    wanted = ClusterResourceConstraint(
        resource_requests=[ResourceRequestByCount(request=bundle, count=asked)]
    )
    request = SchedulingRequest(
        disable_launch_config_check=True,
        node_type_configs=kinds,
        max_num_nodes=config(AWS)["max_workers"],
        cluster_resource_constraints=[wanted],
    )
    launched = ResourceDemandScheduler(None).schedule(request).to_launch
    assert {launch.instance_type: launch.count for launch in launched} == {"cpu": asked // 32}


def test_preparation_runs_on_spot_and_training_does_not():
    spot = {name: kind.get("InstanceMarketOptions") for name, kind in node_configs().items()}
    assert spot == {"head": None, "gpu": None, "cpu": {"MarketType": "spot"}}


@pytest.mark.parametrize("kind", ["head", "gpu", "cpu"])
def test_every_node_config_has_what_ray_would_choose_badly(kind):
    """Without them: a group that is open to the world, Ubuntu 18.04, and no way to the bucket."""
    node = node_configs()[kind]
    assert node["SecurityGroupIds"] == [EXAMPLES[AWS]["group"]]
    assert node["ImageId"] == EXAMPLES[AWS]["image"]
    assert node["IamInstanceProfile"] == {"Name": "lia-head" if kind == "head" else "lia-worker"}
    assert node["MetadataOptions"]["HttpTokens"] == "required"
    assert all(disk["Ebs"]["Encrypted"] for disk in node["BlockDeviceMappings"])


def test_disks_have_room_for_the_shard_cache():
    cache_gb = int(re.search(r"LIA_CACHE_GB=(\d+)", config(AWS)["setup_commands"][0])[1])
    disk_gb = node_configs()["gpu"]["BlockDeviceMappings"][0]["Ebs"]["VolumeSize"]
    assert disk_gb >= cache_gb + 70 + 80  # as the file's comment has it


def test_the_file_asks_for_no_open_port():
    assert "security_group" not in config(AWS)["provider"]
    assert "0.0.0.0" not in str(config(AWS))


def test_ray_fills_in_what_an_instance_type_has(monkeypatch):
    """Custom resources are kept beside CPUs and GPUs, and the head stays without."""
    sizes = {"m6i.xlarge": (4, 0), "g5.12xlarge": (48, 4), "c6i.8xlarge": (32, 0)}
    instances = [
        {
            "InstanceType": name,
            "VCpuInfo": {"DefaultVCpus": cpus},
            "MemoryInfo": {"SizeInMiB": 1024},
            **(
                {"GpuInfo": {"Gpus": [{"Manufacturer": "NVIDIA", "Name": "A10G", "Count": gpus}]}}
                if gpus
                else {}
            ),
        }
        for name, (cpus, gpus) in sizes.items()
    ]
    monkeypatch.setattr(
        "ray.autoscaler._private.aws.node_provider.list_ec2_instances", lambda *_, **__: instances
    )
    ready = AWSNodeProvider.fillout_available_node_types_resources(prepared(AWS))
    validate_config(ready)
    has = {name: kind["resources"] for name, kind in ready["available_node_types"].items()}
    assert (has["head"]["CPU"], has["head"]["GPU"]) == (0, 0)
    assert (has["gpu"]["CPU"], has["gpu"]["GPU"], has["gpu"]["train_node"]) == (48, 4, 1000)
    assert (has["cpu"]["CPU"], has["cpu"]["prepare_node"]) == (32, 1000)
    assert "GPU" not in has["cpu"]


@FILES
def test_the_token_is_handed_over_as_a_file_and_stands_nowhere(name):
    assert config(name)["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    text = (ROOT / name).read_text()
    assert not re.search(
        r"AKIA|BEGIN .*KEY|RAY_AUTH_TOKEN=|(password|secret)\w*\s*[:=]\s*\S", text, re.IGNORECASE
    )


@FILES
def test_what_is_mounted_is_in_the_checkout_and_not_the_checkout(name):
    mounts = config(name)["file_mounts"]
    own = {remote: local for remote, local in mounts.items() if remote.startswith("~/lia")}
    for remote, local in own.items():
        assert (ROOT / local).exists()
        assert remote == f"~/lia/{local}"
    assert set(own.values()) >= {
        "lia_model", "pipelines", "orchestration", "tracking", "requirements", "pyproject.toml", "Makefile",
        "README.md", "LICENSE", ".git", ".gitignore",
    }  # fmt: skip
    assert not {".", "./", ".venv"} & set(mounts.values())


@FILES
def test_both_run_the_same_scripts_and_those_exist(name):
    used = {word for command in commands(name) for word in shlex.split(command) if word.endswith(".sh")}
    assert used == {
        f"~/lia/orchestration/nodes/{script}"
        for script in ("settings.sh", "install.sh", "start_head.sh", "start_worker.sh")
    }
    assert all((ROOT / word.removeprefix("~/lia/")).is_file() for word in used)


@FILES
def test_the_dashboard_listens_on_loopback(name):
    assert "--dashboard-host=127.0.0.1" in config(name)["head_start_ray_commands"][-1]


def test_workers_on_premise_join_only_with_the_older_autoscaler():
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        assert config(ON_PREMISE)[key][-1].startswith("RAY_enable_autoscaler_v2=0 ")


def test_all_hosts_on_premise_are_in_the_cluster():
    kind = prepared(ON_PREMISE)["available_node_types"]["local.cluster.node"]
    assert (kind["min_workers"], kind["max_workers"]) == (2, 2)


def test_both_files_say_the_same_where_they_can():
    for key in ("file_mounts", "rsync_exclude"):
        assert config(AWS)[key] == config(ON_PREMISE)[key]
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        on_premise = config(ON_PREMISE)[key][-1].removeprefix("RAY_enable_autoscaler_v2=0 ")
        assert config(AWS)[key] == [*config(ON_PREMISE)[key][:-1], on_premise]


@pytest.mark.parametrize("script", sorted(NODES.glob("*.sh")), ids=lambda path: path.name)
def test_scripts_are_bash_that_stops_at_the_first_failure(script):
    subprocess.run(["bash", "-n", str(script)], check=True)
    if script.name not in ("environment.sh", "packages.sh"):  # sourced
        assert script.stat().st_mode & 0o111
        assert "\nset -euo pipefail\n" in script.read_text()
