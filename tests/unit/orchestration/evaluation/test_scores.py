import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import pyarrow.parquet as pq
import pytest

from orchestration.evaluation import scores
from orchestration.evaluation.inputs import EvaluationInputs, digest_pairs
from orchestration.evaluation.scores import ClipScore, Evaluation
from pipelines.errors import InputError


def clip_score(name: str, l1: float) -> ClipScore:
    return ClipScore(
        clip_id=name,
        n_frames=3,
        values={
            **{"l1": l1, "psnr": 20.0, "ssim": 0.5},
            **{"baseline_l1": 0.2, "baseline_psnr": 15.0, "baseline_ssim": 0.4},
        },
    )


def inputs_of(names: Iterable[str], **changes: Any) -> EvaluationInputs:
    return replace(
        EvaluationInputs(
            model_digest="m", dataset_digest="d", partition="test", protocol="reconstruction",
            measured=("pixels",), pairs=digest_pairs(names),
        ),
        **changes,
    )  # fmt: skip


def evaluation_of(
    *clips: ClipScore,
    expected: int = 5,
    model: str = "m",
    dataset: str = "d",
    failures: Mapping[str, str] | None = None,
) -> Evaluation:
    names = [*(clip.clip_id for clip in clips), *(failures or {})]
    return Evaluation(
        inputs=inputs_of(names, model_digest=model, dataset_digest=dataset),
        dataset="",
        image_size=256,
        clips=list(clips),
        failures=failures or {},
        expected_clips=expected,
    )


@pytest.fixture
def evaluation():
    return evaluation_of(clip_score("a", 0.1), clip_score("b", 0.3))


@pytest.mark.parametrize(
    "row", [{"clip_id": "a"}, {"clip_id": 1}, {"l2": 0.1}, {"l1": "0.1"}, {"l1": True}, {"n_frames": "3"}]
)
def test_a_row_that_is_none_is_refused(row):
    whole = {"clip_id": "a", "n_frames": 3, "l1": 0.1}
    assert ClipScore.from_row(whole).row() == whole
    with pytest.raises((ValueError, KeyError, TypeError)):
        ClipScore.from_row(row if row == {"clip_id": "a"} else whole | row)


def test_what_is_saved_is_loaded(evaluation, tmp_path):
    evaluation.save(tmp_path / "new")
    assert Evaluation.is_saved(tmp_path / "new")
    assert Evaluation.load(tmp_path / "new") == evaluation


@pytest.mark.parametrize("content", [b"{", b"[]", b"{}", b"\xff", b"[" * 100_000])
@pytest.mark.parametrize("name", ["summary.json", "clips.parquet"])
def test_a_damaged_file_is_named(name, content, evaluation, tmp_path):
    evaluation.save(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=r"holds no whole evaluation .* evaluate again"):
        Evaluation.load(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"dataset": []},
        {"image_size": "256"},
        {"sets": {"fid": float("nan")}},
        {"sets": {"other": 1.0}},
        {"inputs": {}},
        {"inputs": None},
        {"absent": []},
        {"expected_clips": "many"},
    ],
)
def test_a_summary_with_a_damaged_field_is_refused(changes, evaluation, tmp_path):
    evaluation.save(tmp_path)
    path = tmp_path / "summary.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(InputError, match=r"holds no whole evaluation .* evaluate again"):
        Evaluation.load(tmp_path)


def test_what_another_release_saved_is_to_be_made_anew(evaluation, tmp_path):
    evaluation.save(tmp_path)
    old = {"model_digest": "m", "dataset_digest": "d", "partition": "test", "clips": 2, "expected_clips": 5}
    (tmp_path / "summary.json").write_text(json.dumps(old))
    with pytest.raises(InputError, match=r"of this release .* Delete it and evaluate again"):
        Evaluation.load(tmp_path)


def test_a_clip_that_failed_is_a_row_without_scores(tmp_path):
    evaluation = evaluation_of(clip_score("a", 0.1), failures={"b": "shard.tar: cut"})
    evaluation.save(tmp_path)
    assert Evaluation.load(tmp_path) == evaluation
    scored, failed = pq.read_table(tmp_path / "clips.parquet").to_pylist()
    assert (scored["clip_id"], scored["failure"], scored["l1"]) == ("a", None, 0.1)
    assert {name: value for name, value in failed.items() if value is not None} == {
        "clip_id": "b",
        "failure": "shard.tar: cut",
    }
    assert json.loads((tmp_path / "summary.json").read_text())["failed_clips"] == 1


def test_a_summary_never_stands_beside_the_clips_of_another(evaluation, tmp_path, monkeypatch):
    evaluation.save(tmp_path)
    monkeypatch.setattr(scores, "_write_clips", lambda *written: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        replace(evaluation, image_size=64).save(tmp_path)
    assert not Evaluation.is_saved(tmp_path)


def test_an_evaluation_that_lacks_a_clip_is_damaged(evaluation, tmp_path):
    evaluation.save(tmp_path)
    table = pq.read_table(tmp_path / scores.CLIPS)
    pq.write_table(table.slice(1), tmp_path / scores.CLIPS)
    with pytest.raises(InputError, match="other clips than those that were evaluated"):
        Evaluation.load(tmp_path)
