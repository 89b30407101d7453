"""A video server on loopback that fails on request, and remembers what it was asked."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

CHUNK = 4096


@dataclass(frozen=True)
class Answer:
    """One answer that is not simply the video."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    """Instead of the video."""
    cut_at: int | None = None
    """Bytes after which the connection is closed, though more were announced."""
    wait: threading.Event | None = None
    """The rest is held back, after half of the bytes, until this is set."""


@dataclass(frozen=True)
class Request:
    """What was asked."""

    path: str
    range: str | None
    cookie: str | None


@dataclass
class VideoServer:
    """Files by path, and the answers that come before them: the first to the first request, and so on."""

    files: dict[str, bytes] = field(default_factory=dict)
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    port: int = 0

    @property
    def template(self) -> str:
        """Addresses of videos for --url-template."""
        return f"http://127.0.0.1:{self.port}/{{video_id}}.mp4"

    def asked(self, path: str) -> list[Request]:
        """The requests for one path."""
        return [request for request in self.requests if request.path == path]


@contextmanager
def video_server() -> Iterator[VideoServer]:
    """Serve for the length of a block."""
    server = VideoServer()

    class Handler(_Handler):
        shown = server

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        http.block_on_close = False
        server.port = http.server_address[1]
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    shown: VideoServer

    def do_GET(self) -> None:
        path = unquote(self.path)
        asked = self.headers["Range"]
        self.shown.requests.append(Request(path, asked, self.headers["Cookie"]))
        queue = self.shown.answers.get(path, [])
        answer = queue.pop(0) if queue else Answer()
        body = answer.body if answer.body is not None else self.shown.files.get(path)
        if answer.status != 200 or body is None:
            self._send(answer.status if answer.status != 200 else 404, answer, b"no", "text/plain")
            return
        if asked and (start := int(re.fullmatch(r"bytes=(\d+)-", asked)[1])) < len(body):
            span = (("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}"),)
            self._send(206, answer, body[start:], "video/mp4", span)
        else:
            self._send(200, answer, body, "video/mp4")

    def _send(self, status: int, answer: Answer, body: bytes, kind: str, more=()) -> None:
        self.close_connection = True
        try:
            self.send_response(status)
            headers = (
                {"Content-Type": kind, "Content-Length": str(len(body))} | dict(more) | dict(answer.headers)
            )
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            end = len(body) if answer.cut_at is None else answer.cut_at
            for start in range(0, end, CHUNK):
                if answer.wait is not None and start >= end // 2:
                    answer.wait.wait(60)
                self.wfile.write(body[start : min(start + CHUNK, end)])
        except OSError:
            pass  # yt-dlp looks at the headers first and hangs up

    def log_message(self, *args: object) -> None:
        """Say nothing."""
