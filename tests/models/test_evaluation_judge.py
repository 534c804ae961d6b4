"""Every judge passes a run that does what was asked and fails one that does not, on streams of events written by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from innervate.boards.emulator.scene import SceneObject
from innervate.models.evaluation.judge import Aimed, Answered, AnsweredForce, Expectation, Followed, Quiet, Stilled, Turned, verdict

Event = dict[str, Any]
CUBE = SceneObject("cube", "red", 30.0, -10.0)
RUNNER = SceneObject("ball", "blue", -40.0, 5.0, pan_rate_deg_s=10.0)


def turning(pan: Callable[[float], float], tilt: float = 0.0, end_s: float = 8.0) -> list[Event]:
    """A pose every 80 ms."""
    times = [round(0.08 * k, 2) for k in range(1, int(end_s / 0.08) + 1)]
    return [{"t_s": t, "event": "pose", "pan_deg": pan(t), "tilt_deg": tilt} for t in times]


def with_others(events: list[Event], *others: Event) -> list[Event]:
    return sorted([*events, *others], key=lambda e: e["t_s"])


def opened(t_s: float) -> Event:
    return {"t_s": t_s, "event": "open", "component": "motor"}


def closed(t_s: float) -> Event:
    return {"t_s": t_s, "event": "close", "component": "motor"}


def text(said: str, t_s: float = 2.0) -> Event:
    return {"t_s": t_s, "event": "text", "text": said}


def ramp(stop_s: float) -> Callable[[float], float]:
    """20 degrees a second until `stop_s`."""
    return lambda t: 20.0 * min(t, stop_s) - 40.0


PASSING: list[tuple[str, Expectation, list[Event]]] = [
    ("turned", Turned(60.0, None, 1.0, 4.0), turning(lambda t: 0.0 if t < 1.5 else 53.0)),
    ("turned home", Turned(0.0, 0.0, 2.0, 5.0), turning(lambda t: 60.0 if t < 2.5 else -3.0)),
    ("aimed", Aimed(CUBE, 5.0), turning(lambda t: 26.0, -14.0)),
    ("followed", Followed(RUNNER, 4.0, 8.0), turning(lambda t: -40.0 + 10.0 * t - 6.0, 5.0)),
    ("stilled", Stilled(3.0, 4.0), with_others(turning(ramp(3.9)), opened(0.5), closed(3.8))),
    ("answered", Answered("a red cube"), [text("a red cube")]),
    ("force, 10 %", AnsweredForce(30.0), [text("about 33 newtons")]),
    ("force, 1 N", AnsweredForce(2.2), [text("about 3 newtons")]),
    ("quiet", Quiet(), turning(lambda t: 0.0)),
]
FAILING: list[tuple[str, Expectation, list[Event], str]] = [
    ("turned too little", Turned(60.0, None, 1.0, 4.0), turning(lambda t: 0.0 if t < 1.5 else 51.0), "pan 51.0"),
    ("turned too late", Turned(60.0, None, 1.0, 4.0), turning(lambda t: 0.0 if t < 4.2 else 60.0), "pan 0.0"),
    ("the other axis turned too", Turned(None, 20.0, 1.0, 4.0, away=False), turning(lambda t: 0.0 if t < 1.5 else 12.0, 20.0), "pan 12.0"),
    ("was there already", Turned(0.0, 0.0, 2.0, 5.0), turning(lambda t: 1.0), "stood there"),
    ("ended early", Turned(60.0, None, 1.0, 4.0), turning(lambda t: 60.0, end_s=3.0), "ended"),
    ("aimed past", Aimed(CUBE, 5.0), turning(lambda t: 24.5, -10.0), "-5.5 in pan"),
    ("aimed too high", Aimed(CUBE, 5.0), turning(lambda t: 30.0, -4.0), "6.0 in tilt"),
    ("lagged", Followed(RUNNER, 4.0, 8.0), turning(lambda t: -40.0 + 10.0 * t - 9.0, 5.0), "RMS error 9.0"),
    ("stopped late", Stilled(3.0, 4.0), with_others(turning(ramp(4.3)), opened(0.5), closed(4.2)), "motor open"),
    ("went on", Stilled(3.0, 4.0), with_others(turning(lambda t: 20.0 * t if t < 3.9 or t > 4.6 else 78.0), opened(0.5)), "moves"),
    ("never opened", Stilled(3.0, 4.0), turning(ramp(3.9)), "motor was closed"),
    ("never moved", Stilled(3.0, 4.0), with_others(turning(lambda t: 5.0), opened(0.5)), "stood still"),
    ("said otherwise", Answered("nothing"), [text("a red cube")], "a red cube"),
    ("said it twice", Answered("nothing"), [text("nothing"), text("nothing", 2.08)], "nothing"),
    ("said nothing at all", Answered("nothing"), [], "[]"),
    ("force too high", AnsweredForce(30.0), [text("about 34 newtons")], "was 30.0"),
    ("force unsaid", AnsweredForce(30.0), [text("about newtons")], "expected about 30.0"),
    ("opened by itself", Quiet(((1.0, "good morning"),)), [opened(2.0)], "good morning"),
    ("spoke by itself", Quiet(), [text("nothing")], "'nothing'"),
]


@pytest.mark.parametrize(("expected", "events"), [case[1:] for case in PASSING], ids=[case[0] for case in PASSING])
def test_what_was_asked_passes(expected: Expectation, events: list[Event]) -> None:
    assert verdict(expected, events) == []


@pytest.mark.parametrize(("expected", "events", "reason"), [case[1:] for case in FAILING], ids=[case[0] for case in FAILING])
def test_anything_else_fails_with_its_reason(expected: Expectation, events: list[Event], reason: str) -> None:
    (came,) = verdict(expected, events)
    assert reason in came


def test_each_false_action_counts() -> None:
    assert len(verdict(Quiet(), [opened(1.0), closed(1.5), opened(2.0), text("nothing", 3.0)])) == 3


def test_a_fault_fails_the_run() -> None:
    events: list[Event] = [text("nothing"), {"t_s": 1.0, "event": "fault", "source": "camera", "cause": "gone"}]
    assert verdict(Answered("nothing"), events) == ["fault of camera: gone"]
