"""Places that Ray reserved for a training's workers, and their return where Ray Train's controller died.

When that happens, the actor that should give them back asks the dashboard, which need not be there. Other trainings of
the same driver keep theirs. It uses what Ray calls internal; the fault tests notice when it changes.
"""

from collections.abc import Iterable
from contextlib import suppress

import ray
from ray._raylet import PlacementGroupID
from ray.train.v2._internal.execution.callback import WorkerGroupCallback
from ray.train.v2._internal.execution.worker_group import WorkerGroup
from ray.util.placement_group import PlacementGroup, remove_placement_group

from orchestration.training.message_board import Board


class NotesPlaces(WorkerGroupCallback):
    """Leaves word on the board of the placement group that a worker group runs in."""

    def __init__(self, board: Board) -> None:
        self.board = board

    def after_worker_group_start(self, worker_group: WorkerGroup) -> None:
        handle = worker_group.get_worker_group_state().placement_group_handle
        with suppress(ray.exceptions.RayError):  # the board was lost: with its node, the driver's
            self.board.reserve(handle.placement_group.id.hex())


def free_places(identities: Iterable[str]) -> None:
    """Give these placement groups back, if they are still reserved."""
    if not ray.is_initialized():
        return
    for identity in identities:
        remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(identity))))
