import json
import re

import numpy as np
import pytest

from orchestration.cli.main import build_parser, main
from orchestration.promotion import PromotionError, compare, holder_of, promote, roll_back
from orchestration.registration import CONFIG_TAG, DIGEST_TAG, PROMOTION
from orchestration.training.run_folder import InitialRecord
from tests.unit.orchestration.evaluation.test_scores import clip_score, evaluation_of
from tracking.registry import find, register, tag_version
from tracking.run import Run

HARDNESS = np.linspace(0.05, 0.15, 30)
"""How hard each clip is, for every model: much more different than models are."""


@pytest.fixture
def name(request):
    return re.sub(r"[^\w-]+", "-", request.node.name)


@pytest.fixture
def add(store, name, tmp_path):
    """Registers a version whose clips have these L1, with the evaluation in its run."""

    def added(l1, *aliases, model="m", dataset="d", keep=True, config=None, failures=None, initial=None):
        run = Run.start("tests", tracking_uri=store)
        if keep:
            clips = [clip_score(f"clip-{number:03d}", float(value)) for number, value in enumerate(l1)]
            folder = tmp_path / run.run_id
            clips = [clip for clip in clips if clip.clip_id not in (failures or {})]
            evaluation_of(*clips, model=model, dataset=dataset, failures=failures).save(folder)
            run.log_folder(folder, "evaluation")
        logged = run.client.create_logged_model(run.experiment_id, name="lia", source_run_id=run.run_id)
        tags = {DIGEST_TAG: "m", CONFIG_TAG: json.dumps(config) if config else None}
        tags |= initial.to_tags() if initial else {}
        return register(name, logged.model_id, aliases=aliases, tags=tags, tracking_uri=store)

    return added


def slightly(difference, seed=0):
    return HARDNESS + difference + np.random.default_rng(seed).normal(0, 0.002, len(HARDNESS))


def test_with_what_model_training_began_is_among_what_differs(add, store):
    initial = InitialRecord(model="models:/other@champion", digest="ab" * 32, adapted_digest="cd" * 32)
    fresh, again = add(HARDNESS), add(HARDNESS)
    tuned = add(HARDNESS - 0.01, initial=initial)
    told = "began with models:/other@champion (abababababab), was fresh networks"
    assert told in compare(tuned, fresh, tracking_uri=store).table().splitlines()
    assert "began with" not in compare(again, fresh, tracking_uri=store).table()


def test_a_small_difference_on_the_same_clips_is_seen_where_clips_differ_much(add, store):
    holder, candidate = add(HARDNESS, "champion"), add(slightly(-0.002))
    found = compare(candidate, holder, tracking_uri=store)
    assert found.clips == 30
    assert found.verdict("l1") == "better"
    assert (found.verdict("psnr"), found.verdict("ssim")) == ("undecided", "undecided")
    assert compare(holder, candidate, tracking_uri=store).verdict("l1") == "worse"
    assert "L1 0.0978 0.1000 -0.0022 [" in " ".join(found.table().split())


def test_the_better_version_takes_the_alias_and_keeps_on_what_grounds(add, store, name):
    holder, candidate = add(HARDNESS, "champion"), add(slightly(-0.01))
    found = promote(candidate, "champion", tracking_uri=store)
    assert found.startswith("l1 differs by -0.0")
    promoted = find(f"models:/{name}@champion", tracking_uri=store)
    assert promoted.version == candidate.version
    of_alias = f"{PROMOTION}champion."
    tags = {key.removeprefix(of_alias): value for key, value in promoted.tags.items() if of_alias in key}
    assert tags["finding"] == found
    assert tags["replaced"] == str(holder.version)
    assert tags["by"]
    assert tags["at"].startswith("20")
    assert not {"forced", "reason"} & tags.keys()


@pytest.mark.parametrize("difference", [0.0, 0.01])
def test_a_version_that_is_no_better_is_refused(difference, add, store, name):
    holder, candidate = add(HARDNESS, "champion"), add(slightly(difference))
    with pytest.raises(
        PromotionError, match=r"is not made champion: l1 differs by .* on 30 clips: (undecided|worse)"
    ):
        promote(candidate, "champion", tracking_uri=store)
    assert holder_of(name, "champion", tracking_uri=store).version == holder.version
    assert find(candidate.uri, tracking_uri=store).tags == candidate.tags


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"dataset": "other"}, "different clips"),
        ({"l1": HARDNESS[:-1]}, "different clips"),
        ({"keep": False}, "evaluation"),
        ({"model": "other"}, "of another model"),
    ],
    ids=["dataset", "clips", "none", "model"],
)
def test_what_cannot_be_compared_is_not_promoted(other, why, add, store):
    add(HARDNESS, "champion")
    candidate = add(**{"l1": HARDNESS - 0.01, **other})
    with pytest.raises(Exception, match=why):
        promote(candidate, "champion", tracking_uri=store)


