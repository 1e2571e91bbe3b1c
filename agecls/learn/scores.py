"""Scores of an epoch on valid: macro-F1 of each task, error in years, and the one number that epochs are chosen by."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torchmetrics import MeanAbsoluteError
from torchmetrics.classification import MulticlassConfusionMatrix

from agecls.config import TargetsConfig
from agecls.errors import ConfigError
from agecls.labels import AGE_MAX, AGE_MIN
from agecls.learn.decoding import class_probabilities, years_of
from agecls.learn.targets import Target, slices

Monitor = Literal["mean", "age", "gender", "ethnicity", "years"]


class Found(NamedTuple):
    """What an epoch has reached.

    Attributes:
        metrics: what is logged, by name.
        confusions: of each target, truth in rows, shape (K, K).
    """

    metrics: dict[str, Tensor]
    confusions: dict[str, Tensor]


class Scores(nn.Module):
    """Counts valid batches into one confusion matrix a target, and errors in years.

    ``valid_macro_f1`` is the mean over the targets; of several, each also has its own under its name, and there is a
    ``valid_score`` wherever epochs are chosen by something else than that mean.

    Args:
        targets: of the network.
        config: what epochs are chosen by.

    Raises:
        ConfigError: they are to be chosen by what the network does not answer.
    """

    def __init__(self, targets: Sequence[Target], config: TargetsConfig) -> None:
        super().__init__()
        self.targets, self.slices = tuple(targets), slices(targets)
        self.monitor = choose_monitor(targets, config)
        # torchmetrics gathers them from all processes.
        self.confusions = nn.ModuleDict({each.name: MulticlassConfusionMatrix(len(each.classes)) for each in targets})
        self.errors = nn.ModuleDict({each.name: MeanAbsoluteError() for each in targets if each.over_years})

    def update(self, outputs: Tensor, labels: Tensor) -> None:
        """Count one batch.

        Args:
            outputs: shape (B, W), float32.
            labels: shape (B,) for one target, else (B, T); -1 where an image has none.
        """
        for number, (target, part) in enumerate(zip(self.targets, self.slices, strict=True)):
            column = labels if labels.dim() == 1 else labels[:, number]
            known = column >= 0
            found, taught = outputs[known, part], column[known]
            if not len(taught):
                continue
            if target.name in self.errors:
                years = years_of(target, found)
                assert years is not None  # noqa: S101 - it is taught by years
                self.errors[target.name].update(years, taught.float())  # type: ignore[operator]
                taught = _bins_of_years(target).to(taught.device)[taught]
            answers = found if target.kind == "classes" else class_probabilities(target, found)
            scored = taught >= 0
            self.confusions[target.name].update(answers.argmax(dim=1)[scored], taught[scored])  # type: ignore[operator]

    def compute(self) -> Found:
        """The scores of all batches since the last time, of all processes."""
        confusions = {name: metric.compute() for name, metric in self.confusions.items()}  # type: ignore[operator]
        errors = {name: metric.compute() for name, metric in self.errors.items()}  # type: ignore[operator]
        f1 = {name: macro_f1(matrix) for name, matrix in confusions.items()}
        hits = {name: matrix.diagonal().sum() / matrix.sum().clamp(min=1) for name, matrix in confusions.items()}
        metrics = {
            "valid_macro_f1": torch.stack(list(f1.values())).mean(),
            "valid_accuracy": torch.stack(list(hits.values())).mean(),
        }
        several = len(self.targets) > 1
        for name in f1 if several else ():
            metrics |= {f"valid_{name}_macro_f1": f1[name], f"valid_{name}_accuracy": hits[name]}
        metrics |= {
            f"valid_{name}_mae_years" if several and name == "age" else "valid_mae_years": error
            for name, error in errors.items()
        }
        if self.monitor == "years":
            metrics["valid_score"] = -errors["years" if "years" in errors else "age"]
        elif self.monitor != "mean":
            metrics["valid_score"] = f1[self.monitor]
        for metric in (*self.confusions.values(), *self.errors.values()):
            metric.reset()  # type: ignore[operator]
        return Found(metrics, confusions)

    @property
    def chosen_by(self) -> str:
        """Name of the metric that chooses the best epoch; more is better."""
        return "valid_macro_f1" if self.monitor == "mean" else "valid_score"


def choose_monitor(targets: Sequence[Target], config: TargetsConfig) -> Monitor:
    """What the best epoch is chosen by.

    Raises:
        ConfigError: the network does not answer it.
    """
    kinds: Mapping[str, bool] = {target.name: target.over_years for target in targets}
    wanted = config.monitor
    if wanted == "auto":
        return "years" if list(kinds) == ["years"] else "mean"
    known = any(kinds.values()) if wanted == "years" else wanted in kinds or wanted == "mean"
    if not known:
        raise ConfigError(
            f"targets.monitor={wanted} is not among what this training answers",
            got=", ".join(kinds),
            remedy="name one of these, or mean",
        )
    return wanted


def describe_monitor(targets: Sequence[Target], config: TargetsConfig) -> str:
    """What the best epoch is chosen by, in words."""
    names = [target.name for target in targets]
    match choose_monitor(targets, config):
        case "mean":
            return f"mean of the macro-F1 of {', '.join(names)}" if len(names) > 1 else f"macro-F1 of {names[0]}"
        case "years":
            return "mean absolute error in years"
        case name:
            return f"macro-F1 of {name}"


def macro_f1(confusion: Tensor) -> Tensor:
    """Mean over all K classes of 2 TP / (support + predicted); a class neither there nor predicted counts 0.

    Args:
        confusion: counts, truth in rows, shape (K, K).
    """
    mass = (confusion.sum(dim=0) + confusion.sum(dim=1)).clamp(min=1)
    return (2.0 * confusion.diagonal() / mass).mean()


def _bins_of_years(target: Target) -> Tensor:
    """Bin of each age, int64 of shape (117,); -1 in a gap."""
    assert target.bins is not None  # noqa: S101 - ages have bins
    return torch.from_numpy(target.bins.index(range(AGE_MIN, AGE_MAX + 1)))
