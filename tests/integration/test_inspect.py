"""`lia inspect` on a small dataset: the page's figures against its tables, and pages of datasets that are odd."""

import base64
import io
import json
import re
import shutil
from collections import Counter
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from orchestration.cli import main
from orchestration.dataset_page import write_dataset_page
from pipelines.errors import DatasetError
from pipelines.inspection.advice import advice
from pipelines.inspection.survey import survey
from tests.coded_video import WIDTH, read_number
from tests.small_corpus import CONFIG, FAILURES, SOUND_CLIPS, folder_bytes, prepare_without_ray, write_corpus

HOSTILE = "\"><script>alert(1)</script>'<img src=x onerror=alert(2)>"
SUBJECTS = {"a": "ann", "b": "bob", "c": "ann"}


class Page(HTMLParser):
    """Tags, addresses, and the text of each table row and of the rest."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.addresses, self.handlers, self.rows, self.text = Counter(), [], [], [], []
        self.in_row = False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.addresses += [value for name, value in attrs if name in ("src", "href", "data")]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        if tag == "tr":
            self.rows.append([])
            self.in_row = True

    def handle_endtag(self, tag):
        self.in_row = self.in_row and tag != "tr"

    def handle_data(self, data):
        self.text.append(data.strip())
        if self.in_row and data.strip():
            self.rows[-1].append(data.strip())

    def row(self, *first):
        """The cells of the one row that begins with these."""
        (found,) = [row for row in self.rows if tuple(row[: len(first)]) == first]
        return found[len(first) :]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def dataset(corpus, tmp_path_factory):
    out = tmp_path_factory.mktemp("dataset") / "out"
    prepare_without_ray(corpus[0], CONFIG, corpus[1], out)
    return out


@pytest.fixture(scope="module")
def inspected(dataset, tmp_path_factory):
    """The page by `lia inspect`, its text and the manifest's rows."""
    path = tmp_path_factory.mktemp("page") / "page.html"
    assert main(["inspect", str(dataset), "--out", str(path)]) == 0
    html = path.read_text()
    return Page(html), html, pq.read_table(dataset / "manifest.parquet").to_pylist()


@pytest.fixture
def copy(dataset, tmp_path):
    return shutil.copytree(dataset, tmp_path / "out")


def rewrite(root, name, change):
    """Change the rows of one of a dataset's tables."""
    table = pq.read_table(root / name)
    rows = table.to_pylist()
    for row in rows:
        row.update(change(row))
    pq.write_table(pa.Table.from_pylist(rows, table.schema), root / name)


def test_clips_frames_videos_and_shards_are_those_of_the_manifest(inspected, dataset):
    page, _, rows = inspected
    for partition in ("train", "test"):
        mine = [row for row in rows if row["partition"] == partition]
        seconds = sum((row["end"] - row["start"]) / row["fps"] for row in mine)
        shards = {row["shard"] for row in mine}
        size = sum((dataset / shard).stat().st_size for shard in shards)
        assert page.row(partition, str(len(mine)), str(len({row["video_id"] for row in mine}))) == [
            str(sum(row["n_frames"] for row in mine)),
            f"{seconds / 60:.1f} min",
            str(len(shards)),
            f"{size / 1000:.3g} kB",
        ]
    assert (
        f"{len(rows) + FAILURES.total()} clips = {len(rows)} written + {FAILURES.total()} failed"
        in inspected[1]
    )


def test_coverage_adds_up(inspected, corpus):
    clips = corpus[0].clips
    listed = len(clips)
    found = {clip.video_id for clip in clips if clip.video_path}
    assert inspected[0].row("all") == [
        *(str(listed), str(SOUND_CLIPS), str(FAILURES.total()), f"{100 * SOUND_CLIPS / listed:.1f} %"),
        *(str(len({clip.video_id for clip in clips})), str(len(found))),
    ]


def test_every_reason_is_there_with_a_message(inspected, dataset):
    page, html, _ = inspected
    rows = pq.read_table(dataset / "failures.parquet").to_pylist()
    for reason, count in FAILURES.items():
        assert re.search(rf"<h3>{reason} .*: {count} clips?</h3>", html)
        messages = [(row["clip_id"], row["message"]) for row in rows if row["reason"] == reason]
        assert any(clip_id in page.text and message in page.text for clip_id, message in messages)


