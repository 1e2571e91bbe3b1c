"""A measured hierarchy: the JSON against a kept copy, what it agrees with, the verdict, what is refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score

from agecls.errors import DataError, UsageError
from agecls.hierarchy_config import ROUTINGS
from agecls.report.hierarchy_metrics import measure_hierarchy
from agecls.report.hierarchy_words import points, short_count, verdict
from agecls.report.metrics import measure
from agecls.report.report import Origin
from agecls.report.routed_report import RoutedReport

GOLDEN = Path(__file__).with_name("golden_hierarchy.json")

About = dict[str, Any]


def near(golden: Any, key: str = "") -> Any:
    if isinstance(golden, dict):
        return {name: near(value, name) for name, value in golden.items()}
    if key.endswith("ci95") and golden is not None:
        return pytest.approx(golden, abs=0.04)
    return pytest.approx(golden, abs=1e-12) if isinstance(golden, float) else golden


def test_measured_hierarchy_equals_the_golden_file(routed_report: RoutedReport, about_hierarchy: About) -> None:
    # Interval ends, and with them the words of the verdict, may move a little with numpy's random streams.
    measured = json.loads(json.dumps(measure_hierarchy(routed_report, about_hierarchy), allow_nan=False))
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert list(measured) == list(golden)
    assert list(measured["routings"]) == list(golden["routings"]) == list(ROUTINGS)
    measured["verdict"].pop("sentence")
    golden["verdict"].pop("sentence")
    assert measured == near(golden)


def test_each_routing_scores_what_evaluate_says_of_it(routed_report: RoutedReport, about_hierarchy: About) -> None:
    measured = measure_hierarchy(routed_report, about_hierarchy, seed=3, resamples=40)
    for name in ROUTINGS:
        alone, row = measure(routed_report.report(name), seed=3, resamples=40), measured["routings"][name]
        for key in ("n", "accuracy", "macro_f1", "macro_f1_ci95", "kappa", "confusion", "off_by_one_accuracy"):
            assert row[key] == alone[key]
        for kind, groups in alone["by_group"].items():
            for group, scores in groups.items():
                assert row["by_group"][kind][group]["macro_f1_ci95"] == scores["macro_f1_ci95"]


def test_gains_are_differences_to_flat(routed_report: RoutedReport, about_hierarchy: About) -> None:
    routings = measure_hierarchy(routed_report, about_hierarchy, resamples=40)["routings"]
    flat = routings["flat"]
    assert flat["gain"] is None
    assert flat["gain_ci95"] is None
    for name in ROUTINGS[1:]:
        row = routings[name]
        pairs = [(row, flat, "macro_f1")]
        pairs += [(row["per_class"][k], flat["per_class"][k], "f1") for k in flat["per_class"]]
        pairs += [
            (row["by_group"]["ethnicity"][k], flat["by_group"]["ethnicity"][k], "macro_f1") for k in ("white", "asian")
        ]
        pairs += [(row["routed_groups"][k], flat["routed_groups"][k], "macro_f1") for k in ("male", "female")]
        for one, other, key in pairs:
            assert one["gain"] == pytest.approx(one[key] - other[key], abs=1e-12)
            assert one["gain_ci95"][0] <= one["gain_ci95"][1]


def test_groups_of_the_hierarchy_are_the_labelled_ones(routed_report: RoutedReport, about_hierarchy: About) -> None:
    measured = measure_hierarchy(routed_report, about_hierarchy, resamples=10)
    inside = routed_report.true_group == 1
    truth, predicted = routed_report.truth[inside], routed_report.report("soft").predicted[inside]
    expected = f1_score(truth, predicted, labels=np.unique(truth), average="macro", zero_division=0)
    female = measured["routings"]["soft"]["routed_groups"]["female"]
    assert female["n"] == 11
    assert female["macro_f1"] == pytest.approx(expected)
    assert measured["routings"]["soft"]["by_group"]["gender"]["female"]["macro_f1"] == pytest.approx(expected)


def test_misrouting_is_counted_over_images_of_known_group(routed_report: RoutedReport, about_hierarchy: About) -> None:
    lost = measure_hierarchy(routed_report, about_hierarchy, resamples=10)["misrouting"]
    assert (lost["n"], lost["wrong"], lost["share"]) == (23, 3, pytest.approx(3 / 23))
    assert lost["confusion"] == [[10, 2], [1, 10]]
    assert lost["by_group"] == {
        "male": {"n": 12, "wrong": 2, "sent_to": {"female": 2}, "routed": 11, "right": 10},
        "female": {"n": 11, "wrong": 1, "sent_to": {"male": 1}, "routed": 12, "right": 10},
    }
    # Images 4, 9 and 14: the expert of the other group answers one of them rightly, that of their own group all.
    assert lost["accuracy_hard_on_wrong"] == pytest.approx(1 / 3)
    assert lost["accuracy_oracle_on_wrong"] == 1
    truth = routed_report.truth[:23]
    oracle, hard = (
        f1_score(truth, routed_report.report(name).predicted[:23], labels=range(4), average="macro", zero_division=0)
        for name in ("oracle", "hard")
    )
    assert lost["lost_macro_f1"] == pytest.approx(oracle - hard)
    assert lost["lost_ci95"][0] <= lost["lost_macro_f1"] <= lost["lost_ci95"][1]


def test_no_known_group_leaves_misrouting_open(routed_report: RoutedReport, about_hierarchy: About) -> None:
    unknown = replace(routed_report, true_group=np.full(24, -1), groups={"gender": ("",) * 24})
    measured = measure_hierarchy(unknown, about_hierarchy, resamples=10)
    lost = measured["misrouting"]
    assert lost["n"] == lost["wrong"] == 0
    assert lost["share"] is lost["lost_macro_f1"] is lost["lost_ci95"] is lost["accuracy_hard_on_wrong"] is None
    nothing = {"n": 0, "macro_f1": None, "gain": None, "gain_ci95": None}
    assert measured["routings"]["soft"]["routed_groups"] == {"male": nothing, "female": nothing}
    json.dumps(measured, allow_nan=False)


def test_images_of_the_flat_model_are_counted(routed_report: RoutedReport, about_hierarchy: About) -> None:
    routings = measure_hierarchy(routed_report, about_hierarchy, resamples=10)["routings"]
    assert {name: row["to_flat"] for name, row in routings.items()} == {
        "flat": 24, "hard": 0, "soft": 0, "oracle": 0, "abstain": 3,
    }  # fmt: skip
    assert routings["oracle"]["ms_per_image"] is None
    assert routings["hard"]["parameters"] == 1_236_000


def test_a_hierarchy_without_an_oracle_is_measured(routed_report: RoutedReport, about_hierarchy: About) -> None:
    kept: Any = {name: routed_report.probabilities[name] for name in ("soft", "flat")}
    measured = measure_hierarchy(replace(routed_report, probabilities=kept, to_flat={}), about_hierarchy, resamples=10)
    assert list(measured["routings"]) == ["flat", "soft"]
    assert measured["misrouting"]["lost_macro_f1"] is None
    assert measured["misrouting"]["wrong"] == 3


def judged(gain: list[float], oracle: list[float] | None = None, **changed: Any) -> dict[str, Any]:
    """The verdict on a gain of soft routing and of the oracle: value, then ends of the interval."""
    price = {"parameters": 300, "ms_per_image": 1.0}
    routings = {
        "flat": {"parameters": 100, "ms_per_image": 0.5},
        "soft": {**price, "gain": gain[0], "gain_ci95": gain[1:]},
    }
    if oracle:
        routings["oracle"] = {**price, "gain": oracle[0], "gain_ci95": oracle[1:]}
    return verdict({"leaked": False, "part": "test", "routing": "soft", "routings": routings, **changed})


@pytest.mark.parametrize(
    ("gain", "oracle", "worth_it", "sentence"),
    [
        (
            [0.012, 0.003, 0.021], [0.02, 0.01, 0.03], True,
            "soft routing scores 1.2 points above the flat model (0.3 to 2.1): "
            "worth its 3.0 times the parameters and 2.0 times the time",
        ),
        (
            [-0.002, -0.009, 0.006], None, False,
            "not worth it: soft routing scores between -0.9 and +0.6 points of the flat model, "
            "at 3.0 times the parameters and 2.0 times the time",
        ),
        (
            [-0.02, -0.03, -0.01], [0.001, -0.01, 0.02], False,
            "not worth it: soft routing scores 2.0 points below the flat model (1.0 to 3.0), "
            "at 3.0 times the parameters and 2.0 times the time; even a perfect router (diagnosis only: needs the true "
            "group) would score between -1.0 and +2.0 points of the flat model",
        ),
        (
            [0.0, 0.0, 0.0], [0.02, 0.01, 0.03], False,
            "not worth it: soft routing scores exactly as the flat model does, "
            "at 3.0 times the parameters and 2.0 times the time; a perfect router (diagnosis only: needs the true "
            "group) would score 2.0 points above the flat model (1.0 to 3.0), so a better router is what is missing",
        ),
        (
            [0.01, 0.0, 0.02], None, False,
            "not worth it: soft routing scores between 0.0 and +2.0 points of the flat model, "
            "at 3.0 times the parameters and 2.0 times the time",
        ),
    ],
)  # fmt: skip
def test_verdict_is_plain(gain: list[float], oracle: list[float] | None, worth_it: bool, sentence: str) -> None:
    assert judged(gain, oracle) == {"worth_it": worth_it, "sentence": sentence}


def test_no_verdict_on_a_leak_and_none_that_is_final_on_valid() -> None:
    leaked = judged([0.02, 0.01, 0.03], leaked=True)
    assert leaked["worth_it"] is False
    assert leaked["sentence"].startswith("LEAKED: no verdict")
    for gain in ([0.02, 0.01, 0.03], [0.0, -0.01, 0.01]):
        assert judged(gain, part="valid")["sentence"].endswith(
            "; scored on valid, where the models were chosen, so only test can confirm it"
        )


def test_verdict_without_costs_names_no_price(routed_report: RoutedReport, about_hierarchy: About) -> None:
    sentence = measure_hierarchy(routed_report, {**about_hierarchy, "costs": {}}, resamples=10)["verdict"]["sentence"]
    assert "times" not in sentence
    assert "soft routing scores" in sentence


@pytest.mark.parametrize(
    ("share", "text"), [(0.0, "0.0"), (0.012, "+1.2"), (-0.0004, "-0.04"), (0.00049, "+0.05"), (-0.1, "-10.0")]
)
def test_points_never_round_to_nothing(share: float, text: str) -> None:
    assert points(share, "+") == text


def test_sizes_are_short() -> None:
    assert [short_count(n) for n in (950, 41_200, 412_345, 4_100_000, 123_400_000, 2e9)] == [
        "950", "41.2 k", "412 k", "4.1 M", "123 M", "2.0 G",
    ]  # fmt: skip


@pytest.mark.parametrize("routing", ["flat", "oracle", "abstain", "best"])
def test_chosen_routing_must_be_usable_and_predicted(
    routed_report: RoutedReport, about_hierarchy: About, routing: str
) -> None:
    kept: Any = {name: routed_report.probabilities[name] for name in ("flat", "hard", "soft", "oracle")}
    report = replace(routed_report, probabilities=kept, to_flat={})
    with pytest.raises(UsageError, match="hard, soft"):
        measure_hierarchy(report, {**about_hierarchy, "routing": routing}, resamples=5)


@pytest.mark.parametrize("key", ["by", "routing", "threshold", "fallback", "valid_macro_f1", "members", "costs"])
def test_what_is_not_told_is_refused(routed_report: RoutedReport, about_hierarchy: About, key: str) -> None:
    del about_hierarchy[key]
    with pytest.raises(UsageError, match=f"no {key}"):
        measure_hierarchy(routed_report, about_hierarchy, resamples=5)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("truth", np.zeros(23, dtype=int), "truth"),
        ("truth", np.full(24, 4), "no label"),
        ("years", np.full(24, -1.0), "impossible age"),
        ("groups", {"gender": ("male",) * 3}, "gender"),
        ("true_group", np.zeros(23, dtype=int), "true_group"),
        ("true_group", np.zeros(24), "true_group must be whole"),
        ("true_group", np.full(24, -2), r"true_group of face_00\.jpg"),
        ("true_group", np.full(24, 2), r"true_group of face_00\.jpg"),
        ("routed_group", np.full(24, -1), r"routed_group of face_00\.jpg"),
        ("group_names", ("male",), "two groups"),
        ("group_names", ("male", "male"), "different names"),
        ("to_flat", {"hard": np.zeros(24)}, "to_flat of hard"),
        ("to_flat", {"hard": np.zeros(23, dtype=bool)}, "to_flat of hard"),
        ("routed_share", np.full(24, 1.1), "routed_share"),
        ("routed_share", np.full(24, np.nan), "routed_share"),
        ("routed_share", np.full(23, 0.5), "routed_share"),
        ("probabilities", {"soft": np.full((24, 4), 0.25)}, "flat model"),
        ("probabilities", {"flat": np.full((24, 4), 0.25)}, "at least one other"),
        ("probabilities", {"flat": np.full((24, 4), 0.25), "soft": np.full((24, 3), 1 / 3)}, "soft routing: .*shape"),
        (
            "probabilities",
            {"flat": np.full((24, 4), 0.2), "soft": np.full((24, 4), 0.25)},
            "flat routing: .*distribution",
        ),
    ],
)
def test_what_does_not_fit_is_refused(routed_report: RoutedReport, field: str, value: Any, message: str) -> None:
    others: dict[str, Any] = {"to_flat": {}} if field == "probabilities" else {}
    with pytest.raises(DataError, match=message):
        replace(routed_report, **others, **{field: value})


def test_unknown_routings_are_refused(routed_report: RoutedReport) -> None:
    more: Any = {**routed_report.probabilities, "best": np.full((24, 4), 0.25)}
    with pytest.raises(UsageError, match="no such routing"):
        replace(routed_report, probabilities=more)
    sent: Any = {"best": np.zeros(24, dtype=bool)}
    with pytest.raises(UsageError, match="no such routing"):
        replace(routed_report, to_flat=sent)
    kept: Any = {name: routed_report.probabilities[name] for name in ("flat", "hard")}
    with pytest.raises(UsageError, match="no predictions of soft"):
        replace(routed_report, probabilities=kept, to_flat={}).report("soft")


def test_arrays_are_copies_and_read_only(routed_report: RoutedReport) -> None:
    routed = np.array(routed_report.routed_group)
    report = replace(routed_report, routed_group=routed)
    routed[0] = 1
    assert report.routed_group[0] == 0
    for values in (report.routed_group, report.true_group, report.truth, report.to_flat["hard"], report.routed_share):
        assert values is not None
        with pytest.raises(ValueError, match="read-only"):
            values[0] = values[1]


def test_leak_is_kept(routed_report: RoutedReport, about_hierarchy: About) -> None:
    origin = Origin("run", "split", "test", leaked=True, leaked_count=5)
    measured = measure_hierarchy(replace(routed_report, origin=origin), about_hierarchy, resamples=10)
    assert (measured["leaked"], measured["leaked_count"]) == (True, 5)
    assert measured["verdict"]["worth_it"] is False
