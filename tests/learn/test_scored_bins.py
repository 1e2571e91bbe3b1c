"""Searched bins for a finished run: refused where the search has seen the images to be scored."""

from pathlib import Path

import numpy as np
import pytest

from agecls.data.split import Part, Split
from agecls.errors import LeakageError
from agecls.learn.bins_origin import BinsOrigin
from agecls.learn.lineage import Lineage
from agecls.learn.scored_bins import guard_scores


def origin(split: Split, part: Part, fingerprint: str, *, with_lineage: bool = True) -> BinsOrigin:
    hashes = split.parts[part].table["sha256"].tolist()
    selected = (hashes, np.zeros((len(hashes), 22), np.uint8))
    lineage = Lineage.of("bins", fingerprint, selected=selected, reason="bin search") if with_lineage else None
    derived = {"split": "drawn", "fingerprint": fingerprint, "run": "fine", "part": part}
    return BinsOrigin(Path("bins.json"), derived, lineage)


def guard(found: BinsOrigin, split: Split, part: Part, *, allow: bool = False) -> tuple[int, list[str]]:
    table = split.parts[part].table
    notes: list[str] = []
    count = guard_scores(
        found,
        table["path"].tolist(),
        table["sha256"].tolist(),
        np.random.default_rng(0).integers(0, 256, (len(table), 64, 64), dtype=np.uint8),
        part,
        split.fingerprint,
        allow_leakage=allow,
        note=notes.append,
    )
    return count, notes


def test_bins_searched_on_valid_score_test(drawn_split: Split) -> None:
    assert guard(origin(drawn_split, "valid", drawn_split.fingerprint), drawn_split, "test") == (0, [])


def test_bins_searched_on_valid_score_valid_and_say_so(drawn_split: Split) -> None:
    count, notes = guard(origin(drawn_split, "valid", drawn_split.fingerprint), drawn_split, "valid")
    assert count == 0
    assert "72 images to be scored helped to select the bins" in notes[0]


def test_bins_that_the_scored_images_helped_to_select_are_refused(drawn_split: Split) -> None:
    searched = origin(drawn_split, "test", "another")
    with pytest.raises(LeakageError, match="72 images to be scored helped to select"):
        guard(searched, drawn_split, "test")
    count, notes = guard(searched, drawn_split, "test", allow=True)
    assert count == 72
    assert notes[0].startswith("LEAKED")


def test_bins_of_another_split_need_their_lineage(drawn_split: Split) -> None:
    with pytest.raises(LeakageError, match="another split"):
        guard(origin(drawn_split, "valid", "another", with_lineage=False), drawn_split, "test")
    own = origin(drawn_split, "valid", drawn_split.fingerprint, with_lineage=False)
    assert guard(own, drawn_split, "test") == (0, [])


def test_bins_of_unknown_images_are_said(drawn_split: Split) -> None:
    count, notes = guard(origin(drawn_split, "valid", "", with_lineage=False), drawn_split, "test")
    assert count == 0
    assert "unknown images" in notes[0]