def test_boxes_and_rates_are_those_that_were_cropped(inspected, dataset):
    page, _, rows = inspected
    assert page.row("box width, source px") == [str(WIDTH)] * 5
    assert page.row(f"scaling to {CONFIG.size} px") == [f"{CONFIG.size / np.sqrt(160 * 96):.4g}"] * 5
    rates = Counter("29.97 fps" if row["video_id"] == "b" else "25 fps" for row in rows)
    for rate, count in rates.items():
        assert page.row(rate) == [str(count)]


def test_the_contact_sheet_shows_the_frames_that_it_names(inspected):
    page, html, rows = inspected
    assert page.tags["img"] == SOUND_CLIPS
    pattern = r'<img src="data:image/jpeg;base64,([^"]+)" alt="frames of ([^"]+)">.*?shown: ([\d, ]+)<'
    starts = {row["clip_id"]: row["start"] for row in rows}
    found = re.findall(pattern, html, re.DOTALL)
    assert {clip_id for _, clip_id, _ in found} == set(starts)
    for data, clip_id, numbers in found:
        strip = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
        tiles = np.split(strip, len(numbers.split(",")), axis=1)
        assert [read_number(tile) - starts[clip_id] for tile in tiles] == [int(n) for n in numbers.split(",")]


def test_the_page_needs_nothing_else_and_is_the_same_every_time(inspected, dataset, tmp_path):
    page, html, _ = inspected
    assert not page.tags.keys() & {"script", "link", "iframe", "object", "embed", "form"}
    assert all(address.startswith(("data:image/jpeg", "#")) for address in page.addresses)
    assert not re.search(r"https?://|@import|url\(", html)
    write_dataset_page(dataset, tmp_path / "again.html")
    assert (tmp_path / "again.html").read_text() == html


def test_what_comes_from_the_dataset_is_escaped(copy, tmp_path):
    failure = dict.fromkeys(("reason", "stage", "message"), HOSTILE)
    rewrite(copy, "failures.parquet", lambda row: {**failure, "clip_id": HOSTILE + row["clip_id"]})
    rewrite(copy, "manifest.parquet", lambda row: {"subject_id": HOSTILE, "video_id": HOSTILE})
    description = json.loads((copy / "dataset.json").read_text())
    description |= {"dataset": HOSTILE, "producer": {HOSTILE: HOSTILE, "half": "\ud800"}, "deep": [[HOSTILE]]}
    (copy / "dataset.json").write_text(json.dumps(description))
    copy.rename(copy := copy.with_name("<script>alert(3)"))
    write_dataset_page(copy, tmp_path / "page.html")
    page = Page((tmp_path / "page.html").read_text())
    assert page.tags["script"] == 0
    assert page.tags["img"] == SOUND_CLIPS
    assert not page.handlers
    assert HOSTILE in page.text  # it is shown, as text
    assert any("<script>alert(3)" in text for text in page.text)


def test_a_subject_in_both_partitions_is_flagged(copy, tmp_path):
    rewrite(copy, "manifest.parquet", lambda row: {"subject_id": SUBJECTS[row["video_id"]]})
    write_dataset_page(copy, tmp_path / "page.html")
    page = Page((tmp_path / "page.html").read_text())
    rows = pq.read_table(copy / "manifest.parquet").to_pylist()
    both = Counter(row["partition"] for row in rows if row["subject_id"] == "ann")
    assert [str(both["train"]), str(both["test"])] in [row[1:] for row in page.rows if row[:1] == ["ann"]]
    assert any("1 subject in both train and test (ann)" in text for text in page.text)


def test_advice_on_the_small_corpus(dataset):
    lines = advice(survey(dataset))
    assert any(
        line.startswith(
            f"{100 * FAILURES.total() / (SOUND_CLIPS + FAILURES.total()):.0f} % of the clips failed"
        )
        for line in lines
    )
    assert any("were enlarged more than 1.5 times" in line and "--prepare.size 128" in line for line in lines)
    assert any("more than 1.5 times the other" in line for line in lines)
    assert not any("in both" in line for line in lines)


