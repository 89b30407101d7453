"""Raw videos and a clip table in, WebDataset shards out: Ray Data hands out shards, `shard_task` makes them.

    OUT/{train,test}-000000.tar   one sample a clip: <clip_id>.mp4 (motion JPEG), <clip_id>.json
    OUT/manifest.parquet          where every clip written lies
    OUT/failures.parquet          every other clip, with the reason
    OUT/shardindex.json           index in the wids format
    OUT/dataset.json              settings, counts, digest; written last
    OUT/.outcomes/                one record a shard, which resuming goes by
    OUT/.editions/                what was published earlier, where training did not wait for all

On a cluster OUT is object storage (s3://...), or OUT and the videos lie on storage that all nodes share under the
same path.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.compute as pc

from pipelines.corpus.clip_columns import ClipColumns
from pipelines.corpus.failures import REASONS
from pipelines.corpus.metadata import Metadata
from pipelines.cropping.config import PrepareConfig
from pipelines.errors import InputError, TooManyFailuresError
from pipelines.media.ffmpeg_binary import ffmpeg_version
from pipelines.preparation.dataset_folder import DatasetFolder
from pipelines.preparation.editions import Announce, Editions
from pipelines.preparation.failure_limit import FailureLimit
from pipelines.preparation.outcomes import ShardOutcome
from pipelines.preparation.plan import ShardPlan, plan_shards
from pipelines.preparation.shard_task import ShardTask
from pipelines.preparation.verification import damaged_clips
from pipelines.storage.location import Location


@dataclass(frozen=True, kw_only=True)
class PrepareSummary:
    """How a preparation ended; clips = written + failed."""

    out: Location
    clips: int
    written: int
    partitions: dict[str, int]
    """Clips written, by partition."""
    failures: dict[str, int]
    """Clips that failed, by reason."""
    shards: int
    """Shards in the folder."""
    shards_kept: int
    """Of them, those that were there before."""
    digest: str
    """The dataset's digest, over plan and content."""
    mended: Mapping[str, str] = field(default_factory=dict)
    """Shards that were made again because verification found them damaged, each with its first damaged clip."""

    @property
    def failed(self) -> int:
        """Clips that could not be written."""
        return sum(self.failures.values())

    def report(self) -> str:
        """The sums of clips, and where to read about those that failed."""
        kept = f", {self.shards_kept} of them unchanged" if self.shards_kept else ""
        lines = [
            f"{self.clips} clips = {self.written} written + {self.failed} failed, "
            f"{self.shards} shards{kept}, in {self.out}"
        ]
        lines += [f"  {reason:18} {count}" for reason, count in self.failures.items()]
        lines += [
            f"  {name}.tar was damaged (clip {clip}) and made again" for name, clip in self.mended.items()
        ]
        if self.failures:
            lines.append(f"  (each with its message in {self.out / 'failures.parquet'})")
        lines.append("  " + ", ".join(f"{count} {name}" for name, count in self.partitions.items()))
        if self.written and not self.partitions["test"]:
            lines.append(
                "  no clip has partition = test: a model trained on these cannot be evaluated on them"
            )
        if self.written and not self.partitions["train"]:
            lines.append("  no clip has partition = train: nothing can be trained on these")
        return "\n".join(lines)


