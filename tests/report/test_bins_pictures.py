"""Pictures of a search: what is written on them, and that unknown origins and leaks are said."""

import io
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from PIL import Image

from agecls.bin_search.asked import Asked
from agecls.bin_search.constraints import Constraints
from agecls.bin_search.matrix import FineMatrix
from agecls.bin_search.objectives import Objective
from agecls.bin_search.search import Search, search
from agecls.bins import Bins
from agecls.report.bins_pictures import blocks_picture, curve_picture
from agecls.report.pictures import png

ORIGIN = {"run": "fine", "split": "drawn", "fingerprint": "ab", "part": "valid", "leaked": False, "leaked_count": 0}


def look(objective: Objective = "macro-f1") -> tuple[Search, dict[str, Any]]:
    chance = np.random.default_rng(0)
    bins = Bins.parse("2y")
    truth = chance.integers(0, len(bins), 900)
    answered = np.clip(truth + chance.integers(-2, 3, 900), 0, len(bins) - 1)
    matrix = FineMatrix.of_answers(bins, truth, answered)
    found = search(matrix, Asked(objective, [3, 4, 5], Constraints(), resamples=5))
    return found, {**found.to_json(), **ORIGIN}


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if isinstance(text, Text)]


def test_every_chosen_bin_is_drawn_and_named() -> None:
    found, told = look()
    figure = blocks_picture(told, found.matrix.counts)
    squares = [each for each in figure.axes[0].patches if isinstance(each, Rectangle)]
    assert [(each.get_x(), each.get_x() + each.get_width() - 1) for each in squares] == list(found.chosen.bins.ranges)
    assert set(found.chosen.bins.names) <= set(texts(figure))
    assert any("900 images of drawn, valid; run fine" in text for text in texts(figure))
    picture = png(figure)
    assert Image.open(io.BytesIO(picture)).size[0] > 800
    assert png(blocks_picture(told, found.matrix.counts)) == picture, "the same search gives the same bytes"


@pytest.mark.parametrize(("objective", "lines"), [("macro-f1", 2), ("width-aware", 1)])
def test_curve_shows_objective_majority_and_presets(objective: Objective, lines: int) -> None:
    _, told = look(objective)
    figure = curve_picture(told)
    shown = texts(figure)
    assert {"3", "4", "7", "7-first", "8", objective, "macro-F1 of the majority"} <= set(shown)
    drawn = [line for line in figure.axes[0].get_lines() if line.get_marker() == "o"]
    assert len(drawn) == lines
    assert drawn[0].get_ydata() == pytest.approx([each["score"] for each in told["results"]])


def test_leaks_and_unknown_origins_are_said() -> None:
    found, told = look()
    leaked = {**told, "leaked": True, "leaked_count": 4}
    unknown = {**told, "run": "", "split": "", "part": ""}
    for figure in (blocks_picture(leaked, found.matrix.counts), curve_picture(leaked)):
        assert any("LEAKED (4 images)" in text for text in texts(figure))
    for figure in (blocks_picture(unknown, found.matrix.counts), curve_picture(unknown)):
        assert any("unknown" in text for text in texts(figure))
        assert not any("LEAKED" in text for text in texts(figure))
