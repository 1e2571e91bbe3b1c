"""Tables of a split that someone else made: which file each row means, and in which part it stands.

Their paths are rarely ours: absolute ones of another machine, ``./x.jpg``, backslashes, another folder above. A row
means the file at exactly its path, else the one file of its base name whose folders agree best.
"""

import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, NamedTuple

from agecls.data.sources.tables import read_table, require_columns
from agecls.data.sources.walk import printable
from agecls.data.split import PARTS, Part
from agecls.errors import DataError, UsageError

Agreement = tuple[bool, bool, int]
"""How well a written path agrees with a file's: the same path, one ends with the other, how many last names agree."""

MISSING: Final = "file is missing"
NO_AGREEMENT: Final[Agreement] = (False, False, 0)


class File(NamedTuple):
    """An image file: the number of its source, and its path relative to the source's root."""

    source: int
    path: str


class Match(NamedTuple):
    """Files that a written path may mean, all with the same agreement; none where no file has its base name."""

    files: Sequence[File] = ()
    agreement: Agreement = NO_AGREEMENT


@dataclass(frozen=True)
class AdoptedRow:
    """One row of an adopted table.

    Attributes:
        part: in which it stands.
        table: name of its table.
        written: the image path as it stands there.
        file: the file it means; None where it means none.
        reason: why it means none.
        agreement: of its path with the file's.
        cells: the whole row.
    """

    part: Part
    table: str
    written: str
    file: File | None = None
    reason: str = ""
    agreement: Agreement = NO_AGREEMENT
    cells: Mapping[str, str] = field(default_factory=dict)


class Shelf:
    """Files by path and by base name."""

    def __init__(self, files: Sequence[File]) -> None:
        self.files = files
        self._by_path: dict[str, list[File]] = {}
        self._by_name: dict[str, list[File]] = {}
        for file in files:
            self._by_path.setdefault(file.path, []).append(file)
            self._by_name.setdefault(posixpath.basename(file.path), []).append(file)

    def find(self, written: str) -> Match:
        """The files that a path of a table may mean."""
        for path in (written, plain_path(written)):
            if path in self._by_path:
                return Match(self._by_path[path], (True, True, path.count("/") + 1))
        theirs = plain_path(written).split("/")
        agreements = [(_agree(theirs, file.path.split("/")), file) for file in self._by_name.get(theirs[-1], ())]
        best = max((agreement for agreement, _ in agreements), default=None)
        return Match() if best is None else Match([file for each, file in agreements if each == best], best)


def plain_path(written: str) -> str:
    """Return a path with forward slashes, without ``.`` and ``..`` inside."""
    return posixpath.normpath(written.strip().replace("\\", "/"))


def _agree(theirs: Sequence[str], ours: Sequence[str]) -> Agreement:
    shorter = min(len(theirs), len(ours))
    pairs = zip(reversed(theirs), reversed(ours), strict=False)
    last = next((number for number, (one, other) in enumerate(pairs) if one != other), shorter)
    return False, last == shorter, last


def parse_tables(text: str) -> tuple[Path, Path, Path]:
    """Read ``TRAIN.csv,VALID.csv,TEST.csv``.

    Raises:
        UsageError: not three tables, one that is not there, or one given twice.
    """
    paths = [Path(piece.strip()) for piece in text.split(",") if piece.strip()]
    if len(paths) != len(PARTS):
        raise UsageError(
            "--adopt takes the tables of train, valid and test",
            got=text,
            remedy="three files in this order, such as train.csv,valid.csv,test.csv",
        )
    for path in paths:
        if not path.is_file():
            raise UsageError(f"there is no table {path}", remedy="name the three tables of the split with --adopt")
    real = [path.resolve() for path in paths]
    if len(set(real)) < len(real):
        twice = next(path for path, each in zip(paths, real, strict=True) if real.count(each) > 1)
        raise UsageError(f"--adopt names {twice} twice", remedy="each part has its own table: TRAIN,VALID,TEST")
    return paths[0], paths[1], paths[2]


def name_tables(paths: Sequence[Path]) -> list[str]:
    """A name for each table: its file name, with its folder where two have the same."""
    if len({path.name for path in paths}) == len(paths):
        return [path.name for path in paths]
    return [f"{path.resolve().parent.name}/{path.name}" for path in paths]


