"""Why a video was not downloaded: a closed list of reasons, and what an HTTP status or yt-dlp's words amount to."""

import re
from dataclasses import dataclass
from typing import Literal, get_args

Reason = Literal[
    "not_found",
    "private",
    "removed",
    "login_required",
    "geo_blocked",
    "drm",
    "not_a_video",
    "refused",
    "rate_limited",
    "server_error",
    "connection",
    "timed_out",
    "worker_died",
    "in_use",
    "damaged",
    "no_format",
    "not_yet",
    "processing_failed",
    "other",
]
REASONS: tuple[Reason, ...] = get_args(Reason)

# The video is dead: asking again would get the same answer.
PERMANENT: frozenset[Reason] = frozenset({"not_found", "private", "removed", "drm", "not_a_video"})
# The site's word on who asks from where: other cookies or another proxy may get the video in another run.
ASKER: frozenset[Reason] = frozenset({"login_required", "geo_blocked"})
# May pass within minutes: worth further attempts in the same run. The rest may pass by the next run.
RETRIED: frozenset[Reason] = frozenset(
    {
        *("refused", "rate_limited", "server_error", "connection", "timed_out", "worker_died", "in_use"),
    }
)

_STATUSES: dict[int, Reason] = {
    401: "login_required",
    404: "not_found",
    407: "connection",  # the proxy's
    408: "connection",
    410: "not_found",
    429: "rate_limited",
    451: "geo_blocked",
}

# In this order: a broken connection comes in many words ("closed", "violation of protocol"), and must not look like the
# site's answer; "Video unavailable" begins many of YouTube's messages, and what follows says what it means.
_WORDS: tuple[tuple[str, Reason], ...] = (
    (
        r"got error|timed out|connection|unable to connect|eof occurred|content too short|bytes read",
        "connection",
    ),
    (r"rate.limited|not a bot|captcha|too many requests|try again later", "rate_limited"),
    (r"will begin|premieres? (in|will)|not currently live|is offline|is still being processed", "not_yet"),
    (r"private video|video is private", "private"),
    (r"\bdrm\b", "drm"),
    (
        r"in your (country|location|region)|geo.?restrict|from your location|on geo restriction",
        "geo_blocked",
    ),
    (
        r"sign in|log in\b|login|members.only|join this channel|confirm your age|age.restricted|"
        r"inappropriate|requires payment|purchase|rental|subscribers",
        "login_required",
    ),
    (
        r"removed|terminated|no longer available|isn.t available anymore|copyright|(been|was) deleted|"
        r"video unavailable|(video|recording) is (unavailable|not available)|does not exist",
        "removed",
    ),
    (r"requested format is not available|only images are available", "no_format"),
    (r"no video formats|did not get any data|unsupported url|is not a valid url", "not_a_video"),
)


@dataclass(frozen=True)
class Refused:
    """A video that an attempt did not get."""

    reason: Reason
    message: str
    """yt-dlp's own words, whole, in one line."""
    retry_after_s: float = 0.0
    """Seconds the server asks to wait, if it does."""

    @property
    def permanent(self) -> bool:
        """Whether asking again is pointless."""
        return self.reason in PERMANENT


def by_status(status: int, message: str) -> Reason:
    """What an HTTP error status, and yt-dlp's message about it, mean for a video."""
    reason = _STATUSES.get(status, "server_error" if status >= 500 else "refused")
    # These words are yt-dlp's for a part of a stream that it asked for several times: the video itself is there.
    return "refused" if reason in PERMANENT | ASKER and "[download] Got error:" in message else reason


def by_words(message: str) -> Reason:
    """What yt-dlp's message means for a video: a status it quotes counts first, then the site's own words.

    Ids and addresses in it are names, and mean nothing.
    """
    message = re.sub(r"\w+://\S+", "", re.sub(r"^\[(?!download\])[^\]]+\] [^:]*: ", "", message))
    if quoted := re.search(r"HTTP Error (\d{3})\b", message):
        return by_status(int(quoted[1]), message)
    return next((reason for pattern, reason in _WORDS if re.search(pattern, message, re.IGNORECASE)), "other")


def one_line(message: str) -> str:
    """A message without line ends, control characters, terminal colours, `ERROR: `, logins and queries of addresses."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", message)
    plain = re.sub(r"://[^/\s]+@", "://", plain)
    plain = re.sub(r"(://[^\s?]+)\?\S*?(?=[:;,.)]?(\s|$))", r"\1", plain)
    plain = "".join(sign if sign.isprintable() else " " for sign in plain)
    return re.sub(r"^ERROR: ", "", " ".join(plain.split()))
