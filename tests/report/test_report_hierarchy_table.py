"""A hierarchy on the terminal."""

import io
from dataclasses import replace
from typing import Any

import numpy as np
from rich.console import Console

from agecls.report.hierarchy_metrics import measure_hierarchy
from agecls.report.hierarchy_table import print_hierarchy
from agecls.report.report import Origin
from agecls.report.routed_report import RoutedReport

About = dict[str, Any]


def printed(report: RoutedReport, about: About, *, terminal: bool = False) -> str:
    file = io.StringIO()
    console = Console(file=file, width=100, force_terminal=terminal, color_system="standard" if terminal else None)
    print_hierarchy(measure_hierarchy(report, about, resamples=20), console)
    return file.getvalue()


def row(text: str, first: str, place: int = 0) -> list[str]:
    return [line.split() for line in text.splitlines() if line.split()[:1] == [first]][place]


def test_routings_bins_groups_misrouting_and_verdict_are_printed(
    routed_report: RoutedReport, about_hierarchy: About
) -> None:
    text = printed(routed_report, about_hierarchy)
    routings = measure_hierarchy(routed_report, about_hierarchy, resamples=20)["routings"]
    assert text.startswith("hierarchy by gender: runs/hierarchy-gender-4-1 on utkface, test, 24 images")
    assert "soft routing chosen; abstain trusts the router from 60.0 % on" in text
    flat, soft, oracle, abstain = (row(text, name) for name in ("flat", "soft*", "(oracle)", "abstain"))
    assert flat[1] == f"{100 * routings['flat']['macro_f1']:.1f}"
    assert flat[-4:] == ["412", "k", "0.25", "24"]
    assert soft[7] == f"{100 * routings['soft']['gain']:+.1f}"
    assert soft[-4:] == ["1.2", "M", "0.75", "0"]
    assert oracle[-4:] == ["824", "k", "-", "0"]
    assert abstain[-1] == "3"
    assert "(oracle) diagnosis only: needs the true group" in text
    assert row(text, "0-2")[1:3] == ["6", f"{100 * routings['flat']['per_class']['0-2']['f1']:.1f}"]
    assert row(text, "41-116")[1] == "0"
    assert row(text, "female")[:2] == ["female", "11"]
    assert row(text, "asian")[:2] == ["asian", "11"]
    assert "misrouted: 3 of 23 images of known group (13.0 %), which costs hard routing" in text
    assert "33.3 % right as routed, 100.0 % right with the expert of the true group" in text
    assert "  male: 2 of 12 (2 to female)" in text
    assert "not worth it: soft routing scores between" in text
    assert "LEAKED" not in text
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 100


def test_leak_is_the_first_thing_printed_and_there_is_no_verdict(
    routed_report: RoutedReport, about_hierarchy: About
) -> None:
    leaked = replace(routed_report, origin=Origin("run", "split", "test", leaked=True, leaked_count=5))
    text = printed(leaked, about_hierarchy)
    assert text.startswith("LEAKED (5 images)")
    assert text.rstrip().endswith("LEAKED: no verdict, for these scores do not hold for new faces")
    assert printed(leaked, about_hierarchy, terminal=True).startswith("\x1b[1;37;41mLEAKED")


def test_ten_groups_fit_a_terminal_and_a_group_without_an_expert_says_why(
    routed_report: RoutedReport, about_hierarchy: About
) -> None:
    names = tuple(
        f"{one}/{other}" for one in ("male", "female") for other in ("white", "black", "asian", "indian", "others")
    )
    places = np.arange(24) % 10
    report = replace(routed_report, group_names=names, true_group=places, routed_group=np.arange(24) % 7)
    about = {**about_hierarchy, "by": ["gender", "ethnicity"], "fallback": {names[9]: "too few images"}}
    text = printed(report, about)
    assert max(map(len, text.splitlines())) <= 100
    assert row(text, "female/indian")[:2] == ["female/indian", "2"]
    assert "female/others: no expert, the flat model answers: too few images" in text
    assert "by gender " in text  # the labels of a chain have tables of their own
    assert "by ethnicity " in text


def test_no_known_group_and_no_costs_leave_gaps(routed_report: RoutedReport, about_hierarchy: About) -> None:
    report = replace(routed_report, true_group=np.full(24, -1), groups={"gender": ("",) * 24})
    text = printed(report, {**about_hierarchy, "costs": {}, "threshold": None})
    assert "misrouted" not in text
    assert "trusts" not in text
    assert row(text, "male") == ["male", "0", *"------"]
    assert row(text, "hard")[-3:] == ["-", "-", "0"]


def test_names_are_not_taken_for_markup(routed_report: RoutedReport, about_hierarchy: About) -> None:
    report = replace(
        routed_report,
        group_names=("[b]", ":smile:"),
        groups={"[i]": (":smile:[red]x",) * 24},
        origin=Origin("[red]", "s", "p", leaked=False),
    )
    text = printed(report, {**about_hierarchy, "by": ["[u]"], "fallback": {"[b]": "[red]"}})
    for piece in ("hierarchy by [u]: [red] on s, p", "[b]: no expert", ":smile:[red]x", "(%) by [i]", "2 to :smile:"):
        assert piece in text