def test_force_needs_a_reason_and_records_it(add, store, name):
    holder, candidate = add(HARDNESS, "champion"), add(HARDNESS + 0.01)
    with pytest.raises(PromotionError, match="needs a reason"):
        promote(candidate, "champion", force=True, tracking_uri=store)
    promote(candidate, "champion", force=True, reason="sharper mouths", tracking_uri=store)
    tags = find(f"models:/{name}@champion", tracking_uri=store).tags
    assert (tags[f"{PROMOTION}champion.forced"], tags[f"{PROMOTION}champion.reason"]) == (
        "True",
        "sharper mouths",
    )
    assert tags[f"{PROMOTION}champion.finding"].endswith("worse")
    assert holder_of(name, "champion", tracking_uri=store).version != holder.version


def test_the_first_holder_need_beat_nobody(add, store, name):
    only = add(HARDNESS, keep=False)
    assert promote(only, "champion", tracking_uri=store) == "no version had the alias"
    with pytest.raises(PromotionError, match="is champion already"):
        promote(only, "champion", tracking_uri=store)
    with pytest.raises(PromotionError, match="replaced no other version"):
        roll_back(name, "champion", tracking_uri=store)


def test_promotions_are_rolled_back_one_after_another(add, store, name):
    versions = [add(HARDNESS, "champion"), add(HARDNESS - 0.01), add(HARDNESS - 0.02)]
    for version in versions[1:]:
        promote(version, "champion", tracking_uri=store)
    for left, has in ((3, 2), (2, 1)):
        assert [version.version for version in roll_back(name, "champion", tracking_uri=store)] == [left, has]
        assert holder_of(name, "champion", tracking_uri=store).version == has
    with pytest.raises(PromotionError, match="replaced no other version"):
        roll_back(name, "champion", tracking_uri=store)


@pytest.mark.parametrize("alias", ["latest", "Latest", "v7", "bad alias!", "", "../x"])
def test_an_alias_that_mlflow_refuses_leaves_no_trace(alias, add, store):
    candidate = add(HARDNESS)
    with pytest.raises(PromotionError, match="letters, digits, _ and -"):
        promote(candidate, alias, tracking_uri=store)
    assert find(candidate.uri, tracking_uri=store).tags == candidate.tags


def test_a_new_promotion_forgets_that_an_earlier_one_was_undone(add, store, name):
    holder, candidate = add(HARDNESS, "champion"), add(HARDNESS - 0.01)
    promote(candidate, "champion", tracking_uri=store)
    roll_back(name, "champion", tracking_uri=store)
    undone = find(candidate.uri, tracking_uri=store)
    assert f"{PROMOTION}champion.rolled_back_by" in undone.tags
    promote(undone, "champion", tracking_uri=store)
    tags = find(candidate.uri, tracking_uri=store).tags
    assert f"{PROMOTION}champion.rolled_back_by" not in tags
    assert tags[f"{PROMOTION}champion.replaced"] == str(holder.version)


def test_a_version_is_not_compared_with_itself(add, store):
    version = add(HARDNESS)
    with pytest.raises(PromotionError, match="with itself"):
        compare(version, version, tracking_uri=store)


