"""On which machines of a cluster which work is done: those that offer the custom resource that a variable names.

LIA_PREPARE_ON names what machines offer that download, decode and write shards; LIA_TRAIN_ON what those offer that run
networks: detectors, training, evaluation. A machine offers it by `ray start --resources '{"NAME": 1000}'`, or by its
node type in cluster.yaml. A variable that is not set leaves its work to any machine.
"""

import os
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pipelines.errors import InputError

Work = Literal["prepare", "train"]
VARIABLES: Mapping[Work, str] = {"prepare": "LIA_PREPARE_ON", "train": "LIA_TRAIN_ON"}
AUTOSCALING = Path("~/ray_bootstrap_config.yaml").expanduser()
"""What `ray up` leaves on the head: which machines the autoscaler may start."""
LABEL = "ray-subcluster"
"""Of a node type: Ray Data asks the autoscaler for processors anywhere, or of nodes with one value of this label."""
SHARE = 0.001
"""Of the custom resource, that a process asks for: how many fit on a machine is for its processors to say."""
ASKED_EVERY_S = 1.0
"""Whether a machine has come."""

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


def on_a_cluster() -> bool:
    """Whether the environment names a cluster, or machines of one."""
    return bool(os.environ.get("RAY_ADDRESS") or any(kind(work) for work in VARIABLES))


def machines(work: Work) -> list[Machine]:
    """Those of the connected cluster on which this work may be done."""
    return [machine for machine in living() if suits(machine, work)]


def expected(work: Work) -> list[Machine]:
    """The same, and those that the autoscaler may start."""
    there = living()
    return [machine for machine in (*there, *coming(there)) if suits(machine, work)]


def living() -> list[Machine]:
    """All machines of the connected cluster."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def coming(alive: Sequence[Machine], config: Path | None = None) -> list[Machine]:
    """Machines that the autoscaler may start beside those alive. Raises InputError for a damaged file."""
    import yaml

    if not on_a_cluster():
        return []
    config = config or AUTOSCALING
    try:
        types = yaml.safe_load(config.read_text(encoding="utf-8"))["available_node_types"]
        kinds = [(dict(found["resources"]), int(found["max_workers"])) for found in types.values()]
        offered = frozenset().union(*(_offers(has) for has, _ in kinds))
        resources = {_shape(has, offered): has for has, _ in kinds}
        left = Counter(_shape(has, offered) for has, most in kinds for _ in range(most))
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise InputError(f"{config}: not what `ray up` writes ({error!r}); run `ray up` again") from error
    left -= Counter(_shape(machine, offered) for machine in alive)
    return [resources[shape] for shape in left.elements()]


def _offers(has: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(name for name, amount in has.items() if name not in ("CPU", "GPU") and amount > 0)


def _shape(has: Mapping[str, Any], offered: frozenset[str]) -> tuple[int, int, frozenset[str]]:
    """By what one tells machines of one type from others: Ray adds resources to those of the type."""
    return int(has.get("CPU", 0)), int(has.get("GPU", 0)), _offers(has) & offered


def cpus(some: Iterable[Machine]) -> int:
    """Of these machines together."""
    return sum(int(machine.get("CPU", 0)) for machine in some)


def label_selector(work: Work) -> dict[str, str]:
    """The label that all living machines for this work have, and no others; empty if there is none."""
    import ray

    mine: set[str] = set()
    others: set[str] = set()
    for node in ray.nodes():
        if node["Alive"]:
            (mine if suits(node["Resources"], work) else others).add(node["Labels"].get(LABEL, ""))
    return {LABEL: mine.pop()} if len(mine) == 1 and not mine & {"", *others} else {}


def await_machine(work: Work, *, gpus: float = 0, useful_cpus: int = 1) -> Sequence[Machine]:
    """Machines for this work, of which there is one at least; until then the cluster's autoscaler hears of the need.

    It hears at once of all the machines that have the `useful_cpus`, as far as it may start them.
    """
    there = machines(work)
    enough = any(machine.get("GPU", 0) >= gpus for machine in there)
    wanted = min(useful_cpus, cpus(expected(work))) - cpus(there)
    if enough and wanted <= 0:
        return there
    import ray

    if not enough:
        name = kind(work)
        needed = f"that offers {name} ({VARIABLES[work]})" if name else "with a processor to spare"
        print(
            f"waiting for a machine {needed}; none of the {len(living())} of the cluster is one",
            file=sys.stderr,
            flush=True,
        )
    probe = ray.remote(_nothing).options(num_cpus=1, num_gpus=gpus, resources=demand(work))
    # A task each, which waits for its processor: that is what the autoscaler goes by.
    probes = [probe.remote() for _ in range(max(1, wanted))]
    while not enough:
        # Not for ever at once: nobody could interrupt a thread that waits so.
        started, _ = ray.wait(probes, num_returns=1, timeout=ASKED_EVERY_S)
        enough = bool(started)
    return machines(work)


def _nothing() -> None:
    """What is done on a machine to see that it is there."""
