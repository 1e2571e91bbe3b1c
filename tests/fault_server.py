"""A web server on loopback that fails as it is told to: a real one, with sockets, ranges and etags."""

import contextlib
import hashlib
import http.server
import re
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal, Self
from urllib.parse import unquote, urlsplit

FaultKind = Literal[
    "cut", "reset", "stall", "drip", "flip", "short length", "long length", "ignore range", "other range",
    "other etag", "change", "status", "page", "nonsense",
]  # fmt: skip
FAULTS: Final[tuple[FaultKind, ...]] = FaultKind.__args__  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one answer.

    Attributes:
        kind: ``cut`` ends the connection in good manners, ``reset`` without; ``stall`` falls silent; ``drip`` sends
            single bytes; ``flip`` sends a wrong byte; ``short length`` and ``long length`` announce too little or too
            much; ``other etag`` says so for once; ``change`` makes the object another one for good; ``status`` answers
            ``status``; ``page`` sends HTML; ``nonsense`` sends what is no HTTP.
        at: byte of the body that it strikes at.
        status: of kind ``status``.
        retry_after: header sent with it; left out where empty.
    """

    kind: FaultKind
    at: int = 0
    status: int = 503
    retry_after: str = ""


@dataclass
class FaultServer:
    """Serves ``files`` while the block runs. Each request takes the next of ``faults``, as long as there are any.

    Attributes:
        files: content by path, without a leading slash.
        headers: sent with every answer that has content, such as a checksum.
        links: redirections, by path.
        ranges: whether it knows them.
        etags: whether it sends them.
        later: what files become by a fault ``change``.
        block: bytes sent at a time.
        pause: seconds between two blocks.
        silence: seconds of a ``stall``.
    """

    files: dict[str, bytes]
    faults: deque[Fault | None] = field(default_factory=deque)
    headers: dict[str, str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    ranges: bool = True
    etags: bool = True
    later: dict[str, bytes] = field(default_factory=dict)
    block: int = 1 << 16
    pause: float = 0.0
    silence: float = 0.4
    served: int = 0
    requests: list[tuple[str, str]] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._ended = threading.Event()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._server.shutdown()
        with self._lock:
            for each in self._open:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
        self._server.server_close()
        self._thread.join()

    def url(self, path: str = "") -> str:
        """The address of a file."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/{path}"

    def plan(self, faults: Iterable[Fault | None]) -> None:
        """Let the next requests go wrong in this way."""
        self.faults.extend(faults)

    def add_sums(self) -> None:
        """Put a ``.sha256`` file beside each file, as it is now and as it becomes later."""
        for files in (self.files, self.later):
            for name, content in list(files.items()):
                text = f"{hashlib.sha256(content).hexdigest()}  {name.rpartition('/')[2]}\n"
                files[f"{name}.sha256"] = text.encode()

    def take(self) -> Fault | None:
        """The fault of the next request."""
        with self._lock:
            return self.faults.popleft() if self.faults else None


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True
    request_queue_size = 64

    def __init__(self, told: FaultServer) -> None:
        self.told = told
        super().__init__(("127.0.0.1", 0), _Handler)

    def process_request(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override]
        with self.told._lock:
            self.told._open.add(request)
        super().process_request(request, client_address)  # type: ignore[arg-type]

    def shutdown_request(self, request: socket.socket) -> None:  # type: ignore[override]
        with self.told._lock:
            self.told._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that go away are what this is for."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        told = self.server.told
        path = unquote(urlsplit(self.path).path).lstrip("/")
        with told._lock:
            told.requests.append((self.path, self.headers.get("Range", "")))
        fault = told.take()
        kind = fault.kind if fault else None
        if kind == "change":
            told.files.update(told.later)
        if fault is not None and kind == "status":
            return self._send(fault.status, b"busy", {"Retry-After": fault.retry_after} if fault.retry_after else {})
        if kind == "page":
            return self._send(200, b"<html>please log in</html>", {"Content-Type": "text/html; charset=utf-8"})
        if kind == "nonsense":
            self.close_connection = True
            self.connection.sendall(b"\x00\x01 what?\r\n\r\n")
            return None
        if path in told.links:
            return self._send(302, b"", {"Location": told.links[path]})
        content = told.files.get(path)
        if content is None:
            return self._send(404, b"nothing here", {})
        headers = dict(told.headers)
        if told.etags:
            mark = hashlib.md5(content, usedforsecurity=False).hexdigest()[:12]
            headers["ETag"] = f'"{mark}{"-other" if kind == "other etag" else ""}"'
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked is None or not told.ranges or kind == "ignore range":
            return self._send(200, content, headers, fault)
        start, stop = int(asked[1]), min(len(content), int(asked[2] or len(content) - 1) + 1)
        if start >= len(content):
            return self._send(416, b"", {"Content-Range": f"bytes */{len(content)}"})
        if kind == "other range":
            start, stop = max(0, start - 1), max(1, stop - 1)
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
        return self._send(206, content[start:stop], headers, fault)

    def _send(self, status: int, body: bytes, headers: dict[str, str], fault: Fault | None = None) -> None:
        told, kind = self.server.told, fault.kind if fault else None
        at = min(fault.at, max(0, len(body) - 1)) if fault else 0
        length = len(body) + {"short length": -min(len(body), 1), "long length": 7}.get(kind or "", 0)
        if kind == "flip" and body:
            body = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(length)}.items():
            self.send_header(name, value)
        self.end_headers()
        if kind in ("cut", "reset", "stall"):
            self._put(body[:at])
            if kind == "stall":
                told._ended.wait(told.silence)
            if kind == "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            if kind == "reset":
                self.connection.close()
            return
        if kind == "drip":
            self._put(body[:at])
            for position in range(at, min(len(body), at + 20)):
                self._put(body[position : position + 1])
                time.sleep(0.0005)
            body = body[at + 20 :]
        self._put(body)
        if kind in ("short length", "long length"):
            self.close_connection = True

    def _put(self, body: bytes) -> None:
        told = self.server.told
        for start in range(0, len(body), told.block):
            block = body[start : start + told.block]
            self.connection.sendall(block)
            with told._lock:
                told.served += len(block)
            if told.pause:
                told._ended.wait(told.pause)
