import base64
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest

from orchestration.evaluation import image_sets
from orchestration.evaluation.image_sets import TRUE, ImageSets
from orchestration.evaluation.metrics import MODEL
from orchestration.evaluation.unfinished import FEATURES, NAME, open_unfinished
from pipelines.errors import InputError
from tests.unit.orchestration.evaluation.test_scores import clip_score, inputs_of

OF = inputs_of(["a", "b", "c"])
OTHER = replace(OF, model_digest="n")


class Killed(BaseException):
    """Ends a process as a signal does."""


def interrupted(folder, *names):
    with suppress(Killed), open_unfinished(folder, OF) as unfinished:
        for name in names:
            unfinished.add(clip_score(name, 0.1).row())
        raise Killed


def test_what_was_scored_before_is_there_and_the_file_goes_at_the_end(tmp_path):
    interrupted(tmp_path, "a", "b")
    with open_unfinished(tmp_path, OF) as unfinished:
        assert unfinished.scores == {"a": clip_score("a", 0.1), "b": clip_score("b", 0.1)}
        unfinished.add(clip_score("c", 0.1).row())
        assert (tmp_path / NAME).exists()
    assert not (tmp_path / NAME).exists()


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_half_a_line_is_passed_over(cut, tmp_path):
    interrupted(tmp_path, "a", "b")
    path = tmp_path / NAME
    path.write_bytes(path.read_bytes()[:-cut])
    interrupted(tmp_path, "c")
    with open_unfinished(tmp_path, OF) as unfinished:
        assert list(unfinished.scores) == ["a", "c"]


def test_half_a_first_line_is_a_new_beginning(tmp_path):
    (tmp_path / NAME).write_bytes(b'{"mod')
    with open_unfinished(tmp_path, OF) as unfinished:
        assert unfinished.scores == {}


@pytest.mark.parametrize(
    "line", [b"{", b"[]", b'{"clip_id": "a"}', b"nan", b"[" * 100_000, b"\xff", b'{"clip_id": 3}']
)
def test_a_damaged_line_is_told(line, tmp_path):
    interrupted(tmp_path, "a")
    path = tmp_path / NAME
    path.write_bytes(path.read_bytes() + line + b"\n")
    with pytest.raises(InputError, match="is damaged"), open_unfinished(tmp_path, OF):
        pass


def test_scores_of_another_model_are_not_gone_on_with(tmp_path):
    interrupted(tmp_path, "a")
    with (
        pytest.raises(
            InputError, match=r"jsonl: is of other inputs \(model m, now n\)\. Name another folder"
        ),
        open_unfinished(tmp_path, OTHER),
    ):
        pass
    assert (tmp_path / NAME).exists()


def test_two_evaluations_do_not_share_a_folder(tmp_path):
    with (
        open_unfinished(tmp_path, OF),
        pytest.raises(InputError, match="another evaluation is at work"),
        open_unfinished(tmp_path, OF),
    ):
        pass


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "precious").write_text("text")
    (tmp_path / NAME).symlink_to(tmp_path / "precious")
    with pytest.raises(InputError, match="cannot be written"), open_unfinished(tmp_path, OF):
        pass
    assert (tmp_path / "precious").read_text() == "text"


def test_sets_of_images_are_gone_on_with_too(tmp_path, monkeypatch):
    lengths = {"frechet_efficientnet_lite0": 5, "video_fid": 7}  # distances of the real ones take seconds
    monkeypatch.setattr(image_sets, "LENGTHS", lengths)
    random = np.random.default_rng(0)

    def row(name):
        sets = {
            prefix + metric: base64.b64encode(
                random.normal(size=(3, length)).astype(np.float32).tobytes()
            ).decode()
            for prefix in (MODEL, TRUE)
            for metric, length in lengths.items()
        }
        return {**clip_score(name, 0.1).row(), FEATURES: sets}

    rows = [row("a"), row("b")]
    whole = ImageSets()
    for one in rows:
        whole.add(one[FEATURES])
    with suppress(Killed), open_unfinished(tmp_path, OF) as unfinished:
        unfinished.add(rows[0])
        raise Killed
    with open_unfinished(tmp_path, OF) as unfinished:
        unfinished.add(rows[1])
        assert unfinished.sets.distances() == whole.distances()
        assert FEATURES not in unfinished.scores["a"].values


def test_one_of_other_things_can_be_dropped(tmp_path):
    interrupted(tmp_path, "a")
    with suppress(Killed), open_unfinished(tmp_path, OTHER, drop_others=True) as unfinished:
        assert unfinished.scores == {}
        unfinished.add(clip_score("b", 0.1).row())
        raise Killed
    with open_unfinished(tmp_path, OTHER) as unfinished:
        assert set(unfinished.scores) == {"b"}


def test_a_row_that_is_none_is_not_kept(tmp_path):
    """Else the file could not be gone on with."""
    with suppress(TypeError), open_unfinished(tmp_path, OF) as unfinished:
        unfinished.add(clip_score("a", 0.1).row())
        unfinished.add({**clip_score("b", 0.1).row(), "l1": float("nan")})
    with open_unfinished(tmp_path, OF) as unfinished:
        assert set(unfinished.scores) == {"a"}


@pytest.mark.parametrize("first", [b'{"model_digest": "m"}', b"[]", b"1"])
def test_one_that_begins_otherwise_is_damaged_or_dropped(first, tmp_path):
    (tmp_path / NAME).write_bytes(first + b"\n")
    with pytest.raises(InputError, match="is damaged"), open_unfinished(tmp_path, OF):
        pass
    with open_unfinished(tmp_path, OF, drop_others=True) as unfinished:
        assert unfinished.scores == {}


def test_clips_that_failed_are_tried_again(tmp_path):
    """So what was scored stays, with what sets of images need of it."""
    with open_unfinished(tmp_path, OF) as unfinished:
        unfinished.add(clip_score("a", 0.1).row())
        unfinished.failures["b"] = "cut"
    with open_unfinished(tmp_path, OF) as unfinished:
        assert (set(unfinished.scores), unfinished.failures) == ({"a"}, {})
    assert not (tmp_path / NAME).exists()
