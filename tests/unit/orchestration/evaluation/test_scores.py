import json
from dataclasses import replace

import pytest

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


def evaluation_of(*clips: ClipScore, expected: int = 5, model: str = "m", dataset: str = "d") -> Evaluation:
    return Evaluation(
        model_digest=model,
        dataset_digest=dataset,
        partition="test",
        clips=list(clips),
        expected_clips=expected,
    )


WHOLE = (
    b'{"model_digest": "m", "dataset_digest": "d", "dataset": "", "partition": "test", "expected_clips": 5, '
    b'"protocol": "reconstruction", "absent": {}, "sets": {}}'
)


@pytest.fixture
def evaluation():
    return evaluation_of(clip_score("a", 0.1), clip_score("b", 0.3))


def test_clips_count_alike_and_the_table_shows_coverage(evaluation):
    assert evaluation.mean("l1") == pytest.approx(0.2)
    lines = evaluation.table().splitlines()
    assert lines[0].split() == ["reconstruction,", "test", "model", "copy", "of", "the", "source"]
    assert lines[1].split() == ["L1", "0.2000", "[0.1000,", "0.3000]", "0.2000"]
    assert lines[2].split() == ["PSNR,", "dB", "20.00", "15.00"]
    assert lines[4].startswith("2 of 5 clips")
    assert "95% interval" in lines[5]


def test_published_figures_stand_beside_those_of_their_dataset(evaluation):
    (row,) = (
        line for line in replace(evaluation, dataset="vox").table().splitlines() if line.startswith("L1")
    )
    assert "FOMM .043" in row
    assert "FOMM" not in replace(evaluation, dataset="vox", protocol="relative").table()


def test_of_a_transfer_other_figures_are_published_and_the_network_without_official_file_is_told(
    evaluation, tmp_path
):
    found = replace(
        evaluation,
        dataset="vox",
        protocol="relative",
        sets={"video_fid": 0.25},
        networks={"video_fid": "ab" * 32},
    )
    (row,) = (line for line in found.table().splitlines() if line.startswith("video FID "))
    assert "0.250" in row
    assert "LIA .161" in row
    assert "video FID: by the file of sha256 abababababab: compare it with figures by that" in found.table()
    found.save(tmp_path)
    assert Evaluation.load(tmp_path).networks == found.networks


def test_what_could_not_be_measured_says_why():
    """Of a metric, or of a clip in which there was nothing to see."""
    scores = [clip_score("a", 0.1), clip_score("b", 0.3)]
    faces = {"face_akd": 2.0, "noise_face_akd": 0.5}, {"face_akd": None, "noise_face_akd": None}
    scores = [
        replace(score, values={**score.values, **seen}) for score, seen in zip(scores, faces, strict=True)
    ]
    evaluation = replace(evaluation_of(*scores), absent={"body_akd": "weights absent: lia fetch x"})
    table = evaluation.table()
    assert "AKD of faces, px      2.000" in table
    assert "0.500" in table
    assert "AKD of faces, px: nothing was found in 1 of 2 clips" in table
    assert "AKD of bodies, px     weights absent\n" in table
    assert "AKD of bodies, px: weights absent: lia fetch x" in table
    nowhere = replace(
        evaluation, clips=[replace(one, values={**one.values, "face_akd": None}) for one in scores]
    )
    assert "AKD of faces, px      nothing found" in nowhere.table()


@pytest.mark.parametrize(
    "row", [{"clip_id": "a"}, {"clip_id": 1}, {"l2": 0.1}, {"l1": "0.1"}, {"l1": True}, {"n_frames": "3"}]
)
def test_a_row_that_is_none_is_refused(row):
    whole = {"clip_id": "a", "n_frames": 3, "l1": 0.1}
    assert ClipScore.from_row(whole).row() == whole
    with pytest.raises((ValueError, KeyError, TypeError)):
        ClipScore.from_row(row if row == {"clip_id": "a"} else whole | row)


def test_of_one_clip_no_interval_is_claimed():
    table = evaluation_of(clip_score("a", 0.1), expected=1).table()
    assert "[" not in table
    assert "one clip tells nothing of others" in table


def test_what_is_saved_is_loaded(evaluation, tmp_path):
    evaluation.save(tmp_path / "new")
    assert Evaluation.is_saved(tmp_path / "new")
    assert Evaluation.load(tmp_path / "new") == evaluation


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("summary.json", b"{"),
        ("summary.json", b"[]"),
        ("summary.json", b"{}"),
        ("summary.json", WHOLE.replace(b'"reconstruction"', b'"other"')),
        ("summary.json", WHOLE.replace(b'"dataset": ""', b'"dataset": []')),
        ("summary.json", WHOLE.replace(b'"sets": {}', b'"sets": {"fid": NaN}')),
        ("summary.json", WHOLE.replace(b'"sets": {}', b'"sets": {"other": 1.0}')),
        ("clips.parquet", b"PAR1"),
        ("clips.parquet", b""),
    ],
)
def test_a_damaged_file_is_named(name, content, evaluation, tmp_path):
    evaluation.save(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=r"holds no whole evaluation .* Evaluate again"):
        Evaluation.load(tmp_path)


def test_what_the_first_release_saved_is_read(evaluation, tmp_path):
    evaluation.save(tmp_path)
    old = {"model_digest": "m", "dataset_digest": "d", "partition": "test", "clips": 2, "expected_clips": 5}
    (tmp_path / "summary.json").write_text(json.dumps(old))
    assert Evaluation.load(tmp_path) == evaluation


def test_the_example_of_a_whole_file_is_whole(evaluation, tmp_path):
    evaluation.save(tmp_path)
    (tmp_path / "summary.json").write_bytes(WHOLE)
    assert Evaluation.load(tmp_path) == evaluation
