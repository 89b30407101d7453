"""Addresses, proxies and cookies."""

import pytest

from pipelines.download.source import YOUTUBE, Source, read_cookies
from pipelines.errors import InputError

COOKIES = "# Netscape HTTP Cookie File\n.example.org\tTRUE\t/\tFALSE\t0\tname\tvalue\n"


def test_youtube_is_the_default():
    assert Source().url("dQw4w9WgXcQ") == "https://www.youtube.com/watch?v=dQw4w9WgXcQ"


@pytest.mark.parametrize(
    ("video_id", "part"),
    [
        ("a b", "a%20b"),
        ("a&list=x", "a%26list%3Dx"),
        ("#", "%23"),
        ("é", "%C3%A9"),
        ("{video_id}", "%7Bvideo_id%7D"),
    ],
)
def test_an_id_stays_one_part_of_the_address(video_id, part):
    assert Source().url(video_id) == YOUTUBE.replace("{video_id}", part)
    mirror = Source(template="https://mirror:8443/v/{video_id}.mp4?k=1")
    assert mirror.url(video_id) == f"https://mirror:8443/v/{part}.mp4?k=1"


def test_records_and_logs_tell_no_password(tmp_path):
    source = Source(
        template="https://me:secret@mirror/{video_id}", proxy="http://me:secret@proxy:80", cookies="secret"
    )
    assert source.public_url("a") == "https://mirror/a"
    keyed = Source(template="https://me:p@secret@mirror/get?token=secret&id={video_id}&sig=secret")
    assert keyed.public_url("é?&") == "https://mirror/get?id=%C3%A9%3F%26"
    assert (
        Source(template="https://mirror/{video_id}.mp4?token=secret").public_url("a")
        == "https://mirror/a.mp4"
    )
    assert Source().public_url("a") == "https://www.youtube.com/watch?v=a"
    assert "secret" not in repr(source)


@pytest.mark.parametrize(
    "template",
    [
        "", "mirror/{video_id}", "ftp://mirror/{video_id}", "file:///videos/{video_id}.mp4", "https:///{video_id}",
        "https://mirror/a.mp4", "https://mirror/{video_id}/{video_id}", "https://mirror/{video_id}/{ext}",
        "https://mirror/{}", "https://mirror/{video_id", "https://mirror:99999/{video_id}", "https://a b/{video_id}",
        "https://[::1/{video_id}",
    ],
)  # fmt: skip
def test_templates_that_cannot_work_are_refused(template):
    with pytest.raises(InputError, match="--url-template"):
        Source(template=template)


@pytest.mark.parametrize("proxy", ["proxy", "proxy:3128", "ftp://proxy", "http://", "http://proxy:x"])
def test_proxies_that_cannot_work_are_refused(proxy):
    with pytest.raises(InputError, match="--proxy"):
        Source(proxy=proxy)


@pytest.mark.parametrize("proxy", [None, "", "http://proxy:3128", "socks5h://me:word@127.0.0.1:1080"])
def test_proxies_that_may_work(proxy):
    assert Source(proxy=proxy).proxy == proxy


@pytest.mark.parametrize(
    "wrong",
    [
        {"template": "https://me:secret@mirror/a"},
        {"template": "https//me:secret@mirror/{video_id}"},
        {"template": "https//mirror/{video_id}?token=secret"},
        {"proxy": "http//me:secret@proxy:80"},
        {"proxy": "me:secret@proxy"},
    ],
)
def test_refusals_tell_no_password(wrong):
    with pytest.raises(InputError, match=r"--url-template|--proxy") as refused:
        Source(**wrong)
    assert "secret" not in str(refused.value)


def test_cookies_are_read(tmp_path):
    path = tmp_path / "cookies.txt"
    path.write_text(COOKIES)
    assert read_cookies(path) == COOKIES


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe", b"video_id,start\na,1\n"])
def test_other_files_are_no_cookies(tmp_path, content, capsys):
    path = tmp_path / "cookies.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"cookies\.txt: not a cookies file"):
        read_cookies(path)
    assert capsys.readouterr().err == ""


def test_cookies_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.txt: cannot be read"):
        read_cookies(tmp_path / "none.txt")
