"""Which ffmpeg is run."""

import pytest

from pipelines.errors import InputError
from pipelines.media.ffmpeg_binary import ffmpeg_binary, ffmpeg_version


def test_one_is_installed_with_the_package(monkeypatch):
    monkeypatch.delenv("LIA_FFMPEG", raising=False)
    assert ffmpeg_version()


def test_another_can_be_named(monkeypatch, tmp_path):
    other = tmp_path / "ffmpeg"
    other.write_text("#!/bin/sh\necho ffmpeg version 99.1 Copyright\n")
    other.chmod(0o755)
    monkeypatch.setenv("LIA_FFMPEG", str(other))
    assert (ffmpeg_binary(), ffmpeg_version()) == (str(other), "99.1")


def test_what_is_not_there_or_no_ffmpeg_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("LIA_FFMPEG", str(tmp_path / "none"))
    with pytest.raises(InputError, match=r"LIA_FFMPEG=.*none: no such program"):
        ffmpeg_binary()
    monkeypatch.setenv("LIA_FFMPEG", "true")
    with pytest.raises(InputError, match="does not answer -version"):
        ffmpeg_version()
