"""Where a dataset lies: a local folder, or a folder on object storage or a web server that a URI names."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from pipelines.errors import InputError

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)
# An optional container (abfs://CONTAINER@ACCOUNT) or user without password, then a bucket or a host with its port.
_AUTHORITY = re.compile(r"([\w.-]+@)?([\w.-]*|\[[0-9a-f:]+\])(:\d+)?", re.IGNORECASE | re.ASCII)
_SECRET = re.compile(r"secret|password|token|signature|credential|access_?key|sas|^sig$", re.IGNORECASE)
WEB = ("http", "https")


@dataclass(frozen=True)
class RemoteFolder:
    """A folder that is reached by a URI, and joined to names like a Path."""

    uri: str
    """Without user name, password or any other secret, and without a slash at the end."""

    @property
    def scheme(self) -> str:
        return urlsplit(self.uri).scheme

    @property
    def name(self) -> str:
        """What the URI ends in."""
        return unquote(urlsplit(self.uri).path.rpartition("/")[2])

    def __truediv__(self, name: str) -> "RemoteFolder":
        parts = urlsplit(self.uri)
        return RemoteFolder(parts._replace(path=f"{parts.path}/{quote(name)}").geturl())

    def __str__(self) -> str:
        return self.uri

    def absolute(self) -> "RemoteFolder":
        """Itself: as a Path's, it then means the same wherever it is read."""
        return self


Location = Path | RemoteFolder


def parse_location(text: str | Location) -> Location:
    """The folder that a path or URI names. Raises InputError, which never repeats a secret."""
    if not isinstance(text, str):
        return text
    found = _SCHEME.match(text)
    if found is None:
        return Path(text)
    scheme = found[1].lower()
    authority, path, query = _split(scheme, text)
    if scheme == "file":
        return Path(unquote(path))
    if not authority and scheme != "hdfs":
        raise InputError(f"{scheme}://{path}: names no {'server' if scheme in WEB else 'bucket'}")
    if query and scheme in WEB:
        raise InputError(f"{scheme}://{authority}{path}: a folder on a web server takes no query (?...)")
    query = f"?{query}" if query else ""
    return RemoteFolder(f"{scheme}://{authority}{path.rstrip('/')}{query}")


def _split(scheme: str, text: str) -> tuple[str, str, str]:
    """Authority, path and query of a URI that holds no secret."""
    secret = InputError(
        f"{scheme}://...: malformed, or holds a password or key, which would be written to records. Give "
        "credentials in the environment or their usual files (AWS_ACCESS_KEY_ID, ~/.aws/credentials)."
    )
    try:
        parts = urlsplit(text)
        keys = [key for key, _ in parse_qsl(parts.query)]
    except ValueError:
        raise secret from None
    # A key with a slash in it ends the authority early, and the @ lies in what looks like the path.
    early = ":" in parts.netloc and "@" in parts.path
    if early or parts.fragment or not _AUTHORITY.fullmatch(parts.netloc) or any(map(_SECRET.search, keys)):
        raise secret
    return parts.netloc, parts.path, parts.query
