"""What has been fetched of an object so far: a ``.part`` file, and a small JSON beside it that says which bytes."""

import json
from pathlib import Path
from typing import Any, Final

from agecls.data.storage.store import Stored

SCHEMA: Final = 1


class PartFile:
    """An object on its way: parts of equal size, each filled from its start.

    Each part is filled by one thread; only who made this object saves it.

    Args:
        path: of the ``.part`` file; the JSON lies beside it.
        source: what the store calls the object, without what is secret.
        stored: the object.
        part: bytes of a part; the last may be shorter. None for a single part, filled from its start in one go.
        boot: which start of this machine it is, from ``boot_id``.
        checked: whether a checksum will judge the whole, so that bytes may be gone on with which the machine may have
            lost when it went down.
    """

    def __init__(self, path: Path, source: str, stored: Stored, *, part: int | None, boot: str, checked: bool) -> None:
        self.path, self._json = path, path.with_suffix(".json")
        self.size, self._boot = stored.size, boot
        self.part = part
        self._about = {"schema": SCHEMA, "source": source, "version": stored.version, "size": stored.size, "part": part}
        number = 1 if part is None or stored.size is None else max(1, -(-stored.size // part))
        self.have = [0] * number
        """Bytes held of each part, from its start."""
        self.whole = False
        """Whether the end of an object of unknown size has been reached."""
        if stored.version and part is not None:
            self._go_on(checked)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("r+b" if any(self.have) else "wb") as file:
            if stored.size is not None:
                file.truncate(stored.size)
        self._saved = list(self.have)

    def length(self, index: int) -> int | None:
        """Bytes of a part; None where the size of the object is not known."""
        if self.size is None:
            return None
        return self.size if self.part is None else min(self.part, self.size - index * self.part)

    def start(self, index: int) -> int:
        """Position of a part's first byte."""
        return 0 if self.part is None else index * self.part

    @property
    def missing(self) -> list[int]:
        """The parts that are not filled."""
        return [index for index, held in enumerate(self.have) if held != self.length(index)]

    @property
    def held(self) -> int:
        """Bytes held in all."""
        return sum(self.have)

    def reach(self, position: int) -> int:
        """How far the bytes are there without a gap, from ``position`` on, which is reached already."""
        index = 0 if self.part is None else min(position // self.part, len(self.have) - 1)
        while index + 1 < len(self.have) and self.have[index] == self.length(index):
            index += 1
        return self.start(index) + self.have[index]

    @property
    def complete(self) -> bool:
        """Whether all bytes are there."""
        return self.whole if self.size is None else not self.missing

    def save(self) -> None:
        """Note what is held, for a process that comes after this one."""
        if self.part is None or self.have == self._saved:
            return
        have = list(self.have)
        new = self._json.with_suffix(".new")
        # No fsync: what the machine loses when it goes down is told by the boot, and judged by the checksum.
        try:
            new.write_text(json.dumps({**self._about, "boot": self._boot, "have": have}), encoding="utf-8")
            new.replace(self._json)
        except OSError:  # a full disk, say, which writing the part itself tells; without the note all is fetched anew
            return
        self._saved = have

    def discard(self) -> None:
        """Delete all that was fetched."""
        self.path.unlink(missing_ok=True)
        self._json.unlink(missing_ok=True)

    def finish(self, target: Path) -> None:
        """Give it its final name, once it is verified."""
        self.path.replace(target)
        self._json.unlink(missing_ok=True)

    def _go_on(self, checked: bool) -> None:
        """Take over what another process left of the very same object."""
        try:
            begun: Any = json.loads(self._json.read_text(encoding="utf-8"))
            same = {key: begun[key] for key in self._about} == self._about
            same = same and self.path.stat().st_size == self.size and (checked or begun["boot"] == self._boot != "")
            have = [int(each) for each in begun["have"]]
        except (OSError, ValueError, KeyError, TypeError):
            return
        if same and len(have) == len(self.have):
            self.have = [min(max(0, each), self.length(index) or 0) for index, each in enumerate(have)]


def boot_id() -> str:
    """Another text after each start of the machine; empty where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
