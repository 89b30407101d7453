"""A web server on loopback that fails as told: it serves a folder, or stands before another server."""

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

# A status to answer with; or "cut": half an answer, "short": half of a file as if it were all, "garbled": one byte
# changed.
Fault = int | Literal["cut", "short", "garbled"]
Reply = tuple[int, list[tuple[str, str]], bytes]
_HOP = ("connection", "transfer-encoding", "content-length", "date", "server")


@dataclass
class FaultyServer:
    """What it was asked, and what it does about it."""

    serve: Callable[[BaseHTTPRequestHandler], Reply]
    fault: Callable[[str, str], Fault | None] = lambda method, path: None
    """Given method and path (with query), what goes wrong with the request."""
    requests: list[tuple[str, str]] = field(default_factory=list)
    ranges: list[str | None] = field(default_factory=list)
    """The Range of each request."""
    url: str = ""

    def asked(self, name: str) -> int:
        """How often a file was asked for."""
        return sum(urlsplit(path).path.endswith(name) for _, path in self.requests)


def first(count: int, fault: Fault, *, method: str, part: str) -> Callable[[str, str], Fault | None]:
    """Let the first `count` requests of a method fail for each path that contains `part`."""
    seen: dict[str, int] = {}

    def decide(asked: str, path: str) -> Fault | None:
        if asked != method or part not in path:
            return None
        seen[path] = seen.get(path, 0) + 1
        return fault if seen[path] <= count else None

    return decide


def folder(root: Path, *, ranged: bool = True) -> Callable[[BaseHTTPRequestHandler], Reply]:
    """Serves files, whole or from a byte on; always whole if not `ranged`."""

    def serve(request: BaseHTTPRequestHandler) -> Reply:
        path = root / unquote(urlsplit(request.path).path).lstrip("/")
        if not path.is_file():
            return 404, [], b"no such file"
        data = path.read_bytes()
        asked = request.headers.get("Range", "bytes=0-") if ranged else "bytes=0-"
        start = int(asked.removeprefix("bytes=").rstrip("-"))
        return (206 if start else 200), [], data[start:]

    return serve


def before(upstream: str) -> Callable[[BaseHTTPRequestHandler], Reply]:
    """Passes requests on to the server at `upstream` (host:port)."""

    def serve(request: BaseHTTPRequestHandler) -> Reply:
        body = body_of(request)
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        connection = http.client.HTTPConnection(upstream, timeout=60)
        try:
            connection.request(
                request.command, request.path, body, {**headers, "Content-Length": str(len(body))}
            )
            answer = connection.getresponse()
            kept = [
                (k, v) for k, v in answer.getheaders() if request.command == "HEAD" or k.lower() not in _HOP
            ]
            return answer.status, kept, answer.read()
        finally:
            connection.close()

    return serve


def body_of(request: BaseHTTPRequestHandler) -> bytes:
    """A request's whole body, whichever way its length is told."""
    if request.headers.get("Transfer-Encoding", "").lower() != "chunked":
        return request.rfile.read(int(request.headers.get("Content-Length") or 0))
    body = b""
    while size := int(request.rfile.readline().split(b";")[0], 16):
        body += request.rfile.read(size)
        request.rfile.readline()
    while request.rfile.readline().strip():
        pass
    return body


@contextmanager
def serving(serve: Callable[[BaseHTTPRequestHandler], Reply]) -> Iterator[FaultyServer]:
    """A server for the length of a block."""
    state = FaultyServer(serve)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_request(self) -> None:
            state.requests.append((self.command, self.path))
            state.ranges.append(self.headers.get("Range"))
            fault = state.fault(self.command, self.path)
            if isinstance(fault, int):
                body_of(self)
                self.answer((fault, [], b""))
            elif fault == "cut" and self.command != "GET":
                self.close_connection = True  # without a word
            else:
                self.answer(state.serve(self), fault)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_request  # noqa: N815

        def answer(self, reply: Reply, fault: Fault | None = None) -> None:
            status, headers, body = reply
            if fault == "short":
                body = body[: len(body) // 2]
            elif fault == "garbled":
                middle = len(body) // 2
                body = body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            if self.command != "HEAD":
                self.send_header("Content-Length", str(len(body)))
            elif not any(name.lower() == "content-length" for name, _ in headers):
                self.send_header("Content-Length", "0")
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if fault == "cut" else body)
            if fault == "cut":
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
