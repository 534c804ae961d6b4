"""What a run tells: one JSON object a line, as DESIGN's "Scenarios and events" fixes them.

Rules:
- Every line has `event` and `t_s`, the device's time at the tick it belongs to.
- On a virtual clock every line but the summary is a function of scenario, seed and bundle: same bytes each time.
  Wall-clock figures (`step_us_*`, `capture_to_setpoint_us_*`, `rss_mb`) stand in the summary line alone; `late_ms` is
  by the injected clock, hence 0 on a virtual one.
- The file is written as `NAME.part`, flushed at every tick, and renamed when the run ends, however it ends. So NAME is
  always whole, with a summary as its last line, and a run killed by SIGKILL leaves complete lines in `NAME.part`.
"""

import math
import os
import stat
from pathlib import Path
from types import TracebackType
from typing import IO, Protocol

import msgspec

from innervate.runtime.ali.errors import InnervateError


class Event(msgspec.Struct, tag_field="event", tag=str.lower, frozen=True, omit_defaults=True):
    """Base of all events: `t_s`, seconds since the run began."""

    t_s: float


class Text(Event, frozen=True):
    """One finished utterance of the device."""

    text: str


class Open(Event, frozen=True):
    """The model opened a component."""

    component: str


class Close(Event, frozen=True):
    """A component was closed, by the model or for it."""

    component: str


class Setpoint(Event, frozen=True):
    """A target as sent, after limits: `deg` for angles, `value` and `unit` for anything else."""

    axis: str
    deg: float | None = None
    value: float | None = None
    unit: str | None = None


class Pose(Event, frozen=True):
    """Where the head is, as measured."""

    pan_deg: float
    tilt_deg: float


class Force(Event, frozen=True):
    """The grip force now, newtons."""

    n: float


class Stop(Event, frozen=True):
    """An actuator that was driven has been put at its safe value; at the end of every run too."""

    cause: str


class Fault(Event, frozen=True):
    """A component failed; the others go on."""

    source: str
    cause: str


class Tick(Event, frozen=True, omit_defaults=False):
    """One turn: how late it began, and how many tokens it emitted before `<idle>`."""

    late_ms: float
    steps: int


class Summary(Event, frozen=True, omit_defaults=False):
    """The last line. `step_us`: one backbone pass. `capture_to_setpoint_us`: null when no setpoint was sent."""

    ticks: int
    late: int
    step_us_p50: float | None
    step_us_p99: float | None
    capture_to_setpoint_us_p50: float | None
    capture_to_setpoint_us_p99: float | None
    rss_mb: float
    space_id: str
    variant: str


class Log(Protocol):
    """Whoever takes events."""

    def emit(self, event: Event) -> None:
        """Take one event."""
        ...


def seconds(t_ns: int) -> float:
    """Return an event's `t_s`: microseconds are enough, and keep the lines short."""
    return round(t_ns / 1e9, 6)


class EventFile:
    """Writes events to `path`, whole or not at all (see the rules above). Pipes and devices are written directly.

    Raises InnervateError when the folder is missing, cannot be written, or is full.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        direct = path.exists() and not stat.S_ISREG(path.stat().st_mode)
        self._part = path if direct else path.with_name(path.name + ".part")
        self._encoder = msgspec.json.Encoder()
        try:
            self._file: IO[bytes] | None = open(self._part, "wb")
        except OSError as error:
            step = "make the folder, or name another file with --events"
            raise InnervateError(str(path), f"cannot be written ({error.strerror})", "a writable file", step) from error

    def emit(self, event: Event) -> None:
        """Write one line; ticks flush."""
        if self._file is None:
            return
        try:
            self._file.write(self._encoder.encode(event) + b"\n")
            if isinstance(event, Tick):
                self._file.flush()
        except OSError as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Finish the file under its name; no effect the second time. What cannot be finished stays as `NAME.part`."""
        if self._file is None:
            return
        file, self._file = self._file, None
        try:
            file.close()
            if self._part != self.path:
                os.replace(self._part, self.path)
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> InnervateError:
        step = f"make room; what was written so far is in {self._part}"
        return InnervateError(str(self.path), f"cannot be written ({error.strerror})", "room for the events", step)

    def __enter__(self) -> "EventFile":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class Fan:
    """One log in front of several; `emit` never raises, for a full disk must not keep a motor from its safe value.

    A log that fails is left out from then on; `broken` keeps its error and the others get a fault.
    """

    def __init__(self, logs: list[Log]) -> None:
        self.broken: list[Exception] = []
        self._logs = logs

    def emit(self, event: Event) -> None:
        """Hand the event to each log in turn."""
        for log in list(self._logs):
            try:
                log.emit(event)
            except Exception as error:
                self._logs.remove(log)
                self.broken.append(error)
                self.emit(Fault(event.t_s, "events", str(error)))


class Histogram:
    """Percentiles of positive values in constant memory: bins of equal ratio, each 1 % wide, from 1 to 10^8.

    An hour has 45,000 ticks and a device never ends, so the values themselves cannot be kept.
    """

    RATIO = 1.01
    BINS = math.ceil(math.log(1e8) / math.log(RATIO))

    def __init__(self) -> None:
        self._counts = [0] * (self.BINS + 1)
        self.total = 0

    def add(self, value: float) -> None:
        """Count one value; those out of range go to the first or last bin."""
        index = int(math.log(max(value, 1.0)) / math.log(self.RATIO))
        self._counts[min(index, self.BINS)] += 1
        self.total += 1

    def percentile(self, percent: float) -> float | None:
        """Return the middle of the bin that holds the percentile, within 0.5 % of it; None when nothing was counted."""
        if self.total == 0:
            return None
        wanted = max(1, math.ceil(self.total * percent / 100))
        seen = 0
        for index, count in enumerate(self._counts):
            seen += count
            if seen >= wanted:
                return round(math.exp((index + 0.5) * math.log(self.RATIO)), 1)
        raise AssertionError("the counts do not add up to the total")
