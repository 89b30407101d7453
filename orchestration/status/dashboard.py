"""Jobs and machines of a Ray cluster, as its dashboard reports them over HTTP.

Not by Ray's own client: that loads for seconds, waits without a limit, and the address here may be a tunnel's.
"""

import json
import os
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from orchestration.status.unreached import Unreached
from tracking.errors import without_credentials

PORT = 8265
ANSWER_SECONDS = 5.0
"""How long the dashboard may be silent."""
MOST_BYTES = 64_000_000
MEGABYTE = float(1 << 20)
"""As Ray counts the memory of GPUs."""
_RUNNING = ("RUNNING", "PENDING")
_USED = re.compile(r"^([0-9.]+)/[0-9.]+ (CPU|GPU)\b", re.MULTILINE)
_RAYS_OWN = re.compile(r"(cpu|gpu|memory|object_store_memory)$|node:|accelerator_type:")
"""Resources that every machine has."""
_OPEN = (
    f"`ray dashboard cluster.yaml` makes that of a cluster answer at http://127.0.0.1:{PORT}; work that was begun "
    "without RAY_ADDRESS has none"
)


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job that was submitted, or a driver that joined."""

    name: str
    status: str
    """PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED."""
    command: str
    began: float | None
    """In seconds since 1970, as `ended`."""
    ended: float | None
    message: str


@dataclass(frozen=True, kw_only=True)
class Machine:
    """One node. What it uses is None where it does not report."""

    kind: str
    alive: bool
    cpus: float
    gpus: float
    cpus_taken: float | None
    """By tasks and actors, of `cpus`; so of GPUs."""
    gpus_taken: float | None
    cpu_percent: float | None
    memory_used: float | None
    """In bytes."""
    memory: float | None
    gpu_percent: tuple[float, ...] = ()
    """Of each GPU that reports."""
    gpu_memory_used: float = 0.0
    """In bytes, of all that report."""
    gpu_memory: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A cluster at one moment."""

    address: str
    jobs: tuple[Job, ...]
    """Those under way first, then the newest."""
    machines: tuple[Machine, ...]


def dashboard_address(given: str | None, environment: Mapping[str, str]) -> str:
    """Where the dashboard is looked for: `given`, RAY_API_SERVER_ADDRESS, RAY_ADDRESS's host, or this machine."""
    address = given or environment.get("RAY_API_SERVER_ADDRESS") or environment.get("RAY_ADDRESS") or ""
    if address.startswith(("http://", "https://")):
        return address.rstrip("/")
    host = urlsplit(address if "://" in address else f"//{address}").hostname
    if not host or address in ("auto", "local"):
        host = "127.0.0.1"
    port = PORT
    if address == given and (found := re.search(r":(\d+)$", address)):
        port = int(found[1])  # RAY_ADDRESS has the port of another service
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def read_token(environment: Mapping[str, str]) -> str | None:
    """The token by which Ray knows its users, from where Ray itself looks for it."""
    if token := environment.get("RAY_AUTH_TOKEN"):
        return token.strip()
    path = environment.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token"
    try:
        return Path(path).expanduser().read_text(encoding="utf-8").strip() or None
    except (OSError, ValueError):
        return None