def test_metadata_that_lists_more_than_the_dataset(corpus, dataset, tmp_path, capsys):
    source = corpus[1].parent / "metadata.csv"
    more = tmp_path / "more.csv"
    more.write_text(source.read_text() + "new,0,40,0-0-160-96,25,160,96,test\n")
    page = tmp_path / "page.html"
    for file, same in ((source, True), (more, False)):
        arguments = ["--metadata", str(file), "--dataset", "taichi", "--out", str(page)]
        assert main(["inspect", str(dataset), *arguments]) == 0
        assert ("which this dataset was prepared from" in page.read_text()) is same
    assert Page(page.read_text()).row("all")[-1] == "1"
    assert "1 of the 20 clips in the metadata file are not in this dataset" in capsys.readouterr().out


def test_a_dataset_without_clips_has_a_page_too(corpus, tmp_path):
    metadata, _ = corpus
    (tmp_path / "none").mkdir()
    failing = [clip for clip in metadata.clips if clip.video_id == "absent"]
    prepare_without_ray(
        type(metadata)(**{**vars(metadata), "clips": failing}), CONFIG, tmp_path / "none", tmp_path / "out"
    )
    surveyed = write_dataset_page(tmp_path / "out", tmp_path / "out" / "inspect.html")
    assert advice(surveyed)[0] == "No clip was written: there is nothing to train on."
    assert "no values" in (tmp_path / "out" / "inspect.html").read_text()


def test_making_shards_anew_removes_the_page(corpus, copy):
    from pipelines.media.ffmpeg_binary import ffmpeg_version
    from pipelines.preparation.dataset_folder import DatasetFolder

    before = folder_bytes(copy)
    assert main(["inspect", str(copy)]) == 0
    assert folder_bytes(copy).keys() - before.keys() == {"inspect.html"}
    DatasetFolder(out=copy, config=CONFIG, clips=corpus[0].clips, producer=ffmpeg_version()).reopen([])
    assert not (copy / "inspect.html").exists()


def test_names_do_not_reach_the_terminal_as_commands(copy, capsys):
    rewrite(copy, "manifest.parquet", lambda row: {"subject_id": "ann\x1b[2J\r\n"})
    assert main(["inspect", str(copy)]) == 0
    printed = capsys.readouterr().out
    assert "ann?[2J??" in printed
    assert not {"\x1b", "\r"} & set(printed)


@pytest.mark.parametrize(
    ("table", "change", "message"),
    [
        pytest.param("manifest.parquet", {"fps": float("nan")}, "fps cannot be right", id="rate"),
        pytest.param("manifest.parquet", {"fps": 1e-9}, "fps cannot be right", id="low-rate"),
        pytest.param("manifest.parquet", {"partition": "x"}, "partition cannot be right", id="partition"),
        pytest.param("manifest.parquet", {"n_frames": -1}, "n_frames cannot be right", id="frames"),
        pytest.param("failures.parquet", {"end": 0}, "start and end cannot be right", id="span"),
        pytest.param("manifest.parquet", {"shard": "../x.tar"}, "no name of a shard", id="shard"),
        pytest.param("manifest.parquet", {"json_offset": 0}, "json member is damaged", id="member"),
    ],
)
def test_tables_that_cannot_be_right_are_refused(copy, table, change, message):
    rewrite(copy, table, lambda row: change)
    with pytest.raises(DatasetError, match=message):
        survey(copy)


def test_damaged_and_absent_tables_are_refused(copy):
    (copy / "failures.parquet").write_bytes(b"nothing")
    with pytest.raises(DatasetError, match=r"failures\.parquet: damaged"):
        survey(copy)
    (copy / "failures.parquet").unlink()
    with pytest.raises(DatasetError, match=r"failures\.parquet: missing"):
        survey(copy)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["{}/nowhere"], "no such folder", id="no-dataset"),
        pytest.param(["{}"], "is no dataset", id="not-a-dataset"),
        pytest.param(["{}", "--out", "{}/shard.tar"], "must end in .html", id="other-ending"),
        pytest.param(["{}", "--metadata", "x.csv"], "go together", id="metadata-alone"),
        pytest.param(["{}", "--metadata", "{}/x.csv", "--dataset", "vox"], "no such file", id="no-metadata"),
    ],
)
def test_bad_input_ends_with_status_2_and_a_line(arguments, message, tmp_path, capsys):
    assert main(["inspect", *(argument.format(tmp_path) for argument in arguments)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
