"""What workers tell, on its way into the run's record in MLflow.

It goes through the driver: MLflow's store need not be reachable from machines that train, and its password stays here.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from tqdm import tqdm

from orchestration.training.loop import Record
from orchestration.training.ray_rank import Grown, Message, Sample, Validated
from orchestration.training.run_folder import RunFolder, RunRecord
from tracking.recorder import Recorder


class Records(Protocol):
    """Takes what workers tell, in order."""

    def take(self, message: Message) -> None:
        """Keep the message, if it is of a kind that is kept."""

    def settle(self) -> None:
        """Return when what was taken would outlive this process."""


class RunRecords:
    """Records of one run, in its folder until MLflow has them; for one process at a time."""

    def __init__(self, folder: RunFolder, record: RunRecord, say: Callable[[str], None]) -> None:
        """Whatever an earlier process could not send goes first. `say` is told of what is in the way."""
        self._say = say
        self._recorder: Recorder | None = None
        with self._although_unrecorded():
            self._recorder = Recorder(folder.unsent, record.run_id, record.tracking_uri, say)

    def take(self, message: Message) -> None:
        """Numbers and pictures go to MLflow; the rest is for whoever watches."""
        if self._recorder is None:
            return
        with self._although_unrecorded():
            if isinstance(message, Sample):
                self._recorder.log_image(message.sheet, f"samples/step-{message.step:08d}.png")
            elif isinstance(message, Record | Validated | Grown):
                self._recorder.log_metrics(metrics(message), message.step)

    def settle(self) -> None:
        """Nothing: what was taken is on disk."""

    def close(self) -> None:
        """Send what is left, as far as the store is there."""
        if self._recorder is not None:
            self._recorder.close()

    @contextmanager
    def _although_unrecorded(self) -> Iterator[None]:
        """Go on where records cannot even be kept (a full disk): the training is worth more."""
        try:
            yield
        except OSError as error:
            self._say(f"not recorded: {error}")


def metrics(message: Record | Validated | Grown) -> dict[str, float]:
    """The message's numbers by their names in MLflow."""
    if isinstance(message, Grown):
        return {"data/clips": float(message.clips)}
    if isinstance(message, Validated):
        return {f"validation/{name}": value for name, value in message.scores.items()}
    return {
        **{f"loss/{name}": value for name, value in message.losses.items()},
        "speed/pairs_per_second": message.pairs_per_second,
        "speed/data_wait": message.data_wait,
        "speed/workers": float(message.workers),
    }


def say(message: str) -> None:
    """A remark on the terminal, above a progress line."""
    tqdm.write(message, file=sys.stderr)
    sys.stderr.flush()


@contextmanager
def recording(folder: RunFolder, record: RunRecord) -> Iterator[RunRecords]:
    """Records of the run for the length of the block; at its end what is left is sent."""
    records = RunRecords(folder, record, say)
    try:
        yield records
    finally:
        records.close()
