"""An evaluation as a table for people: a metric a line, beside the baseline, detectors' noise and published figures."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from orchestration.evaluation.intervals import CONFIDENCE, LEAST_CLIPS
from orchestration.evaluation.metrics import BASELINE, METRICS, MODEL, NOISE, Protocol
from orchestration.evaluation.published import OTHER_NETWORKS, SIZE, published, withheld
from orchestration.evaluation.scores import Evaluation

BASELINES: Mapping[Protocol, str] = {
    "reconstruction": "copy of the source",
    "absolute": "the driving clip",
    "relative": "the driving clip",
}
"""What the baseline is: with what a model competes, and in transfer how unlike the two people are."""
_PUBLISHED = "published"


@dataclass(frozen=True, kw_only=True)
class ScoreTable:
    """Rows of equal length, and what has to be said of them."""

    titles: Sequence[str]
    """Of the columns."""
    rows: Sequence[Sequence[str]]
    """A metric each."""
    notes: Sequence[str]
    """What readers of the table must know."""

    @classmethod
    def of(cls, evaluation: Evaluation) -> "ScoreTable":
        """The table of an evaluation; columns without any entry are left out."""
        columns = _columns(evaluation)
        titles, *rows = zip(*columns, strict=True)
        return cls(titles=titles, rows=rows, notes=list(_notes(evaluation, columns)))

    def text(self) -> str:
        """For a terminal."""
        columns = zip(self.titles, *self.rows, strict=True)
        widths = [max(map(len, column)) for column in columns]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            for row in (self.titles, *self.rows)
        ]
        return "\n".join(line.rstrip() for line in [*lines, *self.notes])


def score_cell(evaluation: Evaluation, name: str) -> str:
    """A score for people, with its bounds and, where not all clips have it, of how many it is; empty if unmeasured."""
    digits = METRICS[name.removeprefix(BASELINE)].digits
    if name in evaluation.sets:
        return f"{evaluation.sets[name]:.{digits}f}"
    interval = evaluation.intervals.get(name)
    if interval is None:
        return "nothing found" if any(name in clip.values for clip in evaluation.clips) else ""
    shown = f"{interval.mean:.{digits}f}" if interval.low == interval.high else interval.shown(digits)
    having = evaluation.clips_with(name)
    return shown + ("" if having == len(evaluation.clips) else f" of {_counted(evaluation, having)}")


def _counted(evaluation: Evaluation, number: int) -> str:
    unit = "clip" if evaluation.inputs.protocol == "reconstruction" else "pair"
    return f"{number} {unit}{'' if number == 1 else 's'}"


def _columns(evaluation: Evaluation) -> list[list[str]]:
    """Each below its title: metrics, model, baseline, detectors' noise, published figures."""
    inputs, absent = evaluation.inputs, evaluation.absent
    found = {*absent, *evaluation.sets, *(name for clip in evaluation.clips for name in clip.values)}
    names = [name for name in METRICS if name in found]
    figures = published(evaluation.dataset, inputs.protocol, evaluation.image_size)
    model = [absent.get(name, "").partition(":")[0] or score_cell(evaluation, MODEL + name) for name in names]
    beside = {
        "noise": [_noise(evaluation, name) for name in names],
        _PUBLISHED: [figures.get(name, "") for name in names],
    }
    return [
        [f"{inputs.protocol}, {inputs.partition}", *(METRICS[name].title for name in names)],
        ["model", *model],
        [BASELINES[inputs.protocol], *(score_cell(evaluation, BASELINE + name) for name in names)],
        *([title, *cells] for title, cells in beside.items() if any(cells)),
    ]


def _noise(evaluation: Evaluation, name: str) -> str:
    interval = evaluation.intervals.get(NOISE + name)
    return f"{interval.mean:.{METRICS[name].digits}f}" if interval else ""


def _notes(evaluation: Evaluation, columns: Sequence[Sequence[str]]) -> Iterator[str]:
    yield from _notes_on_clips(evaluation)
    absent = evaluation.absent
    for why in dict.fromkeys(absent.values()):
        yield f"{_titles(name for name in METRICS if absent.get(name) == why)}: {why}"
    for name, digest in evaluation.inputs.networks.items():
        yield f"{METRICS[name].title}: by the file of sha256 {digest[:12]}: compare it with figures by that"
    if len(evaluation.clips) > 1:
        yield (
            f"[ ] the mean's {CONFIDENCE:.0%} interval, by bootstrap over clips, as if they were independent"
            + (f": {narrow}" if (narrow := too_narrow(evaluation)) else "")
        )
    if "psnr" in evaluation.intervals and evaluation.inputs.protocol == "reconstruction":
        yield f"{METRICS['psnr'].title}: frame 0 is the source itself, so its copy counts there with the cap of 100 dB"
    if any(_noise(evaluation, name) for name in METRICS):
        yield "noise: of the detectors, between true frames and the same after JPEG of quality 75"
    yield from _notes_on_published(evaluation, columns)


