from dataclasses import replace

import pytest

from orchestration.evaluation.metrics import METRICS
from orchestration.evaluation.score_table import ScoreTable, score_cell
from orchestration.evaluation.scores import Evaluation
from tests.unit.orchestration.evaluation.test_scores import clip_score, evaluation_of

FRECHET = "frechet_efficientnet_lite0"


def text(evaluation):
    return ScoreTable.of(evaluation).text()


@pytest.fixture
def evaluation():
    return evaluation_of(clip_score("a", 0.1), clip_score("b", 0.3))


def with_values(evaluation, *values):
    """The evaluation, whose clips have these values besides."""
    clips = zip(evaluation.clips, values, strict=True)
    return replace(evaluation, clips=[replace(clip, values={**clip.values, **more}) for clip, more in clips])


def test_clips_count_alike_and_the_table_shows_coverage(evaluation):
    assert evaluation.mean("l1") == pytest.approx(0.2)
    lines = text(evaluation).splitlines()
    assert lines[0].split() == ["reconstruction,", "test", "model", "copy", "of", "the", "source"]
    assert lines[1].split() == ["L1", "0.2000", "[0.1000,", "0.3000]", "0.2000"]
    assert lines[2].split() == ["PSNR,", "dB", "20.00", "15.00"]
    assert lines[4].startswith("2 of 5 clips")
    assert "95% interval" in lines[5]
    assert lines[5].endswith("of fewer than 6 it is too narrow")


def test_published_figures_stand_beside_those_of_their_dataset(evaluation):
    (row,) = (line for line in text(replace(evaluation, dataset="vox")).splitlines() if line.startswith("L1"))
    assert "FOMM .043" in row
    transfer = replace(evaluation.inputs, protocol="relative")
    assert "FOMM" not in text(replace(evaluation, dataset="vox", inputs=transfer))


def test_of_a_transfer_other_figures_are_published_and_the_network_without_official_file_is_told(
    evaluation, tmp_path
):
    inputs = replace(evaluation.inputs, protocol="relative", networks={"video_fid": "ab" * 32})
    found = replace(evaluation, dataset="vox", inputs=inputs, sets={"video_fid": 0.25})
    (row,) = (line for line in text(found).splitlines() if line.startswith("video FID "))
    assert "0.250" in row
    assert "LIA .161" in row
    assert "video FID: by the file of sha256 abababababab: compare it with figures by that" in text(found)
    found.save(tmp_path)
    assert Evaluation.load(tmp_path).inputs == inputs


def test_published_pixels_stand_beside_those_of_images_of_their_size_only(evaluation):
    """A pixel of 64 is four of 256, and detectors do not see the same in both."""
    faces = with_values(replace(evaluation, dataset="vox"), {"face_akd": 2.0}, {"face_akd": 3.0})
    for size, beside in ((256, True), (64, False)):
        table = ScoreTable.of(replace(faces, image_size=size))
        (row,) = (row for row in table.rows if row[0].startswith("AKD"))
        assert ("FOMM 1.294*" in row) == beside
        left_out = "AKD of faces, px: published in pixels at 256 px, so not beside those at 64 px"
        assert (left_out in table.notes) != beside
        (note,) = (note for note in table.notes if note.startswith("published: at 256 px unless said"))
        assert ("do not compare" in note) != beside
        assert any("FOMM .043" in cell for row in table.rows for cell in row)


def test_what_could_not_be_measured_says_why(evaluation):
    """Of a metric, or of a clip in which there was nothing to see."""
    faces = {"face_akd": 2.0, "noise_face_akd": 0.5}, {"face_akd": None, "noise_face_akd": None}
    found = replace(with_values(evaluation, *faces), absent={"body_akd": "weights absent: lia fetch x"})
    table = text(found)
    assert "AKD of faces, px      2.000" in table
    assert "0.500" in table
    assert "AKD of faces, px: nothing was found in 1 of 2 clips" in table
    assert "AKD of bodies, px     weights absent\n" in table
    assert "AKD of bodies, px: weights absent: lia fetch x" in table
    assert "AKD of faces, px      nothing found" in text(with_values(found, *[{"face_akd": None}] * 2))


def test_of_one_clip_no_interval_is_claimed():
    table = text(evaluation_of(clip_score("a", 0.1), expected=1))
    assert "[" not in table
    assert "one clip tells nothing of others" in table


@pytest.mark.parametrize(
    ("failures", "note"),
    [
        ({}, None),
        ({"c": "x.tar: cut"}, "1 failed and count in no score; c: x.tar: cut"),
        ({"c": "x.tar: cut", "d": "y"}, "2 failed and count in no score; the first: c: x.tar: cut"),
    ],
)
def test_clips_that_failed_are_told(failures, note, evaluation):
    notes = ScoreTable.of(replace(evaluation, failures=failures)).notes
    assert notes[0] == "2 of 5 clips that the metadata lists were evaluated"
    assert [line for line in notes if "failed" in line] == ([note] if note else [])


def test_a_score_of_all_images_has_no_bounds(evaluation):
    assert score_cell(replace(evaluation, sets={FRECHET: 12.345}), FRECHET) == "12.35"
    assert score_cell(evaluation, FRECHET) == ""


def test_where_model_and_baseline_are_of_different_clips_both_are_given_for_the_common_ones(evaluation):
    found = text(
        with_values(
            evaluation,
            {"face_akd": 2.0, "baseline_face_akd": 3.0},
            {"face_akd": 9.0, "baseline_face_akd": None},
        )
    )
    title = METRICS["face_akd"].title
    assert f"{title}: over the 1 clips that have both, model 2.000, copy of the source 3.000" in found
    assert "that have both" not in text(evaluation)


def test_the_cap_in_the_copys_psnr_is_told(evaluation):
    assert "cap of 100 dB" in text(evaluation)
