"""A registered model of no size and no training."""

from pathlib import Path

import torch

from lia_model.config import LiaConfig
from lia_model.generator import Generator
from lia_model.weights import save_generator
from orchestration.packaging import publish
from tracking.run import Run


def register_small_model(folder: Path, uri: str | None = None) -> str:
    """Register a generator for 32 px, which stays in `folder`/generator, as lia@demo; the store's address.

    The store is the one at `uri`, or by default one in the folder.
    """
    torch.manual_seed(0)
    config = LiaConfig(image_size=32, style_dim=16, motion_dim=3, width=0.05)
    save_generator(folder / "generator", Generator(config))
    uri = uri or f"sqlite:///{folder}/mlflow.db"
    with Run.start("demo", tracking_uri=uri) as run:
        publish(run, folder / "generator", name="lia", aliases=("demo",), tags={"l1": 0.1})
    return uri
