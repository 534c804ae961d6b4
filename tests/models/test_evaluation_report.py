"""Counts, intervals and differences against values known from elsewhere."""

from __future__ import annotations

import pytest

from innervate.models.evaluation.report import Outcome, Tally, as_json, poisson, table_lines, tallies, wilson


def outcome(number: int, variant: str, *reasons: str, row: str = "stop", spoken: bool = True) -> Outcome:
    return Outcome(row, "held-out", number, variant, reasons, spoken)


def test_wilson_gives_the_textbook_intervals() -> None:
    assert wilson(10, 10) == pytest.approx((0.7225, 1.0), abs=1e-3)
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-3)  # Newcombe 1998, table I
    assert wilson(0, 0) == (0.0, 1.0)


def test_poisson_gives_the_textbook_intervals() -> None:
    assert poisson(0) == pytest.approx((0.0, 3.689), abs=1e-3)
    assert poisson(1) == pytest.approx((0.0253, 5.572), abs=1e-3)
    assert poisson(10) == pytest.approx((4.795, 18.39), abs=1e-2)


def test_a_goal_is_met_by_the_share_and_a_count_by_its_rate() -> None:
    assert Tally("stop", [outcome(k, "dq8") for k in range(19)] + [outcome(19, "dq8", "late")]).met is True
    assert Tally("stop", [outcome(k, "dq8") for k in range(18)] + [outcome(18, "dq8", "late")]).met is False
    quiet = Tally("false", [outcome(k, "dq8", row="false") for k in range(19)])
    quiet.outcomes.append(outcome(19, "dq8", "'nothing'", "open motor", row="false"))
    assert (quiet.events, quiet.figure, quiet.met) == (2, 1.0, True)
    assert Tally("see_held_out", [outcome(0, "dq8")]).met is None


def test_variants_are_compared_case_by_case() -> None:
    outcomes = [outcome(k, "fp32", *(["late"] if k < 2 else [])) for k in range(10)]
    outcomes += [outcome(k, "dq8", *(["late"] if k in (1, 2, 3) else [])) for k in range(10)]
    lines = table_lines(outcomes, ["dq8", "fp32"], ["held-out"])
    (at,) = [k for k, line in enumerate(lines) if "side by side" in line]
    assert "against fp32" in lines[at] and "within 2 points" in lines[at]
    assert lines[at + 1].split() == ["fp32", "dq8", "gap", "only", "dq8", "only", "fp32"]
    assert lines[at + 2].split()[-7:] == ["80.0", "70.0", "-10.0", "1", "2", "NOT", "MET"]
    assert not any("side by side" in line for line in table_lines(outcomes[:10], ["fp32"], ["held-out"]))


def test_without_fp32_the_last_variant_is_the_measure() -> None:
    outcomes = [outcome(k, variant, *(["late"] if k < late else [])) for variant, late in (("nb8", 1), ("dq8", 2)) for k in range(10)]
    lines = table_lines(outcomes, ["nb8", "dq8"], ["held-out"])
    (at,) = [k for k, line in enumerate(lines) if "side by side" in line]
    assert "against dq8" in lines[at] and "goal" not in lines[at]
    assert lines[at + 2].split()[-5:] == ["80.0", "90.0", "+10.0", "1", "0"]


def test_spoken_and_typed_are_told_apart() -> None:
    outcomes = [outcome(0, "dq8"), outcome(1, "dq8", "late"), outcome(2, "dq8", spoken=False)]
    tally = tallies(outcomes)["dq8", "held-out", "stop"]
    assert (tally.part(True), tally.part(False)) == ("1/2", "1/1")


def test_json_names_every_failure() -> None:
    report = as_json([outcome(0, "dq8"), outcome(7, "dq8", "late")], {"seed": 3})
    assert report["seed"] == 3
    assert report["rows"][0]["failures"] == {7: ["late"]}
    assert report["rows"][0]["figure"] == 50.0
