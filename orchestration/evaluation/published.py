"""Figures that papers give, to stand beside ours: by dataset and metric. What is not sourced is not here.

FOMM: Siarohin et al., 2019. MRAA: Siarohin et al., 2021. TPSMM: Zhao and Zhang, 2022. LIA: Wang et al., 2022; on
VoxCelebHQ as the LIA-X paper measured it, on VoxCeleb2 as GHOST 2.0 measured it.

Distances in pixels stand beside those of images of SIZE only. They could be converted, but what a detector makes of an
image does not grow with it: its own noise is 0.28 px at 256 px and 0.15 px at 64 px (see `faces`).
"""

from collections.abc import Mapping

from orchestration.evaluation.metrics import Protocol

SIZE = 256
"""Side of the images that the figures are of, in pixels, unless one says another."""
OTHER_NETWORKS = "*"
"""Marks figures that rest on other detectors or identity networks than ours: orders of magnitude, not rivals."""

_VOX = {
    "l1": "FOMM .043; LIA .052 (VoxCelebHQ, 512 px)",
    "psnr": "LIA 22.14 (VoxCelebHQ, 512 px), 22.11 (VoxCeleb2)",
    "ssim": "LIA .68 (VoxCelebHQ, 512 px), .786 (VoxCeleb2)",
    "lpips": "LIA .211 (VoxCelebHQ, 512 px), .128 (VoxCeleb2)",
    "fid": "LIA 21.86 (VoxCelebHQ, 512 px)",
    "face_akd": f"FOMM 1.294{OTHER_NETWORKS}",
    "face_aed": f"FOMM .140{OTHER_NETWORKS}",
    "face_csim": f"LIA .842 (VoxCeleb2){OTHER_NETWORKS}",
}
_TAICHI = {
    "l1": "MRAA .048, TPSMM .045",
    "body_akd": f"MRAA 5.41, TPSMM 4.57{OTHER_NETWORKS}",
    "body_mkr": f"MRAA .025, TPSMM .018{OTHER_NETWORKS}",
}
# The network is ours; how its frames were sampled and prepared, the paper does not say.
_VOX_TRANSFER = {"video_fid": "LIA .161 (frames prepared otherwise, perhaps)"}
_PUBLISHED: Mapping[Protocol, dict[str, dict[str, str]]] = {
    "reconstruction": {"vox": _VOX, "taichi": _TAICHI},
    "relative": {"vox": _VOX_TRANSFER},
}
_IN_PIXELS = ("face_akd", "body_akd")


def published(dataset: str, protocol: Protocol, image_size: int) -> dict[str, str]:
    """By metric, what stands beside the scores of a dataset's clips."""
    figures = _PUBLISHED.get(protocol, {}).get(dataset, {})
    left_out = withheld(dataset, protocol, image_size)
    return {name: figure for name, figure in figures.items() if name not in left_out}


def withheld(dataset: str, protocol: Protocol, image_size: int) -> list[str]:
    """Metrics whose published figures are in pixels of images of another size."""
    if image_size == SIZE:
        return []
    return [name for name in _IN_PIXELS if name in _PUBLISHED.get(protocol, {}).get(dataset, {})]
