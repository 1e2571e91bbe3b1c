"""Say what this machine offers, what agecls will do with it, and what will not work."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agecls.doctor.checks import Check, check_machine
from agecls.doctor.offer import Offer, find_offer
from agecls.doctor.plan import Plan, make_plan

__all__ = ["Diagnosis", "examine"]


@dataclass(frozen=True)
class Diagnosis:
    """A machine as agecls sees it.

    Attributes:
        offer: what it has.
        plan: what a training will do with it.
        checks: what was looked at, and how it is.
    """

    offer: Offer
    plan: Plan
    checks: tuple[Check, ...]

    @property
    def works(self) -> bool:
        """Whether nothing was found that will not work."""
        return all(check.state != "problem" for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """The whole as plain values; sizes in bytes."""
        return {
            "schema": 1,
            "works": self.works,
            "machine": self.offer.to_json(),
            "plan": asdict(self.plan),
            "checks": [asdict(check) for check in self.checks],
        }


def examine(roots: Sequence[Path] = ()) -> Diagnosis:
    """Look at this machine. Nothing is written, and nothing is asked of the network but of B2, where there are keys.

    Args:
        roots: folders of images, whose decoded size is told as well.

    Raises:
        UsageError: a root is no folder.
    """
    offer = find_offer()
    plan = make_plan(offer, roots)
    return Diagnosis(offer, plan, check_machine(offer, plan))
