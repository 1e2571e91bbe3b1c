"""The sources of labelled faces: which image bears which label, read from names, folders and tables alone.

No reader opens an image. Every file below the root and every row of a table comes back once, as a label or as a reject.
"""

from collections import Counter
from pathlib import Path
from typing import Final

from agecls.data.sources.adience import read_adience
from agecls.data.sources.csv_table import TableOptions, read_csv_table
from agecls.data.sources.fairface import read_fairface
from agecls.data.sources.imdb_wiki import read_imdb_wiki
from agecls.data.sources.listing import Label, Listing, Rejected
from agecls.data.sources.synthetic import read_synthetic
from agecls.data.sources.utkface import read_utkface
from agecls.errors import DataError
from agecls.labels import Source

__all__ = ["Label", "Listing", "Rejected", "SourceName", "TableOptions", "read_source"]

SourceName = Source

ARCHIVES: Final = frozenset({".tar", ".zip", ".gz", ".tgz", ".bz2", ".tbz2", ".xz", ".txz", ".7z", ".rar", ".zst"})


def read_source(name: SourceName, root: Path, options: TableOptions | None = None) -> Listing:
    """Read the labels of every image of a source.

    Args:
        name: which source.
        root: its folder.
        options: how to read the label table, for source ``csv`` alone; None for ``labels.csv`` with our own names.

    Returns:
        The listing, with at least one label, in no particular order.

    Raises:
        DataError: the root is missing, no folder, or holds nothing that the source knows; a table cannot be read.
    """
    _check_root(name, root)
    listing = _read(name, root, options or TableOptions())
    if not listing.labels:
        remedy = _archive_remedy(root) or _what_to_put(name, root)
        raise DataError(f"{root} holds no {name} face that can be used", got=_describe(root, listing), remedy=remedy)
    return listing


def _read(name: SourceName, root: Path, options: TableOptions) -> Listing:
    match name:
        case "utkface":
            return read_utkface(root)
        case "fairface":
            return read_fairface(root)
        case "adience":
            return read_adience(root)
        case "imdb_wiki":
            return read_imdb_wiki(root)
        case "csv":
            return read_csv_table(root, options)
        case "synthetic":
            return read_synthetic(root)


def _check_root(name: SourceName, root: Path) -> None:
    if root.is_dir():
        if next(root.iterdir(), None) is None:
            raise DataError(f"{root} is empty", remedy=_what_to_put(name, root))
    elif not root.exists():
        raise DataError(f"there is no folder {root}", remedy=_what_to_put(name, root))
    elif root.suffix.lower() in ARCHIVES:
        raise DataError(
            f"{root} is an archive, not a folder", remedy="unpack it first, then give its folder with --root"
        )
    else:
        raise DataError(f"{root} is a file, not a folder", remedy=_what_to_put(name, root))


def _what_to_put(name: SourceName, root: Path) -> str:
    match name:
        case "utkface":
            what = "put the UTKFace images (files such as 25_0_1_20170116174525125.jpg.chip.jpg) into"
        case "fairface":
            what = "put fairface_label_train.csv, fairface_label_val.csv or both, and their folders train and val, into"
        case "adience":
            what = "put the Adience tables fold_0_data.txt to fold_4_data.txt and its folder aligned or faces into"
        case "imdb_wiki":
            what = "put the folders imdb_crop (with imdb.mat), wiki_crop (with wiki.mat) or both into"
        case "csv":
            what = (
                "put your images and a table labels.csv (columns path, age, gender, ethnicity; "
                "--column age=THEIR_NAME for another name, --code gender:0=female for a code) into"
            )
        case "synthetic":
            return "draw faces into a new or empty folder: agecls split --source synthetic --root DIR"
    return f"{what} {root}, or name their folder with --root or AGECLS_ROOT"


def _archive_remedy(root: Path) -> str:
    archives = sorted(entry.name for entry in root.iterdir() if entry.suffix.lower() in ARCHIVES)
    return f"unpack {', '.join(archives)} first, then give the folder with --root" if archives else ""


def _describe(root: Path, listing: Listing) -> str:
    if not listing.rejected:
        names = sorted(entry.name for entry in root.iterdir())
        return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    reason, count = Counter(item.reason for item in listing.rejected).most_common(1)[0]
    example = min(item.path for item in listing.rejected if item.reason == reason)
    return f"{len(listing.rejected)} files or rows, none usable; {count} of them: {reason}, such as {example}"
