"""What must be true of a run, judged as an outsider would: from the lines of its events file and from what stood about.

An expectation's `judge(events)` takes the events as dictionaries (`json.loads` of each line of OUT.jsonl) in their order and returns
the reasons why the run fails, none when it passes. Times are seconds of the run, angles degrees in the device's frame.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

from innervate.boards.emulator.scene import SceneObject

Events = Sequence[Mapping[str, Any]]

TURN_DEG = 8.0  # the goals' tolerances: directions,
AIM_DEG = 5.0  # look at and find,
FOLLOW_RMS_DEG = 8.0
STILL_DEG = 0.5  # between two ticks: 6 degrees a second, slower than anything the head is told to do
STILL_S = 1.0  # how long it has to stay so
FORCE_SHARE, FORCE_N = 0.10, 1.0  # an answer may be off by either
_FORCE = re.compile(r"about (\d+) newtons?")


class Expectation(Protocol):
    """What a case expects."""

    def judge(self, events: Events) -> list[str]:
        """Return the reasons why the run fails; none when it passes."""
        ...


@dataclass(frozen=True, slots=True)
class Pose:
    """Where the head was measured at one tick."""

    t_s: float
    pan_deg: float
    tilt_deg: float


def poses(events: Events) -> list[Pose]:
    """Return the measured poses, one a tick."""
    return [Pose(e["t_s"], e["pan_deg"], e["tilt_deg"]) for e in events if e["event"] == "pose"]


def pose_at(track: Sequence[Pose], t_s: float) -> Pose | None:
    """Return the first pose at or after `t_s`; None when the run ended before."""
    return next((pose for pose in track if pose.t_s >= t_s - 1e-6), None)


def steps(track: Sequence[Pose], from_s: float, to_s: float) -> list[tuple[float, float]]:
    """Return (time, degrees turned to the next tick by the axis that turned further) within `from_s` to `to_s`."""
    some = [pose for pose in track if from_s <= pose.t_s <= to_s]
    return [(a.t_s, max(abs(b.pan_deg - a.pan_deg), abs(b.tilt_deg - a.tilt_deg))) for a, b in pairwise(some)]


def is_open(events: Events, t_s: float) -> bool:
    """Return whether the motor was open just before `t_s`."""
    state = False
    for e in events:
        if e["t_s"] >= t_s:
            break
        if e["event"] in ("open", "close") and e["component"] == "motor":
            state = e["event"] == "open"
    return state


def texts(events: Events) -> list[str]:
    """Return the finished utterances."""
    return [e["text"] for e in events if e["event"] == "text"]


def _ended(t_s: float) -> list[str]:
    return [f"the run ended before {t_s:.2f} s"]


@dataclass(frozen=True, slots=True)
class Turned:
    """At `at_s` the pose is within 8 degrees of `pan_deg` and `tilt_deg`; an axis that is None stays where it was at `since_s`.

    `away`: the head must not have been there already at `since_s`, or the command would prove nothing.
    """

    pan_deg: float | None
    tilt_deg: float | None
    since_s: float
    at_s: float
    away: bool = True

    def judge(self, events: Events) -> list[str]:
        """See the class."""
        track = poses(events)
        before, after = pose_at(track, self.since_s), pose_at(track, self.at_s)
        if before is None or after is None:
            return _ended(self.at_s)
        pan = before.pan_deg if self.pan_deg is None else self.pan_deg
        tilt = before.tilt_deg if self.tilt_deg is None else self.tilt_deg
        if self.away and max(abs(before.pan_deg - pan), abs(before.tilt_deg - tilt)) <= TURN_DEG:
            return [f"it stood there before it was asked (pan {before.pan_deg:.1f}, tilt {before.tilt_deg:.1f}): an earlier command was not obeyed"]
        if max(abs(after.pan_deg - pan), abs(after.tilt_deg - tilt)) <= TURN_DEG:
            return []
        return [f"pan {after.pan_deg:.1f} tilt {after.tilt_deg:.1f}, expected {pan:.0f} and {tilt:.0f} within {TURN_DEG:g}"]


@dataclass(frozen=True, slots=True)
class Aimed:
    """At `at_s` both axes are within 5 degrees of the object's."""

    target: SceneObject
    at_s: float

    def judge(self, events: Events) -> list[str]:
        """See the class."""
        pose = pose_at(poses(events), self.at_s)
        if pose is None:
            return _ended(self.at_s)
        d_pan, d_tilt = pose.pan_deg - self.target.pan_at(pose.t_s), pose.tilt_deg - self.target.tilt_deg
        if max(abs(d_pan), abs(d_tilt)) <= AIM_DEG:
            return []
        return [f"off by {d_pan:.1f} in pan, {d_tilt:.1f} in tilt"]


