"""A dataset as one HTML page for a person: what is in it, what is not, and what to act on."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from pipelines.corpus.metadata import Metadata
from pipelines.inspection.advice import advice
from pipelines.inspection.clip_sample import SampledClip
from pipelines.inspection.survey import Groups, Survey, survey
from pipelines.storage.atomic import atomic_path
from pipelines.storage.location import Location
from pipelines.storage.store import writing
from tracking.histograms import draw_histogram, octave_bins, round_bins
from tracking.page import Table, data_uri, render_page

TEMPLATE = Path(__file__).with_name("dataset_page.html")

TILE = 128
"""Side in pixels at which a frame of a larger dataset is embedded."""
TILE_QUALITY = 85
MOST_BARS = 10
MOST_LISTED = 10
LONGEST_TEXT = 400
"""Characters of a name or message that are shown."""

Bar = tuple[str, int, float]
"""Label, count, share of the longest bar."""


def write_dataset_page(dataset: Location, page: Path, metadata: Metadata | None = None) -> Survey:
    """Survey a dataset and write its page; the page depends on nothing else, the time included.

    Raises DatasetError if the dataset is absent, unfinished or damaged, StorageError if the page cannot be written.
    """
    surveyed = survey(dataset, metadata)
    html = dataset_page(surveyed)
    with writing(page, place="file with --out", goes_on=""), atomic_path(page, keep_equal=True) as partial:
        # Text from JSON may hold halves of characters, which UTF-8 has no bytes for.
        partial.write_text(html, encoding="utf-8", errors="replace")
    return surveyed


def dataset_page(surveyed: Survey) -> str:
    """The page's HTML."""
    return render_page(
        TEMPLATE,
        title=f"{surveyed.tables.source.root.absolute().name}: {surveyed.size} px dataset",
        summary=_summary(surveyed),
        warnings=[_shortened(line) for line in advice(surveyed)],
        sample=[_strip(clip) for clip in surveyed.sample],
        coverage=_coverage(surveyed),
        partitions=_partitions(surveyed),
        subjects=_subjects(surveyed.subjects),
        lengths=_lengths(surveyed),
        figures=_figures(surveyed),
        boxes=_boxes(surveyed),
        read=_how_many_read(surveyed),
        rates=_rates(surveyed),
        failures=[
            {
                "reason": _shortened(group.reason),
                "stage": _shortened(group.stage),
                "clips": group.clips,
                "share": group.clips / surveyed.failed,
                "examples": [(_shortened(name), _shortened(message)) for name, message in group.examples],
            }
            for group in surveyed.failures
        ],
        failed=surveyed.failed,
        settings=_settings(surveyed.tables.description),
    )


def _summary(surveyed: Survey) -> str:
    parts = surveyed.partitions.values()
    length = _length(sum(float(part.seconds.sum()) for part in parts))
    listed = surveyed.written + surveyed.failed
    return (
        f"{listed:,} clips = {surveyed.written:,} written + {surveyed.failed:,} failed. "
        f"{sum(int(part.n_frames.sum()) for part in parts):,} frames, {length}, "
        f"{_size(sum(part.shard_bytes for part in parts))} in {sum(part.shards for part in parts):,} shards."
    )


def _strip(clip: SampledClip) -> dict[str, Any]:
    """One picture of the clip's frames side by side, and what stands under it."""
    side = min(TILE, clip.frames.shape[1])
    tiles = [
        np.asarray(Image.fromarray(frame).resize((side, side), Image.Resampling.LANCZOS))
        for frame in clip.frames
    ]
    jpeg = simplejpeg.encode_jpeg(np.ascontiguousarray(np.concatenate(tiles, axis=1)), quality=TILE_QUALITY)
    return {
        "uri": data_uri("image/jpeg", jpeg),
        "clip_id": _shortened(clip.clip_id),
        "partition": clip.partition,
        "about": f"{clip.n_frames} frames at {float(clip.fps):.5g} fps; shown: "
        + ", ".join(str(number) for number in clip.numbers),
    }


def _coverage(surveyed: Survey) -> Table:
    coverage = surveyed.coverage
    columns = ["", "listed", "written", "failed", "share written", "videos listed", "videos found"]
    absent = any(row.absent for row in coverage.rows)
    rows: list[list[object]] = []
    for row in coverage.rows:
        share = f"{100 * row.written / row.listed:.1f} %" if row.listed else None
        clips = [_grouped(count) for count in (row.listed, row.written, row.failed)]
        videos = [_grouped(count) for count in (row.videos_listed, row.videos_found)]
        cells: list[object] = [row.partition, *clips, share, *videos]
        rows.append([*cells, _grouped(row.absent)] if absent else cells)
    notes = {
        None: "Against the clips that this dataset was prepared from.",
        True: "Against the given metadata file, which this dataset was prepared from.",
        False: "Against the given metadata file, which is not the one that this dataset was prepared from.",
    }
    note = notes[coverage.same_file]
    if coverage.unlisted:
        note += f" {coverage.unlisted:,} clips of the dataset are not in it."
    return Table(
        title="Coverage of the metadata",
        columns=[*columns, "not in the dataset"] if absent else columns,
        rows=rows,
        note=note,
    )


