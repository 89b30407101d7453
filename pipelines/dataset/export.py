"""A dataset's clips as others want them: folders of PNG frames, or mp4 files. One clip is one unit of work.

OUT/{train,test}/<clip_id>/0000000.png ...   as the published evaluation code reads them
OUT/{train,test}/<clip_id>.mp4               the motion JPEG of the shards, byte for byte
OUT/.export.json                             which dataset the folder holds, and how
"""

import json
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from PIL import Image

from pipelines.corpus.clip_table import check_id
from pipelines.dataset.pairs import PairDataset
from pipelines.errors import DatasetError, InputError
from pipelines.storage.atomic import atomic_folder, atomic_path
from pipelines.storage.store import writing

ExportFormat = Literal["frames", "clips"]
MARK = ".export.json"


@dataclass(frozen=True)
class _Content:
    """What an export folder holds; every partition of it may be added by another call."""

    dataset_digest: str
    format: ExportFormat


def claim(out: Path, dataset: PairDataset, form: ExportFormat) -> None:
    """Make the folders, or make sure that they are this dataset's; leftovers of killed exports are removed.

    Raises InputError if `out` holds other things, DatasetError for clip ids that are no names of files, StorageError
    where nothing can be written.
    """
    _check_ids(dataset)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; name a folder to export to.")
    mark = out / MARK
    wanted = asdict(_Content(dataset.digest, form))
    if mark.is_file():
        if _read(mark) != wanted:
            raise InputError(f"{out}: holds an export of another dataset or format. Name another folder.")
    elif out.is_dir() and any(not entry.name.startswith(".") for entry in out.iterdir()):
        raise InputError(f"{out}: holds other files. Name an empty or new folder.")
    folder = out / dataset.partition
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with writing(mark), atomic_path(mark, keep_equal=True) as partial:
        partial.write_text(json.dumps(wanted) + "\n", encoding="utf-8")
    with writing(folder):
        for leftover in folder.glob(".*.partial"):
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()


def missing_clips(out: Path, dataset: PairDataset, form: ExportFormat) -> list[int]:
    """The clips that are still to be exported, by number. Raises InputError for one that was changed since."""
    return [clip for clip in range(len(dataset)) if not _is_there(out, dataset, clip, form)]


def export_clip(out: Path, dataset: PairDataset, clip: int, form: ExportFormat) -> None:
    """Write one clip, whole or not at all, unless it is there.

    Raises DatasetError if its bytes are not those that the manifest records, StorageError if it cannot be written.
    """
    if _is_there(out, dataset, clip, form):
        return  # by a process that died before it could say so
    dataset.verify(clip)
    target = clip_path(out, dataset, clip, form)
    if form == "clips":
        with writing(target), atomic_path(target) as partial:
            partial.write_bytes(dataset.mp4(clip))
        return
    with writing(target), atomic_folder(target) as partial:
        for number, frame in enumerate(dataset.clip(clip)):
            Image.fromarray(frame).save(partial / f"{number:07d}.png")


def clip_path(out: Path, dataset: PairDataset, clip: int, form: ExportFormat) -> Path:
    """The folder or file of a clip."""
    name = dataset.clip_ids[clip]
    return out / dataset.partition / (name if form == "frames" else f"{name}.mp4")


def _is_there(out: Path, dataset: PairDataset, clip: int, form: ExportFormat) -> bool:
    target = clip_path(out, dataset, clip, form)
    if not target.exists():
        return False
    wanted = int(dataset.n_frames[clip] if form == "frames" else dataset.mp4_sizes[clip])
    found = sum(1 for _ in target.iterdir()) if form == "frames" else target.stat().st_size
    if found != wanted:
        unit = "files" if form == "frames" else "bytes"
        raise InputError(
            f"{target}: {found} {unit} where the clip has {wanted}. Delete it; it is made again."
        )
    return True


def _check_ids(dataset: PairDataset) -> None:
    """Ids come from a manifest that anyone may have written, and become paths here."""
    try:
        for clip_id in dataset.clip_ids:
            check_id("clip_id", clip_id)
        _refuse_repeated(dataset.clip_ids)
    except ValueError as error:
        raise DatasetError(
            f"{dataset.root / 'manifest.parquet'}: {error}. Prepare the dataset anew."
        ) from None


def _refuse_repeated(clip_ids: Iterable[str]) -> None:
    seen: set[str] = set()
    for clip_id in clip_ids:
        if clip_id in seen:
            raise ValueError(f"clip_id = {clip_id!r} is there twice")
        seen.add(clip_id)


def _read(mark: Path) -> object:
    try:
        return json.loads(mark.read_bytes())
    except ValueError:
        return None