@dataclass(frozen=True, slots=True)
class Followed:
    """From `from_s` to `to_s` the RMS of the angle between axis and object is 8 degrees at most."""

    target: SceneObject
    from_s: float
    to_s: float

    def judge(self, events: Events) -> list[str]:
        """See the class."""
        track = [pose for pose in poses(events) if self.from_s <= pose.t_s <= self.to_s]
        if not track or track[-1].t_s < self.to_s - 0.2:
            return _ended(self.to_s)
        squares = [(p.pan_deg - self.target.pan_at(p.t_s)) ** 2 + (p.tilt_deg - self.target.tilt_deg) ** 2 for p in track]
        rms = math.sqrt(sum(squares) / len(squares))
        return [] if rms <= FOLLOW_RMS_DEG else [f"RMS error {rms:.1f} degrees"]


@dataclass(frozen=True, slots=True)
class Stilled:
    """Moving on purpose (motor open, head turning) in the second before `asked_s`; still from `by_s` on, for a second."""

    asked_s: float
    by_s: float

    def judge(self, events: Events) -> list[str]:
        """See the class."""
        if not is_open(events, self.asked_s):
            return ["the motor was closed, so nothing could be stopped: the command before was not obeyed"]
        track = poses(events)
        if not any(step >= STILL_DEG for _, step in steps(track, self.asked_s - STILL_S, self.asked_s)):
            return ["the head stood still already: the command before was not obeyed"]
        if track[-1].t_s < self.by_s + STILL_S - 0.2:
            return _ended(self.by_s + STILL_S)
        for t_s, step in steps(track, self.by_s, self.by_s + STILL_S):
            if step >= STILL_DEG:
                state = "open" if is_open(events, t_s) else "closed"
                return [f"moves {step:.2f} degrees a tick at {t_s - self.by_s:+.2f} s from the limit, motor {state}"]
        return []


@dataclass(frozen=True, slots=True)
class Answered:
    """One utterance, exactly `text`."""

    text: str

    def judge(self, events: Events) -> list[str]:
        """See the class."""
        said = texts(events)
        return [] if said == [self.text] else [f"said {said}, expected {self.text!r}"]


@dataclass(frozen=True, slots=True)
class AnsweredForce:
    """One utterance, "about N newtons", with N within 10 % or 1 N of `force_n`."""

    force_n: float

    def judge(self, events: Events) -> list[str]:
        """See the class."""
        said = texts(events)
        found = _FORCE.fullmatch(said[0]) if len(said) == 1 else None
        if found is None:
            return [f"said {said}, expected about {self.force_n:.1f} newtons"]
        off = abs(int(found[1]) - self.force_n)
        return [] if off <= max(FORCE_N, FORCE_SHARE * self.force_n) else [f"said {said[0]!r}, was {self.force_n:.1f}"]


@dataclass(frozen=True, slots=True)
class Quiet:
    """Nothing is opened and nothing said; each such event is one reason. `heard` says what was audible when."""

    heard: tuple[tuple[float, str], ...] = ()

    def judge(self, events: Events) -> list[str]:
        """See the class."""
        reasons = []
        for e in events:
            if e["event"] in ("open", "text"):
                before = [text for t_s, text in self.heard if t_s <= e["t_s"]]
                what = repr(e["text"]) if e["event"] == "text" else f"open {e['component']}"
                reasons.append(f"{what} at {e['t_s']:.2f} s after {before[-1] if before else 'nothing'!r}")
        return reasons


def verdict(expected: Expectation, events: Events) -> list[str]:
    """Return why the run fails: what the case expects, and any fault on the way; none when it passes."""
    faults = [f"fault of {e['source']}: {e['cause']}" for e in events if e["event"] == "fault"]
    return faults + expected.judge(events)
