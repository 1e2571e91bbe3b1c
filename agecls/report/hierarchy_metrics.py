"""From the predictions of a hierarchy, routed in several ways, to what each routing gains over the flat model."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from sklearn.metrics import confusion_matrix

from agecls.errors import UsageError
from agecls.hierarchy_config import ROUTINGS, Routing
from agecls.report.hierarchy_words import verdict
from agecls.report.metrics import macro_f1, measure
from agecls.report.paired import Gain, paired_gain, paired_gains
from agecls.report.routed_report import RoutedReport

__all__ = ["ROUTINGS", "RoutedReport", "Routing", "measure_hierarchy"]

SCHEMA: Final = 1
"""Version of the JSON of a hierarchy; changes only with a note in the change log."""

_ABOUT: Final = ("by", "routing", "threshold", "fallback", "valid_macro_f1", "members", "costs")
_SCORES: Final = ("n", "accuracy", "balanced_accuracy", "off_by_one_accuracy", "macro_f1", "macro_f1_ci95", "kappa")


def measure_hierarchy(
    report: RoutedReport, about: Mapping[str, Any], *, seed: int = 0, resamples: int = 2000
) -> dict[str, Any]:
    """Return what stands in the JSON of a hierarchy: plain Python values, finite or None.

    The scores of a routing are those of ``measure`` for it, so the row ``flat`` says what ``evaluate`` says of the flat
    run. A ``gain`` is macro-F1 (in ``per_class``: F1) minus that of ``flat`` on the same images, its interval a paired
    bootstrap over images: all routings on the same resamples. In a group macro-F1 is the mean over the classes that
    have labelled images in it. ``routed_groups`` are the groups of the hierarchy by label, where ``by_group`` has the
    gender and the ethnicity; a group without an image has None for its scores.

    ``misrouting`` counts images of known group alone: those the router sends to another group's expert, and the
    macro-F1 lost by that, ``oracle`` minus ``hard`` on these images. In its ``by_group`` ``n``, ``wrong`` and
    ``sent_to`` are about the images labelled as the group, ``routed`` and ``right`` about those sent to it.

    Args:
        report: predictions of each routing.
        about: what is known of the hierarchy beside its predictions: ``by``, ``routing`` (chosen on valid),
            ``threshold``, ``fallback`` (group: reason), ``valid_macro_f1`` (by routing), ``members`` (by name) and
            ``costs`` (by routing: ``parameters``, ``ms_per_image``).
        seed: seed of the bootstrap.
        resamples: number of bootstrap resamples, at least 1.

    Raises:
        UsageError: something of ``about`` is missing, the chosen routing is not one that can be used, or there are
            fewer than one resample.
    """
    _check(report, about)
    single = {name: measure(report.report(name), seed=seed, resamples=resamples) for name in report.routings}
    flat = single["flat"]
    routings: dict[str, dict[str, Any]] = {}
    for name, scores in single.items():
        sent = len(report) if name == "flat" else int(report.to_flat.get(name, np.zeros(0, bool)).sum())
        routings[name] = {
            **{key: scores[key] for key in _SCORES},
            "gain": None,
            "gain_ci95": None,
            "per_class": {
                bin_name: {**row, "gain": None, "gain_ci95": None} for bin_name, row in scores["per_class"].items()
            },
            "by_group": {
                kind: {
                    group: {**{key: row[key] for key in ("n", "macro_f1", "macro_f1_ci95")}, **_no_gain()}
                    for group, row in rows.items()
                }
                for kind, rows in scores["by_group"].items()
            },
            "routed_groups": {},
            "confusion": scores["confusion"],
            "to_flat": sent,
            "parameters": about["costs"].get(name, {}).get("parameters"),
            "ms_per_image": about["costs"].get(name, {}).get("ms_per_image"),
        }
    _add_gains(report, routings, seed, resamples)
    measured = {
        "schema": SCHEMA,
        "task": "age",
        "classes": list(report.classes),
        "by": list(about["by"]),
        **{key: flat[key] for key in ("n", "run", "split", "part", "leaked", "leaked_count")},
        **{key: flat[key] for key in ("majority_class", "majority_macro_f1")},
        **{key: about[key] for key in ("routing", "threshold")},
        **{key: dict(about[key]) for key in ("fallback", "valid_macro_f1", "members")},
        "routings": routings,
        "misrouting": _misrouting(report, seed, resamples),
    }
    return {**measured, "verdict": verdict(measured)}


def _check(report: RoutedReport, about: Mapping[str, Any]) -> None:
    missing = [key for key in _ABOUT if key not in about]
    if missing:
        raise UsageError("a hierarchy cannot be measured without all that is known of it", got=f"no {missing[0]}")
    usable = [name for name in report.routings if name not in ("flat", "oracle")]
    if about["routing"] not in usable:
        raise UsageError(
            "the chosen routing must be one that can be used and was predicted",
            got=str(about["routing"]),
            remedy=f"choose on valid among {', '.join(usable)}" if usable else "predict hard, soft or abstain",
        )


def _no_gain() -> dict[str, None]:
    return {"gain": None, "gain_ci95": None}


def _add_gains(report: RoutedReport, routings: dict[str, dict[str, Any]], seed: int, resamples: int) -> None:
    """Set the gains of every routing but flat: over all images, by class, and in each group."""
    everyone = np.arange(len(report))
    for name, gain in _gains(report, everyone, np.arange(len(report.classes)), seed, resamples).items():
        routings[name] |= {"gain": gain.macro_f1, "gain_ci95": gain.macro_f1_ci95}
        for k, bin_name in enumerate(report.classes):
            routings[name]["per_class"][bin_name] |= {"gain": gain.f1[k], "gain_ci95": gain.f1_ci95[k]}
    for kind, group, inside in _members(report, routings["flat"]["by_group"]):
        for name, gain in _gains(report, inside, np.unique(report.truth[inside]), seed, resamples).items():
            routings[name]["by_group"][kind][group] |= {"gain": gain.macro_f1, "gain_ci95": gain.macro_f1_ci95}
    for place, group in enumerate(report.group_names):
        inside = np.flatnonzero(report.true_group == place)
        present = np.unique(report.truth[inside])
        gains = _gains(report, inside, present, seed, resamples) if len(inside) else {}
        for name in report.routings:
            score = _score(report, name, inside, present) if len(inside) else None
            row: dict[str, Any] = {"n": len(inside), "macro_f1": score, **_no_gain()}
            if name in gains:
                row |= {"gain": gains[name].macro_f1, "gain_ci95": gains[name].macro_f1_ci95}
            routings[name]["routed_groups"][group] = row


def _gains(
    report: RoutedReport, inside: npt.NDArray[np.int64], classes: npt.NDArray[np.int64], seed: int, resamples: int
) -> dict[str, Gain]:
    predicted: dict[str, npt.NDArray[np.int64]] = {
        name: report.report(name).predicted[inside] for name in report.routings
    }
    flat = predicted.pop("flat")
    return paired_gains(report.truth[inside], flat, predicted, classes, seed=seed, resamples=resamples)


def _members(
    report: RoutedReport, by_group: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[str, str, npt.NDArray[np.int64]]]:
    for kind, rows in by_group.items():
        values = np.array(report.groups[kind], dtype=object)
        for group in rows:
            yield kind, group, np.flatnonzero(values == group)


def _score(
    report: RoutedReport, routing: Routing, inside: npt.NDArray[np.int64], classes: npt.NDArray[np.int64]
) -> float:
    predicted = report.report(routing).predicted[inside]
    labels = list(range(len(report.classes)))
    return float(macro_f1(confusion_matrix(report.truth[inside], predicted, labels=labels), classes))


def _misrouting(report: RoutedReport, seed: int, resamples: int) -> dict[str, Any]:
    known = np.flatnonzero(report.true_group >= 0)
    true, routed = report.true_group[known], report.routed_group[known]
    astray = known[true != routed]
    names = report.group_names
    confusion = np.zeros((len(names), len(names)), dtype=np.int64)
    np.add.at(confusion, (true, routed), 1)
    lost = None
    if len(known) and {"hard", "oracle"} <= set(report.routings):
        oracle, hard = (report.report(name).predicted[known] for name in ("oracle", "hard"))
        classes = np.arange(len(report.classes))
        lost = paired_gain(report.truth[known], oracle, hard, classes, seed=seed, resamples=resamples)
    return {
        "n": len(known),
        "wrong": len(astray),
        "share": len(astray) / len(known) if len(known) else None,
        "lost_macro_f1": lost.macro_f1 if lost else None,
        "lost_ci95": lost.macro_f1_ci95 if lost else None,
        "accuracy_hard_on_wrong": _accuracy(report, "hard", astray),
        "accuracy_oracle_on_wrong": _accuracy(report, "oracle", astray),
        "by_group": {
            name: {
                "n": int(confusion[row].sum()),
                "wrong": int(confusion[row].sum() - confusion[row, row]),
                "sent_to": {
                    other: int(confusion[row, column])
                    for column, other in enumerate(names)
                    if column != row and confusion[row, column]
                },
                "routed": int(confusion[:, row].sum()),
                "right": int(confusion[row, row]),
            }
            for row, name in enumerate(names)
        },
        "confusion": confusion.tolist(),
    }


def _accuracy(report: RoutedReport, routing: Routing, inside: npt.NDArray[np.int64]) -> float | None:
    if not len(inside) or routing not in report.routings:
        return None
    return float((report.report(routing).predicted[inside] == report.truth[inside]).mean())