def prepare(
    metadata: Metadata,
    config: PrepareConfig,
    videos: Path,
    out: Location,
    *,
    retry_failed: bool = False,
    verify: bool = False,
    max_failure_rate: float | None = None,
    progress: bool = True,
    announce: Announce | None = None,
    leave_cpus: int = 0,
    cluster: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> PrepareSummary:
    """Crop all clips of `metadata` into shards in `out`, on the Ray cluster that is connected.

    Shards that are there already and match the plan are kept, unless one of their clips lacked a video that
    has arrived since, `retry_failed` asks for all shards with failures to be made anew, or `verify` reads their
    clips and finds other bytes than were written. Call `ray.init` before, or give a context that connects as
    `cluster`: it is entered only if there are shards to make. While a shard is made its clips lie in the
    worker's temporary folder (TMPDIR). So many CPUs as `leave_cpus` are left to other work of the cluster.

    With `announce` held-out clips are prepared first, and whatever is there is published as an edition from time to
    time, of which `announce` is told.

    Raises InputError if `videos` is no folder and DatasetError if `out` holds another dataset. A clip that
    fails is counted, never raised; but once more than `max_failure_rate` of all clips have failed, the run ends
    with TooManyFailuresError and the dataset stays unfinished, for readers too, until a run without that error.
    """
    if not videos.is_dir():
        raise InputError(
            f"{videos}: no such folder of videos. Give the folder that holds <video_id>.mp4 files."
        )
    if not metadata.clips:
        raise InputError("there are no clips to prepare: the clip table is empty.")
    clips = ClipColumns.of(metadata.clips)
    folder = DatasetFolder(out=out, config=config, clips=clips, producer=ffmpeg_version())
    folder.claim()
    with folder.sole_writer():
        plans = plan_shards(folder.clips, folder.config)
        return _Preparation(
            folder=folder,
            plans=plans,
            metadata=metadata,
            videos=videos,
            limit=FailureLimit(out=out, clips=len(clips), rate=max_failure_rate),
            editions=Editions(folder, plans, metadata, announce) if announce else None,
            leave_cpus=leave_cpus,
            progress=progress,
        ).run(cluster, retry_failed=retry_failed, verify=verify)


@dataclass(frozen=True, kw_only=True)
class _Preparation:
    """One call of `prepare`."""

    folder: DatasetFolder
    plans: Sequence[ShardPlan]
    metadata: Metadata
    videos: Path
    limit: FailureLimit
    editions: Editions | None
    leave_cpus: int
    progress: bool

    def run(
        self, cluster: Callable[[], AbstractContextManager[object]], *, retry_failed: bool, verify: bool
    ) -> PrepareSummary:
        """Make what is not there yet, and describe the whole."""
        folder, plans = self.folder, self.plans
        kept = {
            plan.name: shard
            for plan, shard in zip(plans, folder.look_up(plans), strict=True)
            if shard and not _worth_redoing(plan, shard, self.videos, retry_failed)
        }
        damaged = damaged_clips(folder.out, list(kept.values()), show=self.progress) if verify else {}
        kept = {name: shard for name, shard in kept.items() if name not in damaged}
        pending = [plan for plan in plans if plan.name not in kept]
        try:
            self.limit.check(_counts(kept.values()))
            if pending:
                with cluster():
                    folder.announce(plans)
                    if self.editions:
                        self.editions.begin(kept)
                    self.make(pending, _counts(kept.values()))
        except TooManyFailuresError as error:
            folder.refuse(
                [shard for shard in folder.look_up(plans) if shard],
                str(error).removeprefix(f"{folder.out}: "),
            )
            raise
        # Also with nothing to make: a description that was damaged since is put right, an intact one stays untouched.
        made = iter(folder.require_published(pending))
        folder.describe([kept.get(plan.name) or next(made) for plan in plans], self.metadata)
        return _summary(folder, kept=sum(shard.tar_bytes > 0 for shard in kept.values()), mended=damaged)

    def make(self, pending: Sequence[ShardPlan], done: Counter[str]) -> None:
        """Publish these shards; clips in `done`, by reason of failure, were dealt with before."""
        from pipelines.preparation.distribute import require_ray, run_shards

        require_ray()
        folder, editions = self.folder, self.editions
        folder.reopen(pending)
        task = ShardTask(
            videos=self.videos.absolute(),
            out=folder.out.absolute(),
            config=folder.config,
            plan_digest=folder.digest,
            producer=folder.producer,
        )

        def made(names: Sequence[str], counts: Counter[str]) -> None:
            self.limit.check(counts)
            if editions:
                editions.add(names)

        try:
            run_shards(
                task,
                sorted(pending, key=lambda plan: plan.trains) if editions else pending,
                done=done,
                show=self.progress,
                made=made,
                leave_cpus=self.leave_cpus,
            )
        finally:
            folder.sweep()


def _worth_redoing(plan: ShardPlan, outcome: ShardOutcome, videos: Path, retry_failed: bool) -> bool:
    if retry_failed and outcome.failed.num_rows:
        return True
    lacking = outcome.failed.filter(pc.equal(outcome.failed["reason"], "missing_video"))
    missing = set(lacking["clip_id"].to_pylist())
    return bool(missing) and any(
        clip.clip_id in missing and clip.video_path and (videos / clip.video_path).exists()
        for clip in plan.clips
    )


def _counts(shards: Iterable[ShardOutcome]) -> Counter[str]:
    """Clips by reason of failure; those written under the empty reason."""
    return sum((shard.reasons() for shard in shards), Counter())


def _summary(folder: DatasetFolder, kept: int, mended: Mapping[str, str]) -> PrepareSummary:
    description = folder.description()
    counts = description["counts"]
    failures = {reason: counts["by_reason"][reason] for reason in REASONS if reason in counts["by_reason"]}
    summary = PrepareSummary(
        out=folder.out,
        clips=counts["clips"],
        written=counts["written"],
        partitions=counts["by_partition"],
        failures=failures,
        shards=counts["shards"],
        shards_kept=kept,
        digest=description["digest"],
        mended=mended,
    )
    if summary.clips != len(folder.clips) or summary.clips != summary.written + summary.failed:
        raise RuntimeError(f"clips were lost: {len(folder.clips)} in, but {summary.report()}")
    return summary
