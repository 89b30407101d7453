"""A dataset that is being prepared: which editions are published when, and that each is a dataset by itself."""

import json
from dataclasses import dataclass

import pytest

from pipelines.corpus.clip_columns import ClipColumns
from pipelines.dataset.editions import (
    WHOLE,
    GrowingDataset,
    digest_of,
    newest_edition,
    open_edition,
    open_newest,
)
from pipelines.dataset.pairs import PairDataset
from pipelines.dataset.source import RemoteDataset
from pipelines.errors import DatasetError
from pipelines.media.ffmpeg_binary import ffmpeg_version
from pipelines.preparation.dataset_folder import DatasetFolder
from pipelines.preparation.editions import Editions
from pipelines.preparation.plan import ShardPlan, plan_shards
from pipelines.preparation.shard_task import ShardTask
from pipelines.storage.location import RemoteFolder
from tests.faulty_http import folder as serve_folder
from tests.faulty_http import serving
from tests.small_corpus import CONFIG, write_corpus


@dataclass
class Preparation:
    """One under way, shard by shard."""

    folder: DatasetFolder
    plans: list[ShardPlan]
    metadata: object
    videos: object

    def editions(self, announced: list[tuple[int, int]]) -> Editions:
        return Editions(
            self.folder, self.plans, self.metadata, lambda number, clips: announced.append((number, clips))
        )

    def make(self, plan: ShardPlan) -> None:
        task = ShardTask(
            videos=self.videos,
            out=self.folder.out,
            config=CONFIG,
            plan_digest=self.folder.digest,
            producer=self.folder.producer,
        )
        task.run([plan], 2, lambda clip_id, rejected: None)

    def finish(self) -> None:
        self.folder.describe(self.folder.require_published(self.plans), self.metadata)


def preparation(root, *, with_failures: bool = False) -> Preparation:
    metadata, videos = write_corpus(root / "corpus", with_failures=with_failures)
    clips = ClipColumns.of(metadata.clips)
    folder = DatasetFolder(out=root / "dataset", config=CONFIG, clips=clips, producer=ffmpeg_version())
    folder.claim()
    plans = sorted(plan_shards(clips, CONFIG), key=lambda plan: plan.trains)
    return Preparation(folder, plans, metadata, videos)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """What was announced, with the clips and the digest that could be read at that moment."""
    work = preparation(tmp_path_factory.mktemp("growing"))
    announced, seen = [], []
    editions = work.editions(announced)
    editions.begin([])
    for plan in work.plans:
        work.make(plan)
        editions.add([plan.name])
        if len(announced) > len(seen):
            opened = PairDataset(open_newest(work.folder.out), "train")
            seen.append(
                (
                    plan.name,
                    list(opened.clip_ids),
                    opened.digest,
                    len(PairDataset(open_newest(work.folder.out), "test")),
                )
            )
    before = newest_edition(work.folder.out)
    work.finish()
    return work, announced, seen, before


def test_an_edition_has_all_held_out_clips_and_twice_the_training_shards_of_the_one_before(prepared):
    work, announced, seen, before = prepared
    train = [plan for plan in work.plans if plan.trains]
    assert len(train) >= 4, "the corpus is too small to grow"
    last = [name for name, *_ in seen]
    assert last == [train[0].name, train[1].name, *([train[3].name] if len(train) > 4 else [])]
    assert announced == [(number, len(clips)) for number, (_, clips, *_) in enumerate(seen, 1)]
    assert before == len(announced)
    held_out = sum(len(plan.clips) for plan in work.plans if not plan.trains)
    assert {tests for *_, tests in seen} == {held_out}


def test_each_is_part_of_the_whole(prepared):
    work, _, seen, _ = prepared
    whole = PairDataset(work.folder.out, "train")
    assert newest_edition(work.folder.out) == WHOLE
    assert len({digest for _, _, digest, _ in seen} | {whole.digest}) == len(seen) + 1
    for number, (_, clips, digest, _) in enumerate(seen, 1):
        growing = GrowingDataset(work.folder.out, "train")
        edition = growing.open(number)
        assert (list(edition.clip_ids), edition.digest) == (clips, digest)
        assert set(clips) < set(whole.clip_ids)
        for clip, name in enumerate(clips):
            assert edition.jpeg(clip, 7) == whole.jpeg(whole.clip_ids.index(name), 7)
    assert GrowingDataset(work.folder.out, "train").open(WHOLE).digest == whole.digest


def test_the_plan_is_the_same_throughout(prepared):
    work, *_ = prepared
    assert digest_of(work.folder.out, grows=True) == work.folder.digest
    description = json.loads((work.folder.out / ".editions" / "000001" / "dataset.json").read_text())
    assert description["plan_digest"] == work.folder.digest
    assert description["counts"]["clips"] < len(work.folder.clips)


def test_editions_are_read_from_a_server(prepared, tmp_path, monkeypatch):
    monkeypatch.setenv("LIA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    work, _, seen, _ = prepared
    with serving(serve_folder(work.folder.out.parent)) as server:
        root = RemoteFolder(f"{server.url}/{work.folder.out.name}")
        source = open_edition(root, 1)
        assert isinstance(source, RemoteDataset)
        remote = PairDataset(source, "train")
        assert (list(remote.clip_ids), remote.digest) == seen[0][1:3]
        assert remote.jpeg(0, 7) == GrowingDataset(work.folder.out, "train").open(1).jpeg(0, 7)


def test_nothing_is_published_before_all_held_out_clips_and_the_first_to_train_on(tmp_path):
    work = preparation(tmp_path)
    announced = []
    editions = work.editions(announced)
    editions.begin([])
    with pytest.raises(DatasetError, match="nothing of it is published yet"):
        newest_edition(work.folder.out)
    first = next(plan for plan in work.plans if plan.trains)
    work.make(first)
    editions.add([first.name])
    assert not announced


def test_a_preparation_that_goes_on_numbers_on_and_withdraws_what_it_may_make_anew(tmp_path):
    work = preparation(tmp_path)
    for plan in work.plans[:2]:
        work.make(plan)
    announced = []
    work.editions(announced).begin([plan.name for plan in work.plans[:2]])
    assert [number for number, _ in announced] == [1]
    work.editions([]).begin([])
    with pytest.raises(DatasetError, match="nothing of it is published yet"):
        newest_edition(work.folder.out)
    work.editions(announced).begin([plan.name for plan in work.plans[:2]])
    assert [number for number, _ in announced] == [1, 2]
    assert newest_edition(work.folder.out) == 2


@pytest.mark.parametrize("text", ["", "{", "[]", '{"edition": "x", "valid": true}', '{"edition": 3}'])
def test_a_damaged_pointer_is_none(text, tmp_path):
    (tmp_path / ".editions").mkdir()
    (tmp_path / ".editions" / "newest.json").write_text(text)
    with pytest.raises(DatasetError, match="nothing of it is published yet"):
        newest_edition(tmp_path)


def test_a_folder_without_a_plan_is_told(tmp_path):
    with pytest.raises(DatasetError, match="is no dataset of this platform"):
        digest_of(tmp_path, grows=True)
    (tmp_path / ".outcomes").mkdir()
    (tmp_path / ".outcomes" / "plan.json").write_text("{}")
    with pytest.raises(DatasetError, match="damaged"):
        digest_of(tmp_path, grows=True)
