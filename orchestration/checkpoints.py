"""Which checkpoint a run goes on from: the newest that is whole. Others are why it keeps more than one."""

import json
import sys
from pathlib import Path

from orchestration.training_state import CheckpointError, read_progress

# Ray Train's list of the checkpoints that it made; it refuses to go on when one of them is gone.
RAYS_LIST = "checkpoint_manager_snapshot.json"


def newest_sound_checkpoint(training: Path) -> Path | None:
    """The newest checkpoint in a run's `training` folder whose files have their digests; None if there is none.

    Newer ones that are damaged are set aside as damaged-step-NNNNNNNN, with a line on standard error. Where
    checkpoints of Ray's list are gone the list goes too: Ray then begins a new one.
    """
    sound = None
    for folder in sorted(training.glob("step-*"), reverse=True):
        try:
            read_progress(folder)
        except CheckpointError as error:
            aside = folder.with_name(f"damaged-{folder.name}")
            print(f"{error}; it is set aside as {aside.name}", file=sys.stderr, flush=True)
            folder.rename(aside)
        else:
            sound = folder
            break
    if any(not (training / name).is_dir() for name in _listed(training / RAYS_LIST)):
        (training / RAYS_LIST).unlink()
    return sound


def _listed(path: Path) -> list[str]:
    """Names of the checkpoints in Ray's list; a list that cannot be read counts as naming one that is gone."""
    try:
        document = json.loads(path.read_bytes())
        return [str(result["checkpoint_dir_name"]) for result in document["checkpoint_results"]]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError):
        return ["(unreadable)"]
