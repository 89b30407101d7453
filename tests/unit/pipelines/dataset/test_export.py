"""Export, one clip at a time: whole, resumable, and never outside its folder."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipelines.cropping.config import PrepareConfig
from pipelines.dataset import export
from pipelines.dataset.export import claim, clip_path, export_clip, missing_clips
from pipelines.dataset.pairs import PairDataset
from pipelines.errors import DatasetError, InputError, StorageError
from pipelines.preparation.clip_folders import read_clip_folder
from tests.coded_video import FPS_25, decode, read_number, write_coded
from tests.small_corpus import folder_bytes, prepare_without_ray


@pytest.fixture
def dataset(tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    for name, frames in (("a", 5), ("b", 8)):
        write_coded(videos / f"{name}.mp4", frames, FPS_25)
    prepare_without_ray(read_clip_folder(videos, 0.0), PrepareConfig(size=80), videos, tmp_path / "data")
    return PairDataset(tmp_path / "data", "train")


def export_all(out, dataset, form="frames"):
    claim(out, dataset, form)
    for clip in missing_clips(out, dataset, form):
        export_clip(out, dataset, clip, form)


def test_frames_are_numbered_from_zero_and_as_stored(dataset, tmp_path):
    export_all(tmp_path / "out", dataset)
    for clip, name in enumerate(dataset.clip_ids):
        folder = tmp_path / "out" / "train" / name
        files = sorted(path.name for path in folder.iterdir())
        assert files == [f"{number:07d}.png" for number in range(dataset.n_frames[clip])]
        for number, stored in enumerate(dataset.clip(clip)):
            with Image.open(folder / files[number]) as image:
                assert (image.mode, image.size) == ("RGB", (80, 80))
                assert image.tobytes() == stored.tobytes()


def test_clips_are_the_stored_videos(dataset, tmp_path):
    export_all(tmp_path / "out", dataset, "clips")
    for clip, name in enumerate(dataset.clip_ids):
        frames, rate = decode(tmp_path / "out" / "train" / f"{name}.mp4")
        assert [read_number(frame) for frame in frames] == list(range(dataset.n_frames[clip]))
        assert rate == 25


@pytest.mark.parametrize("form", ["frames", "clips"])
def test_what_is_there_is_kept_and_what_is_half_there_is_not(dataset, tmp_path, form):
    out = tmp_path / "out"
    export_all(out, dataset, form)
    before = folder_bytes(out)
    gone, kept = clip_path(out, dataset, 0, form), clip_path(out, dataset, 1, form)
    time = kept.stat().st_mtime_ns
    gone.rename(gone.with_name(f".{gone.name}.12345678.partial"))
    claim(out, dataset, form)
    assert missing_clips(out, dataset, form) == [0]
    export_all(out, dataset, form)
    assert folder_bytes(out) == before
    assert kept.stat().st_mtime_ns == time


def test_nothing_is_left_of_a_clip_that_could_not_be_written(dataset, tmp_path, monkeypatch):
    out = tmp_path / "out"
    claim(out, dataset, "frames")

    def save(self, path):
        raise OSError(28, "No space left on device", path)

    monkeypatch.setattr(export.Image.Image, "save", save)
    target = clip_path(out, dataset, 0, "frames")
    with pytest.raises(
        StorageError, match=rf"^{target}: cannot be written: No space left on device\. Make room"
    ):
        export_clip(out, dataset, 0, "frames")
    assert not list((out / "train").iterdir())


@pytest.mark.parametrize("form", ["frames", "clips"])
def test_a_clip_whose_bytes_changed_in_the_shard_is_not_handed_on(dataset, tmp_path, form):
    claim(tmp_path / "out", dataset, form)
    rows = pq.read_table(dataset.root / "manifest.parquet").to_pylist()
    row = rows[dataset.clip_ids.index("b")]
    with (dataset.root / row["shard"]).open("r+b") as shard:
        shard.seek(row["mp4_offset"] + row["mp4_size"] // 2)
        byte = shard.read(1)[0]
        shard.seek(-1, 1)
        shard.write(bytes([byte ^ 1]))
    with pytest.raises(
        DatasetError, match=r"train-000000\.tar: clip b: .*sha256.*delete the shard.*lia prepare"
    ):
        export_clip(tmp_path / "out", dataset, dataset.clip_ids.index("b"), form)
    assert not clip_path(tmp_path / "out", dataset, dataset.clip_ids.index("b"), form).exists()
    export_clip(tmp_path / "out", dataset, dataset.clip_ids.index("a"), form)


def test_a_clip_that_was_changed_is_named(dataset, tmp_path):
    export_all(tmp_path / "out", dataset)
    folder = clip_path(tmp_path / "out", dataset, 1, "frames")
    (folder / "0000000.png").unlink()
    with pytest.raises(InputError, match=f"{folder}: .* Delete it"):
        missing_clips(tmp_path / "out", dataset, "frames")


def test_a_folder_of_other_things_is_refused(dataset, tmp_path):
    out = tmp_path / "out"
    export_all(out, dataset)
    with pytest.raises(InputError, match="another dataset or format"):
        claim(out, dataset, "clips")
    (out / export.MARK).unlink()
    with pytest.raises(InputError, match="holds other files"):
        claim(out, dataset, "frames")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file"):
        claim(tmp_path / "file", dataset, "frames")


@pytest.mark.parametrize("evil", ["../../evil", "/tmp/evil", ".", "", "a"])
def test_a_manifest_cannot_name_paths_outside_or_a_clip_twice(dataset, tmp_path, evil):
    path = dataset.root / "manifest.parquet"
    table = pq.read_table(path)
    position = table.column_names.index("clip_id")
    ids = ["a", evil]
    pq.write_table(table.set_column(position, "clip_id", pa.array(ids)), path)
    with pytest.raises(DatasetError, match=r"manifest\.parquet: clip_id"):
        claim(tmp_path / "out", PairDataset(dataset.root, "train"), "frames")
    assert not (tmp_path / "out").exists()
