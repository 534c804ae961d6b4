"""The figures of the gradient on a small bundle: every row comes, and says whether its goal is met."""

from __future__ import annotations

from pathlib import Path

import pytest

from innervate.models.bench import gradient
from innervate.models.bench.teach import rows_of
from innervate.runtime.backbone.bundle import Bundle
from tests.backbone.small import SMALL


def test_every_figure_is_measured(quiet_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradient, "REPEATS", 5)
    monkeypatch.setattr(gradient, "LENGTHS", (8, 57))
    rows = list(rows_of("gradient", Bundle.open(quiet_bundle)))
    assert len(rows) == 3 * 2 + 6
    for row in rows[:6]:
        assert row.met, str(row)
        assert "T=57" in row.found
    assert [row.met is None for row in rows[6:]] == [False, False, True, True, True, True]
    assert rows[-1].found.count("T=") == 2


def test_the_width_inside_is_read_off_the_graph(quiet_bundle: Path) -> None:
    assert gradient.gate_rows(Bundle.open(quiet_bundle)) == 64 != SMALL.ffn
