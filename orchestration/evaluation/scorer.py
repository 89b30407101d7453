"""The Ray actor of an evaluation: holds a model and what it is measured with, and scores a clip or a pair at a time."""

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from lia_model.animation import Mode, animate
from lia_model.generator import Generator
from lia_model.pixels import to_float
from orchestration.evaluation.instruments import Instruments
from orchestration.evaluation.metrics import Group, Protocol
from orchestration.evaluation.scores import FAILURE, ClipScore
from orchestration.evaluation.transfer import MAX_FRAMES, TransferPair
from orchestration.evaluation.unfinished import FEATURES
from orchestration.models import load_model
from pipelines.dataset.pairs import PairDataset
from pipelines.errors import DatasetError, InputError, StorageError

BATCH = 16


class NoNumbersError(InputError):
    """The model's images are infinite or no numbers."""


class ClipScorer:
    """Loads everything once."""

    def __init__(
        self,
        model: str,
        dataset: str,
        partition: str,
        protocol: Protocol,
        groups: Sequence[Group],
        weights: Sequence[Any],
    ) -> None:
        """`weights` is one reference to the files that `groups` need, as uint8 arrays, in a list: Ray would look it up
        itself."""
        import ray

        torch.set_num_threads(1)
        self.generator = load_model(model)
        self.dataset = PairDataset(dataset, partition)
        self.protocol = protocol
        files = {name: array_N.data for name, array_N in ray.get(weights[0]).items()}
        self.instruments = Instruments(groups, files, next(self.generator.parameters()).device)

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, list[str]]:
        pairs = zip(batch["source"], batch["driving"], strict=True)
        return {"score": [self._score(TransferPair(int(source), int(driving))) for source, driving in pairs]}

    def _score(self, pair: TransferPair) -> str:
        """What `score` gives, as JSON. Errors are told, not raised: Ray Data would hide them in a text of its own."""
        try:
            for clip in {pair.source, pair.driving}:
                self.dataset.verify(clip)
            return json.dumps(score(self.generator, self.dataset, pair, self.protocol, self.instruments))
        except NoNumbersError as error:
            return json.dumps({"no_numbers": str(error)})
        except DatasetError as error:
            return json.dumps({"clip_id": pair_name(self.dataset, pair), FAILURE: str(error)})
        except StorageError as error:
            return json.dumps({"storage_failed": str(error)})


def score(
    generator: Generator,
    dataset: PairDataset,
    pair: TransferPair,
    protocol: Protocol,
    instruments: Instruments,
) -> dict[str, Any]:
    """Animate the source clip's first frame by the driving clip and compare; memory does not grow with the clip.

    The row of a ClipScore, and beside it, as FEATURES, what the clip adds to the sets of images if those are compared.
    Raises NoNumbersError.
    """
    device = next(generator.parameters()).device
    transfer = protocol != "reconstruction"

    def frames(clip: int) -> Iterator[Tensor]:
        for frame in islice(dataset.clip(clip), MAX_FRAMES if transfer else None):
            yield to_float(torch.from_numpy(frame)).to(device)

    source_13HW = next(frames(pair.source))[None]
    measures = instruments.measures(source_13HW, transfer=transfer)
    mode: Mode = "relative" if protocol == "relative" else "absolute"
    made = animate(generator, source_13HW, frames(pair.driving), mode, BATCH)
    driving, n_frames = frames(pair.driving), 0
    while batch := list(islice(driving, BATCH)):
        n_frames += len(batch)
        made_B3HW, frames_B3HW = torch.stack(list(islice(made, len(batch)))), torch.stack(batch)
        if not made_B3HW.isfinite().all():
            raise NoNumbersError(
                f"clip {pair_name(dataset, pair)}: the model's images are no numbers: its weights are damaged or "
                "diverged"
            )
        for measure in measures:
            measure.add(made_B3HW, frames_B3HW)
    values = {name: value for measure in measures for name, value in measure.scores().items()}
    found = ClipScore(clip_id=pair_name(dataset, pair), n_frames=n_frames, values=values)
    features = {name: coded for measure in measures for name, coded in measure.features().items()}
    return {**found.row(), **({FEATURES: features} if features else {})}


def pair_name(dataset: PairDataset, pair: TransferPair) -> str:
    """The clip's name, or what drives what."""
    source, driving = dataset.clip_ids[pair.source], dataset.clip_ids[pair.driving]
    return source if source == driving else f"{source} driven by {driving}"