def read_cluster(address: str, environment: Mapping[str, str] = os.environ) -> Cluster:
    """Ask the dashboard for jobs and machines. Raises Unreached."""
    token = read_token(environment)
    jobs = _ask(address, "/api/jobs/", token)
    nodes = _ask(address, "/nodes?view=summary", token)
    try:
        return Cluster(address=address, jobs=jobs_of(jobs), machines=machines_of(nodes["data"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Unreached(
            "Ray", f"{address} answers in another way than Ray's dashboard does ({error!r})", _OPEN
        ) from error


def jobs_of(answer: list[dict[str, Any]]) -> tuple[Job, ...]:
    """The jobs in an answer of /api/jobs/, without drivers that were not submitted and are over.

    Of those Ray does not know how they ended; each `ray.init` on the cluster was one.
    """
    jobs = [
        Job(
            name=str(job.get("submission_id") or job.get("job_id") or ""),
            status=str(job["status"]),
            command=without_credentials(str(job.get("entrypoint") or "")),
            began=_seconds(job.get("start_time")),
            ended=_seconds(job.get("end_time")),
            message=without_credentials(str(job.get("message") or "")),
        )
        for job in answer
        if job.get("type") != "DRIVER" or job["status"] in _RUNNING
    ]
    return tuple(sorted(jobs, key=lambda job: (job.status not in _RUNNING, -(job.began or 0))))


def machines_of(data: dict[str, Any]) -> tuple[Machine, ...]:
    """The nodes in an answer of /nodes?view=summary, the head first."""
    taken: Mapping[str, str] = data.get("nodeLogicalResources") or {}
    nodes = sorted(data["summary"], key=lambda node: not node["raylet"].get("isHeadNode"))
    return tuple(_machine(node, _taken(node["raylet"], taken)) for node in nodes)


def _taken(raylet: Mapping[str, Any], taken: Mapping[str, str]) -> str:
    """What is in use of a node: told by its id, or, where Ray's older autoscaler runs, by its address."""
    names = (str(raylet.get("nodeId")), str(raylet.get("nodeManagerAddress")))
    return next((taken[name] for name in names if name in taken), "")


def _machine(node: Mapping[str, Any], taken: str) -> Machine:
    raylet = node["raylet"]
    total = raylet.get("resourcesTotal") or {}
    used = {name: float(amount) for amount, name in _USED.findall(taken)}
    gpus = [gpu for gpu in node.get("gpus") or [] if isinstance(gpu, dict)]
    memory = node.get("mem") or [None, None, None, None]
    return Machine(
        kind=_kind(raylet),
        alive=raylet.get("state") == "ALIVE",
        cpus=float(total.get("CPU", 0)),
        gpus=float(total.get("GPU", 0)),
        cpus_taken=used.get("CPU", 0.0) if taken else None,
        gpus_taken=used.get("GPU", 0.0) if taken else None,
        cpu_percent=node.get("cpu"),
        memory=memory[0],
        memory_used=memory[3],
        gpu_percent=tuple(
            float(gpu["utilizationGpu"]) for gpu in gpus if gpu.get("utilizationGpu") is not None
        ),
        gpu_memory_used=sum(MEGABYTE * (gpu.get("memoryUsed") or 0) for gpu in gpus),
        gpu_memory=sum(MEGABYTE * (gpu.get("memoryTotal") or 0) for gpu in gpus),
    )


def _kind(raylet: Mapping[str, Any]) -> str:
    """What a cluster's configuration calls nodes like this one, as far as it says, and what work is placed by."""
    labels = raylet.get("labels") or {}
    names = (labels.get("ray.io/node-group"), raylet.get("nodeTypeName"), raylet.get("instanceTypeName"))
    role = "head" if raylet.get("isHeadNode") else "worker"
    # The dashboard writes train_node as trainNode.
    resources = (
        re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower() for name in raylet.get("resourcesTotal") or {}
    )
    offers = [name for name in resources if not _RAYS_OWN.match(name)]
    return " ".join([str(next(filter(None, names), role)), *sorted(offers)])


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The token is for this address and no other."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _ask(address: str, path: str, token: str | None) -> Any:
    request = urllib.request.Request(address + path)
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    host = urlsplit(address).hostname
    here = [urllib.request.ProxyHandler({})] if host in ("127.0.0.1", "localhost", "::1") else []
    try:
        opener = urllib.request.build_opener(_NoRedirect, *here)
        with opener.open(request, timeout=ANSWER_SECONDS) as answer:
            return json.loads(answer.read(MOST_BYTES))
    except urllib.error.HTTPError as error:
        error.close()
        raise _refused(address, error.code, token) from None
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise Unreached("Ray", f"nothing answers at {address} ({reason})", _OPEN) from None
    except ValueError as error:
        raise Unreached("Ray", f"{address} is not Ray's dashboard ({error})", _OPEN) from None


def _refused(address: str, code: int, token: str | None) -> Unreached:
    if code not in (401, 403):
        return Unreached("Ray", f"{address} answers with status {code}", _OPEN)
    why = "does not take the token that is here" if token else "wants a token, and there is none here"
    return Unreached(
        "Ray",
        f"{address} {why}",
        "`ray get-auth-token` on the cluster's head prints it; put it into a file that RAY_AUTH_TOKEN_PATH names, or "
        "into ~/.ray/auth_token",
    )


def _seconds(milliseconds: object) -> float | None:
    return float(str(milliseconds)) / 1000 if milliseconds else None
