"""Where a dataset lies: a local folder, or a folder on object storage or a web server that a URI names."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from pipelines.errors import InputError

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)
# A bucket or a host with its port; and a container (abfs://CONTAINER@ACCOUNT), elsewhere a user's or a token's place.
_AUTHORITY = re.compile(r"([\w.-]*|\[[0-9a-f:]+\])(:\d+)?", re.IGNORECASE | re.ASCII)
_CONTAINER = re.compile(r"^[\w.-]+@")
WEB = ("http", "https")
_AZURE_OPTIONS = ("blob_storage_authority", "dfs_storage_authority", "enable_tls", "tenant_id", "client_id")
_GOOGLE_OPTIONS = ("endpoint_override", "project_id", "retry_limit_seconds", "scheme")
# What may follow the ?: options of pyarrow's that are no secrets.
_OPTIONS: dict[str, tuple[str, ...]] = {
    "s3": ("endpoint_override", "region", "scheme"),
    "gs": _GOOGLE_OPTIONS,
    "gcs": _GOOGLE_OPTIONS,
    "abfs": _AZURE_OPTIONS,
    "abfss": _AZURE_OPTIONS,
    "hdfs": ("buffer_size", "default_block_size", "replication", "user"),
}


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
DATASET = "dataset-"
"""What names of folders begin with that hold a dataset each, among others."""


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
        if authority not in ("", "localhost"):
            raise InputError(
                f"file://{authority}{path}: {authority} would be a server. Write file:///PATH, or the path alone."
            )
        return Path(unquote(path))
    if not authority and scheme != "hdfs":
        raise InputError(f"{scheme}://{path}: names no {'server' if scheme in WEB else 'bucket'}")
    query = f"?{query}" if query else ""
    return RemoteFolder(f"{scheme}://{authority}{path.rstrip('/')}{query}")


def _split(scheme: str, text: str) -> tuple[str, str, str]:
    """Authority, path and query of a URI that holds no secret."""
    options = _OPTIONS.get(scheme, ())
    may_follow = f"after the ? only {', '.join(options)} may stand" if options else "nothing may follow a ?"
    secret = InputError(
        f"{scheme}://...: malformed, or holds a password or key, which would be written to records ({may_follow}). "
        "Give credentials in the environment or their usual files (AWS_ACCESS_KEY_ID, ~/.aws/credentials)."
    )
    try:
        parts = urlsplit(text)
        query = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:
        raise secret from None
    # A key with a slash in it ends the authority early, and the @ lies in what looks like the path.
    early = ":" in parts.netloc and "@" in parts.path
    server = _CONTAINER.sub("", parts.netloc, count=1) if scheme in ("abfs", "abfss") else parts.netloc
    unknown = any(key not in options or "@" in value for key, value in query)
    if early or parts.fragment or not _AUTHORITY.fullmatch(server) or unknown:
        raise secret
    return parts.netloc, parts.path, parts.query
