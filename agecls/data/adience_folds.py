"""Adience's own folds as splits: one fold is test as it was published, the other four are train and valid.

The folds were made by users: no Flickr user stands in two. Valid is drawn from the four, again by users. What the
tables say of users does not hold for pixels: one photograph may stand in two albums. Then both albums count as one, and
what the other four folds hold of it is listed as leaking, or dropped; test stays as published, so that scores stay
comparable.

Source: Eidinger, Enbar and Hassner, "Age and gender estimation of unfiltered faces", IEEE TIFS 2014; with networks
first used by Levi and Hassner, "Age and gender classification using convolutional neural networks", CVPRW 2015.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from agecls.bins import Bins
from agecls.data.adopt import Adopted, freeze_published
from agecls.data.duplicates import Ints
from agecls.data.freeze import Gathered, Grouping, gather
from agecls.data.publish import refuse_existing
from agecls.data.published import Placed, Published
from agecls.data.sources import TableOptions
from agecls.data.sources.adience import FoldRow, fold_tables, image_folder, image_path, read_folds
from agecls.data.sources.tables import inside
from agecls.data.split import PARTS
from agecls.data.stratify import assign_parts, name_strata
from agecls.errors import DataError


def freeze_folds(
    root: Path,
    outs: Mapping[int, Path],
    *,
    valid_share: float,
    seed: int,
    bins: Bins,
    repair: bool = False,
    grouping: Grouping | None = None,
) -> Iterator[Adopted]:
    """Write a split for each fold asked for, each atomically.

    Args:
        root: folder of Adience's tables and images, which are read once.
        outs: folder of each split, by the number of the fold that is its test, 0..4 as in the tables' names.
        valid_share: of the other four folds, above 0 and below 1.
        seed: of the draw of valid.
        bins: by which valid is stratified; the protocol's are preset ``adience``.
        repair: drop from train and valid what belongs with an image of test.
        grouping: what groups the images; its ``on_conflict`` has no say.

    Raises:
        SplitError: a folder exists already.
        DataError: a fold has no table, or no usable image.
    """
    for out in outs.values():
        refuse_existing(out)
    tables = fold_tables(root)
    lacking = sorted(set(outs) - set(tables))
    if tables and (lacking or len(tables) < 2):
        raise DataError(
            f"there is no table of Adience's fold {lacking[0] if lacking else 'besides one'} in {root}",
            got=", ".join(path.name for path in tables.values()),
            remedy="put the five published tables there",
        )
    gathered = gather([("adience", root)], TableOptions(), grouping or Grouping())
    folder = image_folder(root)
    rows = read_folds(root)
    paths = set(gathered.table["path"])
    # Of two rows of one file the first counts.
    row_of = {inside(image_path(row, folder), paths): row for row in reversed(rows)}
    named = [row_of[path] for path in gathered.table["path"]]
    for fold, out in outs.items():
        placed = _place(gathered.table, named, fold, valid_share, seed, bins)
        told = {
            "source": "adience",
            "fold": fold,
            "seed": seed,
            "valid_share": valid_share,
            "users": {part: len({named[row].user for row in placed[part]}) for part in PARTS},
            "shared_users": len(_shared_users(rows, fold)),
        }
        yield freeze_published(_publish(gathered, placed, root, tables, fold, told), out, bins=bins, repair=repair)


def _place(
    table: pd.DataFrame, named: Sequence[FoldRow], fold: int, valid_share: float, seed: int, bins: Bins
) -> Placed:
    """Rows of each part: test is the fold, valid whole groups of the others."""
    held = np.array([row.fold == fold for row in named], dtype=np.bool_)
    others = np.flatnonzero(~held)
    rest = table.iloc[others].reset_index(drop=True)
    ages = ((rest["age_low"] + rest["age_high"]) / 2).to_numpy(np.float64)
    shares = (1 - valid_share, valid_share)
    numbers: Ints = assign_parts(rest["group"].tolist(), name_strata(rest, bins, min(shares)), ages, shares, seed)
    return {"train": others[numbers == 0], "valid": others[numbers == 1], "test": np.flatnonzero(held)}


def _shared_users(rows: Sequence[FoldRow], fold: int) -> set[str]:
    """Users of a fold who stand in another one as well; of the published tables none does."""
    return {row.user for row in rows if row.fold == fold} & {row.user for row in rows if row.fold != fold}


def _publish(
    gathered: Gathered, placed: Placed, root: Path, tables: Mapping[int, Path], fold: int, told: Mapping[str, object]
) -> Published:
    others = "folds " + ", ".join(str(number) for number in tables if number != fold)
    return Published(
        tables=(others, others, f"fold {fold}"),
        gathered=replace(gathered, notes={**gathered.notes, "protocol": told}),
        roots={"adience": root},
        placed=placed,
        rejected=gathered.rejected,
        not_named=0,
        ages=None,
    )
