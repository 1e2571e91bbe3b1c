"""Search bins in one matrix: the best for each number, how sure they are, the published ones, and a recommendation."""

from dataclasses import dataclass
from typing import Any, Final

from agecls.bin_search.asked import Asked
from agecls.bin_search.matrix import Counts, FineMatrix
from agecls.bin_search.objectives import Objective, corrected_macro_f1, majority_macro_f1, scores
from agecls.bin_search.partition import Partition, best_partitions
from agecls.bin_search.published import Published, score_published
from agecls.bin_search.recommend import ASKED, RULE, at_the_end, recommend
from agecls.bin_search.stability import Stability, measure_stability
from agecls.bins import Bins
from agecls.errors import UsageError

KEPT: Final = 10
"""Best partitions looked at for each number of bins, the best one included."""


@dataclass(frozen=True, eq=False)
class Found:
    """The best bins of one number.

    Attributes:
        bins: the bins.
        partition: the same as indices of fine bins, with the score.
        confusion: merged counts, shape (k, k).
        stability: what resampling says of them.
        rivals: bins of ``stability.rivals``.
    """

    bins: Bins
    partition: Partition
    confusion: Counts
    stability: Stability
    rivals: tuple[Bins, ...]


@dataclass(frozen=True, eq=False)
class Search:
    """What a search has found.

    Attributes:
        matrix: it was made in.
        asked: what was asked for.
        found: by number of bins, ascending.
        published: presets on the same matrix.
        recommended: number of bins.
        notes: sentences that belong beside the result.
    """

    matrix: FineMatrix
    asked: Asked
    found: dict[int, Found]
    published: list[Published]
    recommended: int
    notes: tuple[str, ...]

    @property
    def chosen(self) -> Found:
        """The recommended bins."""
        return self.found[self.recommended]

    def to_json(self) -> dict[str, Any]:
        """The contract's object, without where the matrix comes from."""
        constraints = self.asked.constraints
        chosen = self.chosen
        return {
            "schema": 1,
            "objective": self.asked.objective,
            "n": self.matrix.n,
            "fine_bins": list(self.matrix.bins.names),
            "constraints": {
                "min_support": constraints.min_support,
                "min_width": constraints.min_width,
                "max_width": constraints.max_width,
                "required": sorted(constraints.required),
                "forbidden": sorted(constraints.forbidden),
            },
            "resamples": self.asked.resamples,
            "seed": self.asked.seed,
            "results": [_told(self.matrix, each) for each in self.found.values()],
            "recommended": {
                "n_bins": self.recommended,
                "edges": chosen.bins.to_json()["edges"],
                "names": list(chosen.bins.names),
                "score": chosen.partition.score,
                "rule": ASKED if self.asked.one else RULE,
            },
            "published": [_published(each, self.asked.objective) for each in self.published],
            "notes": list(self.notes),
        }


def search(matrix: FineMatrix, asked: Asked) -> Search:
    """Find the best bins for each number asked for.

    Raises:
        BinsError: the constraints leave no partition, or the fine bins are too few.
        UsageError: fewer than two resamples.
    """
    if asked.resamples < 2:
        raise UsageError("--resamples must be 2 or more", got=str(asked.resamples), remedy="use 200")
    constraints = asked.constraints
    if max(asked.numbers) > len(matrix):
        constraints.refuse(matrix, max(asked.numbers))
    possible = constraints.numbers(matrix, max(asked.numbers))
    numbers = [number for number in asked.numbers if number in possible]
    if not numbers:
        constraints.refuse(matrix, asked.numbers[0])
    notes = []
    if left := [str(number) for number in asked.numbers if number not in possible]:
        notes.append(f"no partition into {', '.join(left)} bins satisfies the constraints: left out")
    ways = best_partitions(matrix, asked.objective, numbers, constraints, KEPT)
    stability = measure_stability(
        matrix, asked.objective, ways, constraints, resamples=asked.resamples, seed=asked.seed
    )
    found = {
        number: Found(
            matrix.merged_bins(ways[number][0].starts),
            ways[number][0],
            matrix.merge(ways[number][0].starts),
            stability[number],
            tuple(matrix.merged_bins(rival.partition.starts) for rival in stability[number].rivals),
        )
        for number in numbers
    }
    aware = {number: scores(each.confusion, _widths(matrix, each))["width-aware"] for number, each in found.items()}
    errors = {number: each.stability.error for number, each in found.items()}
    recommended = numbers[0] if asked.one else recommend(aware, errors)
    if not asked.one and at_the_end(numbers, aware):
        notes.append(
            f"the width-aware score is highest at {max(numbers)} bins, the most that were searched: with a larger "
            f"--max-bins the rule may recommend more"
        )
    published = score_published(matrix, asked.objective, resamples=asked.resamples, seed=asked.seed)
    return Search(matrix, asked, found, published, recommended, tuple(notes))


def _widths(matrix: FineMatrix, found: Found) -> Any:
    return matrix.widths(found.partition.starts)


def _told(matrix: FineMatrix, found: Found) -> dict[str, Any]:
    widths, stable = _widths(matrix, found), found.stability
    return {
        "n_bins": len(found.bins),
        "edges": found.bins.to_json()["edges"],
        "names": list(found.bins.names),
        "score": found.partition.score,
        "score_ci95": list(stable.interval),
        "optimism": stable.optimism,
        "majority": majority_macro_f1(found.confusion),
        "corrected_macro_f1": corrected_macro_f1(found.confusion, widths),
        "scores": dict(scores(found.confusion, widths)),
        "width_aware_ci95": list(stable.width_aware),
        "width_aware_error": stable.error,
        "support": [int(count) for count in found.confusion.sum(axis=1)],
        "stability": [{"edge": edge.year, "exact": edge.exact, "within_1": edge.near} for edge in stable.edges],
        "runners_up": [
            {
                "edges": bins.to_json()["edges"],
                "names": list(bins.names),
                "score": rival.partition.score,
                "behind_ci95": list(rival.behind),
            }
            for rival, bins in zip(stable.rivals, found.rivals, strict=True)
        ],
        "more": len(stable.rivals) == KEPT - 1,
    }


def _published(published: Published, objective: Objective) -> dict[str, Any]:
    told: dict[str, Any] = {
        "name": published.name,
        "n_bins": len(published.bins),
        "names": list(published.bins.names),
        "exact": published.exact,
        "scored_as": list(published.scored_as.names) if published.scored_as else None,
    }
    confusion = published.confusion
    if confusion is None or not confusion.sum():
        return {**told, "n": 0, "score": None, "score_ci95": None, "majority": None}
    each = scores(confusion, published.widths)
    return {
        **told,
        "n": int(confusion.sum()),
        "score": each[objective],
        "score_ci95": None if published.interval is None else list(published.interval),
        "majority": majority_macro_f1(confusion),
        "corrected_macro_f1": corrected_macro_f1(confusion, published.widths),
        "scores": dict(each),
    }
