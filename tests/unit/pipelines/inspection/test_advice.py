from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipelines.dataset.tables import DatasetTables
from pipelines.inspection.advice import advice
from pipelines.inspection.clip_sources import ClipSources, no_sources
from pipelines.inspection.coverage import Coverage, PartitionCoverage
from pipelines.inspection.survey import FailureGroup, Groups, PartitionSurvey, Survey


def sources(width=256.0, height=256.0, clips=10, stated_aspect=1.0):
    box = {"box_width": np.full(clips, width), "box_height": np.full(clips, height)}
    video = dict.fromkeys(("video_width", "video_height", "fps", "stated_fps"), np.full(clips, 25.0))
    return ClipSources(**box, **video, stated_aspect=np.full(clips, stated_aspect))


def partition(name, clips=10, **changes):
    part = PartitionSurvey(
        name=name,
        clips=clips,
        videos=1,
        shards=1,
        shard_bytes=1,
        n_frames=np.full(clips, 96),
        seconds=np.full(clips, 3.84),
        sources=sources(clips=clips) if clips else no_sources(),
    )
    return replace(part, **changes)


def surveyed(train=None, test=None, failed=(), subjects=None, absent=0):
    """A dataset of 10 train and 10 test clips at 256 px with nothing amiss, but for what is given."""
    parts = {"train": train or partition("train"), "test": test or partition("test")}
    groups = subjects or Groups(names=[], clips={"train": np.zeros(0, int), "test": np.zeros(0, int)})
    count = sum(part.clips for part in parts.values())
    covered = PartitionCoverage(
        partition="all",
        listed=count + absent,
        written=count,
        failed=0,
        absent=absent,
        videos_listed=1,
        videos_found=1,
    )
    tables = DatasetTables(
        Path("dataset"),
        {"size": 256},
        pa.table({"partition": ["train"] * count}),
        pa.table({"partition": pa.array(failed, pa.string())}),
    )
    return Survey(
        tables=tables,
        partitions=parts,
        subjects=groups,
        videos=Groups(names=["v"], clips={"train": np.array([1]), "test": np.array([0])}),
        failures=[FailureGroup(stage="probe", reason="damaged", clips=len(failed), examples=[])],
        coverage=Coverage(rows=[covered], unlisted=0, same_file=True),
        sample=[],
    )


def subjects(train, test):
    return Groups(names=["ann", "bob", "cat"], clips={"train": np.array(train), "test": np.array(test)})


def test_a_sound_dataset_needs_no_advice():
    assert advice(surveyed(failed=["test"], subjects=subjects([5, 5, 0], [0, 0, 10]))) == []


@pytest.mark.parametrize(
    ("survey", "words"),
    [
        pytest.param(surveyed(test=partition("test", 0)), "no test clips", id="no-test"),
        pytest.param(surveyed(train=partition("train", 0)), "no train clips", id="no-train"),
        pytest.param(
            surveyed(train=partition("train", 0), test=partition("test", 0)),
            "nothing to train on",
            id="nothing",
        ),
        pytest.param(
            surveyed(failed=["test"] * 2),
            "9 % of the clips failed (2 of 12 test clips",
            id="many-test-failed",
        ),
        pytest.param(
            surveyed(subjects=subjects([5, 5, 0], [3, 0, 7])),
            "in both train and test (ann), with 3 test clips",
            id="leak",
        ),
        pytest.param(
            surveyed(subjects=subjects([6, 4, 0], [0, 0, 10])),
            "60 % of the train clips show one subject (ann)",
            id="one",
        ),
        pytest.param(surveyed(absent=5), "5 of the 25 clips", id="other-metadata"),
        pytest.param(
            surveyed(*(partition(name, sources=sources(100, 100)) for name in ("train", "test"))),
            "The median box has 100 px: prepare at --prepare.size 128",
            id="enlarged",
        ),
        pytest.param(
            surveyed(train=partition("train", sources=sources(512, 256))),
            "100 % of the train",
            id="stretched",
        ),
        pytest.param(
            surveyed(train=partition("train", sources=sources(stated_aspect=16 / 9))),
            "100 % of the train clips come from videos of another aspect",
            id="reshaped",
        ),
        pytest.param(
            surveyed(train=partition("train", n_frames=np.full(10, 1))),
            "10 clips of a single frame",
            id="stills",
        ),
    ],
)
def test_each_trouble_is_named_once(survey, words):
    (line,) = advice(survey)
    assert words in line


def test_few_small_boxes_pass():
    few = sources(clips=20)
    few.box_width[:1] = few.box_height[:1] = 100
    assert advice(surveyed(train=partition("train", 20, sources=few))) == []
