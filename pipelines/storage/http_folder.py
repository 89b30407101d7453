"""Files below a folder of a web server."""

import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from pipelines.errors import StorageError, TransientError
from pipelines.storage.location import RemoteFolder

CHUNK = 1 << 20
TIMEOUT_SECONDS = 60
_GONE = (404, 410)
_MAY_PASS = (408, 425, 429)


@dataclass(frozen=True)
class HttpFolder:
    """An `Origin` that is read by plain GET requests, ranged ones to go on after a cut."""

    root: RemoteFolder

    def chunks(self, name: str, start: int = 0) -> Iterator[bytes]:
        """The content of a file from byte `start` on; FileNotFoundError if there is none."""
        url = str(self.root / name)
        headers = {"User-Agent": "lia-platform", "Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        with _answer(Request(url, headers=headers)) as response:
            length = response.headers.get("Content-Length", "")
            left = int(length) if length.isascii() and length.isdigit() else None
            skip = start if response.status != http.client.PARTIAL_CONTENT else 0
            while chunk := response.read(CHUNK):
                left = left and left - len(chunk)
                if chunk := chunk[skip:]:
                    skip = 0
                    yield chunk
                else:
                    skip -= CHUNK
            if left:
                raise TransientError(f"{url}: the server cut the connection, {left} bytes short")


@contextmanager
def _answer(request: Request) -> Iterator[http.client.HTTPResponse]:
    """The server's answer; failures by whether trying again may help."""
    url = request.full_url
    try:
        with urlopen(request, timeout=TIMEOUT_SECONDS) as response:
            yield response
    except StorageError:
        raise
    except HTTPError as error:
        with error:
            what = f"{url}: the server answers {error.code} {error.reason}"
        if error.code in _GONE:
            raise FileNotFoundError(what) from error
        if error.code >= 500 or error.code in _MAY_PASS:
            raise TransientError(f"{what}. Try again later.") from error
        raise StorageError(f"{what}. Check the address and your rights to it.") from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise TransientError(
            f"{url}: no whole answer from the server ({reason}). Check the address and the network."
        ) from error
