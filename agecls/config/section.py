"""What every section of settings is: a frozen table that names what it does not know."""

import difflib
from collections.abc import Mapping, Sequence, Set
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """A frozen table of settings that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    def refuse_strangers(self, taken: Mapping[str, Set[str]]) -> None:
        """Raise ``ValueError`` where a setting differs from its default that the chosen ``name`` does not take."""
        chosen = str(self.name)  # type: ignore[attr-defined]
        for key in sorted(set().union(*taken.values()) - taken[chosen]):
            if getattr(self, key) != type(self).model_fields[key].default:
                owners = ", ".join(each for each, names in taken.items() if key in names)
                raise ValueError(f"{chosen} takes no {key}; it belongs to {owners}")


def nearest(text: object, names: Sequence[str]) -> str:
    """Name the nearest right word, or all of them where none is near."""
    near = difflib.get_close_matches(str(text), names, n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else f"one of {', '.join(names)}"