def too_narrow(evaluation: Evaluation) -> str:
    """Which intervals are of too few clips, for people; empty if none. A metric has its own number of clips."""
    clips = {
        name: [found for prefix in (MODEL, BASELINE) if (found := evaluation.clips_with(prefix + name)) > 1]
        for name in METRICS
    }
    bounded = [name for name in METRICS if clips[name]]
    few = [name for name in bounded if min(clips[name]) < LEAST_CLIPS]
    if not few:
        return ""
    return f"of fewer than {LEAST_CLIPS} it is too narrow" + ("" if few == bounded else f" ({_titles(few)})")


def _notes_on_clips(evaluation: Evaluation) -> Iterator[str]:
    """How many were evaluated, failed, or had nothing to measure."""
    clips, failures = evaluation.clips, evaluation.failures
    pairs = evaluation.inputs.protocol != "reconstruction"
    yield (
        f"{len(clips)} of {evaluation.expected_clips} {'pairs' if pairs else 'clips that the metadata lists'} were "
        "evaluated" + ("" if len(clips) > 1 else ": one clip tells nothing of others")
    )
    if failures:
        name, why = next(iter(failures.items()))
        yield (
            f"{len(failures)} failed and count in no score; {'the first: ' if len(failures) > 1 else ''}{name}: {why}"
        )
    for name in METRICS:
        without = sum(name in clip.values and clip.values[name] is None for clip in clips)
        if without:
            yield (
                f"{METRICS[name].title}: nothing was found in {without} of {_counted(evaluation, len(clips))}"
                + _who_shows_none(evaluation, name)
            )
        yield from _over_common_clips(evaluation, name)


def _who_shows_none(evaluation: Evaluation, name: str) -> str:
    """Whether there was nothing to find in the first place, or the model lost it; empty where the clips do not tell.

    Of what the truth shows, a share that the model misses is always known.
    """
    missed = METRICS[name].missed or name
    without = [clip for clip in evaluation.clips if name in clip.values and clip.values[name] is None]
    if not all(missed in clip.values for clip in without) or not any(
        metric.missed == missed for metric in METRICS.values()
    ):
        return ""
    absent = sum(clip.values[missed] is None for clip in without)
    truth = "the true frames show" if evaluation.inputs.protocol == "reconstruction" else "the source shows"
    if absent == len(without):
        return f": {truth} none"
    if not absent:
        return ": the model's images show none of what is there"
    return f": in {absent} {truth} none, in {len(without) - absent} the model's images show none of what is there"


def _over_common_clips(evaluation: Evaluation, name: str) -> Iterator[str]:
    """Both means over the clips that have both, where one has values in clips in which the other has none."""
    values = [(clip.values.get(MODEL + name), clip.values.get(BASELINE + name)) for clip in evaluation.clips]
    common = [(model, baseline) for model, baseline in values if model is not None and baseline is not None]
    if common and any((model is None) != (baseline is None) for model, baseline in values):
        digits = METRICS[name].digits
        model, baseline = (sum(column) / len(common) for column in zip(*common, strict=True))
        yield (
            f"{METRICS[name].title}: over the {len(common)} clips that have both, model {model:.{digits}f}, "
            f"{BASELINES[evaluation.inputs.protocol]} {baseline:.{digits}f}"
        )


def _notes_on_published(evaluation: Evaluation, columns: Sequence[Sequence[str]]) -> Iterator[str]:
    protocol, size = evaluation.inputs.protocol, evaluation.image_size
    measured = {name for name in METRICS if score_cell(evaluation, name)}
    left_out = [name for name in withheld(evaluation.dataset, protocol, size) if name in measured]
    if columns[-1][0] == _PUBLISHED:
        yield f"published: at {SIZE} px unless said" + (
            "" if size == SIZE else f"; images of {size} px are easier or harder: do not compare them"
        )
    if left_out:
        yield f"{_titles(left_out)}: published in pixels at {SIZE} px, so not beside those at {size} px"
    if any(cell.endswith(OTHER_NETWORKS) for column in columns for cell in column):
        yield f"{OTHER_NETWORKS} by other networks than ours: an order of magnitude, no rival to compare with"


def _titles(names: "Iterator[str] | Sequence[str]") -> str:
    return ", ".join(METRICS[name].title for name in names)
