"""The metrics of an evaluation by name: how each is shown and read. Light to import, for help texts."""

from dataclasses import dataclass
from typing import Literal, get_args

Protocol = Literal["reconstruction", "absolute", "relative"]
"""Reconstruction, or transfer to the source of another clip's motion, absolute or since its first frame."""
Group = Literal["pixels", "vgg16-hed", "lpips", "frechet", "fid", "video-fid", "face", "body"]
"""What is measured together, since it needs the same networks."""
GROUPS: tuple[Group, ...] = get_args(Group)
PROTOCOLS: tuple[Protocol, ...] = ("reconstruction", "absolute", "relative")

MODEL, BASELINE, NOISE = "", "baseline_", "noise_"
"""Prefixes of a metric's name: the model's score; what it would be without a model; the detector's own noise."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """How a metric is shown and read."""

    title: str
    digits: int
    """After the point, in tables."""
    lower_is_better: bool
    missed: str = ""
    """The metric that says what this one leaves out: frames in which the model's image shows no face, no joint."""


METRICS = {
    "l1": Metric(title="L1", digits=4, lower_is_better=True),
    "psnr": Metric(title="PSNR, dB", digits=2, lower_is_better=False),
    "ssim": Metric(title="SSIM", digits=4, lower_is_better=False),
    "vgg16_hed": Metric(title="VGG16-HED distance", digits=4, lower_is_better=True),
    "lpips": Metric(title="LPIPS, AlexNet", digits=4, lower_is_better=True),
    "frechet_efficientnet_lite0": Metric(title="Frechet, EfficientNet-Lite0", digits=2, lower_is_better=True),
    "fid": Metric(title="FID", digits=2, lower_is_better=True),
    "video_fid": Metric(title="video FID", digits=3, lower_is_better=True),
    "face_akd": Metric(title="AKD of faces, px", digits=3, lower_is_better=True, missed="face_missed"),
    "face_aed": Metric(title="AED of faces", digits=4, lower_is_better=True, missed="face_missed"),
    "face_csim": Metric(title="CSIM of faces", digits=4, lower_is_better=False, missed="face_missed"),
    "face_missed": Metric(title="faces lost", digits=4, lower_is_better=True),
    "body_akd": Metric(title="AKD of bodies, px", digits=3, lower_is_better=True, missed="body_mkr"),
    "body_mkr": Metric(title="MKR of bodies", digits=4, lower_is_better=True),
}
"""In the order of the table."""
OF_SETS = ("frechet_efficientnet_lite0", "fid", "video_fid")
"""Those that compare all that was made with all that should have been, and that no clip has of its own."""
OF_CLIPS = tuple(name for name in METRICS if name not in OF_SETS)
"""Those that every clip has of its own, by which models can be compared clip by clip."""
