"""What may be asked beside a plain answer: several passes, several runs, a temperature, sets of classes."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from agecls.errors import LeakageError, RunError, UsageError
from agecls.learn.only import write_only
from agecls.learn.run import Run
from agecls.report.calibration import (
    apply_temperature,
    fit_temperature,
    is_certain,
    measure_calibration,
    negative_log_likelihood,
)
from agecls.report.conformal import Conformal, fit_thresholds, measure_conformal
from agecls.report.metrics import measure
from agecls.report.report import Report


@dataclass(frozen=True)
class Asking:
    """How a run is asked.

    Attributes:
        passes: passes with dropout on and uncertain weights drawn, whose mean is the answer; 0 for one without chance.
        others: further runs of an ensemble, whose mean is the answer.
        calibrate: whether a temperature is fitted on valid.
        conformal: which sets of classes are made from valid; None for none.
    """

    passes: int = 0
    others: tuple[Run, ...] = ()
    calibrate: bool = False
    conformal: Conformal | None = None

    @property
    def needs_valid(self) -> bool:
        """Whether answers on valid are needed as well."""
        return self.calibrate or self.conformal is not None

    def to_json(self, run: Run) -> dict[str, Any]:
        """What ``evaluate --json`` says of it besides what comes of valid; empty for a plain answer."""
        told: dict[str, Any] = {"mc_dropout": self.passes} if self.passes else {}
        return told | ({"ensemble": [str(each.folder) for each in (run, *self.others)]} if self.others else {})


PLAIN = Asking()


def refuse_strangers(run: Run, others: tuple[Run, ...], *, allow_leakage: bool) -> None:
    """Refuse runs that cannot answer as one.

    Raises:
        UsageError: one run is named twice.
        RunError: they answer other questions, or were trained on another kind of image.
        LeakageError: another split: what one was fitted on, another is judged by; and that is not allowed.
    """
    folders = [each.folder.resolve() for each in (run, *others)]
    for other in others:
        if folders.count(other.folder.resolve()) > 1:
            raise UsageError("an ensemble names one run twice", got=str(other.folder), remedy="name each run once")
        for what, own, its in (
            ("task", run.task, other.task),
            ("bins", run.bins.text, other.bins.text),
            ("targets", str(run.config.targets), str(other.config.targets)),
            ("--only", write_only(run.only) or "all images", write_only(other.only) or "all images"),
        ):
            if own != its and (what != "bins" or any(target.bins for target in run.targets)):
                raise RunError(
                    f"the runs of an ensemble must answer alike, and {other.folder} has another {what}",
                    got=f"{its}, not {own}",
                )
        if other.split.fingerprint != run.split.fingerprint and not allow_leakage:
            raise LeakageError(
                f"run {other.folder} of the ensemble was trained on another split than {run.folder}",
                got=f"{other.split.name} {other.split.fingerprint[:12]}, not {run.split.fingerprint[:12]}",
                remedy="train it on this split; --allow-leakage goes on, and marks the result as LEAKED",
            )


def judge(
    report: Report, valid: Report | None, asking: Asking, note: Callable[[str], None]
) -> tuple[Report, dict[str, Any]]:
    """Measure a report, after temperature and with sets where they are asked for.

    Temperature and thresholds come from valid, on which the epoch was chosen already; nothing of them is kept in the
    run, so nothing that is made from it can inherit them.

    Args:
        report: answers to the scored images.
        valid: answers of the same runs to valid; None where nothing is asked of it.
        asking: what is asked.
        note: called with each sentence that belongs beside the scores.

    Returns:
        The report at the temperature, and what was measured.
    """
    if valid is None:
        return report, measure(report)
    if is_certain(report):
        note(f"the answers in {report.task} give no probabilities, so nothing is fitted on valid")
        return report, measure(report)
    where = f"valid of {valid.origin.split}"
    if valid.origin.leaked and not report.origin.leaked:
        told = dataclasses.replace(report.origin, leaked=True, leaked_count=valid.origin.leaked_count)
        report = dataclasses.replace(report, origin=told)
    temperature, before = None, {}
    if asking.calibrate:
        temperature = fit_temperature(valid.probabilities, valid.truth)
        was = negative_log_likelihood(valid.probabilities, valid.truth)
        plain = measure_calibration(report)
        report, valid = (_at(each, temperature) for each in (report, valid))
        now = negative_log_likelihood(valid.probabilities, valid.truth)
        before = {
            "before": {key: plain[key] for key in ("ece", "ece_ci95", "nll", "brier", "aurc")} if plain else None,
            "fitted_on": {"split": valid.origin.split, "part": "valid", "n": len(valid), "nll_before": was, "nll": now},
        }
        if plain:
            note(
                f"{report.task}: temperature {temperature:.3f} from {len(valid):,} images of {where}, "
                f"NLL there {was:.4f} before and {now:.4f} after; on the scored images without it ECE "
                f"{100 * plain['ece']:.1f} %, NLL {plain['nll']:.4f}; it is not kept in the run"
            )
    measured = measure(report, temperature=temperature)
    if measured["calibration"]:
        measured["calibration"] |= before
    if asking.conformal:
        measured["conformal"] = measure_conformal(report, fit_thresholds(valid, asking.conformal), where)
        note(
            f"{report.task}: sets of {100 * asking.conformal.coverage:g} % from {len(valid):,} images of {where}; the "
            f"guarantee is for images like those, and does not allow for the epoch's having been chosen on them"
        )
    return report, measured


def _at(report: Report, temperature: float) -> Report:
    return dataclasses.replace(report, probabilities=apply_temperature(np.array(report.probabilities), temperature))
