"""The numbers of a hierarchy in words: the verdict, gains in points, sizes."""

from collections.abc import Mapping
from typing import Any

DIAGNOSIS = "diagnosis only: needs the true group"
"""What stands beside the oracle wherever it is shown."""


def verdict(measured: Mapping[str, Any]) -> dict[str, Any]:
    """Judge the chosen routing by the interval of its gain over the flat model.

    It is worth it only where the whole interval lies above 0. Where it is not, the sentence says also what routing by
    the true group would give; on valid, that the models were chosen there. Where images leaked there is no verdict,
    and ``worth_it`` is False.

    Args:
        measured: what ``measure_hierarchy`` has found so far.

    Returns:
        ``worth_it`` and ``sentence``.
    """
    if measured["leaked"]:
        return {"worth_it": False, "sentence": "LEAKED: no verdict, for these scores do not hold for new faces"}
    chosen, routings = measured["routing"], measured["routings"]
    gain, ends = routings[chosen]["gain"], routings[chosen]["gain_ci95"]
    where = (
        "; scored on valid, where the models were chosen, so only test can confirm it"
        if measured["part"] == "valid"
        else ""
    )
    price = _price(routings["flat"], routings[chosen])
    found = f"{chosen} routing scores {compared(gain, ends)}"
    if ends[0] > 0:
        return {"worth_it": True, "sentence": f"{found}: worth {f'its {price}' if price else 'it'}{where}"}
    sentence = f"not worth it: {found}{f', at {price}' if price else ''}"
    if "oracle" in routings:
        sentence += f"; {_perfect(routings['oracle']['gain'], routings['oracle']['gain_ci95'])}"
    return {"worth_it": False, "sentence": sentence + where}


def compared(gain: float, ends: list[float]) -> str:
    """Return a gain over the flat model in words, in points of macro-F1."""
    low, high = ends
    if low > 0:
        return f"{points(gain)} points above the flat model ({points(low)} to {points(high)})"
    if high < 0:
        return f"{points(-gain)} points below the flat model ({points(-high)} to {points(-low)})"
    if low == high == 0:
        return "exactly as the flat model does"
    return f"between {points(low, '+')} and {points(high, '+')} points of the flat model"


def gain_in_points(row: Mapping[str, Any]) -> str:
    """Return ``gain`` and ``gain_ci95`` of a row in points, "-" where it has none."""
    if row["gain"] is None:
        return "-"
    low, high = row["gain_ci95"]
    return f"{points(row['gain'], '+')} ({points(low, '+')} to {points(high, '+')})"


def points(share: float, sign: str = "") -> str:
    """Return a difference of F1 in points, with two decimals where one would show 0.0 for what is not 0."""
    digits = 1 if not share or abs(share) >= 0.0005 else 2
    return f"{100 * share:{sign if share else ''}.{digits}f}"


def short_count(number: float) -> str:
    """Return a number of parameters in at most five characters: 950, 41.2 k, 412 k, 4.1 M."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= size:
            return f"{number / size:.{1 if number < 100 * size else 0}f}{unit}"
    return f"{number:.0f}"


def _price(flat: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    named = (("parameters", "the parameters"), ("ms_per_image", "the time"))
    return " and ".join(f"{row[key] / flat[key]:.1f} times {name}" for key, name in named if flat[key] and row[key])


def _perfect(gain: float, ends: list[float]) -> str:
    found = f"a perfect router ({DIAGNOSIS}) would score {compared(gain, ends)}"
    return f"{found}, so a better router is what is missing" if ends[0] > 0 else f"even {found}"
