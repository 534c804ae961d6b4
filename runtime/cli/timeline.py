"""The live timeline of a run on the terminal: heard, seen, felt, moved, said, and what a tick costs.

One line for each noteworthy change; on a terminal also a status line that is redrawn four times a second. It reads what the
sensors gave and what the loop did, and touches neither.
"""

import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import IO, Protocol

import numpy as np

from innervate.runtime.ali.component import Sample
from innervate.runtime.loop.device import Turn
from innervate.runtime.loop.events import Close, Event, Fault, Open, Stop, Summary, Text

SOUND_DBFS = -50.0  # quieter than this is silence on the timeline
SOUND_GAP_S = 0.4  # a shorter pause does not end a sound
GRIP_N = 2.0  # a squeeze begins above and ends below
STATUS_S = 0.25  # wall time is not needed: turns come at a known rate, in virtual time faster


class Seen(Protocol):
    """An object in the world, as `World.truth` gives it."""

    @property
    def colour(self) -> str:
        """Name of its colour."""
        ...

    @property
    def shape(self) -> str:
        """Name of its shape."""
        ...

    @property
    def bearing_pan_deg(self) -> float:
        """How far left of the camera's axis it is."""
        ...

    @property
    def in_view(self) -> bool:
        """True when the camera sees it."""
        ...


class Truth(Protocol):
    """A world that knows what stands in it: the emulator, for the eyes of the person who watches."""

    def truth(self) -> Sequence[Seen]:
        """Every object now."""
        ...


