import pytest

from orchestration.evaluation.scores import ClipScore, Evaluation
from pipelines.errors import InputError


def clip_score(name: str, l1: float) -> ClipScore:
    return ClipScore(
        clip_id=name, n_frames=3, l1=l1, psnr=20.0, ssim=0.5,
        baseline_l1=0.2, baseline_psnr=15.0, baseline_ssim=0.4,
    )  # fmt: skip


def evaluation_of(*clips: ClipScore, expected: int = 5, model: str = "m", dataset: str = "d") -> Evaluation:
    return Evaluation(
        model_digest=model,
        dataset_digest=dataset,
        partition="test",
        clips=list(clips),
        expected_clips=expected,
    )


@pytest.fixture
def evaluation():
    return evaluation_of(clip_score("a", 0.1), clip_score("b", 0.3))


def test_clips_count_alike_and_the_table_shows_coverage(evaluation):
    assert evaluation.mean("l1") == pytest.approx(0.2)
    rows = evaluation.table().splitlines()
    assert rows[1].split() == ["model", "0.2000", "[0.1000,", "0.3000]", "20.00", "0.5000"]
    assert rows[2].split() == ["copy", "of", "the", "source", "0.2000", "15.00", "0.4000"]
    assert rows[3].startswith("2 of 5 clips")
    assert "95% interval" in rows[4]


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
        ("clips.parquet", b"PAR1"),
        ("clips.parquet", b""),
    ],
)
def test_a_damaged_file_is_named(name, content, evaluation, tmp_path):
    evaluation.save(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=r"holds no whole evaluation .* Evaluate again"):
        Evaluation.load(tmp_path)
