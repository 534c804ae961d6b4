"""Sliding, pins, snapshots."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from innervate.models.backbone import Nano
from innervate.runtime.ali.errors import LatentError
from innervate.runtime.backbone.bundle import Bundle
from innervate.runtime.backbone.cache import Cache, Snapshot
from innervate.runtime.backbone.engine import Engine
from tests.backbone.small import SMALL, Floats, append_all, inputs, relative_error, torch_hidden

C = SMALL.context


def test_slide_keeps_the_newest_half(engine: Engine) -> None:
    append_all(engine, inputs(C))
    assert engine.length == C
    engine.append(inputs(1))
    assert engine.length == C // 2 + 1
    append_all(engine, inputs(C // 2 - 1), [1])
    assert engine.length == C


def test_turned_keys_are_the_keys_of_their_new_positions(bundle: Bundle) -> None:
    """First layer: keys depend on input and position alone, so a fresh pass over the kept inputs must give the same."""
    x = inputs(C + 5)
    slid, fresh = Engine(bundle, "fp32"), Engine(bundle, "fp32")
    append_all(slid, x[:C])
    slid.append(x[C:])
    kept = x[C // 2 :]
    append_all(fresh, kept)
    assert slid.length == fresh.length == len(kept)
    n = len(kept)
    np.testing.assert_allclose(slid._cache.keys[0][:, :, :n], fresh._cache.keys[0][:, :, :n], atol=2e-5)
    np.testing.assert_allclose(slid._cache.values[0][:, :, :n], fresh._cache.values[0][:, :, :n], atol=2e-6)


def test_one_layer_slid_equals_a_fresh_pass(one_layer: tuple[Nano, Bundle]) -> None:
    """With one layer nothing cached depends on what was dropped: the slide is exact, over any number of slides, pins included."""
    nano, bundle = one_layer
    engine = Engine(bundle, "fp32")
    x = inputs(400)
    context: list[int] = []  # which inputs the engine should remember, by the rule of the cache
    pinned: int | None = None
    at = 0
    for step, rows in enumerate([9, 1, 30, 2, 9, 9, 32, 1, 1, 17] * 3):
        if len(context) + rows > C:
            recent = context[-min(C // 2, C - rows - (pinned is not None)) :]
            context = ([pinned] if pinned is not None and pinned not in recent else []) + recent
        pin = "motor" if step in (3, 17) else None
        if step == 25:
            engine.unpin("motor")
            pinned = None
        h = engine.append(x[at : at + rows], pin=pin)
        context += range(at, at + rows)
        at += rows
        if pin is not None:
            pinned = at - 1
        assert engine.length == len(context)
        assert relative_error(h, torch_hidden(nano, x[context])[-rows:]) < 1e-3
        if pinned is not None:
            assert context[engine.pins["motor"]] == pinned


def test_pin_survives_and_unpinned_goes(engine: Engine) -> None:
    append_all(engine, inputs(3))
    engine.append(inputs(2), pin="motor")
    value = engine._cache.values[1][0, :, 4].copy()
    append_all(engine, inputs(500, seed=1), [7])
    assert engine.pins == {"motor": 0}
    assert np.array_equal(engine._cache.values[1][0, :, 0], value)
    engine.append(inputs(1), pin="motor")  # the pin moves
    assert engine.pins == {"motor": engine.length - 1}
    engine.unpin("motor")
    engine.unpin("motor")
    append_all(engine, inputs(100), [7])
    assert engine.pins == {}


def test_longest_pass_beside_all_pins(engine: Engine) -> None:
    for i in range(16):
        engine.append(inputs(1), pin=f"component{i}")
    for _ in range(5):
        append_all(engine, inputs(engine.rows_max))
        assert engine.length <= C
        assert sorted(engine.pins.values()) == list(range(16))


@pytest.mark.parametrize("variant", ["fp32", "nb8", "dq8"])
@pytest.mark.parametrize("between", [0, 1, 20, 200])
def test_rewind_is_exact_to_the_bit(bundle: Bundle, variant: str, between: int) -> None:
    engine = Engine(bundle, variant)
    append_all(engine, inputs(40))
    engine.append(inputs(1), pin="motor")
    early = engine.snapshot()
    then = append_all(engine, inputs(60, seed=1), [9, 1])
    late = engine.snapshot()
    more = append_all(engine, inputs(5, seed=2), [1])
    append_all(engine, inputs(between, seed=3), [7]) if between else None
    engine.rewind_to(early)
    assert engine.pins == {"motor": 40}
    assert np.array_equal(append_all(engine, inputs(60, seed=1), [9, 1]), then)
    engine.reset()
    append_all(engine, inputs(30, seed=4))
    engine.rewind_to(late)
    assert np.array_equal(append_all(engine, inputs(5, seed=2), [1]), more)
    engine.rewind_to(early)
    engine.rewind_to(late)
    assert np.array_equal(append_all(engine, inputs(5, seed=2), [1]), more)


def test_snapshot_costs_no_copy_until_overwritten(engine: Engine) -> None:
    append_all(engine, inputs(10))
    snapshot = engine.snapshot()
    append_all(engine, inputs(10))
    engine.rewind_to(snapshot)
    append_all(engine, inputs(10))
    assert snapshot.kept is None
    append_all(engine, inputs(C), [8])
    assert snapshot.kept is not None


def test_dropped_snapshot_is_never_copied() -> None:
    cache = Cache(1, 1, 8, 4, 10000.0)
    cache.length = 6
    cache.snapshot()  # nobody holds it
    held = cache.snapshot()
    cache.prepare(8)
    assert held.kept is not None
    assert cache.guard == 0


def test_foreign_snapshot(engine: Engine, bundle: Bundle) -> None:
    other = Engine(bundle, "fp32").snapshot()
    with pytest.raises(LatentError, match="another engine"):
        engine.rewind_to(other)


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(1, 8)),
        st.tuples(st.just("pin"), st.integers(0, 2)),
        st.tuples(st.just("unpin"), st.integers(0, 2)),
        st.tuples(st.just("snapshot"), st.just(0)),
        st.tuples(st.just("rewind"), st.integers(0, 9)),
        st.tuples(st.just("reset"), st.just(0)),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(ACTIONS)
def test_any_history_comes_back(actions: list[tuple[str, int]]) -> None:
    """Invariant: whatever happened in between, a rewind gives the bits, length and pins of the snapshot's moment."""
    cache = Cache(2, 1, 16, 4, 10000.0)
    rng = np.random.default_rng(0)
    taken: list[tuple[Snapshot, list[Floats], int, dict[str, int]]] = []
    for action, n in actions:
        if action == "write":
            cache.prepare(n)
            for buffer in cache.keys + cache.values:
                buffer[0, :, cache.length : cache.length + n] = rng.standard_normal((1, n, 4))
            cache.length += n
        elif action == "pin" and cache.length:
            cache.pin(str(n), cache.length - 1)
        elif action == "unpin":
            cache.unpin(str(n))
        elif action == "snapshot":
            now = [buffer[0, :, : cache.length].copy() for buffer in cache.keys + cache.values]
            taken.append((cache.snapshot(), now, cache.length, dict(cache.pins)))
        elif action == "rewind" and taken:
            snapshot, prefix, length, pins = taken[n % len(taken)]
            cache.rewind_to(snapshot)
            assert (cache.length, cache.pins) == (length, pins)
            for buffer, was in zip(cache.keys + cache.values, prefix, strict=True):
                assert np.array_equal(buffer[0, :, :length], was)
        elif action == "reset":
            cache.reset()
        assert cache.length <= cache.context
        assert all(position < cache.length for position in cache.pins.values())
