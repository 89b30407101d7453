"""Ray's cluster launcher in a process of its own, which notes each RunInstances request as it is sent.

`python -m tests.launcher_process REQUESTS up ...`: `ray up`, with any arguments.
`python -m tests.launcher_process REQUESTS worker TYPE CONFIG`: what the autoscaler on the head does for a worker, with
the configuration that `ray up` gave the head: launch it, then install and start Ray on it. Prints the instance's id.
"""

import json
import sys
from pathlib import Path

import boto3
from ray.autoscaler._private.aws import node_provider
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.autoscaler.v2.instance_manager.ray_installer import RayInstaller
from ray.core.generated.instance_manager_pb2 import Instance
from ray.scripts.scripts import cli

HEAD_ADDRESS = "10.0.0.1"


def main(requests: str, verb: str, *arguments: str) -> None:
    """Do what the arguments say."""
    node_provider.TAG_BATCH_DELAY = 0  # seconds, to set many nodes' tags at once
    boto3.setup_default_session()

    def note(params: dict, **_: object) -> None:
        with Path(requests).open("a") as file:
            file.write(json.dumps(params) + "\n")

    boto3.DEFAULT_SESSION.events.register("provide-client-params.ec2.RunInstances", note)
    if verb == "worker":
        print(start_worker(*arguments))
    else:
        cli([verb, *arguments])


def start_worker(kind: str, config_file: str) -> str:
    """The instance's id."""
    config = AutoscalingConfig(json.loads(Path(config_file).read_text()))
    provider = node_provider.AWSNodeProvider(config.get_config("provider"), config.get_config("cluster_name"))
    tags = {
        "ray-node-type": "worker",
        "ray-user-node-type": kind,
        "ray-node-status": "uninitialized",
        "ray-launch-config": "as in node_config",
        "ray-node-name": "worker",
    }
    (instance_id,) = provider.create_node(config.get_cloud_node_config(kind), tags, 1)
    provider.non_terminated_nodes({})
    instance = Instance(cloud_instance_id=instance_id, instance_type=kind)
    RayInstaller(provider, config).install_ray(instance, HEAD_ADDRESS)
    return str(instance_id)


if __name__ == "__main__":
    main(*sys.argv[1:])
