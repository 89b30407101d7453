"""The pages that tell of a trained run, with the scores and pictures that there are: report and model card."""

from orchestration import configuration
from orchestration.evaluation.score_table import ScoreTable
from orchestration.evaluation.scores import Evaluation
from orchestration.model_card import model_card
from orchestration.pictures import Pictures
from orchestration.training.run_folder import RunFolder
from pipelines.storage.atomic import atomic_path
from tracking.page import Table
from tracking.report import Medium, report
from tracking.run import Run

REPORT = "report.html"
CARD, CARD_PAGE = "model-card.md", "model-card.html"


def write_documents(folder: RunFolder, run: Run, evaluation: Evaluation) -> None:
    """Write the model card and, last, the report into the run's folder, and log them to its run in MLflow."""
    pictures = Pictures(folder.path / "pictures")
    pages = {
        **_model_card(folder, evaluation, pictures),
        REPORT: _report(run, folder, evaluation, pictures),
    }
    for name, content in pages.items():
        with atomic_path(folder.path / name) as partial:
            partial.write_text(content, encoding="utf-8")
        run.log_file(folder.path / name)


def _report(run: Run, folder: RunFolder, evaluation: Evaluation, pictures: Pictures) -> str:
    experiment, record = folder.open()
    losses = [name for name in run.metric_names() if name.startswith("loss/")]
    table = ScoreTable.of(evaluation)
    scores = Table(
        title="Reconstruction of held-out clips",
        columns=table.titles,
        rows=table.rows,
        note="Source: frame 0 of each clip; averaged over frames, then over clips. " + "; ".join(table.notes),
    )
    began = (
        {"initial_model": record.initial.model, "initial_digest": record.initial.digest}
        if record.initial
        else {}
    )
    origin = Table(
        title="Provenance", columns=("what", "value"), rows=list((record.provenance | began).items())
    )
    return report(
        f"{experiment.name}: {folder.path.name}",
        tables=(scores, origin),
        config=configuration.to_dict(experiment),
        curves={name: run.history(name) for name in losses},
        media=[Medium(path=path, caption=title) for title, path in pictures.files.items() if path.is_file()],
    )


def _model_card(folder: RunFolder, evaluation: Evaluation, pictures: Pictures) -> dict[str, str]:
    """The card as Markdown and as a page, by file name."""
    experiment, record = folder.open()
    images = {
        title: path for title, path in pictures.files.items() if path.suffix == ".png" and path.is_file()
    }
    card = model_card(
        experiment,
        evaluation,
        step=folder.finished_step() or 0,
        provenance=record.provenance,
        initial_model=record.initial.model if record.initial else None,
        pictures={title: path.relative_to(folder.path).as_posix() for title, path in images.items()},
    )
    return {CARD: card.to_markdown(), CARD_PAGE: card.to_html(folder.path)}
