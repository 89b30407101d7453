"""Where videos are asked for: the address of each, and the cookies and proxy to ask with."""

import io
import re
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from pipelines.errors import InputError

YOUTUBE = "https://www.youtube.com/watch?v={video_id}"
PLACE = "{video_id}"
PROXY_SCHEMES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")


@dataclass(frozen=True, kw_only=True)
class Source:
    """An address template, cookies and proxy. Raises InputError for a template or proxy that cannot work."""

    template: str = field(default=YOUTUBE, repr=False)
    """A video's address, with {video_id} in the place of its id."""
    cookies: str = field(default="", repr=False)
    """Content of a cookies file in Netscape's format; empty for none."""
    proxy: str | None = field(default=None, repr=False)
    """The proxy's URL; empty for a direct connection, None for what the environment says."""

    def __post_init__(self) -> None:
        """Refuse what yt-dlp would take for something else."""
        if self.template.count(PLACE) != 1 or set("{}") & set(self.template.replace(PLACE, "")):
            raise InputError(
                f"{_named('--url-template', self.template)}: write {PLACE} once, where the id belongs, as in {YOUTUBE}"
            )
        if not _has_host(self.template, ("http", "https")) or re.search(r"\s", self.template):
            raise InputError(
                f"{_named('--url-template', self.template)}: give an http:// or https:// address. Videos that are "
                f"files already need no download: name their folder to lia prepare."
            )
        if self.proxy and not _has_host(self.proxy, PROXY_SCHEMES):
            raise InputError(
                f"{_named('--proxy', self.proxy)}: give SCHEME://HOST:PORT with one of {', '.join(PROXY_SCHEMES)}"
            )

    def url(self, video_id: str) -> str:
        """The video's address; whatever the id holds stays one part of it."""
        return self.template.replace(PLACE, quote(video_id, safe=""))

    def public_url(self, video_id: str) -> str:
        """The address for records: without login, and of the query only what holds the id, as the rest may be a key."""
        parts = urlsplit(self.template)
        query = "&".join(part for part in parts.query.split("&") if PLACE in part)
        public = parts._replace(netloc=parts.netloc.rpartition("@")[2], query=query)
        return urlunsplit(public).replace(PLACE, quote(video_id, safe=""))


def read_cookies(path: Path) -> str:
    """The content of a cookies file in Netscape's format; raises InputError. Needs yt-dlp."""
    from http.cookiejar import LoadError

    from yt_dlp.cookies import YoutubeDLCookieJar

    try:
        text = path.read_text(encoding="utf-8")
        with redirect_stderr(io.StringIO()):  # it lists the lines that it cannot read
            YoutubeDLCookieJar(io.StringIO(text)).load()
    except (LoadError, UnicodeDecodeError):
        raise InputError(
            f"{path}: not a cookies file in Netscape's format. Export one from a browser, or have yt-dlp write one: "
            f"yt-dlp --cookies FILE --cookies-from-browser firefox"
        ) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}). Give a cookies file.") from None
    return text


def _named(flag: str, value: str) -> str:
    """A flag with its value, unless that may hold a password."""
    return flag if set("@?") & set(value) else f"{flag} {value}"


def _has_host(url: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in schemes and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return False
