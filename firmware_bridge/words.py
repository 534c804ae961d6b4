"""What the firmware says, in words with the next step."""

from __future__ import annotations

from innervate.firmware_bridge.messages import Cause, Configure, Status, Stopped


def explain(stopped: Stopped, limits: Configure | None = None) -> str:
    """Say in words why the firmware stopped, and the next step."""
    deadman = f" (limit {limits.deadman_ms} ms)" if limits else ""
    words = {
        Cause.BOOT: "the firmware has just started; configure and re-arm",
        Cause.HOST_REQUEST: "the host asked for a stop",
        Cause.HOST_EXIT: "the host program ended",
        Cause.HOST_FAULT: "the host reported a fault",
        Cause.DEADMAN: f"host sent no valid setpoint for {stopped.detail} ms{deadman}; see why the control loop was late",
        Cause.FORCE_OVER: f"force {stopped.detail / 100:.2f} N is above the limit; let go, then re-arm",
        Cause.FORCE_STUCK: f"the force sensor says {stopped.detail / 100:.2f} N and nothing else; check its cable",
        Cause.FORCE_MISSING: "no samples from the force sensor; check its power and cable",
        Cause.MOTOR: f"servo {stopped.detail // 256 + 1} reports fault {stopped.detail % 256}; check its power and cable",
        Cause.SESSION: "another host session began in mid-motion",
        Cause.WATCHDOG: "the watchdog restarted the firmware; report this",
        Cause.UPDATE: "a firmware update began",
    }
    return words.get(stopped.cause, f"cause {stopped.cause!r}")


def refused(status: Status, detail: int, stopped: Stopped | None, mismatch: str) -> str:
    """Say in words why the firmware refused a command; `stopped` is the newest stop, `mismatch` what is said of another schema."""
    words = {
        Status.STATE: f"in state {detail}",
        Status.RANGE: f"field {detail} is out of range",
        Status.SCHEMA: mismatch,
        Status.BOOT: f"not the current stop; the newest is {detail}" + (f" ({explain(stopped)})" if stopped else ""),
    }
    return words.get(status, status.name.lower())
