"""What the processes of a Ray cluster on this machine take, part by part, read from /proc."""

import os
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PARTS = (
    ("tally", b"ray::Tally"),
    ("Ray Data's actors", b"ray::_"),
    ("Ray Data's actors", b"Actor"),
    ("workers", b"ray::"),
    ("gcs", b"gcs_server"),
    ("raylets", b"raylet/raylet"),
    ("agents", b"agent"),
)


@dataclass
class ProcessUse:
    """Processor time since the first look, and most memory, of a driver and all that it started.

    What a process took after the last look at it is lost when it ends.
    """

    driver: int
    _parts: dict[int, str] = field(default_factory=dict)
    _first: dict[int, float] = field(default_factory=dict)
    _last: dict[int, float] = field(default_factory=dict)
    _most: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))

    def look(self) -> None:
        """Read what all have taken so far."""
        new = not self._first
        memory: Counter[str] = Counter()
        for pid, seconds in below(self.driver).items():
            # A worker's title changes with what it does: an idle one may become an actor.
            part = self._parts[pid] = part_of(pid, self.driver)
            self._first.setdefault(pid, seconds if new else 0.0)
            self._last[pid] = seconds
            memory[part] += own_mb(pid)
        for part, megabytes in memory.items():
            self._most[part] = max(self._most[part], megabytes)

    def seconds(self) -> dict[str, float]:
        """Processor time by part."""
        total: defaultdict[str, float] = defaultdict(float)
        for pid, last in self._last.items():
            total[self._parts[pid]] += last - self._first[pid]
        return dict(total)

    def most_mb(self) -> dict[str, int]:
        """By part, the most memory that its processes held for themselves alone at one look; all together."""
        return dict(self._most)

    def processes(self) -> dict[str, int]:
        """How many of each part were seen."""
        return dict(Counter(self._parts.values()))

    @staticmethod
    def peak_mb(pid: int) -> int:
        """Most resident memory of a process."""
        return status_mb(pid, "VmHWM")

    @staticmethod
    def resident_mb(pid: int) -> int:
        """Resident memory of a process now."""
        return status_mb(pid, "VmRSS")

    @staticmethod
    def forget_peak() -> None:
        """Let this process's peak begin anew."""
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")


def part_of(pid: int, driver: int) -> str:
    if pid == driver:
        return "driver"
    command = _read(f"/proc/{pid}/cmdline")
    for name, mark in PARTS:
        if mark in command:
            return "head raylet" if name == "raylets" and b"--head" in command else name
    return "other"


def own_mb(pid: int) -> int:
    """Memory that a process shares with no other, in MB."""
    return status_mb(pid, "RssAnon")


def status_mb(pid: int, name: str) -> int:
    """A line of /proc/PID/status in MB; 0 of a process that has ended."""
    for line in _read(f"/proc/{pid}/status").decode().splitlines():
        if line.startswith(f"{name}:"):
            return round(int(line.split()[1]) * 1024 / 1e6)
    return 0


def below(root: int) -> dict[int, float]:
    """Processor seconds so far of a process and of all that it and they started."""
    children: dict[int, list[int]] = {}
    seconds = {}
    for entry in Path("/proc").glob("[0-9]*"):
        fields = _read(f"{entry}/stat").rpartition(b")")[2].split()
        if fields:
            children.setdefault(int(fields[1]), []).append(int(entry.name))
            seconds[int(entry.name)] = (int(fields[11]) + int(fields[12])) / TICKS
    found, pending = {}, [root]
    while pending:
        pid = pending.pop()
        found[pid] = seconds.get(pid, 0.0)
        pending += children.get(pid, [])
    return found


def _read(path: str) -> bytes:
    """A file of /proc; nothing of a process that has ended."""
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""
