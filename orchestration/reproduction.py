"""What a run says of how to repeat it: the command, and on which code and libraries it gives the same again."""

from collections.abc import Mapping
from typing import Any

DIGITS = 12
"""Of a digest, as people compare them."""


def how_to_repeat(provenance: Mapping[str, Any]) -> list[str]:
    """Lines for the terminal, of a run's provenance; none where it has no command."""
    command = provenance.get("command")
    if not command:
        return []
    lines = ["", f"To repeat this run{_code(provenance)} ({_surroundings(provenance)}):", f"  {command}"]
    if "--wait-for first" in command:
        lines.append(
            "  (not to the same bits: with --wait-for first the result depends on how fast shards come)"
        )
    return lines


def _code(provenance: Mapping[str, Any]) -> str:
    commit, dirty = provenance.get("git_commit"), provenance.get("git_dirty")
    if commit is None:
        return ""
    changes = ", with the changes that were not committed" if dirty else ""
    return f", at commit {commit[:DIGITS]}{changes}"


def _surroundings(provenance: Mapping[str, Any]) -> str:
    found = [
        f"{title} {value}"
        for title, name in (("Python", "python_version"), ("torch", "torch_version"), ("ray", "ray_version"))
        if (value := provenance.get(name))
    ]
    if threads := provenance.get("worker_cpus"):
        found.append(f"{threads} thread{'s' if threads > 1 else ''} a worker")
    if lock := provenance.get("lock_digest"):
        found.append(f"requirements/lock.txt {lock[:DIGITS]}")
    return ", ".join(found)
