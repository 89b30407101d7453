"""What yt-dlp's messages mean. The words are YouTube's and yt-dlp's own."""

import pytest

from pipelines.download.ledger import Record
from pipelines.download.reasons import (
    ASKER,
    PERMANENT,
    REASONS,
    RETRIED,
    Refused,
    by_status,
    by_words,
    one_line,
)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("Private video. Sign in if you've been granted access to this video. Use --cookies", "private"),
        ("Video unavailable. This video is private", "private"),
        ("Video unavailable. This video has been removed by the uploader", "removed"),
        ("This video has been removed for violating YouTube's Terms of Service", "removed"),
        (
            "Video unavailable. This video is no longer available because the YouTube account associated with "
            "this video has been terminated.",
            "removed",
        ),
        ("Video unavailable. This video is no longer available due to a copyright claim by A", "removed"),
        ("Video unavailable", "removed"),
        ("This live stream recording is not available.", "removed"),
        ("Video unavailable. The uploader has not made this video available in your country", "geo_blocked"),
        (
            "Video unavailable. This video contains content from B, who has blocked it in your country on "
            "copyright grounds",
            "geo_blocked",
        ),
        ("Sign in to confirm your age. This video may be inappropriate for some users.", "login_required"),
        ("Join this channel to get access to members-only content like this video", "login_required"),
        ("This video requires payment to watch", "login_required"),
        ("Sign in to confirm you're not a bot. Use --cookies-from-browser or --cookies", "rate_limited"),
        (
            "Video unavailable. This content isn't available, try again later. The current session has been "
            "rate-limited by YouTube for up to an hour.",
            "rate_limited",
        ),
        ("This video is DRM protected", "drm"),
        ("This live event will begin in 3 hours.", "not_yet"),
        ("Premieres in 15 hours", "not_yet"),
        (
            "Requested format is not available. Use --list-formats for a list of available formats",
            "no_format",
        ),
        ("Unsupported URL: https://mirror/a", "not_a_video"),
        ("No video formats found!", "not_a_video"),
        ("[download] Got error: 12 bytes read, 30 more expected", "connection"),
        ("[download] Got error: Downloaded 12 bytes, expected 42 bytes", "connection"),
        ("[download] Got error: The read operation timed out", "connection"),
        ("[download] Got error: HTTP Error 503: Service Unavailable", "server_error"),
        ("[download] Got error: HTTP Error 404: Not Found. Giving up after 5 retries", "refused"),
        ("[download] Got error: Remote end closed connection without response", "connection"),
        (
            "[download] Got error: [SSL: UNEXPECTED_EOF_WHILE_READING] EOF occurred in violation of protocol "
            "(_ssl.c:1007). Giving up after 5 retries",
            "connection",
        ),
        ("[download] Got error: HTTP Error 410: Gone", "refused"),
        ("[download] Got error: HTTP Error 401: Unauthorized", "refused"),
        ("[download] Got error: the file was removed", "connection"),
        ("Unable to download webpage: Remote end closed connection without response", "connection"),
        ("Unable to download webpage: EOF occurred in violation of protocol (_ssl.c:1007)", "connection"),
        ("[generic] rental_07: Unable to download webpage: The read operation timed out", "connection"),
        ("[generic] rental 07: the site's page has changed", "other"),
        ("[generic] a: https://mirror/private_video/login is not what was expected", "other"),
        ("This video has been deleted", "removed"),
        ("The parts were deleted, the file closed in violation of all rules", "other"),
        ("Unable to extract initial data; please report this issue", "other"),
    ],
)
def test_words(message, reason):
    assert by_words(message if message.startswith("[") else f"[youtube] dQw4w9WgXcQ: {message}") == reason


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (400, "refused"), (401, "login_required"), (403, "refused"), (404, "not_found"), (407, "connection"),
        (410, "not_found"), (416, "refused"), (429, "rate_limited"), (451, "geo_blocked"), (500, "server_error"),
        (503, "server_error"), (599, "server_error"),
    ],
)  # fmt: skip
def test_statuses(status, reason):
    assert by_status(status, "") == reason


@pytest.mark.parametrize("reason", sorted(ASKER))
def test_what_other_cookies_or_another_proxy_may_change_is_not_final(reason):
    assert not Refused(reason, "").permanent
    assert not Record(video_id="a", url="u/a", outcome=reason).dead
    assert reason not in RETRIED


def test_nothing_permanent_is_retried():
    assert not PERMANENT & RETRIED
    assert set(REASONS) >= PERMANENT | RETRIED


def test_messages_are_whole_and_in_one_line():
    assert (
        one_line("\x1b[0;31mERROR:\x1b[0m \r[download] Got\n  error:\tno\u2028\x07 ")
        == "[download] Got error: no"
    )
    assert one_line("x" * 5000) == "x" * 5000


def test_messages_tell_no_password():
    assert one_line("Unsupported URL: http://me:secret@mirror/a@b") == "Unsupported URL: http://mirror/a@b"
    assert one_line("proxy http://me:p@ss@proxy:80 a@b refused") == "proxy http://proxy:80 a@b refused"
    assert (
        one_line("Unsupported URL: https://mirror/a?token=s:secret; or?")
        == "Unsupported URL: https://mirror/a; or?"
    )