class Timeline:
    """Prints to `out`. A log for events and a watcher of turns in one; never raises when `out` has gone away.

    `shared` says that keyboard or terminal are in the device's own use: then there is no status line to type into, and what
    the device says is left to it. `captions` are (seconds, what, text) of a scenario, for the person who reads along; the
    device has only what its senses give.
    """

    def __init__(
        self, truth: Truth | None, shared: bool = False, captions: Sequence[tuple[float, str, str]] = (), out: IO[str] | None = None
    ) -> None:
        self._out = out or sys.stdout
        self._live = self._out.isatty() and not shared
        self._shared = shared
        self._captions = sorted(captions, reverse=True)
        self._truth = truth
        self._t_s = 0.0
        self._status_s = 0.0
        self._sound_since: float | None = None
        self._sound_s = 0.0
        self._sound_db = SOUND_DBFS
        self._grip_since: float | None = None
        self._grip_n = 0.0
        self._in_view = ""
        self._moving_since: float | None = None
        self._held: list[tuple[float, str]] = []  # lines of the running turn: they wait for its latency

    # -- events -------------------------------------------------------------------------------------------------------

    def emit(self, event: Event) -> None:
        """Print the events that a person wants to see."""
        match event:
            case Text(text=text) if not self._shared:
                self._line(event.t_s, "said", f'"{text}"')
            case Open(component=component):
                self._line(event.t_s, "open", component)
            case Close(component=component):
                self._line(event.t_s, "close", component)
            case Stop(cause=cause):
                self._line(event.t_s, "stop", cause)
            case Fault(source=source, cause=cause):
                self._line(event.t_s, "FAULT", f"{source}: {cause}" if not cause.startswith(source) else cause)
            case Summary():
                self._summary(event)
            case _:
                pass

    # -- turns --------------------------------------------------------------------------------------------------------

    def watch(self, turn: Turn) -> None:
        """Look at one turn."""
        self._t_s = turn.t_ns / 1e9
        while self._captions and self._captions[-1][0] <= self._t_s:
            self._line(*self._captions.pop())
        level = self._hear(turn.samples.get("mic"))
        self._see()
        force = self._feel(turn.samples.get("force"))
        pose = self._move(turn.samples.get("pose"))
        self._release(f"  [tick {turn.wall_us / 1e3:.1f} ms]")
        if self._live and self._t_s - self._status_s >= STATUS_S:
            self._status_s = self._t_s
            bar = "#" * max(0, round((level + 60.0) / 6.0))
            doing = turn.open or "idle"
            status = f"{self._t_s:6.2f}  heard {bar:<10} felt {force:5.1f} N  {pose}  {doing:<6} {turn.wall_us / 1e3:5.1f} ms"
            self._write(f"\r{status}\x1b[K")

    def _hear(self, sample: Sample | None) -> float:
        if sample is None or not sample.data.size:
            return -100.0
        pcm = sample.data.astype(np.float64) / (32768.0 if sample.data.dtype == np.int16 else 1.0)
        level = 20.0 * float(np.log10(max(float(np.sqrt(np.mean(pcm * pcm))), 1e-5)))
        if level > SOUND_DBFS:
            if self._sound_since is None:
                self._sound_since, self._sound_db = self._t_s, level
            self._sound_s, self._sound_db = self._t_s, max(level, self._sound_db)
        elif self._sound_since is not None and self._t_s - self._sound_s > SOUND_GAP_S:
            length = self._sound_s - self._sound_since + 0.08
            self._line(self._t_s, "heard", f"{length:.1f} s of sound, up to {self._sound_db:.0f} dBFS")
            self._sound_since = None
        return level

    def _see(self) -> None:
        objects = self._truth.truth() if self._truth is not None else ()
        if not objects:
            return
        seen = sorted((one for one in objects if one.in_view), key=lambda one: -one.bearing_pan_deg)
        in_view = ", ".join(f"{one.colour} {one.shape}" for one in seen) or "nothing"
        if in_view != self._in_view:
            self._line(self._t_s, "seen", f"in view, left to right: {in_view}")
            self._in_view = in_view

    def _feel(self, sample: Sample | None) -> float:
        force = float(sample.data[-1]) if sample is not None and sample.data.size else 0.0
        if force > GRIP_N:
            if self._grip_since is None:
                self._grip_since, self._grip_n = self._t_s, force
            self._grip_n = max(self._grip_n, force)
        elif self._grip_since is not None:
            self._line(self._t_s, "felt", f"a squeeze of {self._t_s - self._grip_since:.1f} s, up to {self._grip_n:.1f} N")
            self._grip_since = None
        return force

    def _move(self, sample: Sample | None) -> str:
        if sample is None:
            return "pose ?" + " " * 17
        pan, tilt, pan_rate, tilt_rate = (float(value) for value in sample.data[:4])
        moving = abs(pan_rate) + abs(tilt_rate) > 1.0
        where = f"pan {pan:+6.1f} tilt {tilt:+6.1f}"
        if moving and self._moving_since is None:
            self._moving_since = self._t_s
        elif not moving and self._moving_since is not None:
            self._line(self._t_s, "moved", f"to {where} in {self._t_s - self._moving_since:.1f} s")
            self._moving_since = None
        return where

    # -- printing -----------------------------------------------------------------------------------------------------

    def _line(self, t_s: float, what: str, text: str) -> None:
        self._held.append((t_s, f"{t_s:6.2f}  {what:<6} {text}"))

    def _release(self, latency: str) -> None:
        if self._held:
            start = "\r\x1b[K" if self._live else ""
            self._held.sort(key=lambda held: held[0])  # what a scenario said came before what it led to
            self._write(start + "".join(f"{line}{latency}\n" for _, line in self._held))
            self._held.clear()

    def _summary(self, event: Summary) -> None:
        self._release("")
        step = f"step p50 {_ms(event.step_us_p50)}, p99 {_ms(event.step_us_p99)}"
        through = f"capture to setpoint p50 {_ms(event.capture_to_setpoint_us_p50)}, p99 {_ms(event.capture_to_setpoint_us_p99)}"
        start = "\r\x1b[K" if self._live else ""
        self._write(f"{start}{event.t_s:6.2f}  end    {event.ticks} ticks, {event.late} late; {step}; {through}; {event.rss_mb:.0f} MB\n")

    def _write(self, text: str) -> None:
        try:
            self._out.write(text)
            self._out.flush()
        except (OSError, ValueError):  # the terminal has gone; the device goes on
            self._live = False


def _ms(microseconds: float | None) -> str:
    return "-" if microseconds is None else f"{microseconds / 1e3:.2f} ms"


class Essentials:
    """What `--headless` prints: faults as they come, on stderr, and one line at the end."""

    def emit(self, event: Event) -> None:
        """Print faults and the summary."""
        with suppress(OSError):  # nobody reads any more; the device goes on
            if isinstance(event, Fault):
                print(f"{event.t_s:.2f} fault {event.source}: {event.cause}", file=sys.stderr)
            elif isinstance(event, Summary):
                length = f"{event.ticks} ticks in {event.t_s:.2f} s, {event.late} late"
                print(f"{length}, step p50 {_ms(event.step_us_p50)}, {event.rss_mb:.0f} MB", flush=True)
