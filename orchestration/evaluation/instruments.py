"""What an evaluation measures with: pixels, a perceptual network, and detectors of faces or bodies.

The driver finds the weights and says what is absent; actors, on whichever machine, get them as bytes.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from lia_model import metrics as image_metrics
from lia_model.efficientnet import load_efficientnet_lite0
from lia_model.feature_distance import FeatureDistance
from lia_model.inception import load_inception
from lia_model.resnext3d import CLIP_FRAMES, load_resnext3d
from lia_model.weights import WeightsError
from orchestration.assets import cache, table
from orchestration.assets.asset import AssetError
from orchestration.evaluation import bodies, faces, perceptual
from orchestration.evaluation.image_sets import SetMeasure, SetNetwork
from orchestration.evaluation.measures import (
    Amounts,
    FeatureMeasure,
    ImageMeasure,
    ImageMetric,
    Measure,
    SeenMeasure,
)
from orchestration.evaluation.metrics import Group, Protocol
from pipelines.annotation.detectors import read_networks, weights_needed
from pipelines.errors import InputError

# Frame 0 is copied exactly: a PSNR that is not capped would be infinite.
PSNR_CAP_DB = 100.0
PIXELS: Mapping[str, ImageMetric] = {
    "l1": image_metrics.l1,
    "psnr": lambda image, target: image_metrics.psnr(image, target).clamp(max=PSNR_CAP_DB),
    "ssim": image_metrics.ssim,
}
SHOWN: Mapping[str, Group] = {"vox": "face", "taichi": "body", "ted": "body"}
"""What the clips of the datasets show."""
NEEDED: Mapping[Group, tuple[str, ...]] = {
    "pixels": (),
    "vgg16-hed": (table.VGG16_HED.name,),
    "lpips": (table.ALEXNET.name, table.LPIPS_LINEAR.name),
    "frechet": (table.EFFICIENTNET_LITE0.name,),
    "fid": (table.INCEPTION.name,),
    "video-fid": (table.RESNEXT3D.name,),
    "face": tuple(file.name for file in faces.FaceObserver.WEIGHTS),
    "body": weights_needed("body"),
}
LIBRARY: Mapping[Group, tuple[str, str]] = {"face": ("dlib", "faces"), "body": ("ai_edge_litert", "annotate")}
"""The package that a group runs on, and the extra that installs it."""
DISTANCES: Mapping[Group, Callable[..., FeatureDistance]] = {
    "vgg16-hed": perceptual.vgg16_hed_distance,
    "lpips": perceptual.lpips,
}
"""What compares images by features, made from the files that it needs."""
SET_NETWORKS: Mapping[Group, tuple[Callable[[Path], torch.nn.Module], int]] = {
    "frechet": (load_efficientnet_lite0, 1),
    "fid": (load_inception, 1),
    "video-fid": (load_resnext3d, CLIP_FRAMES),
}
"""What sees samples of sets of images, made from the file that it needs, and the frames of a sample."""
METRICS_OF: Mapping[Group, tuple[str, ...]] = {
    "pixels": tuple(PIXELS),
    "vgg16-hed": ("vgg16_hed",),
    "lpips": ("lpips",),
    "frechet": ("frechet_efficientnet_lite0",),
    "fid": ("fid",),
    "video-fid": ("video_fid",),
    "face": ("face_akd", "face_aed", "face_csim", "face_missed"),
    "body": ("body_akd", "body_mkr"),
}
SETS: tuple[Group, ...] = tuple(SET_NETWORKS)
"""What compares any two sets of images."""
IMAGES: tuple[Group, ...] = ("pixels", "vgg16-hed", "lpips", *SETS)
"""What compares any images."""
TRANSFER: tuple[Group, ...] = (*SETS, "face")
"""What goes without a true frame."""
IDENTITY = ("face_aed", "face_csim", "face_missed")
"""What transfer measures of faces: there is no true frame, but the person should stay the same."""


def choose(
    groups: Sequence[Group] | None, dataset: str, protocol: Protocol
) -> tuple[tuple[Group, ...], dict[str, str]]:
    """What to measure, and which metrics are absent, with the reason.

    None stands for all that go with the dataset's name, and absent is what lacks its weights or library; of groups that
    are asked for, InputError says what they lack.
    """
    transfer = protocol != "reconstruction"
    if groups is None:
        shown = [SHOWN[dataset]] if dataset in SHOWN else []
        faceless = transfer and shown == ["body"]
        asked: tuple[Group, ...] = (*IMAGES, *shown) if not transfer else SETS if faceless else TRANSFER
    else:
        asked = tuple(dict.fromkeys(groups))
    if transfer and not set(asked) <= set(TRANSFER):
        raise InputError(
            f"--measure {' '.join(asked)}: transfer has no true frames to compare pixels or poses with: --measure "
            f"{' '.join(TRANSFER)}"
        )
    lacking = {group: why for group in asked if (why := _lack(group))}
    if lacking and (groups is not None or len(lacking) == len(asked)):
        group, why = next(iter(lacking.items()))
        raise InputError(f"{group} metrics: {why}")
    absent = {name: why for group, why in lacking.items() for name in METRICS_OF[group]}
    return tuple(group for group in asked if group not in lacking), absent


def _lack(group: Group) -> str:
    """What a group lacks, with the remedy; empty if nothing."""
    package, extra = LIBRARY.get(group, ("", ""))
    if package and find_spec(package) is None:
        return f"{package} is not installed: pip install 'lia-platform[{extra}]'"
    try:
        missing = [name for name in NEEDED[group] if cache.cached(name) is None]
    except AssetError as error:
        return f"weights damaged: {error}"
    if missing:
        by_hand = any(name in table.USER_FILES for name in missing)
        remedy = "--status says where to put" if by_hand else ""
        return f"weights absent: lia fetch {remedy} {' '.join(missing)}".replace("  ", " ")
    try:
        for path in _unpinned(group):
            SET_NETWORKS[group][0](path)
    except WeightsError as error:
        return f"weights unusable: {error}"
    return ""


def _unpinned(group: Group) -> list[Path]:
    """Files of a group that are there and that no digest tells from others: loading alone shows what they are."""
    files = [table.USER_FILES[name] for name in NEEDED[group] if name in table.USER_FILES]
    return [path for file in files if not file.sha256 and (path := cache.cached(file.name))]


def unpinned_digests(groups: Sequence[Group]) -> dict[str, str]:
    """By metric, sha256 of the network's file, where it is not known beforehand: figures of others are not its like."""
    return {
        name: cache.sha256_of(path)
        for group in groups
        for path in _unpinned(group)
        for name in METRICS_OF[group]
    }


