import pytest
from PIL import Image

from orchestration.model_card import model_card
from orchestration.recipes import demo
from tests.unit.orchestration.evaluation.test_scores import clip_score, evaluation_of

EVALUATION = evaluation_of(clip_score("a", 0.1), clip_score("b", 0.3))


def card(**changes):
    facts = {
        "step": 1600,
        "provenance": {"git_commit": "abc123", "git_dirty": False, "ray_version": None},
        "initial_model": None,
        "pictures": {"Held-out pairs": "pictures/sheet.png"},
    }
    return model_card(demo(), EVALUATION, **{**facts, **changes})


def test_it_says_what_the_model_is_and_how_it_scores():
    text = card().to_markdown()
    assert text.startswith("# lia-demo\n")
    for part in (
        "64 px, 8 motion directions, width 0.125",
        "1,600 steps of 8 pairs",
        "- **git commit**: `abc123`",
        "- **configuration**: `the registered version's tag lia.config, and config.json among the run's artefacts`",
        "| L1 | 0.2000 [0.1000, 0.3000] | 0.2000 |",
        "2 of 5 clips",
        "## Intended use",
        "## Limits",
        "![Held-out pairs](pictures/sheet.png)",
    ):
        assert part in text
    assert "ray version" not in text
    assert "- **began with**: `models:/x@champion`" in card(initial_model="models:/x@champion").to_markdown()


def test_the_page_holds_its_pictures_and_needs_nothing_else(tmp_path):
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "pictures" / "sheet.png")
    page = card().to_html(tmp_path)
    assert page.count("<h1>") == 1
    assert '<img src="data:image/png;base64,iVBOR' in page
    assert "0.2000 [0.1000, 0.3000]</td>" in page
    assert "pictures/sheet.png" not in page


@pytest.mark.parametrize(
    "hostile", ["<script>alert(1)</script>", "`</code><script>`", "``` x ```\n# heading"]
)
def test_what_comes_from_outside_is_text(hostile, tmp_path):
    made = card(initial_model=hostile, provenance={"git_commit": hostile}, pictures={})
    assert "<script" not in made.to_html(tmp_path)
    for line in made.to_markdown().splitlines():
        if "script" in line or " x " in line:
            assert line.startswith("- **")
            assert line.endswith("`")
