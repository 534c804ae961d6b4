"""Supervision: each component fails alone, tries again a bounded number of times, and says why.

Rules:
- A component that raises, or that falls silent although it has a rate, is a fault: one `fault` event with the cause; it is
  closed and started anew after a back-off that doubles. After RESTARTS_MAX failures with no steady service in between
  it stays down, and one last event says so. The others go on all the while.
- The tick never waits for a device. A driver is opened and read on a thread of its own behind a bounded queue that drops
  the oldest and counts; a twin is read in the tick, which makes runs on a virtual clock repeatable.
- All decisions are taken in the tick, by the injected clock.

Known weakness: Python cannot end a thread that hangs inside a driver. It is abandoned (a daemon thread, its queue cut off)
and a new device object is tried; RESTARTS_MAX bounds how many can pile up.
"""

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from innervate.runtime.ali.component import Encoder, Sample, Sensor
from innervate.runtime.ali.errors import DeviceError, InnervateError
from innervate.runtime.ali.latents import Border, Latents
from innervate.runtime.ali.tap import Tap
from innervate.runtime.loop.events import Fault, Log, seconds

NS_PER_S = 1_000_000_000
RESTARTS_MAX = 5  # with doubling from half a second: 15 s of trying, then the owner has to look
BACKOFF_NS = NS_PER_S // 2
STEADY_NS = 30 * NS_PER_S  # service as long as this wipes out the failures before it
SILENCE_NS = NS_PER_S  # shortest silence that is a fault, for components with a rate
SILENT_PERIODS = 10
START_NS = 5 * NS_PER_S  # a device may take this long from its start to its first sample; cameras take one to three
QUEUE_MAX = 16  # samples of a driver that wait for the tick: 1.3 s of sound
READS_MAX = 4  # reads of a twin in one tick, so that a twin that never says None cannot hold the loop
READ_TIMEOUT_S = 0.25  # of a driver's thread: how soon it notices that it should end
JOIN_TIMEOUT_S = 1.0  # at the end of a run


class Restarts:
    """When a failed component may be tried again."""

    def __init__(self, source: str, log: Log) -> None:
        self._source = source
        self._log = log
        self.failures = 0  # since the last steady service
        self._next_ns = 0
        self._failed_ns = 0

    @property
    def gave_up(self) -> bool:
        """True when the component stays down."""
        return self.failures > RESTARTS_MAX

    def failed(self, now_ns: int, cause: str) -> None:
        """Report the fault and set the time of the next try."""
        self.failures += 1
        self._failed_ns = now_ns
        self._next_ns = now_ns + BACKOFF_NS * 2 ** (self.failures - 1)
        self._log.emit(Fault(seconds(now_ns), self._source, cause))
        if self.gave_up:
            last = f"stays down after {RESTARTS_MAX} restarts; correct the cause above and start again"
            self._log.emit(Fault(seconds(now_ns), self._source, last))

    def due(self, now_ns: int) -> bool:
        """Return whether a try is due."""
        return not self.gave_up and now_ns >= self._next_ns

    def served(self, now_ns: int) -> None:
        """Note that the component works."""
        if self.failures and now_ns - self._failed_ns >= STEADY_NS:
            self.failures = 0


class Feed(Protocol):
    """One life of a sensor, from its start to its first failure."""

    dropped: int

    def poll(self) -> list[Sample]:
        """Return what has arrived, oldest first, without waiting. Raises what the sensor raised."""
        ...

    def stop(self) -> None:
        """End it; never raises."""
        ...


class DirectFeed:
    """A twin, read in the tick. Raises DeviceError when it cannot be opened."""

    def __init__(self, sensor: Sensor) -> None:
        self.dropped = 0
        self._sensor = sensor
        sensor.open()

    def poll(self) -> list[Sample]:
        """Read until nothing is new."""
        samples: list[Sample] = []
        while len(samples) < READS_MAX and (sample := self._sensor.read(0.0)) is not None:
            samples.append(sample)
        return samples

    def stop(self) -> None:
        """Close the twin."""
        with suppress(Exception):  # its failure, if any, has been reported already
            self._sensor.close()


