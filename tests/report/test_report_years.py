"""What a report with predicted years says: errors in years over images of exactly known age, a picture, a page."""

import dataclasses
import io
import re
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from agecls.errors import DataError, UsageError
from agecls.report.metrics import measure
from agecls.report.page import write_page
from agecls.report.pictures import png
from agecls.report.report import Report
from agecls.report.table import print_measured
from agecls.report.years_scatter import scatter_picture


@pytest.fixture
def years_report(age_report: Report) -> Report:
    """Off by 0, 5 and 5.5 years, four times over; one image is of a range of ages alone."""
    off = np.tile([0.0, 5.0, -5.5], 4)
    return dataclasses.replace(age_report, predicted_years=np.nan_to_num(age_report.years, nan=90.0) + off)


def test_errors_are_those_of_exactly_known_ages(years_report: Report) -> None:
    measured = measure(years_report)
    known = ~np.isnan(years_report.years)
    off = np.tile([0.0, 5.0, 5.5], 4)[known]
    assert measured["n_years"] == 11
    assert measured["mae_years"] == pytest.approx(off.mean())
    assert measured["cs5"] == pytest.approx((off <= 5).mean())
    wanted = years_report.years[known]
    assert measured["r2"] == pytest.approx(1 - (off**2).sum() / ((wanted - wanted.mean()) ** 2).sum())


def test_a_report_that_knows_no_years_says_nothing_of_them(age_report: Report) -> None:
    assert not {"n_years", "mae_years", "r2", "cs5"} & measure(age_report).keys()
    with pytest.raises(UsageError, match="not both known"):
        scatter_picture(age_report, measure(age_report))


def test_ages_that_are_all_ranges_leave_the_errors_open(years_report: Report) -> None:
    nowhere = dataclasses.replace(years_report, years=np.full(len(years_report), np.nan))
    measured = measure(nowhere)
    assert [measured[name] for name in ("n_years", "mae_years", "r2", "cs5")] == [0, None, None, None]


@pytest.mark.parametrize("years", [np.zeros(3), np.full(12, np.nan)])
def test_predicted_years_must_fit(years: np.ndarray, age_report: Report) -> None:
    with pytest.raises(DataError):
        dataclasses.replace(age_report, predicted_years=years)


def test_picture_draws_every_image_of_exactly_known_age(years_report: Report) -> None:
    figure = scatter_picture(years_report, measure(years_report))
    (points,) = [found for each in figure.axes[0].collections if len(found := np.asarray(each.get_offsets())) == 11]
    known = ~np.isnan(years_report.years)
    assert years_report.predicted_years is not None
    np.testing.assert_allclose(points, np.stack([years_report.years, years_report.predicted_years], axis=1)[known])
    label = figure.axes[0].get_xlabel()
    assert f"{measure(years_report)['mae_years']:.2f} years" in label
    assert png(figure).startswith(b"\x89PNG")


def test_page_table_and_csv_have_the_years(years_report: Report, tmp_path: Path) -> None:
    measured = measure(years_report)
    page = write_page(years_report, measured, tmp_path).read_text()
    assert "Years, labelled and predicted" in page
    assert re.search(r"Mean absolute error</dt><dd>3\.\d\d years", page)
    rows = (tmp_path / "predictions.csv").read_text().splitlines()
    assert rows[0].endswith(",41-116,predicted_years")
    assert rows[2].endswith(",7.00")
    console = Console(file=io.StringIO(), width=120)
    print_measured(measured, console)
    assert isinstance(console.file, io.StringIO)
    assert "years: mean absolute error 3." in console.file.getvalue()
