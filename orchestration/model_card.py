"""The model card (Mitchell et al., 2019) of a trained run, in Markdown and as one HTML page.

What the model is, what it was trained on, how it scores, what it is for and where it fails, beside its pictures.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestration.evaluation.score_table import ScoreTable
from orchestration.evaluation.scores import Evaluation
from orchestration.experiment import Experiment
from orchestration.registration import CONFIG_TAG
from tracking.page import Table, data_uri, render_page

TEMPLATE = Path(__file__).with_name("model_card.html")

INTENDED_USE = (
    "Animating a still image of the kind it was trained on with a driving video of the same kind: research, film and "
    "games, telepresence with the consent of whoever is shown.",
    "Not for showing real people saying or doing what they did not without their consent, nor for deceiving viewers or "
    "systems that verify identity: say that what it makes is synthetic. The rights in the training videos, which the "
    "dataset's own terms state, and the licence of a model that training began with hold for this model, too.",
)
LIMITS = (
    "Poses, expressions, framing and people unlike those in the training clips come out worse, and nothing here "
    "measures by how much: the held-out clips are of the same kind as the training clips.",
    "What the source image hides (a turned face's other side, teeth behind closed lips) is made up.",
    "The driving person's build can show in the result, above all in absolute mode: relative mode asks for a "
    "driving frame in a pose like the source's to begin with.",
    "The scores compare single frames. They say little of whether a viewer finds the motion natural.",
)


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What a card says; `facts` by name."""

    name: str
    facts: Mapping[str, str]
    scores: Table
    pictures: Mapping[str, str]
    """Paths of PNGs by title, below the folder that the card lies in."""

    def to_markdown(self) -> str:
        """The card as text; values from outside stand in it as code."""
        table = [self.scores.columns, ["---"] * len(self.scores.columns), *self.scores.rows]
        lines = [f"# {self.name}", ""]
        lines += [*(f"- **{name}**: {_code(value)}" for name, value in self.facts.items()), ""]
        lines += [f"## {self.scores.title}", ""]
        lines += [*("| " + " | ".join(map(str, row)) + " |" for row in table), "", self.scores.note, ""]
        lines += ["## Intended use", "", "\n\n".join(INTENDED_USE), ""]
        lines += ["## Limits", "", *(f"- {limit}" for limit in LIMITS), ""]
        for title, path in self.pictures.items():
            lines += [f"## {title}", "", f"![{title}]({path})", ""]
        return "\n".join(lines)

    def to_html(self, folder: Path) -> str:
        """The card as a page with its pictures, which lie below `folder`, inside."""
        images = {
            title: data_uri("image/png", (folder / path).read_bytes())
            for title, path in self.pictures.items()
        }
        return render_page(
            TEMPLATE,
            title=self.name,
            facts=self.facts,
            scores=self.scores,
            images=images,
            intended_use=INTENDED_USE,
            limits=LIMITS,
        )


def model_card(
    experiment: Experiment,
    evaluation: Evaluation,
    *,
    step: int,
    provenance: Mapping[str, Any],
    initial_model: str | None,
    pictures: Mapping[str, str],
) -> ModelCard:
    """The card of a model that was trained for `step` steps, and with `initial_model` to begin with, if any."""
    model = experiment.model
    facts = {
        "model": f"Latent Image Animator (ICLR 2022), {model.image_size} px, {model.motion_dim} motion directions, "
        f"width {model.width:g}",
        "trained": f"{step:,} steps of {experiment.schedule.batch_size} pairs",
        "began with": initial_model,
        "weights, sha256": evaluation.inputs.model_digest,
        "configuration": f"the registered version's tag {CONFIG_TAG}, and config.json among the run's artefacts",
        "dataset digest": evaluation.inputs.dataset_digest,
        **{name.replace("_", " "): value for name, value in provenance.items()},
    }
    return ModelCard(
        name=experiment.name,
        facts={name: str(value) for name, value in facts.items() if value is not None},
        scores=_scores(evaluation),
        pictures=pictures,
    )


def _scores(evaluation: Evaluation) -> Table:
    table = ScoreTable.of(evaluation)
    return Table(
        title="Reconstruction of held-out clips",
        columns=table.titles,
        rows=table.rows,
        note="Each clip's first frame is driven by all of its frames; L1 is the mean of half the absolute difference "
        "on [-1,1]. " + "; ".join(table.notes) + ".",
    )


def _code(value: str) -> str:
    """A value from outside, as it is: nothing in it is Markdown."""
    text = " ".join(value.split())
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence} {text} {fence}" if "`" in text else f"`{text}`"
