"""The model card (Mitchell et al., 2019) of a trained run, in Markdown and as one HTML page.

What the model is, what it was trained on, how it scores, what it is for and where it fails, beside its pictures.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestration.evaluation.intervals import CONFIDENCE
from orchestration.evaluation.scores import BASELINE, METRICS, Evaluation
from orchestration.experiment import Experiment
from tracking.page import data_uri, render_page

TEMPLATE = Path(__file__).with_name("model_card.html")

_FOR_AND_AGAINST = """## Intended use

Animating a still image of the kind it was trained on with a driving video of the same kind: research, film and games,
telepresence with the consent of whoever is shown.

Not for showing real people saying or doing what they did not without their consent, nor for deceiving viewers or
systems that verify identity: say that what it makes is synthetic. The rights in the training videos, which the
dataset's own terms state, and the licence of a model that training began with hold for this model, too.

## Limits

- Poses, expressions, framing and people unlike those in the training clips come out worse, and nothing here measures by
  how much: the held-out clips are of the same kind as the training clips.
- What the source image hides (a turned face's other side, teeth behind closed lips) is made up.
- The driving person's build can show in the result, above all in absolute mode: relative mode asks for a first driving
  frame in a pose like the source's.
- The scores compare pixels. They say little of whether a viewer finds the motion natural, and nothing of identity.
"""


def model_card(
    experiment: Experiment,
    evaluation: Evaluation,
    *,
    step: int,
    provenance: Mapping[str, Any],
    initial_model: str | None,
    pictures: Mapping[str, str],
) -> str:
    """The card in Markdown. `pictures` are paths of images, as the card's readers find them, by title."""
    model, prepared = experiment.model, experiment.prepare
    facts = {
        "Model": f"Latent Image Animator (ICLR 2022), {model.image_size} px, {model.motion_dim} motion directions, "
        f"width {model.width:g}",
        "Trained": f"{step:,} steps of {experiment.schedule.batch_size} pairs"
        + (f", beginning with {_code(initial_model)}" if initial_model else ""),
        "Data": f"clips of {prepared.size} px, dataset digest {_code(evaluation.dataset_digest)}",
        "Weights": f"sha256 {_code(evaluation.model_digest)}",
        **{name.replace("_", " "): _code(value) for name, value in provenance.items() if value is not None},
    }
    lines = [f"# {_text(experiment.name)}", ""]
    lines += [*(f"- **{name}**: {value}" for name, value in facts.items()), ""]
    lines += ["## Reconstruction of held-out clips", "", *_scores(evaluation), ""]
    lines += [_FOR_AND_AGAINST]
    for title, path in pictures.items():
        lines += [f"## {_text(title)}", "", f"![{_text(title)}]({path})", ""]
    return "\n".join(lines)


def to_html(markdown: str, title: str, folder: Path) -> str:
    """A page of a card; the PNGs that it shows lie below `folder` and come to be inside the page."""
    from markdown_it import MarkdownIt

    def inside(found: re.Match[str]) -> str:
        return f"]({data_uri('image/png', (folder / found[1]).read_bytes())})"

    body = (
        MarkdownIt("commonmark", {"html": False})
        .enable("table")
        .render(re.sub(r"\]\(([^()]+\.png)\)", inside, markdown.partition("\n")[2]))
    )
    return render_page(TEMPLATE, title=title, body=body)


def _scores(evaluation: Evaluation) -> list[str]:
    rows = ["| metric | model | copy of the source |", "|---|---|---|"]
    for name, metric in METRICS.items():
        cells = []
        for prefix in ("", BASELINE):
            found = evaluation.intervals[prefix + name]
            mean, low, high = (f"{value:.{metric.digits}f}" for value in (found.mean, found.low, found.high))
            cells.append(mean if found.low == found.high else f"{mean} ({low} to {high})")
        rows.append(f"| {name.upper()} | {' | '.join(cells)} |")
    return [
        *rows,
        "",
        f"{len(evaluation.clips)} of the {evaluation.expected_clips} clips that the metadata lists; each clip's first "
        f"frame is driven by all of its frames. In brackets: {CONFIDENCE:.0%} interval of the mean, by bootstrap over "
        "clips. L1 is the mean of |x - y| / 2 on [-1,1].",
    ]


def _code(value: object) -> str:
    """A value from outside, as it is: nothing in it is Markdown."""
    text = " ".join(str(value).split())
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence} {text} {fence}" if "`" in text else f"`{text}`"


def _text(value: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", " ".join(value.split()))
