"""What of the table lies in the cache, whole and unchanged."""

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from orchestration.assets import table
from orchestration.assets.asset import Asset, AssetError, UserFile
from pipelines.storage.cache_folder import cache_folder


@dataclass(frozen=True, kw_only=True)
class AssetStatus:
    """One line of what `lia fetch` knows."""

    name: str
    """The asset's name."""
    path: Path
    """Where it is, or would be."""
    cached: bool
    """Whether it is there, whole and unchanged."""
    carrier: str
    """Where it comes from; says so if it is the user who has to bring it."""
    source: str
    """Licence and origin."""


def status(*, cache: Path | None = None) -> list[AssetStatus]:
    """Every asset and user's file, and whether it is cached. Reads the cached files (hundreds of MB a second)."""
    folder = cache or cache_folder()
    from_wheels = [
        AssetStatus(
            name=asset.name,
            path=folder / asset.name,
            cached=is_whole(folder, asset),
            carrier=asset.wheel.described,
            source=asset.source,
        )
        for asset in table.ASSETS.values()
    ]
    from_user = [
        AssetStatus(
            name=file.name,
            path=folder / file.name,
            cached=_has_digest(folder / file.name, file.sha256),
            carrier=_download_by_hand(file),
            source=file.source,
        )
        for file in table.USER_FILES.values()
    ]
    return from_wheels + from_user


def _download_by_hand(file: UserFile) -> str:
    known = "" if file.sha256 else "; there is no digest to tell it by: it is checked where it is used"
    return f"{file.url} ({file.megabytes} MB): download it yourself and put it there{known}"


def brought(file: UserFile, *, cache: Path | None = None) -> Path | None:
    """The path of a file that the user put into the cache; None if there is none.

    Raises AssetError if what is there is not the pinned file.
    """
    path = (cache or cache_folder()) / file.name
    if not path.exists():
        return None
    if not _has_digest(path, file.sha256):
        raise AssetError(
            f"{path}: is not the file that its publisher has: its sha256 should be {file.sha256}. "
            f"Download it again from {file.url}, or remove it."
        )
    return path


def cached(name: str, *, cache: Path | None = None) -> Path | None:
    """The path of an asset or a user's file that the cache holds whole, or None."""
    folder = cache or cache_folder()
    if name in table.USER_FILES:
        return brought(table.USER_FILES[name], cache=folder)
    return folder / name if is_whole(folder, table.ASSETS[name]) else None


def cache_paths(names: Iterable[str]) -> dict[str, Path]:
    """By name, where the cache holds a file or would hold it; whether it does, is not looked at."""
    return {name: cache_folder() / name for name in names}


# Whether the cache holds it. The whole file is hashed each time: a second or less even on slow machines, and
# nothing cheaper (size, time stamp) tells a damaged file from a good one. A converted file has no digest that
# could be pinned (its bytes depend on the safetensors release), so the digest is recorded when it is written.


def is_whole(folder: Path, asset: Asset) -> bool:
    """Whether the cache in `folder` holds the asset as it was published."""
    try:
        found = sha256_of(folder / asset.name)
        if asset.convert is None:
            return found == asset.member_sha256
        return bool(json.loads(_record_path(folder, asset).read_text()) == _record(asset, found))
    except (OSError, json.JSONDecodeError):
        return False


def _has_digest(path: Path, sha256: str | None) -> bool:
    """Whether the file is there and, where a digest is known, has it."""
    try:
        return path.is_file() if sha256 is None else sha256_of(path) == sha256
    except OSError:
        return False


def _record_path(folder: Path, asset: Asset) -> Path:
    return folder / f"{asset.name}.json"


def _record(asset: Asset, sha256: str) -> dict[str, str | int]:
    return {"sha256": sha256, "member_sha256": asset.member_sha256, "recipe": asset.recipe}


def sha256_of(path: Path) -> str:
    """Of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def publish(folder: Path, asset: Asset, member: bytes, temporary: Path) -> None:
    """Put the asset into the cache, whole or not at all."""
    data = member if asset.convert is None else asset.convert(member)
    _replace(folder / asset.name, data, temporary)
    if asset.convert is not None:
        record = _record(asset, hashlib.sha256(data).hexdigest())
        _replace(_record_path(folder, asset), json.dumps(record).encode(), temporary)


def _replace(target: Path, data: bytes, temporary: Path) -> None:
    written = temporary / target.name
    with written.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(written, target)
