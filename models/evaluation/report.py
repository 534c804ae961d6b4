"""From verdicts to the table: counts, 95 % intervals, goals, and how the variants differ on the same cases."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from innervate.models.evaluation.cases import COUNTED, QUIET_S, ROWS

Z95 = 1.959964
TEN_MINUTES_S = 600.0
REFERENCE = "fp32"
DIFFERENCE_MAX = 2.0  # points, of a variant against the reference


def wilson(passed: int, total: int) -> tuple[float, float]:
    """Return the 95 % interval of a share by Wilson's score; (0, 1) for no trials."""
    if total == 0:
        return 0.0, 1.0
    share, z2 = passed / total, Z95**2
    middle = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = Z95 / (1 + z2 / total) * math.sqrt(share * (1 - share) / total + z2 / (4 * total**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def _poisson_tail(count: int, mean: float) -> float:
    """P(N >= count)."""
    term, below = math.exp(-mean), 0.0
    for k in range(count):
        below += term
        term *= mean / (k + 1)
    return 1.0 - below


def poisson(count: int) -> tuple[float, float]:
    """Return the exact 95 % interval (Garwood) of the mean of a count."""

    def solve(wanted: float, events: int) -> float:
        low, high = 0.0, 10.0 + 3.0 * events
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if _poisson_tail(events, middle) < wanted else (low, middle)
        return low

    return (solve(0.025, count) if count else 0.0), solve(0.975, count + 1)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One case on one variant: why it failed, and by what it was asked ("voice" or "keys")."""

    row: str
    group: str
    number: int
    variant: str
    reasons: tuple[str, ...]
    spoken: bool


@dataclass
class Tally:
    """The outcomes of one row, one group of voices, one variant."""

    row: str
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def total(self) -> int:
        """How many cases."""
        return len(self.outcomes)

    @property
    def passed(self) -> int:
        """How many of them passed."""
        return sum(not o.reasons for o in self.outcomes)

    @property
    def events(self) -> int:
        """How many false actions."""
        return sum(len(o.reasons) for o in self.outcomes)

    @property
    def figure(self) -> float:
        """The row's figure: a share in percent, or false actions in ten minutes."""
        if self.row in COUNTED:
            return self.events * TEN_MINUTES_S / (QUIET_S * max(1, self.total))
        return 100.0 * self.passed / max(1, self.total)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of `figure`."""
        if self.row in COUNTED:
            scale = TEN_MINUTES_S / (QUIET_S * max(1, self.total))
            low, high = poisson(self.events)
            return low * scale, high * scale
        low, high = wilson(self.passed, self.total)
        return 100.0 * low, 100.0 * high

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without one."""
        goal = ROWS[self.row].goal
        if goal is None:
            return None
        return self.figure <= goal if self.row in COUNTED else self.figure >= 100.0 * goal - 1e-9

    def part(self, spoken: bool) -> str:
        """Successes among those spoken or typed, as "12/15"."""
        some = [o for o in self.outcomes if o.spoken == spoken]
        return f"{sum(not o.reasons for o in some)}/{len(some)}" if some else "-"


def tallies(outcomes: Sequence[Outcome]) -> dict[tuple[str, str, str], Tally]:
    """Sort outcomes by (variant, group, row); in each in the order of the cases' numbers."""
    table: dict[tuple[str, str, str], Tally] = {}
    for outcome in sorted(outcomes, key=lambda o: o.number):
        table.setdefault((outcome.variant, outcome.group, outcome.row), Tally(outcome.row)).outcomes.append(outcome)
    return table


def _line(tally: Tally) -> str:
    row = ROWS[tally.row]
    counted = tally.row in COUNTED
    low, high = tally.interval
    done = f"{tally.events} in {tally.total * QUIET_S / 60:g} min" if counted else f"{tally.passed}/{tally.total}"
    figure = f"{tally.figure:.1f}" if counted else f"{tally.figure:.1f} %"
    goal = "" if row.goal is None else f"<= {row.goal:g}" if counted else f"{100 * row.goal:g} %"
    met = {True: "met", False: "NOT MET", None: ""}[tally.met]
    parts = "" if counted else f"{tally.part(True):>8}{tally.part(False):>8}"
    return f"{row.title:<44}{done:>12}{figure:>9}  {f'{low:.1f}..{high:.1f}':>12}{goal:>8}  {met:<8}{parts}"


def table_lines(outcomes: Sequence[Outcome], variants: Sequence[str], groups: Sequence[str]) -> list[str]:
    """Return the lines of the whole report."""
    table = tallies(outcomes)
    lines: list[str] = []
    for variant in variants:
        for group in groups:
            rows = [table[variant, group, row] for row in ROWS if (variant, group, row) in table]
            if rows:
                lines += ["", f"{variant}, voices: {group}"]
                lines += [f"{'':<44}{'passed':>12}{'':>9}  {'95 %':>12}{'goal':>8}  {'':<8}{'spoken':>8}{'typed':>8}"]
                lines += [_line(tally) for tally in rows]
    return lines + difference_lines(table, variants, groups)


def difference_lines(table: Mapping[tuple[str, str, str], Tally], variants: Sequence[str], groups: Sequence[str]) -> list[str]:
    """Return lines with the variants side by side, and how each differs from the reference; none for a single variant.

    The reference is fp32, or the last variant when fp32 was not run.
    """
    if len(variants) < 2:
        return []
    reference = REFERENCE if REFERENCE in variants else variants[-1]
    others = [variant for variant in variants if variant != reference]
    goal = f"; goal: within {DIFFERENCE_MAX:g} points" if reference == REFERENCE else ""
    lines: list[str] = []
    for group in groups:
        lines += ["", f"side by side on the same cases, against {reference}, voices: {group}{goal}"]
        columns = (f"  {variant:>8}{'gap':>7}{f'only {variant}':>10}{f'only {reference}':>10}" for variant in others)
        lines += [f"{'':<44}{reference:>8}" + "".join(columns)]
        for row in ROWS:
            base = table.get((reference, group, row))
            own = {variant: table.get((variant, group, row)) for variant in others}
            if base is not None:
                line = f"{ROWS[row].title:<44}{base.figure:>8.1f}"
                lines.append(line + "".join(_beside(tally, base, goal != "") for tally in own.values() if tally is not None))
    return lines


def _beside(tally: Tally, reference: Tally, judged: bool) -> str:
    """A variant's columns: figure, difference, cases that only it passes, cases that only the reference passes, and the goal when missed."""
    base = {o.number: not o.reasons for o in reference.outcomes}
    own = {o.number: not o.reasons for o in tally.outcomes}
    both = base.keys() & own.keys()
    won = sum(own[k] and not base[k] for k in both)
    lost = sum(base[k] and not own[k] for k in both)
    gap = tally.figure - reference.figure
    missed = judged and tally.row not in COUNTED and gap < -DIFFERENCE_MAX - 1e-9
    return f"  {tally.figure:>8.1f}{gap:>+7.1f}{won:>10}{lost:>10}" + ("  NOT MET" if missed else "")


def as_json(outcomes: Sequence[Outcome], head: Mapping[str, Any]) -> dict[str, Any]:
    """Return the report as data: `head` as given, one entry a row with its figure, interval, goal and failures."""
    rows = []
    for (variant, group, row), tally in tallies(outcomes).items():
        low, high = tally.interval
        failures = {o.number: list(o.reasons) for o in tally.outcomes if o.reasons}
        entry: dict[str, Any] = {"variant": variant, "voices": group, "row": row, "passed": tally.passed, "total": tally.total}
        entry |= {"figure": round(tally.figure, 2), "interval": [round(low, 2), round(high, 2)]}
        rows.append({**entry, "goal": ROWS[row].goal, "met": tally.met, "failures": failures})
    return {**head, "rows": rows}
