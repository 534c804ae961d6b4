"""A device that hears perfectly and acts by the expert: what the cases ask for must be possible, and it shows that it is."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from innervate.boards.emulator.world import World
from innervate.models.evaluation.cases import Case
from innervate.models.expert import act, in_view
from innervate.models.language import COLOURS, DIRECTIONS, SHAPES, Intent, describe

TICK_NS = 80_000_000
LISTEN_S = 0.2  # from the end of a command to the tick that acts on it


def meaning(text: str) -> Intent | None:
    """The intent of a command; None for anything else."""
    words = text.split()
    if words[-2:-1] and words[-2] in COLOURS and words[-1] in SHAPES:
        return Intent("follow" if words[0] == "follow" else "find", words[-2], words[-1])
    fixed = {f"look {verb}": verb for verb in DIRECTIONS} | {
        "look straight ahead": "ahead", "stop": "stop", "what do you see": "see", "how hard am i squeezing": "force"
    }  # fmt: skip
    return Intent(fixed[text]) if text in fixed else None


def perform(case: Case, ends: Sequence[tuple[float, str]]) -> list[dict[str, Any]]:
    """Run `case` with the expert, who hears each of `ends` (end of the sentence, sentence); return its events."""
    events: list[dict[str, Any]] = []
    due = [(t_s + LISTEN_S, meaning(text)) for t_s, text in ends]
    goal: Intent | None = None
    rises: list[float] = []
    objects = list(case.scenario.objects)
    with World(case.scenario) as world:
        for tick in range(1, world.end_ns // TICK_NS + 1):
            now_ns = tick * TICK_NS
            t_s = now_ns / 1e9
            world.advance_to(now_ns)
            pose = world.pose()
            force = world.force(now_ns - TICK_NS - 10_000_000, now_ns)
            rises += [t_s for a, b in pairwise(force) if a <= 5.0 < b]
            if goal is not None and len(rises) >= 2 and rises[-1] - rises[-2] < 0.8 and t_s - rises[-1] < 0.2:
                events.append({"t_s": t_s, "event": "close", "component": "motor"})
                goal = None
                world.hold()
            while due and due[0][0] <= t_s:
                intent = due.pop(0)[1]
                if intent is None:
                    continue
                if intent.verb == "see":
                    seen = [o for o in world.truth() if o.in_view]
                    text = describe([(o.colour, o.shape) for o in sorted(seen, key=lambda o: -o.bearing_pan_deg)])
                    events.append({"t_s": t_s, "event": "text", "text": text})
                elif intent.verb == "force":
                    events.append({"t_s": t_s, "event": "text", "text": f"about {round(float(force[-8:].mean()))} newtons"})
                elif intent.verb == "stop":
                    events.append({"t_s": t_s, "event": "close", "component": "motor"})
                    goal = None
                    world.hold()
                else:
                    events.append({"t_s": t_s, "event": "open", "component": "motor"})
                    goal = intent
            if goal is not None:
                visible = [o for o in objects if in_view(o, (float(pose[0]), float(pose[1])), t_s)]
                action = act(goal, pose, visible, t_s)
                if action.done:
                    events.append({"t_s": t_s, "event": "close", "component": "motor"})
                    goal = None
                    world.hold()
                else:
                    world.drive(float(pose[0]) + action.pan_deg, float(pose[1]) + action.tilt_deg)
            events.append({"t_s": t_s, "event": "pose", "pan_deg": float(pose[0]), "tilt_deg": float(pose[1])})
    return events


__all__ = ["meaning", "perform"]