class ThreadFeed:
    """A driver, opened and read on a thread of its own; the newest `capacity` samples wait."""

    def __init__(self, sensor: Sensor, capacity: int) -> None:
        self.dropped = 0
        self._sensor = sensor
        self._queue: deque[Sample] = deque(maxlen=capacity)
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._opened = threading.Event()  # or failed to
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._work, name=f"sensor-{sensor.name}", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            self._sensor.open()
            self._opened.set()
            while not self._ending.is_set():
                sample = self._sensor.read(READ_TIMEOUT_S)
                if sample is not None:
                    with self._lock:
                        self.dropped += len(self._queue) == self._queue.maxlen
                        self._queue.append(sample)
        except Exception as error:  # handed to the tick, which reports it
            self._error = error
        finally:
            self._opened.set()
            with suppress(Exception):
                self._sensor.close()

    def poll(self) -> list[Sample]:
        """Take what waits."""
        with self._lock:
            samples = list(self._queue)
            self._queue.clear()
        if not samples and self._error is not None:
            raise self._error
        return samples

    def stop(self) -> None:
        """Ask the thread to end; a thread that hangs in its driver is left behind."""
        self._ending.set()

    def settle(self, timeout_s: float) -> None:
        """Wait until the device is open or has refused, but no longer than `timeout_s`."""
        self._opened.wait(timeout_s)

    def join(self) -> None:
        """Wait a little for the thread, so that the driver closes its device before the program ends."""
        self._thread.join(JOIN_TIMEOUT_S)


class Upstream:
    """A supervised sensor with its encoder: `collect` gives the latents of what arrived, and never raises.

    `start_feed` makes a new life of the sensor. `rate_hz` (None: it speaks when it likes) decides what silence is a fault.
    `newest` is the last sample, None while the component is down: nobody steers by a stale pose.
    """

    def __init__(self, start_feed: Callable[[], Feed], encoder: Encoder, border: Border, log: Log, rate_hz: float | None, only_newest: bool) -> None:
        self.name = encoder.source
        self.newest: Sample | None = None
        self.restarts = Restarts(self.name, log)
        self.dropped = 0  # samples that no tick took in time; where only the newest counts, the older ones are no loss
        self.taps: list[Tap] = []  # who else is shown what it senses
        self._start_feed = start_feed
        self._encoder = encoder
        self._border = border
        self._only_newest = only_newest
        self._silence_ns = max(SILENCE_NS, round(SILENT_PERIODS * NS_PER_S / rate_hz)) if rate_hz else None
        self._feed: Feed | None = None
        self._quiet_until_ns = 0

    @property
    def has_rate(self) -> bool:
        """True when samples come at a rate, rather than when there is something to say."""
        return self._silence_ns is not None

    def start(self, now_ns: int) -> None:
        """Open the device, or begin to; a failure is a fault like any other."""
        try:
            self._feed = self._start_feed()
        except Exception as error:
            self._fail(now_ns, error)
        else:
            self._quiet_until_ns = now_ns + START_NS

    def settle(self, timeout_s: float) -> None:
        """Before the first turn: give a driver's thread time to open its device. No effect on twins."""
        if isinstance(self._feed, ThreadFeed):
            self._feed.settle(timeout_s)

    def collect(self, now_ns: int) -> list[Latents]:
        """Return the latents of what arrived since the last tick, oldest first; empty while the component is down."""
        if self._feed is None:
            if self.restarts.due(now_ns):
                self.start(now_ns)
            if self._feed is None:
                return []
        try:
            samples = self._feed.poll()
            self._count_drops()
            if not samples:
                self._check_silence(now_ns)
                return []
            packets = [self._encode(sample) for sample in (samples[-1:] if self._only_newest else samples)]
        except Exception as error:  # a plugin may raise anything; it fails alone
            self._fail(now_ns, error)
            return []
        self.newest = samples[-1]
        if self._silence_ns is not None:
            self._quiet_until_ns = now_ns + self._silence_ns
        self.restarts.served(now_ns)
        return packets

    def stop(self) -> None:
        """End the service."""
        feed, self._feed = self._feed, None
        if feed is not None:
            feed.stop()
            if isinstance(feed, ThreadFeed):
                feed.join()

    def _encode(self, sample: Sample) -> Latents:
        packet = self._encoder.encode(sample)
        self._border.admit(packet)
        for tap in self.taps:
            tap.put(sample, packet)
        return packet

    def _count_drops(self) -> None:
        if self._feed is not None:
            self.dropped += 0 if self._only_newest else self._feed.dropped
            self._feed.dropped = 0

    def _check_silence(self, now_ns: int) -> None:
        if self._silence_ns is not None and now_ns > self._quiet_until_ns:
            raise DeviceError(self.name, f"gave nothing for {self._silence_ns / NS_PER_S:g} s", "its declared rate", "it is restarted")

    def _fail(self, now_ns: int, error: Exception) -> None:
        feed, self._feed, self.newest = self._feed, None, None
        if feed is not None:
            feed.stop()
        self._encoder.reset()
        self._border.forget(self.name)
        self.restarts.failed(now_ns, cause_of(error))


def cause_of(error: BaseException) -> str:
    """Return what an event says of an error: our messages are whole, foreign ones need their type."""
    if isinstance(error, InnervateError):
        return str(error)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
