"""A small HTTP server for one page on this machine: a random token in the address, and nothing but GET."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from robossl.core.errors import OperationError, UsageError

HOST = "127.0.0.1"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "media-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".json": "application/json"}
_RANGE = re.compile(r"bytes=(\d+)-(\d*)", re.ASCII)


@dataclass(frozen=True)
class Answer:
    """Content of an address: bytes with a type, or a file that is sent in the ranges that a video player requests."""

    content: bytes = b""
    kind: str = "application/json"
    file: Path | None = None

    @classmethod
    def of(cls, value: object) -> Answer:
        """Return a JSON answer."""
        return cls(json.dumps(value, allow_nan=False).encode())


Route = Callable[
    [Mapping[str, str]], Answer
]  # query -> answer; raises UsageError for an unknown or wrong request


def page_file(name: str) -> Answer:
    """Return a file of the folder `pages`."""
    path = resources.files("robossl.watch") / "pages" / name
    return Answer(path.read_bytes(), f"{_TYPES[Path(name).suffix]}; charset=utf-8")


class PageServer(ThreadingHTTPServer):
    """Serves routes below `/TOKEN/` to programs on this machine that know the token.

    It binds to 127.0.0.1 only, and refuses requests whose `Host` is another name: a page elsewhere cannot reach it by a
    name that resolves to this machine.
    """

    daemon_threads = True

    def __init__(self, routes: Mapping[str, Route], port: int = 0) -> None:
        """Bind the server.

        Args:
            routes: Path below the token -> function that answers; "" is the page.
            port: Port; 0: a free one.

        Raises:
            UsageError: There is no such port.
            OperationError: The port is taken or not allowed.
        """
        if not 0 <= port <= 65535:
            raise UsageError(f"port: expected 0 to 65535, got {port}")
        self.routes, self.token = dict(routes), secrets.token_urlsafe(16)
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise OperationError(
                f"cannot listen on {HOST}:{port}: {error.strerror}; give another --port"
            ) from error

    @property
    def port(self) -> int:
        """Port that the server listens on."""
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        """Address of the page, with the token."""
        return f"http://{HOST}:{self.port}/{self.token}/"


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer a request below the token; everything else is 404 or 403, without a reason."""
        address = urlsplit(self.path)
        if self.headers.get("Host") not in (f"{HOST}:{self.server.port}", f"localhost:{self.server.port}"):
            self._send(HTTPStatus.FORBIDDEN)
            return
        prefix, _, name = address.path.removeprefix("/").partition("/")
        known = secrets.compare_digest(prefix.encode(), self.server.token.encode())
        route = self.server.routes.get(name) if known else None
        if route is None:
            self._send(HTTPStatus.NOT_FOUND)
            return
        query = {key: values[-1] for key, values in parse_qs(address.query).items()}
        try:
            answer = route(query)
        except (UsageError, OperationError) as error:
            self._send(HTTPStatus.BAD_REQUEST, Answer.of({"error": str(error)}))
            return
        if answer.file is not None:
            self._send_file(answer)
        else:
            self._send(HTTPStatus.OK, answer)

    def _send(self, status: HTTPStatus, answer: Answer | None = None) -> None:
        content = b"" if answer is None else answer.content
        kind = "text/plain" if answer is None else answer.kind
        self._head(status, kind, len(content))
        self.wfile.write(content)

    def _send_file(self, answer: Answer) -> None:
        """Send a file, or the range of it that was requested."""
        assert answer.file is not None
        try:
            data = answer.file.read_bytes()
        except OSError:  # removed since: the run was resumed
            self._send(HTTPStatus.NOT_FOUND)
            return
        match = _RANGE.fullmatch(self.headers.get("Range", ""))
        first = int(match[1]) if match else 0
        last = min(int(match[2]) if match and match[2] else len(data) - 1, len(data) - 1)
        if match and first <= last:
            span = {"Content-Range": f"bytes {first}-{last}/{len(data)}"}
            self._head(HTTPStatus.PARTIAL_CONTENT, answer.kind, last - first + 1, span)
            self.wfile.write(data[first : last + 1])
        else:
            self._head(HTTPStatus.OK, answer.kind, len(data))
            self.wfile.write(data)

    def _head(
        self, status: HTTPStatus, kind: str, length: int, more: Mapping[str, str] | None = None
    ) -> None:
        self.send_response(status)
        headers = {
            "Content-Type": kind,
            "Content-Length": str(length),
            "Cache-Control": "no-store",
            "Content-Security-Policy": _POLICY,
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "Accept-Ranges": "bytes",
            **(more or {}),
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing: the address of the page is all that the terminal shows."""

    def handle(self) -> None:
        """Handle requests until the browser ends the connection."""
        try:
            super().handle()
        except (BrokenPipeError, ConnectionResetError):  # the page was closed or reloaded
            self.close_connection = True