def test_the_list_says_of_a_sweeps_winner_how_it_scored_there(add, store, name, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    sweep = {"name": "width", "trial": 3, "score.l1": 0.0766, "score.ssim": 0.81}
    tags = {f"lia.sweep.{key}": value for key, value in sweep.items()}
    tag_version(add(HARDNESS, "candidate"), tags, tracking_uri=store)
    assert main(["registry", "list", name]) == 0
    (_, listed) = capsys.readouterr().out.splitlines()
    assert listed.endswith("l1 -  psnr -  ssim -  (trial 3 of sweep width: l1 0.0766, ssim 0.81)  @candidate")


def test_the_command_line(add, store, name, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    add(HARDNESS, "champion")
    add(HARDNESS - 0.01, "candidate")
    two = [f"models:/{name}@candidate", f"models:/{name}@champion"]
    assert main(["registry", "list", name]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert listed[0] == name
    assert [line.split()[0] for line in listed[1:]] == ["2", "1"]
    assert listed[2].endswith("@champion")
    assert main(["registry", "compare", *two]) == 0
    assert "better" in capsys.readouterr().out
    assert main(["registry", "promote", two[0]]) == 0
    assert f"models:/{name}/2 is champion: l1 differs by -0.0100" in capsys.readouterr().out
    assert main(["registry", "promote", f"models:/{name}/1"]) == 2
    assert "--force with --reason" in capsys.readouterr().err
    assert main(["registry", "rollback", name]) == 0
    assert f"models:/{name}/1 is champion again, in place of version 2" in capsys.readouterr().out
    assert main(["registry", "compare", f"models:/{name}/7", two[1]]) == 2
    assert "not found" in capsys.readouterr().err


def test_each_alias_has_its_own_record(add, store, name):
    """Another alias of the same version neither hides what it replaced nor is rolled back along."""
    holder, candidate = add(HARDNESS, "champion"), add(slightly(-0.002))
    promote(candidate, "champion", tracking_uri=store)
    promote(candidate, "staging", tracking_uri=store)
    left, has = roll_back(name, "champion", tracking_uri=store)
    assert (left.version, has.version) == (candidate.version, holder.version)
    assert holder_of(name, "staging", tracking_uri=store).version == candidate.version
    tags = find(candidate.uri, tracking_uri=store).tags
    assert {f"{PROMOTION}champion.rolled_back_by", f"{PROMOTION}champion.rolled_back_at"} <= tags.keys()


def test_rollbacks_come_to_an_end(add, store, name):
    """Also where two versions replaced each other."""
    first, second = add(HARDNESS, "champion"), add(slightly(-0.002))
    promote(second, "champion", tracking_uri=store)
    promote(first, "champion", force=True, reason="a look at it", tracking_uri=store)
    assert [roll_back(name, "champion", tracking_uri=store)[1].version for _ in range(2)] == [
        second.version,
        first.version,
    ]
    with pytest.raises(PromotionError, match="replaced no other version"):
        roll_back(name, "champion", tracking_uri=store)


def test_force_needs_no_evaluation(add, store, name):
    add(HARDNESS, "champion", keep=False)
    candidate = add(HARDNESS, keep=False)
    with pytest.raises(PromotionError, match="keeps no evaluation"):
        promote(candidate, "champion", tracking_uri=store)
    promote(candidate, "champion", force=True, reason="known to be better", tracking_uri=store)
    assert holder_of(name, "champion", tracking_uri=store).version == candidate.version


def test_clips_that_failed_for_either_are_not_compared_and_told(add, store):
    holder = add(HARDNESS, "champion", failures={"clip-000": "cut"})
    candidate = add(HARDNESS - 0.01, failures={"clip-001": "cut"})
    assert (
        compare(candidate, holder, tracking_uri=store)
        .table()
        .splitlines()[0]
        .endswith(", 28 clips; 2 failed for one or both and are not compared")
    )
    found = promote(candidate, "champion", tracking_uri=store)
    assert "on 28 clips (2 failed for one or both and are not compared): better" in found


@pytest.mark.parametrize(
    ("configs", "told"),
    [
        pytest.param(
            ({"optimiser": {"lr": 0.002}, "seed": 1}, {"optimiser": {"lr": 0.001}, "seed": 1}),
            ["settings: those that differ; the tag lia.config of a version has all", "optimiser.lr 0.001, was 0.002"],
            id="differ",
        ),
        pytest.param(
            ({"seed": 1}, {"seed": 1}),
            ["settings: the same; the tag lia.config of a version has all"],
            id="same",
        ),
        pytest.param(
            ({"seed": 1}, None), ["settings: version 2 keeps none as its tag lia.config"], id="not-kept"
        ),
    ],
)  # fmt: skip
def test_a_comparison_says_in_what_the_settings_differ(configs, told, add, store):
    holder, candidate = (add(HARDNESS, config=config) for config in configs)
    lines = compare(candidate, holder, tracking_uri=store).table().splitlines()
    assert [" ".join(line.split()) for line in lines[-len(told) :]] == told


def test_a_name_that_is_not_there_is_not_printed(store, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    assert main(["registry", "list", "no-such-model"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "no-such-model" in err


def test_an_address_that_is_none_is_answered_with_those_that_promote_takes(store, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    for action in (["promote", "runs:/1/lia"], ["compare", "name", "models:/name/1"]):
        assert main(["registry", *action]) == 2
        said = capsys.readouterr().err
        assert "write models:/NAME@ALIAS or models:/NAME/VERSION" in said
        assert "RUN_ID" not in said


@pytest.mark.parametrize("argv", [["-v", "list"], ["list", "-v"], ["list"]])
def test_verbose_may_stand_before_the_action_or_after_it(argv):
    assert build_parser().parse_args(["registry", *argv]).verbose == ("-v" in argv)