def too_few(groups: Sequence[Group], sets: Mapping[str, float]) -> dict[str, str]:
    """Metrics of sets that were measured and have no distance, with the reason."""
    found = {}
    for group, (_, frames) in SET_NETWORKS.items():
        (name,) = METRICS_OF[group]
        if group in groups and name not in sets:
            found[name] = f"too few samples: the clips have less than two of {frames} frames"
    return found


def read_weights(groups: Sequence[Group]) -> dict[str, bytes]:
    """The files that the groups need, from the cache. Raises InputError if one left it since `choose`."""
    found = {}
    for name in (name for group in groups for name in NEEDED[group]):
        path = cache.cached(name)
        if path is None:
            raise InputError(f"{name}: is gone from the cache: lia fetch {name}")
        found[name] = path.read_bytes()
    return found


class Instruments:
    """The loaded networks of some groups. Native memory; not for several threads at once."""

    def __init__(
        self,
        groups: Sequence[Group],
        weights: Mapping[str, bytes | memoryview],
        device: torch.device | str = "cpu",
    ) -> None:
        """`weights` are those of `read_weights`; networks that compare images run on `device`, detectors on a CPU."""
        self._groups = groups
        with tempfile.TemporaryDirectory() as scratch:  # some are read by path alone
            paths = {name: Path(scratch) / name for name in weights}
            for name, path in paths.items():
                path.write_bytes(weights[name])
            self._distances = {
                METRICS_OF[group][0]: load(*(paths[name] for name in NEEDED[group])).to(device)
                for group, load in DISTANCES.items()
                if group in groups
            }
            self._set_networks = [
                SetNetwork(METRICS_OF[group][0], load(paths[NEEDED[group][0]]).to(device), frames)
                for group, (load, frames) in SET_NETWORKS.items()
                if group in groups
            ]
            self._face = faces.FaceObserver(paths) if "face" in groups else None
            self._body = bodies.BodyObserver(read_networks("body", paths)) if "body" in groups else None

    def measures(self, source_13HW: Tensor, *, transfer: bool) -> list[Measure]:
        """New ones, for one clip; in `transfer` the driving frames are no truth."""
        found: list[Measure] = []
        if "pixels" in self._groups:
            found.append(ImageMeasure(PIXELS, source_13HW))
        for name, distance in self._distances.items():
            found.append(FeatureMeasure(name, distance, source_13HW))
        for network in self._set_networks:
            found.append(SetMeasure(network, source_13HW, transfer=transfer))
        if self._face:
            differences = identity_differences if transfer else face_differences
            found.append(SeenMeasure(self._face, differences, source_13HW, transfer=transfer))
        if self._body:
            found.append(SeenMeasure(self._body, body_differences, source_13HW, transfer=transfer))
        return found


def face_differences(truth: faces.Face | None, made: faces.Face | None) -> Amounts:
    """AKD, AED and CSIM where both frames show a face; `face_missed`: the part of faces that is not found again."""
    return {
        "face_akd": (faces.akd(truth, made), 1) if truth and made else (0, 0),
        **identity_differences(truth, made),
    }


def identity_differences(truth: faces.Face | None, made: faces.Face | None) -> Amounts:
    """As `face_differences`, without the landmarks."""
    if truth is None:
        return dict.fromkeys(IDENTITY, (0, 0))
    if made is None:
        return {**dict.fromkeys(IDENTITY, (0, 0)), "face_missed": (1, 1)}
    return {
        "face_aed": (faces.aed(truth, made), 1),
        "face_csim": (faces.csim(truth, made), 1),
        "face_missed": (0, 1),
    }


def body_differences(truth: bodies.Body | None, made: bodies.Body | None) -> Amounts:
    """AKD of the joints that both frames show, and MKR: the part of the truth's joints that is not found again."""
    distance = bodies.akd(truth, made)
    counts = bodies.count_joints(truth, made)
    return {
        "body_akd": (0, 0) if distance is None else (distance, 1),
        "body_mkr": (counts.missing, counts.present),
    }