def read_adopted(paths: Sequence[Path], shelf: Shelf, named: Mapping[str, str]) -> list[AdoptedRow]:
    """Read the three tables of a split.

    Args:
        paths: of train, valid and test.
        shelf: every file that a row may mean.
        named: our column names to theirs, where the user gave them; ``path`` is the column of images.

    Raises:
        DataError: a table cannot be read, lacks a column that the user named, or names no file at all.
    """
    rows: list[AdoptedRow] = []
    for part, path, name in zip(PARTS, paths, name_tables(paths), strict=True):
        table = read_table(path)
        require_columns(path, table.columns, named.values(), remedy="name one of the columns found")
        cells = list(table.rows)
        if not cells:
            raise DataError(f"the table {path} has no rows", remedy=f"give the table of {part} with its images")
        column = named.get("path") or _image_column(path, table.columns, cells, shelf)
        meant = [_mean(AdoptedRow(part, name, row[column], cells=row), shelf) for row in cells]
        if not any(shelf.find(row.written).files for row in meant):
            raise _no_match(path, table.columns, [row.written for row in meant], shelf)
        rows += meant
    return list(_once(_give_way(rows)))


def _image_column(path: Path, columns: Sequence[str], cells: Sequence[Mapping[str, str]], shelf: Shelf) -> str:
    """The column most of whose values are names of files, most exactly, leftmost."""
    candidates = [name for name in dict.fromkeys(columns) if not _counts(row[name] for row in cells)]
    scores = []
    for number, name in enumerate(candidates):
        matches = [shelf.find(row[name]) for row in cells]
        exact = sum(match.agreement[0] for match in matches)
        scores.append((sum(bool(match.files) for match in matches), exact, -number))
    if not scores or not max(scores)[0]:
        likely = max(candidates, key=lambda name: len({row[name] for row in cells}), default=columns[0])
        raise _no_match(path, columns, [row[likely] for row in cells], shelf)
    return candidates[-max(scores)[2]]


def _counts(values: Iterable[str]) -> bool:
    """Whether a column holds nothing but whole numbers, as the index that a table was saved with, or a label."""
    return all(value.strip().removesuffix(".0").isdigit() for value in values)


def _no_match(path: Path, columns: Sequence[str], values: Sequence[str], shelf: Shelf) -> DataError:
    ours = ", ".join(file.path for file in shelf.files[:3])
    return DataError(
        f"no row of {path} names a file below the root",
        got=f"columns {', '.join(map(repr, columns))}; values such as {', '.join(values[:3])}; files such as {ours}",
        remedy="name the column of image paths with --column path=THEIR_NAME, or check --root",
    )


def _mean(row: AdoptedRow, shelf: Shelf) -> AdoptedRow:
    if not row.written.strip():
        return replace(row, reason="no image path in the row")
    match = shelf.find(row.written)
    if len(match.files) == 1:
        return replace(row, file=match.files[0], agreement=match.agreement)
    if match.files:
        named = " and ".join(printable(file.path) for file in match.files[:2])
        return replace(row, reason=f"{len(match.files)} files have this name, such as {named}")
    return replace(row, reason=MISSING)


def _give_way(rows: Sequence[AdoptedRow]) -> Iterator[AdoptedRow]:
    """Take a file from rows with another folder where a further row agrees with its folders better.

    Numbered files have one name in many folders: where only ``train/7.jpg`` exists, ``val/7.jpg`` is missing.
    """
    best: dict[File, int] = {}
    for row in rows:
        if row.file is not None:
            best[row.file] = max(best.get(row.file, 0), row.agreement[2])
    for row in rows:
        if row.file is not None and not row.agreement[1] and row.agreement[2] < best[row.file]:
            reason = f"{MISSING}; {printable(row.file.path)} is what another row means"
            yield replace(row, file=None, reason=reason)
        else:
            yield row


def _once(rows: Iterable[AdoptedRow]) -> Iterator[AdoptedRow]:
    """Take the file from every further row of a part that means it."""
    seen: set[tuple[Part, File]] = set()
    for row in rows:
        if row.file is not None and (row.part, row.file) in seen:
            yield replace(row, file=None, reason="second row for the same file")
        else:
            yield row
        if row.file is not None:
            seen.add((row.part, row.file))
