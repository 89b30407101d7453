"""On which machines of a cluster which work is done: those that offer the custom resource that a variable names.

LIA_PREPARE_ON names what machines offer that download, decode and write shards; LIA_TRAIN_ON what those offer that run
networks: detectors, training, evaluation. A machine offers it by `ray start --resources '{"NAME": 1000}'`, or by its
node type in cluster.yaml. A variable that is not set leaves its work to any machine.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Literal

Work = Literal["prepare", "train"]
VARIABLES: Mapping[Work, str] = {"prepare": "LIA_PREPARE_ON", "train": "LIA_TRAIN_ON"}
SHARE = 0.001
"""Of the custom resource, that a process asks for: how many fit on a machine is for its processors to say."""

Machine = Mapping[str, float]
"""What one machine of a cluster has, by Ray's names: CPU, GPU, custom resources."""


def kind(work: Work) -> str:
    """The custom resource of machines for this work; empty where any will do."""
    return os.environ.get(VARIABLES[work], "")


def demand(work: Work) -> dict[str, float]:
    """The custom resources that a process of this work asks Ray for."""
    name = kind(work)
    return {name: SHARE} if name else {}


def suits(machine: Machine, work: Work) -> bool:
    """Whether this work may be done there."""
    name = kind(work)
    return machine.get("CPU", 0) >= 1 and (not name or machine.get(name, 0) > 0)


def machines(work: Work) -> list[Machine]:
    """Those of the connected cluster on which this work may be done."""
    return [machine for machine in living() if suits(machine, work)]


def living() -> list[Machine]:
    """All machines of the connected cluster."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def await_machine(work: Work, *, gpus: float = 0) -> Sequence[Machine]:
    """Machines for this work, of which there is one at least; until then the cluster's autoscaler hears of the need."""
    if not any(machine.get("GPU", 0) >= gpus for machine in machines(work)):
        import ray

        name = kind(work)
        wanted = f"that offers {name} ({VARIABLES[work]})" if name else "with a processor to spare"
        have = len(living())
        print(
            f"waiting for a machine {wanted}; none of the {have} of the cluster is one",
            file=sys.stderr,
            flush=True,
        )
        probe = ray.remote(_nothing).options(num_cpus=1, num_gpus=gpus, resources=demand(work))
        ray.get(probe.remote())
    return machines(work)


def _nothing() -> None:
    """What is done on a machine to see that it is there."""
