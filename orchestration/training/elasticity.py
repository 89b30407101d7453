"""What Ray Train's elastic scaling lacks: it sees lost nodes late, and drops the work since the last checkpoint.

Both parts live in Ray's controller, an actor beside the driver, and use what Ray calls internal: the fault tests start
real clusters and notice when it changes.
"""

import os
import time
from contextlib import suppress
from typing import Any

import ray
from ray.train.v2._internal.execution.callback import ControllerCallback
from ray.train.v2._internal.execution.controller.state import ResizingState
from ray.train.v2._internal.execution.scaling_policy import ElasticScalingPolicy

from orchestration.training.message_board import Board

PLACES_LIMIT_S = "20"
"""How long Ray looks for room for as many workers as it believes in. It takes some 15 s to believe a node lost, while
the other workers hear of it at once; after this time it counts again."""
SAVE_LIMIT_S = 300.0
"""Workers that have not saved by then are stopped without."""
POLL_S = 0.5


def elastic_scaling(config: Any) -> "CountsLivingNodes":
    """The policy for an elastic `ray.train.ScalingConfig`."""
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", PLACES_LIMIT_S)
    return CountsLivingNodes(config)


class CountsLivingNodes(ElasticScalingPolicy):
    """Ray's policy, without the nodes that have died since it last looked at the cluster, up to 20 s ago.

    It would ask for as many workers as before, and wait a minute for what cannot come.
    """

    def _count_possible_workers(self, reserved_resources: dict[str, dict[str, float]]) -> int:
        living = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
        return int(
            super()._count_possible_workers(
                {node: has for node, has in reserved_resources.items() if node in living}
            )
        )


class SavesBeforeResize(ControllerCallback):
    """Lets the workers save a checkpoint before Ray stops them to go on with more of them, or fewer."""

    def __init__(self, board: Board) -> None:
        self.board = board

    def after_controller_state_update(self, previous_state: object, current_state: object) -> None:
        if not isinstance(current_state, ResizingState):
            return
        with suppress(ray.exceptions.RayError):  # the board was lost: they go on from the last checkpoint
            self.board.pause()
            deadline = time.monotonic() + SAVE_LIMIT_S
            while time.monotonic() < deadline and not self.board.paused():
                time.sleep(POLL_S)
            self.board.go_on()
