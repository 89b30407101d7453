import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from tracking.page import Table
from tracking.report import Medium, report


class Page(HTMLParser):
    """Collects tags, their attributes and the text."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.addresses, self.text = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "xlink:href", "data")]

    def handle_data(self, data):
        self.text.append(data.strip())


@pytest.fixture
def full(tmp_path):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "sheet.png")
    (tmp_path / "clip.mp4").write_bytes(b"\0\0\0 ftypisom")
    return report(
        "Demo <script>alert(1)</script>",
        summary="first & last",
        config={"model": {"size": 64}, "note": "<b>"},
        tables=[
            Table(
                title="Scores", columns=("", "L1"), rows=[("model <i>", 0.0765432), ("copy", None)], note="n"
            )
        ],
        curves={"loss <u>": [(0, 1.0), (10, 0.5)]},
        media=[
            Medium(path=tmp_path / "sheet.png", caption="sheet"),
            Medium(path=tmp_path / "clip.mp4", caption='clip "x"'),
        ],
    )


def test_everything_is_inside_the_page(full):
    page = Page(full)
    assert len(page.addresses) == 2
    assert all(address.startswith("data:") for address in page.addresses)
    assert not re.search(r"https?://|@import|url\(", full)


def test_everything_from_outside_is_escaped(full):
    page = Page(full)
    assert not {"script", "b", "i", "u"} & set(page.tags)
    for text in (
        "Demo <script>alert(1)</script>",
        "first & last",
        "model <i>",
        "loss <u>",
        "<b>",
        'clip "x"',
    ):
        assert text in page.text


def test_all_parts_are_there(full):
    page = Page(full)
    assert {"table", "img", "video", "svg", "polyline", "details"} <= set(page.tags)
    assert {"0.07654", "model.size", "64"} <= set(page.text)


def test_page_of_a_title_alone():
    page = Page(report("Only a title"))
    assert not {"table", "img", "video", "svg", "section", "details"} & set(page.tags)


def test_other_media_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"a\.gif"):
        report("x", media=[Medium(path=tmp_path / "a.gif", caption="")])
