"""Which checkpoint a run goes on from: the newest that is whole. Others are why it keeps more than one."""

import itertools
import json
import shutil
import sys
from pathlib import Path

from orchestration.training_state import CheckpointError, DamagedCheckpointError, read_progress

# Ray Train's list of the checkpoints that it made; it refuses to go on when one of them is gone.
RAYS_LIST = "checkpoint_manager_snapshot.json"


def newest_sound_checkpoint(training: Path) -> Path | None:
    """The newest checkpoint in a run's `training` folder whose files have their digests; None if there is none.

    Newer ones that are damaged are set aside as damaged-step-NNNNNNNN, with a line on standard error. Where
    checkpoints of Ray's list are gone the list goes too: Ray then begins a new one. Raises CheckpointError if there
    were checkpoints and none is sound: to begin again from nothing is the user's decision.
    """
    found = sorted(training.glob("step-*"), reverse=True)
    sound = next(filter(_is_sound, found), None)
    if found and sound is None:
        raise CheckpointError(
            f"{training}: none of its {len(found)} checkpoints is sound; delete the run's folder to start over"
        )
    if any(not (training / name).is_dir() for name in _listed(training / RAYS_LIST)):
        (training / RAYS_LIST).unlink()
    return sound


def remove_old_checkpoints(training: Path, keep: int) -> None:
    """Keep the newest ones only: Ray removes those alone that are in its list."""
    for folder in sorted(training.glob("step-*"))[:-keep]:
        shutil.rmtree(folder)


def _is_sound(folder: Path) -> bool:
    """Whether all files have their digests; a folder where they have not is set aside."""
    try:
        read_progress(folder)
    except DamagedCheckpointError as error:
        suffixes = itertools.chain([""], (f"-{number}" for number in itertools.count(2)))
        places = (folder.with_name(f"damaged-{folder.name}{suffix}") for suffix in suffixes)
        aside = next(place for place in places if not place.exists())
        print(f"{error}; it is set aside as {aside.name}", file=sys.stderr, flush=True)
        folder.rename(aside)
        return False
    return True


def _listed(path: Path) -> list[str]:
    """Names of the checkpoints in Ray's list; a list that cannot be read counts as naming one that is gone."""
    try:
        document = json.loads(path.read_bytes())
        return [str(result["checkpoint_dir_name"]) for result in document["checkpoint_results"]]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError):
        return ["(unreadable)"]
