"""Choose on valid: the threshold below which the router is not trusted, and the routing to answer with."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from sklearn.metrics import confusion_matrix

from agecls.hierarchy.answers import Answers, Probabilities
from agecls.hierarchy_config import ROUTINGS, Routing, Usable, Wanted
from agecls.report.metrics import macro_f1

THRESHOLDS: Final = tuple(float(each) for each in np.round(np.linspace(0, 1, 101), 2))
"""Tried for ``abstain``: at 0 it is ``hard``; at 1 nearly every image goes to the flat model."""


@dataclass(frozen=True)
class Choice:
    """What was chosen on valid.

    Attributes:
        routing: to answer with.
        threshold: of ``abstain``.
        scores: valid macro-F1 of every routing.
    """

    routing: Usable
    threshold: float
    scores: Mapping[Routing, float]


def choose(valid: Answers, wanted: Wanted) -> Choice:
    """Choose the threshold with the best valid macro-F1, the lowest of equals, and then the best routing.

    Among equals the routing with the least work wins: hard, then abstain, then soft.

    Args:
        valid: answers of all members for the valid part.
        wanted: a routing, or ``best``.
    """
    tried = [_score(valid, valid.routed("abstain", threshold)) for threshold in THRESHOLDS]
    threshold = THRESHOLDS[int(np.argmax(tried))]
    scores = {routing: _score(valid, valid.routed(routing, threshold)) for routing in ROUTINGS}
    if wanted != "best":
        return Choice(wanted, threshold, scores)
    cheapest: tuple[Usable, ...] = ("hard", "abstain", "soft")
    return Choice(max(cheapest, key=scores.__getitem__), threshold, scores)


def _score(answers: Answers, probabilities: Probabilities) -> float:
    classes = np.arange(probabilities.shape[1])
    return float(macro_f1(confusion_matrix(answers.truth, probabilities.argmax(axis=1), labels=classes), classes))
