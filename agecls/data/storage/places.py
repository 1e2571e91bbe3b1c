"""What a user names to pull from or push to: ``b2://BUCKET/KEY``, ``https://...`` or a path; and its store."""

import ipaddress
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal
from urllib.parse import unquote, urlsplit

from agecls.data.storage.store import Store
from agecls.errors import UsageError

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_BUCKET: Final = re.compile(r"[A-Za-z0-9-]{1,100}")


@dataclass(frozen=True)
class Place:
    """One object, or all that begins with a prefix, and where it is.

    Attributes:
        kind: which store is behind it.
        base: bucket, ``scheme://host[:port]/folder/`` or absolute folder.
        key: of the object within; ends with ``/`` or is empty where it is a prefix.
        query: what follows the ``?`` of a web address. It may hold a signature, so nothing shows it.
    """

    kind: Literal["b2", "web", "folder"]
    base: str
    key: str
    query: str = field(default="", repr=False)

    @property
    def is_prefix(self) -> bool:
        """Whether it stands for all objects below it, as far as its text says."""
        return self.key == "" or self.key.endswith("/")

    @property
    def file_name(self) -> str:
        """The last part of the key, as a file may be called; empty for a prefix."""
        last = self.key.rpartition("/")[2]
        return unquote(last) if self.kind == "web" else last

    def __str__(self) -> str:
        match self.kind:
            case "b2":
                return f"b2://{self.base}/{self.key}"
            case "web":
                return self.base + self.key
            case "folder":
                return str(Path(self.base) / self.key)


def parse_place(text: str, *, checked: bool = False) -> Place:
    """Read the name of a place.

    Args:
        text: ``b2://BUCKET/KEY``, ``b2://BUCKET/PREFIX/``, ``https://HOST/...`` or a path.
        checked: whether a SHA-256 that the user gave will judge the content; ``http://`` is then taken from any host.

    Raises:
        UsageError: it is none of them, holds a password, or would be read unencrypted and unchecked. The message never
            repeats what may be secret.
    """
    scheme = _SCHEME.match(text)
    if scheme is None:
        return _parse_path(text)
    match scheme[1].lower():
        case "b2":
            return _parse_b2(text[scheme.end() :])
        case "http" | "https":
            return parse_web(text, checked=checked)
        case other:
            raise UsageError(
                f"there is nothing to read {other}:// with", remedy="b2://BUCKET/KEY, https://HOST/FILE or a path"
            )


def parse_web(text: str, *, checked: bool = False) -> Place:
    """Read a web address, likewise one that a server leads on to; see ``parse_place``."""
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
        parts = urlsplit("")
    if "@" in parts.netloc:
        raise UsageError(
            f"the address of {_shown_host(host, port)} holds a user name or a password",
            remedy="leave out what stands before the @: what a command is given can be read by others on the machine; "
            "for a private bucket use b2:// with a key from the environment, or a signed address",
        )
    if not host or any(not each.isprintable() or each.isspace() for each in text):
        raise UsageError(
            "a web address names no host, or holds blanks", remedy="write https://HOST/FILE, %20 for a blank"
        )
    scheme = parts.scheme.lower()
    if scheme == "http" and not checked and not is_loopback(host):
        raise UsageError(
            f"http:// is read from this machine alone, not from {host}",
            remedy="write https://, or say by --sha256 HEX what must arrive",
        )
    folder, _, name = (parts.path or "/").rpartition("/")
    return Place("web", f"{scheme}://{_shown_host(host, port)}{folder}/", name, parts.query)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by its very name."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def open_store(place: Place, *, checked: bool = False, silence: float = 60.0, connections: int = 4) -> Store:
    """The store of a place; nothing is asked of it yet.

    Args:
        place: where it is.
        checked: whether a SHA-256 of the user judges what comes; see ``parse_place``.
        silence: seconds without a byte after which a connection counts as broken.
        connections: how many are kept for use again.

    Raises:
        StorageError: the environment holds no keys for it.
    """
    match place.kind:
        case "b2":
            from agecls.data.storage.b2 import open_bucket

            return open_bucket(place.base)
        case "web":
            from agecls.data.storage.web import WebStore

            return WebStore(place.base, place.query, checked=checked, silence=silence, connections=connections)
        case "folder":
            from agecls.data.storage.local import FolderStore

            return FolderStore(Path(place.base))


def _parse_b2(rest: str) -> Place:
    bucket, _, key = rest.partition("/")
    if "@" in bucket:
        raise UsageError(
            "a b2:// address holds no key", remedy="export B2_APPLICATION_KEY_ID and B2_APPLICATION_KEY instead"
        )
    if not _BUCKET.fullmatch(bucket):
        raise UsageError(
            "a b2:// address begins with the name of a bucket",
            got=bucket,
            remedy="write b2://BUCKET/KEY, or b2://BUCKET/PREFIX/ for all below it",
        )
    return Place("b2", bucket, key)


def _parse_path(text: str) -> Place:
    if not text or "\0" in text:
        raise UsageError("an empty path names nothing", remedy="b2://BUCKET/KEY, https://HOST/FILE or a path")
    path = Path(text).expanduser().absolute()
    if path.is_dir():
        return Place("folder", str(path), "")
    return Place("folder", str(path.parent), path.name + ("/" if text.endswith("/") else ""))


def _shown_host(host: str | None, port: int | None) -> str:
    shown = f"[{host}]" if host and ":" in host else host or "a host"
    return shown if port is None else f"{shown}:{port}"