def _partitions(surveyed: Survey) -> Table:
    rows = []
    for name, part in surveyed.partitions.items():
        subjects = int((surveyed.subjects.clips[name] > 0).sum()) or None
        counts = (part.clips, part.videos, subjects, int(part.n_frames.sum()))
        length, size = _length(float(part.seconds.sum())), _size(part.shard_bytes)
        rows.append([name, *map(_grouped, counts), length, _grouped(part.shards), size])
    columns = ("", "clips", "videos", "subjects", "frames", "length", "shards", "size")
    return Table(title="Partitions", columns=columns, rows=rows)


def _subjects(subjects: Groups) -> dict[str, Any]:
    both = subjects.in_both
    totals = {"clips of a subject": subjects.totals}
    return {
        "count": len(subjects.names),
        "histogram": draw_histogram(
            "Clips a subject", totals, round_bins(totals, whole=True), what="clips a subject"
        ),
        "most": _bars(list(zip(subjects.names, subjects.totals.tolist(), strict=True))[:MOST_BARS]),
        "both": [
            (_shortened(subjects.names[i]), int(subjects.clips["train"][i]), int(subjects.clips["test"][i]))
            for i in both[:MOST_LISTED]
        ],
        "both_left": max(0, len(both) - MOST_LISTED),
    }


def _lengths(surveyed: Survey) -> list[tuple[str, str]]:
    parts = surveyed.partitions
    frames = {name: part.n_frames for name, part in parts.items()}
    seconds = {name: part.seconds for name, part in parts.items()}
    return [
        _histogram("Frames a clip", frames, "frames", whole=True),
        _histogram("Seconds a clip", seconds, "seconds"),
    ]


def _boxes(surveyed: Survey) -> list[tuple[str, str]]:
    sources = {name: part.sources for name, part in surveyed.partitions.items()}
    scales = {name: source.enlargement(surveyed.size) for name, source in sources.items()}
    what = f"enlarged (right of 1×) or reduced to {surveyed.size} px"
    return [
        _histogram(
            "Box width", {name: s.box_width for name, s in sources.items()}, "source pixels", whole=True
        ),
        _histogram(
            "Box height", {name: s.box_height for name, s in sources.items()}, "source pixels", whole=True
        ),
        _histogram("Aspect of the box", {name: s.aspect for name, s in sources.items()}, "width / height"),
        ("Scaling", draw_histogram("Scaling", scales, octave_bins(scales), what=what)),
    ]


def _figures(surveyed: Survey) -> Table:
    """Quantiles of what the histograms show."""
    parts = list(surveyed.partitions.values())
    sources = [part.sources for part in parts]
    rows: list[tuple[str, list[NDArray[Any]]]] = [
        ("frames a clip", [part.n_frames for part in parts]),
        ("seconds a clip", [part.seconds for part in parts]),
        ("box width, source px", [source.box_width for source in sources]),
        ("box height, source px", [source.box_height for source in sources]),
        ("box width / height", [source.aspect for source in sources]),
        (f"scaling to {surveyed.size} px", [source.enlargement(surveyed.size) for source in sources]),
    ]
    return Table(
        title="Lengths and boxes in figures",
        columns=("", "least", "5 %", "median", "95 %", "most"),
        rows=[[name, *_quantiles(np.concatenate(values))] for name, values in rows],
        note="Scaling is the mean of both axes: 2 means that a side was doubled, 0.5 that it was halved.",
    )


def _rates(surveyed: Survey) -> dict[str, Any]:
    sources = [part.sources for part in surveyed.partitions.values()]
    fps = np.concatenate([source.fps for source in sources])
    stated = np.concatenate([source.stated_fps for source in sources])
    rates, counts = np.unique(fps.round(2), return_counts=True)
    order = np.lexsort((rates, -counts))
    return {
        "bars": _bars([(f"{rates[i]:g} fps", int(counts[i])) for i in order[:MOST_BARS]]),
        "left": max(0, len(rates) - MOST_BARS),
        "differing": int((np.abs(fps - stated) >= 0.01).sum()),
    }


def _how_many_read(surveyed: Survey) -> str:
    read = sum(len(part.sources) for part in surveyed.partitions.values())
    return "" if read == surveyed.written else f"Measured on {read:,} of the {surveyed.written:,} clips."


def _settings(description: Mapping[str, Any]) -> dict[str, str]:
    """What dataset.json says besides counts, one level deep; anything else is not shown."""
    flat: dict[str, Any] = {}
    for key, value in description.items():
        if isinstance(value, dict) and key != "counts":
            flat.update({f"{key}.{name}": leaf for name, leaf in value.items()})
        else:
            flat[key] = value
    return {
        _shortened(key): _shortened(str(value))
        for key, value in flat.items()
        if isinstance(value, str | int | float)
    }


def _histogram(
    title: str, series: Mapping[str, NDArray[Any]], what: str, whole: bool = False
) -> tuple[str, str]:
    return title, draw_histogram(title, series, round_bins(series, whole=whole), what=what)


def _quantiles(values: NDArray[Any]) -> list[float | None]:
    if not len(values):
        return [None] * 5
    return [float(number) for number in np.quantile(values, (0, 0.05, 0.5, 0.95, 1))]


def _bars(counts: Sequence[tuple[str, int]]) -> list[Bar]:
    longest = max((count for _, count in counts), default=1)
    return [(_shortened(label), count, count / longest) for label, count in counts]


def _grouped(count: int | None) -> str | None:
    """20,075."""
    return None if count is None else f"{count:,}"


def _length(seconds: float) -> str:
    """1.7 min, 12.3 h."""
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"


def _size(count: float) -> str:
    """Bytes for a person: 9.9 MB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 3] + "..."
