"""Training that begins while its dataset is still being prepared: `lia run --wait-for first`.

Both go on side by side on one Ray cluster, the preparation in a thread of its own, the training in the main one, which
hears of signals.
"""

import ctypes
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Generic, Self, TypeVar

from tqdm import tqdm

from orchestration.cluster import Node, Resources, worker_share
from orchestration.experiment import Experiment
from pipelines.errors import InputError
from pipelines.preparation.editions import Announce

_Result = TypeVar("_Result")
INTERRUPTED_S = 60.0
"""How long a preparation may take to end when it is interrupted: what it has started must be told to end."""


class Preparing(Generic[_Result]):
    """A preparation in a thread, which is interrupted when the block is left before its end.

    To be entered when the cluster is connected: a thread that is at work while Ray is left takes the process with it.
    """

    def __init__(self) -> None:
        self._changed = threading.Event()
        self._result: list[_Result] = []
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread and self._thread.is_alive():
            _interrupt(self._thread)
            self._thread.join(INTERRUPTED_S)

    def start(self, prepare: Callable[[Announce], _Result]) -> None:
        """Begin; `prepare` is given whom to tell of editions."""
        self._thread = threading.Thread(target=self._run, args=(prepare,), name="preparation", daemon=True)
        self._thread.start()

    def await_first(self) -> bool:
        """Wait for the first edition; whether all was prepared before there was one. Raises what `prepare` raised."""
        self._changed.wait()
        if self._error:
            raise self._error
        return bool(self._result)

    def going_well(self) -> bool:
        """Whether nothing was raised so far."""
        return self._error is None

    def result(self) -> _Result:
        """Wait for the end; what `prepare` returned. Raises what it raised."""
        if self._thread:
            self._thread.join()
        if self._error:
            raise self._error
        return self._result[0]

    def _run(self, prepare: Callable[[Announce], _Result]) -> None:
        try:
            self._result.append(prepare(self._announce))
        except BaseException as error:  # noqa: BLE001  # raised in the thread that asks for the result
            self._error = error
        finally:
            self._changed.set()

    def _announce(self, edition: int, clips: int) -> None:
        tqdm.write(f"prepared so far: {clips:,} training clips and all held-out ones (edition {edition})")
        self._changed.set()


def _interrupt(thread: threading.Thread) -> None:
    """Raise KeyboardInterrupt in a thread, as Ctrl-C does in the main one: when it next runs Python."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread.ident or 0), ctypes.py_object(KeyboardInterrupt)
    )


def shares_beside_preparation(experiment: Experiment, resources: Resources) -> tuple[dict[str, float], int]:
    """What each training worker asks Ray for, and how many CPUs the preparation leaves to training.

    Where one machine is for both, training without GPUs takes half of its CPUs. Raises InputError where there are too
    few.
    """
    both = frozenset(resources.for_work("prepare").nodes) & frozenset(resources.for_work("train").nodes)
    if not both:
        return worker_share(experiment, resources), 0
    halved = Resources(tuple(_halved(node) if node in both else node for node in resources.nodes))
    try:
        share = worker_share(experiment, halved)
    except InputError as error:
        raise InputError(
            f"--wait-for first: {error}. Half of the CPUs of machines that prepare and train are for preparing; "
            "--wait-for all uses one after the other"
        ) from None
    leave = int(share["CPU"]) * experiment.schedule.workers
    if leave >= resources.for_work("prepare").cpus:
        raise InputError(
            f"--wait-for first: training takes {leave} CPUs, and the machines that prepare have no more: set fewer "
            "--schedule.workers, add machines, or use --wait-for all"
        )
    return share, leave


def _halved(node: Node) -> Node:
    return node if node.gpus else replace(node, cpus=node.cpus // 2)
