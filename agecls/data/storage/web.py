"""A web server as a store: one folder of it, read by ranges where it knows them."""

import re
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NoReturn
from urllib.parse import unquote, urljoin, urlsplit

import urllib3
from urllib3 import BaseHTTPResponse

from agecls import __version__
from agecls.data.storage.places import parse_web
from agecls.data.storage.store import ChangedError, PassingError, Stored
from agecls.data.storage.web_answers import FAILURES, failure, refuse_status
from agecls.data.storage.web_headers import stored_from, version_from
from agecls.errors import StorageError

PIECE: Final = 1 << 19
"""Bytes taken from a connection at a time at most."""

HOPS: Final = 10
"""Redirections followed from one address at most."""

SLOWEST: Final = 100
"""Bytes a second; a connection that gives less for as long as may be silent counts as broken."""

_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_EMPTY_RANGE: Final = re.compile(r"bytes \*/(\d+)")
_PAGES: Final = ("text/html", "application/xhtml+xml")


class WebStore:
    """What lies in one folder of a web server. It cannot be listed or written to.

    Args:
        base: ``scheme://host[:port]/folder/``.
        query: what follows the ``?`` of each address; it may hold a signature and is never shown.
        checked: whether a SHA-256 of the user judges the content; redirections to ``http://`` are then followed.
        silence: seconds without a byte after which a connection counts as broken.
        connections: how many are kept for use again.
    """

    def __init__(
        self, base: str, query: str = "", *, checked: bool = False, silence: float = 60.0, connections: int = 4
    ) -> None:
        self._base, self._query, self._checked, self._silence = base, query, checked, silence
        self._reached = False
        self._pool = urllib3.PoolManager(
            maxsize=connections,
            retries=False,
            timeout=urllib3.Timeout(connect=min(15.0, silence), read=silence),
            headers={"User-Agent": f"agecls/{__version__}", "Accept-Encoding": "identity"},
            ssl_context=_authorities() if base.startswith("https:") else None,
        )

    @property
    def name(self) -> str:
        """The folder's address, without a query."""
        return self._base

    def find(self, key: str) -> Stored | None:
        """See ``Store.find``. Asks for the first byte: signed addresses allow GET alone, and ranges show themselves."""
        with self._ask(key, {"Range": "bytes=0-0"}) as answer:
            if answer.status in (404, 410):
                return None
            if answer.status == 416 and (empty := _EMPTY_RANGE.fullmatch(answer.headers.get("Content-Range", ""))):
                return stored_from(key, answer, int(empty[1]), ranges=False)
            if answer.status >= 400:
                refuse_status(answer, self._base + key)
            self._refuse_page(key, answer)
            found = stored_from(key, answer, *self._size(answer))
            if answer.headers.get("Content-Length") == "1":
                answer.drain_conn()
            return found

    def under(self, prefix: str) -> Iterator[Stored]:
        """Refuses: a web server does not list what it has."""
        raise StorageError(
            f"a web server does not list what is below {self._base}{prefix}",
            remedy="name one file, such as an archive; a bucket is listed by b2://BUCKET/PREFIX/",
        )

    def read(self, stored: Stored, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """See ``Store.read``. Where the server sends more than was asked for, the rest is left out."""
        stop = stored.size if stop is None else stop
        if stop is not None and start >= stop:
            return
        whole = start == 0 and stop == stored.size
        ask = {} if whole else {"Range": f"bytes={start}-{'' if stop is None else stop - 1}"}
        with self._ask(stored.key, ask) as answer:
            if answer.status >= 400:
                if answer.status in (404, 410, 412, 416):
                    self._refuse_change(stored)
                refuse_status(answer, self._base + stored.key)
            self._refuse_page(stored.key, answer)
            size, _ = self._size(answer)
            other_size = None not in (size, stored.size) and size != stored.size
            if version_from(answer.headers) != stored.version or other_size:
                self._refuse_change(stored)
            at = 0
            if answer.status == 206:
                sent = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
                if sent is None or int(sent[1]) != start or (stop is not None and int(sent[2]) != stop - 1):
                    raise PassingError(f"{self._host} sends another range than was asked for")
                at = start
            for piece in self._pieces(answer):
                fresh = piece[max(0, start - at) : None if stop is None else max(0, stop - at)]
                at += len(piece)
                if fresh:
                    yield fresh
                if stop is not None and at >= stop:
                    return
            if stop is not None:
                raise PassingError(f"{self._host} ended its answer early")

    def write(self, source: Path, key: str, sha1: str) -> NoReturn:
        """Refuses: there is no common way to write to web servers."""
        raise StorageError("a web server takes no files", remedy="push to b2://BUCKET/PREFIX or to a folder")

    @property
    def _host(self) -> str:
        return urlsplit(self._base).netloc

    @contextmanager
    def _ask(self, key: str, headers: Mapping[str, str]) -> Iterator[BaseHTTPResponse]:
        """The answer to a GET, redirections followed; its connection is kept only where all was read."""
        address = self._base + key + (f"?{self._query}" if self._query else "")
        for _ in range(HOPS):
            host = urlsplit(address).netloc
            try:
                answer = self._pool.request(
                    "GET", address, headers={**self._pool.headers, **headers}, preload_content=False, redirect=False
                )
            except FAILURES as error:
                raise failure(error, host, first=not self._reached) from None
            self._reached = True
            try:
                onward = answer.get_redirect_location()
                if not onward:
                    yield answer
                    return
            finally:
                answer.close()
            address = self._follow(address, onward)
        raise StorageError(
            f"{self._base}{key} leads in a circle",
            got=f"{HOPS} redirections, one to the next",
            remedy="look at the address in a browser, and give the one it ends at",
        )

    def _follow(self, address: str, onward: str) -> str:
        onward = urljoin(address, onward)
        if urlsplit(onward).scheme not in ("http", "https"):
            raise StorageError(
                f"{self._host} leads on to something that is no web address", remedy="name another address"
            )
        parse_web(onward, checked=self._checked)
        return onward

    def _pieces(self, answer: BaseHTTPResponse) -> Iterator[bytes]:
        """The body as it comes, no more than ``PIECE`` at a time; one that drips for too long is given up."""
        since, received = time.monotonic(), 0
        while True:
            try:
                piece = answer.read1(PIECE, decode_content=False)
            except FAILURES as error:
                raise failure(error, self._host, first=False) from None
            if not piece:
                return
            yield piece
            received += len(piece)
            now = time.monotonic()
            if now - since > self._silence:
                if received < SLOWEST * (now - since):
                    raise PassingError(f"{self._host} sends less than {SLOWEST} bytes a second")
                since, received = now, 0

    def _size(self, answer: BaseHTTPResponse) -> tuple[int | None, bool]:
        """Size of the whole object in bytes, and whether the server knows ranges."""
        if answer.status == 206:
            sent = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
            if sent is None:
                raise PassingError(f"{self._host} sends a part and does not say which")
            return (None if sent[3] == "*" else int(sent[3])), True
        length = answer.headers.get("Content-Length", "")
        if length.isdecimal():
            return int(length), False
        if answer.headers.get("Transfer-Encoding", "").lower() != "chunked":
            raise StorageError(
                f"{self._host} does not say how long the file is",
                got="an answer that ends where the connection does, so that a broken one looks whole",
                remedy="pull it from another server",
            )
        return None, False

    def _refuse_page(self, key: str, answer: BaseHTTPResponse) -> None:
        kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        name = unquote(key).lower()
        if kind in _PAGES and not name.endswith((".html", ".htm", ".xhtml")):
            raise StorageError(
                f"{self._base}{key} is a page for people, not a file",
                got=f"the server sends {kind}",
                remedy="give the address behind the page's own download button; it may ask for a login first",
            )
        encoding = answer.headers.get("Content-Encoding", "identity").lower()
        # Old servers call a .tar.gz gzip-encoded though it is sent as it is.
        if encoding not in ("", "identity") and not (encoding in ("gzip", "x-gzip") and name.endswith((".gz", ".tgz"))):
            raise StorageError(
                f"{self._base}{key} comes encoded although it was asked for as it is",
                got=f"Content-Encoding: {encoding}",
                remedy="switch that off for this file at the server or the CDN",
            )

    def _refuse_change(self, stored: Stored) -> NoReturn:
        raise ChangedError(
            f"{self._base}{stored.key} has become another file while it was read",
            remedy="wait until nobody writes to it, then give the same command again",
        )


def _authorities() -> ssl.SSLContext:
    """Those of the system, and certifi's where the system has none, as in small containers."""
    context = ssl.create_default_context()
    if not context.cert_store_stats()["x509_ca"]:
        import certifi

        context.load_verify_locations(certifi.where())
    return context
