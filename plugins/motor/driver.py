"""The head behind the microcontroller: setpoints down, measured pose up, over one link.

Rules
- The firmware keeps limits, rates and deadman; this half says what they are, arms, and passes setpoints on with their times.
- `safe` is the firmware's `rest`: stand still, armed. When that cannot be said it is its stop, and when no word gets through, its deadman.
- A stop of the firmware's own is told at the next tick, not at the next command: `expire` looks.
- Arming is explicit: once at each open, after the servos have answered. A cause that a person should look at (force, servo, a restart) keeps
  a driver that opens again from arming, unless the board says `rearm = "always"`.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from innervate.firmware_bridge.link import Link, LinkError, UnsyncedError
from innervate.firmware_bridge.messages import Cause, Configure, Safe, State
from innervate.firmware_bridge.session import State as SessionState
from innervate.firmware_bridge.shared import borrow, give_back
from innervate.firmware_bridge.words import explain
from innervate.plugins.motor.latent import POSE
from innervate.runtime.ali.component import Actuator, Context, Limit, Sensor, Setpoint
from innervate.runtime.ali.errors import BoardError, DeviceError
from innervate.runtime.ali.options import read_options

OPEN_S = 10.0  # first open, before the loop runs: a board that boots, servos that get power
REOPEN_S = 0.1  # later ones are inside a tick: what is not there by then is tried again by the supervisor
STOPPED_S = 0.1
PERIOD_NS = 20_000_000  # a pose four times a tick is enough, and wakes a thread 50 times a second rather than 200
SILENT_NS = 500_000_000
SERVOS = {0b0001: "pan servo silent", 0b0010: "tilt servo silent", 0b0100: "pan servo faulty", 0b1000: "tilt servo faulty"}
SERVOS_INVALID = 0b0011
ARMED = (State.READY, State.MOVING)
# Causes that the next start of the driver may end by itself: the host's own, and those that say nothing of the hardware.
OWN = frozenset({Cause.NONE, Cause.HOST_REQUEST, Cause.HOST_EXIT, Cause.HOST_FAULT, Cause.DEADMAN, Cause.SESSION})


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[component.motor.options]` of a board."""

    url: str = ""
    deadman_ms: Annotated[int, msgspec.Meta(ge=20, le=500)] = 100
    safe: Literal["hold", "release"] = "hold"
    rearm: Literal["start", "always"] = "start"
    force_max_n: Annotated[float, msgspec.Meta(ge=0.0, le=320.0)] = 0.0
    force_stuck_ms: Annotated[int, msgspec.Meta(ge=0, le=60_000)] = 0
    force_missing_ms: Annotated[int, msgspec.Meta(ge=0, le=60_000)] = 0
    servo_missing_ms: Annotated[int, msgspec.Meta(ge=0, le=1_000)] = 0


class PoseOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[component.pose.options]` of a board."""

    url: str = ""


def _servo_faults(bits: int) -> str:
    return ", ".join(words for bit, words in SERVOS.items() if bits & bit)


class Motor(Actuator):
    """Drives pan and tilt, in degrees, through the firmware; its safe value is to stand still with the torque on.

    An axis that a setpoint leaves out keeps its last target. A stop of the firmware is a DeviceError of the next `apply` or `expire`, with its cause
    in words and the next step; opening again arms again, within the rules above.
    """

    def __init__(self, context: Context, limits: Mapping[str, Limit], hold_ms_max: int = 100) -> None:
        super().__init__(context, limits, hold_ms_max)
        self._options = read_options(context, Options)
        self._firmware_limits = self._configure()
        self._link: Link | None = None
        self._order: Setpoint | None = None
        self._armed_before = False
        self.unsent = 0  # setpoints kept back because the clocks were in doubt

    def _configure(self) -> Configure:
        options, pan, tilt = self._options, self.limits["pan"], self.limits["tilt"]
        if pan.rate_max is None or tilt.rate_max is None:
            raise BoardError(self.name, "an axis without rate_max", "one for pan and tilt", "add rate_max to its limits")
        return Configure(pan.min, pan.max, tilt.min, tilt.max, pan.rate_max, tilt.rate_max, options.deadman_ms, Safe[options.safe.upper()],
                         options.force_max_n, options.force_stuck_ms, options.force_missing_ms, options.servo_missing_ms)  # fmt: skip

    def _open(self) -> None:
        timeout_s = REOPEN_S if self._armed_before else OPEN_S
        link = self._link = borrow(self._options.url, self.context.clock, timeout_s)
        self._await_servos(link, timeout_s)
        stopped = link.stopped
        if self._armed_before and self._options.rearm == "start" and stopped is not None and stopped.cause not in OWN:
            step = 'look at it, then start the program again (or set rearm = "always" on the board)'
            raise DeviceError(self.name, f"stopped: {explain(stopped, self._firmware_limits)}", "a start by hand after that", step)
        if link.motion in ARMED:  # by a life of this driver that could not say goodbye
            self._halt(link, Cause.HOST_REQUEST)
        link.configure(self._firmware_limits, max(1.0, timeout_s))
        link.rearm(max(1.0, timeout_s))
        self._armed_before = True
        sample = link.telemetry
        assert sample is not None  # rearm saw one
        self._target = {"pan": sample.telemetry.pan_deg, "tilt": sample.telemetry.tilt_deg}

    def _await_servos(self, link: Link, timeout_s: float) -> None:
        faults = sum(SERVOS)
        try:
            link.wait(lambda: link.telemetry is not None and not link.telemetry.telemetry.device_faults & faults, timeout_s)
        except LinkError as error:
            sample = link.telemetry
            came = _servo_faults(sample.telemetry.device_faults) if sample else "no telemetry"
            raise DeviceError(self.name, came, "both servos", "check their power, cable and ids (pan 1, tilt 2)") from error

    def apply(self, setpoint: Setpoint) -> dict[str, float] | None:
        """As the base; the setpoint's own times go to the firmware with it."""
        self._order = setpoint
        return super().apply(setpoint)

    def expire(self, now_ns: int) -> bool:
        """As the base; and raises DeviceError when the firmware has stopped, also at rest, so that the owner knows before the next command."""
        link = self._link
        if link is not None and link.motion is State.STOPPED and link.stopped is not None:
            why = explain(link.stopped, self._firmware_limits)
            raise DeviceError(self.name, f"stopped: {why}", "an armed controller", "it is armed when the driver opens again, if the cause allows")
        return super().expire(now_ns)

    def _apply(self, values: Mapping[str, float]) -> None:
        link, order = self._link, self._order
        assert link is not None and order is not None  # the base refuses setpoints while closed
        if link.motion is None:
            raise DeviceError(self.name, "no word from the microcontroller", "telemetry", link.info.fault or "check the cable")
        self._target.update(values)
        valid_ns = min(order.valid_until_ns - order.execute_at_ns, self.hold_ms_max * 1_000_000)
        try:
            link.setpoint(self._target["pan"], self._target["tilt"], order.execute_at_ns, valid_ns)
        except UnsyncedError:  # a moment's doubt is no fault; if it lasts, the deadman says so
            self.unsent += 1

    def _safe(self) -> None:
        link = self._link
        if link is None or link.motion not in ARMED:
            return  # stopped, or out of reach: the firmware has seen to it, or will when the deadman bites
        try:
            link.rest_soon()
        except LinkError:
            link.stop(Cause.HOST_FAULT)
        sample = link.telemetry
        if sample is not None:
            self._target = {"pan": sample.telemetry.pan_deg, "tilt": sample.telemetry.tilt_deg}

    def _halt(self, link: Link, cause: Cause) -> None:
        with suppress(LinkError):  # no port, or no answer in time: the deadman is there for that
            link.stop(cause)
            link.wait(lambda: link.motion not in ARMED, STOPPED_S)

    def _close(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            if link.motion in ARMED:
                self._halt(link, Cause.HOST_EXIT)
            give_back(link)


class Pose(Sensor):
    """Gives the measured pose, float32 [4] (pan_deg, tilt_deg, pan_deg_s, tilt_deg_s), stamped by the firmware's clock, 50 times a second.

    Raises DeviceError when none came for half a second, with the cause that the link or the servos give.
    """

    dtype = np.float32
    shape = (POSE,)

    def __init__(self, context: Context, limits: Mapping[str, Limit] | None = None) -> None:
        super().__init__(context, limits)
        self._options = read_options(context, PoseOptions)
        self._link: Link | None = None

    def _open(self) -> None:
        self._link = borrow(self._options.url, self.context.clock, OPEN_S)
        self._taken_ns = 0
        self._heard_ns = self.context.clock.now_ns()

    def _read(self, timeout_s: float) -> tuple[npt.NDArray[np.float32], int] | None:
        link = self._link
        assert link is not None  # the base refuses a read while closed
        due_ns = self._taken_ns + PERIOD_NS

        def fresh() -> bool:
            newest = link.telemetry
            return newest is not None and newest.stamp.t_ns >= due_ns and not newest.telemetry.device_faults & SERVOS_INVALID

        if not fresh() and timeout_s > 0:
            with suppress(LinkError):
                link.wait(fresh, timeout_s)
        sample, now_ns = link.telemetry, self.context.clock.now_ns()
        if sample is None or not fresh():
            if now_ns - self._heard_ns > SILENT_NS:
                live = link.info.state in (SessionState.LIVE, SessionState.LIMITED)
                came = (_servo_faults(sample.telemetry.device_faults) if sample else "") or "no telemetry"
                step = "check the servos' power and cable" if live else link.info.fault
                raise DeviceError(self.name, came, "a pose", step)
            return None
        said = sample.telemetry
        self._taken_ns = max(self._taken_ns, min(sample.stamp.t_ns, now_ns))
        self._heard_ns = now_ns
        return np.asarray([said.pan_deg, said.tilt_deg, said.pan_deg_s, said.tilt_deg_s], np.float32), self._taken_ns

    def _close(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            give_back(link)
