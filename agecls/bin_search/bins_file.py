"""Write the chosen bins: ``bins.json`` with what they were derived from, and the lineage of the search beside it."""

import json
from pathlib import Path
from typing import Any

from agecls import __version__
from agecls.bin_search.search import Search
from agecls.bin_search.source import Source
from agecls.errors import UsageError
from agecls.files import write_whole
from agecls.learn.bins_origin import REASON, lineage_file
from agecls.learn.lineage import Lineage


def refuse_other_name(path: Path) -> None:
    """Raise ``UsageError`` for a file that ``--bins`` would not read as bins."""
    if path.suffix != ".json" or path.is_dir():
        raise UsageError("--out takes a file that ends in .json", got=str(path), remedy="such as --out bins.json")


def bins_content(search: Search, source: Source) -> dict[str, Any]:
    """The content of ``bins.json``: the bins, and under ``derived`` what they were chosen on."""
    chosen = search.chosen
    return {
        **chosen.bins.to_json(),
        "derived": {
            **source.to_json(),
            "objective": search.asked.objective,
            "n_bins": len(chosen.bins),
            "score": chosen.partition.score,
            "agecls": __version__,
        },
    }


def write_bins(path: Path, search: Search, source: Source) -> bool:
    """Write the chosen bins and, where their images are known, the lineage beside them.

    A file that is there already is left alone where it says the same bins of the same origin, and is refused otherwise:
    a run may have been trained with it.

    Returns:
        Whether the bins were written, and not there already.

    Raises:
        UsageError: other bins are there.
    """
    content = bins_content(search, source)
    known = path.exists()
    if known and _read(path) != content:
        raise UsageError(
            f"{path} holds other bins and is never written over",
            got=_describe(_read(path)),
            remedy="name another file with --out, or move it away",
        )
    if source.seen is not None:
        lineage = Lineage.of(path.stem, source.fingerprint, selected=source.seen, reason=REASON, parents=source.parents)
        # Before the bins, so that none are ever without it.
        lineage.write(lineage_file(path))
    elif lineage_file(path).exists():
        raise UsageError(
            f"{lineage_file(path)} is of other bins", remedy="name another file with --out, or move it away"
        )
    if not known:
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        write_whole(path, text.encode("utf-8", "backslashreplace"))
    return not known


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def _describe(content: Any) -> str:
    names = content.get("names") if isinstance(content, dict) else None
    return ",".join(map(str, names))[:100] if isinstance(names, list) else "no bins"
