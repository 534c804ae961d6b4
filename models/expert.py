"""The expert that `nano` imitates: what to do now, from what the sensors show now.

It is memoryless on purpose.  The goal is held by the model's own open component; everything else, the direction of a scan
included, can be read from this tick's frame, pose and velocity.  So a training example needs no history, and examples can
be drawn independently: a policy cannot learn to copy its own past when the past says nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from innervate.boards.emulator.scene import SceneObject

from .language import DIRECTIONS, HELD_OUT, Intent
from .scenes import bearing, pixel
from .seeing import SIZE

SCAN_STEP_DEG = 14.0  # how far ahead of the head a scan's setpoint runs
SCAN_TURN_DEG = 60.0  # where a scan turns round; with 60 degrees of view it covers +-90
PAN_MAX_DEG, TILT_MAX_DEG = 88.0, 29.0
STILL_DEG_S = 6.0
CENTRED_DEG = 1.5
VIEW_MARGIN_PX = 1.0
UNNAMED = "?"  # the colour or shape of a thing that training leaves without that name


@dataclass(frozen=True, slots=True)
class Action:
    """Degrees to turn from the pose now, and whether the goal is reached (close the motor)."""

    pan_deg: float
    tilt_deg: float
    done: bool
    visible: bool
    known: bool = True  # False where something in view may be what is meant, or may not


def in_view(item: SceneObject, head: tuple[float, float], t_s: float = 0.0, margin_px: float = VIEW_MARGIN_PX) -> bool:
    """Whether the object's centre is in the frame, `margin_px` from its border at the least."""
    column, row = pixel(*bearing(item.pan_at(t_s), item.tilt_deg, *head))
    return margin_px <= column < SIZE - margin_px and margin_px <= row < SIZE - margin_px


def is_meant(intent: Intent, item: SceneObject) -> bool | None:
    """Whether `intent` speaks of `item`; None where one cannot say: it lacks the name asked for, or is a held-out pair and half named."""
    asked = [(want, have) for want, have in ((intent.colour, item.colour), (intent.shape, item.shape)) if want is not None]
    if any(have not in (want, UNNAMED) for want, have in asked):
        return False
    if any(have == UNNAMED for _, have in asked) or (intent.partial and (item.colour, item.shape) in HELD_OUT):
        return None
    return True


def find_target(intent: Intent, objects: list[SceneObject], head: tuple[float, float], t_s: float = 0.0) -> SceneObject | None:
    """The object that is meant, if it is in view; of several the one nearest to the middle of the frame."""
    meant = [o for o in objects if is_meant(intent, o) and in_view(o, head, t_s)]
    return min(meant, key=lambda o: math.hypot(o.pan_at(t_s) - head[0], o.tilt_deg - head[1])) if meant else None


def act(intent: Intent, pose: np.ndarray, objects: list[SceneObject] | None, t_s: float = 0.0) -> Action:
    """What to do under `intent` at pose [4] (deg, deg/s); `objects` is None on a tick without a frame: then stand still."""
    pan, tilt, pan_rate, tilt_rate = (float(v) for v in pose)
    still = abs(pan_rate) < STILL_DEG_S and abs(tilt_rate) < STILL_DEG_S
    if intent.verb in DIRECTIONS:
        d_pan, d_tilt = DIRECTIONS[intent.verb][0] - pan, DIRECTIONS[intent.verb][1] - tilt
        return Action(d_pan, d_tilt, still and abs(d_pan) < CENTRED_DEG and abs(d_tilt) < CENTRED_DEG, False)
    if objects is None:
        return Action(0.0, 0.0, False, False)
    if any(is_meant(intent, o) is None and in_view(o, (pan, tilt), t_s) for o in objects):
        return Action(0.0, 0.0, False, False, False)
    target = find_target(intent, objects, (pan, tilt), t_s)
    if target is not None:
        d_pan = float(np.clip(target.pan_at(t_s), -PAN_MAX_DEG, PAN_MAX_DEG)) - pan
        d_tilt = float(np.clip(target.tilt_deg, -TILT_MAX_DEG, TILT_MAX_DEG)) - tilt
        done = intent.verb == "find" and still and abs(d_pan) < CENTRED_DEG and abs(d_tilt) < CENTRED_DEG
        return Action(d_pan, d_tilt, done, True)
    if abs(pan) > SCAN_TURN_DEG:
        side = -math.copysign(1.0, pan)
    elif abs(pan_rate) > 10.0:
        side = math.copysign(1.0, pan_rate)
    else:
        side = 1.0 if pan < 50.0 else -1.0
    return Action(side * SCAN_STEP_DEG, -tilt, False, False)
