"""The tables on the terminal."""

import io
from dataclasses import replace

import numpy as np
from rich.console import Console

from agecls.report.metrics import measure
from agecls.report.report import Origin, Report
from agecls.report.table import print_measured


def printed(report: Report, *, terminal: bool = False) -> str:
    file = io.StringIO()
    console = Console(file=file, width=100, force_terminal=terminal, color_system="standard" if terminal else None)
    print_measured(measure(report, resamples=20), console)
    return file.getvalue()


def cells(text: str, first: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line.split()[:1] == [first]]


def test_headline_classes_groups_and_years_are_printed(age_report: Report) -> None:
    text = printed(age_report)
    measured = measure(age_report, resamples=20)
    assert f"macro-F1 {100 * measured['macro_f1']:.2f} %" in text
    assert "majority baseline 16.67 %, corrected 45.00 %" in text
    assert "within one bin 91.7 %, kappa 0.600" in text
    scores, years = cells(text, "15-40")
    assert scores == ["15-40", "83.3", "%", "83.3", "%", "83.3", "%", "6"]
    assert years[:4] == ["15-40", "28.0", "25", "7.6"]
    assert cells(text, "asian")[0][:2] == ["asian", "4"]
    assert cells(text, "41-116")[1] == ["41-116", *"------"]
    assert "LEAKED" not in text
    assert "\x1b" not in text


def test_leak_is_the_first_thing_printed(age_report: Report) -> None:
    report = replace(age_report, origin=Origin("run", "split", "test", leaked=True, leaked_count=5))
    assert printed(report).startswith("LEAKED (5 images)")
    assert printed(report, terminal=True).startswith("\x1b[1;37;41mLEAKED")


def test_gender_has_no_age_lines(age_report: Report) -> None:
    report = replace(
        age_report,
        task="gender",
        classes=("male", "female"),
        truth=age_report.truth % 2,
        probabilities=np.array([[0.4, 0.6]] * 12),
    )
    text = printed(report)
    assert "within one bin" not in text
    assert "years" not in text


def test_kappa_that_does_not_exist_is_left_out(age_report: Report) -> None:
    answered = np.tile([1.0, 0.0, 0.0, 0.0], (12, 1))
    assert "kappa" not in printed(replace(age_report, truth=np.zeros(12, dtype=int), probabilities=answered))


def test_names_are_not_taken_for_markup(age_report: Report) -> None:
    report = replace(
        age_report, groups={"[b]": (":smile:[red]x",) * 12}, origin=Origin("[red]", "s", "p", leaked=False)
    )
    text = printed(report)
    assert "age: [red] on s, p" in text
    assert ":smile:[red]x" in text
    assert "[b]" in text
