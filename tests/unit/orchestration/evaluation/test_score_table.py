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


def bodies(*values):
    """An evaluation whose clips have these AKD and MKR of bodies, None where there is none."""
    scores = [clip_score(f"clip-{number}", 0.1 + 0.01 * number) for number in range(len(values))]
    columns = [dict(zip(("body_akd", "body_mkr"), clip, strict=True)) for clip in values]
    return with_values(evaluation_of(*scores), *columns)


def test_each_metric_counts_its_own_clips():
    """Six clips were evaluated; bodies were found in fewer."""
    found = bodies((2.0, 0.1), (5.0, 0.3), (None, 1.0), *[(None, None)] * 3)
    rows = {row[0]: row[1] for row in ScoreTable.of(found).rows}
    assert rows["AKD of bodies, px"] == "3.500 [2.000, 5.000] of 2 clips"
    assert rows["MKR of bodies"].endswith("] of 3 clips")
    assert rows["L1"].endswith("]")
    note = "as if they were independent: of fewer than 6 it is too narrow (AKD of bodies, px, MKR of bodies)"
    assert note in text(found)
    assert "too narrow" not in text(bodies(*[(2.0, 0.1), (3.0, 0.2)] * 3))


def test_a_mean_of_one_clip_is_not_shown_as_that_of_all():
    rows = {row[0]: row[1] for row in ScoreTable.of(bodies((2.0, 1.0), *[(None, None)] * 5)).rows}
    assert rows["MKR of bodies"] == "1.0000 of 1 clip"


@pytest.mark.parametrize(
    ("clips", "note"),
    [
        pytest.param([(2.0, 0.1), (None, None)], ": the true frames show none", id="truth"),
        pytest.param(
            [(2.0, 0.1), (None, 1.0)], ": the model's images show none of what is there", id="model"
        ),
        pytest.param(
            [(None, 1.0), (None, None), (None, None)],
            ": in 2 the true frames show none, in 1 the model's images show none of what is there",
            id="both",
        ),
    ],
)
def test_it_is_told_whether_truth_or_model_shows_nothing(clips, note):
    without = sum(akd is None for akd, _ in clips)
    said = f"AKD of bodies, px: nothing was found in {without} of {len(clips)} clips{note}"
    assert said in ScoreTable.of(bodies(*clips)).notes


def test_in_transfer_the_source_may_show_no_face(evaluation):
    found = with_values(
        replace(evaluation, inputs=replace(evaluation.inputs, protocol="relative")),
        {"face_csim": 0.9, "face_missed": 0.0},
        {"face_csim": None, "face_missed": None},
    )
    said = "CSIM of faces: nothing was found in 1 of 2 pairs: the source shows none"
    assert said in ScoreTable.of(found).notes
    assert score_cell(found, "face_csim") == "0.9000 of 1 pair"
