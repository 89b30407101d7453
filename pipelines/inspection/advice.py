"""What a person should act on before training on a dataset, each in a line that says how."""

import math
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from pipelines.dataset.tables import in_partition
from pipelines.inspection.clip_sources import ClipSources
from pipelines.inspection.survey import Groups, Survey

MANY_FAILED = 0.10
ENLARGED = 1.5
"""A box enlarged more than this many times shows its pixels."""
MANY_ENLARGED = 0.10
STRETCHED = 1.5
"""Sides of a box that differ by more than this factor: squares made of it look wrong."""
MANY_STRETCHED = 0.10
RESHAPED = 1.05
"""A video whose aspect differs by more than this factor from the metadata's was turned, cut or padded since."""
MANY_RESHAPED = 0.01
MOST_OF_TRAINING = 0.50
_NAMED = 3


def advice(survey: Survey) -> list[str]:
    """The warnings, most serious first; empty where all is well."""
    return [
        *_partitions(survey),
        # A subject in both has its videos in both as a rule: one warning is enough.
        *(list(_leaks(survey.subjects, "subject")) or _leaks(survey.videos, "video")),
        *_failures(survey),
        *_absent(survey),
        *_boxes(survey),
        *_reshaped(survey),
        *_single_frames(survey),
        *_one_subject(survey.subjects),
    ]


def _partitions(survey: Survey) -> Iterator[str]:
    if survey.written == 0:
        yield "No clip was written: there is nothing to train on."
        return
    for name, lack in (
        ("train", "nothing can be trained on this dataset"),
        ("test", "no model can be judged on this dataset"),
    ):
        if not survey.partitions[name].clips:
            yield f"There are no {name} clips: {lack}. Give some rows of the metadata partition = {name}."


def _leaks(groups: Groups, what: str) -> Iterator[str]:
    both = groups.in_both
    if not both:
        return
    clips = int(groups.clips["test"][both].sum())
    names = ", ".join(groups.names[index] for index in both[:_NAMED]) + (
        ", ..." if len(both) > _NAMED else ""
    )
    yield (
        f"{_counted(len(both), what)} in both train and test ({names}), with {_counted(clips, 'test clip')}: "
        f"scores on those clips will flatter the model. Give all clips of a {what} one partition."
    )


def _failures(survey: Survey) -> Iterator[str]:
    failed = {name: in_partition(survey.tables.failed, name).num_rows for name in survey.partitions}
    listed = {name: failed[name] + part.clips for name, part in survey.partitions.items()}
    if not any(failed[name] and failed[name] >= MANY_FAILED * listed[name] for name in failed):
        return
    parts = [f"{count} of {listed[name]} {name} clips" for name, count in failed.items() if count]
    reasons = ", ".join(f"{group.reason} {group.clips}" for group in survey.failures[:_NAMED])
    yield (
        f"{_percent(survey.failed / sum(listed.values()))} of the clips failed ({'; '.join(parts)}; most often "
        f"{reasons}). Mend what the messages in failures.parquet name and run `lia prepare --retry-failed`."
    )


def _absent(survey: Survey) -> Iterator[str]:
    whole = survey.coverage.rows[-1]
    if whole.absent:
        yield (
            f"{whole.absent} of the {whole.listed} clips in the metadata file are not in this dataset at all: it "
            f"was prepared from another file. Prepare it anew from this one if they should be."
        )


def _boxes(survey: Survey) -> Iterator[str]:
    size = survey.size
    sources = {name: part.sources for name, part in survey.partitions.items() if len(part.sources)}
    if enlarged := _many(
        {name: s.enlargement(size) > ENLARGED for name, s in sources.items()}, MANY_ENLARGED
    ):
        yield (
            f"{enlarged} were enlarged more than {ENLARGED:g} times to reach {size} px: a model learns their "
            f"blur. {_smaller(sources.values(), size)} leave small boxes out."
        )
    limit = math.log(STRETCHED)
    if stretched := _many(
        {name: abs(np.log(s.aspect)) > limit for name, s in sources.items()}, MANY_STRETCHED
    ):
        yield (
            f"{stretched} have a side more than {STRETCHED:g} times the other: they look squeezed when made "
            f"square. Use boxes that are nearer to squares."
        )


def _reshaped(survey: Survey) -> Iterator[str]:
    sources = {name: part.sources for name, part in survey.partitions.items() if len(part.sources)}
    limit = math.log(RESHAPED)
    if reshaped := _many(
        {name: abs(np.log(s.reshaping)) > limit for name, s in sources.items()}, MANY_RESHAPED
    ):
        yield (
            f"{reshaped} come from videos of another aspect than the metadata's width x height (turned, cut or padded "
            f"since): their boxes were stretched with them and show another part. Get the videos as they were, or "
            f"leave such rows out."
        )


def _many(which: dict[str, NDArray[np.bool_]], least: float) -> str:
    """The partitions in which at least such a share of the clips is meant, with that share; empty if none."""
    shares = {name: float(marked.mean()) for name, marked in which.items()}
    return " and ".join(f"{_percent(s)} of the {name} clips" for name, s in shares.items() if s >= least)


def _smaller(sources: Iterable[ClipSources], size: int) -> str:
    """A size that would suit the median box, where that is smaller; the model takes powers of two from 32 up."""
    sides = [np.sqrt(source.box_width * source.box_height) for source in sources]
    median = float(np.median(np.concatenate(sides)))
    fitting = 2 ** max(5, math.floor(math.log2(median * ENLARGED)))
    if fitting >= size:
        return "Get sharper videos or"
    return f"The median box has {median:.0f} px: prepare at --prepare.size {fitting}, get sharper videos or"


def _single_frames(survey: Survey) -> Iterator[str]:
    count = sum(int((part.n_frames < 2).sum()) for part in survey.partitions.values())
    if count:
        yield (
            f"{_counted(count, 'clip')} of a single frame: there is no motion to learn. Leave such rows out."
        )


def _one_subject(subjects: Groups) -> Iterator[str]:
    train = subjects.clips["train"]
    if len(train) > 1 and train.max() > MOST_OF_TRAINING * train.sum():
        name = subjects.names[int(train.argmax())]
        yield (
            f"{_percent(float(train.max() / train.sum()))} of the train clips show one subject ({name}): a model "
            f"learns that one best. Add clips of others."
        )


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share < 0.995 or share == 1 else f"{100 * share:.1f} %"
