"""Ticks of the microcontroller as nanoseconds of the host, with a bound that is stated. No I/O.

What is known of one ping: the firmware stamped tick T after the host sent (t0) and before the host received (t3). So T happened in
[t0, t3], whatever the queues did. Carried to another tick by the rate f, which is known to a relative error `drift`, each ping leaves an
interval; the truth lies in all of them, so in their intersection:

    low(T)  = max over pings of  t0_i + (T - T_i)/f - drift * |T - T_i|/f
    high(T) = min over pings of  t3_i + (T - T_i)/f + drift * |T - T_i|/f
    estimate = (low + high) / 2        bound = (high - low) / 2

The ping with the shortest round trip dominates while it is young, and ages by drift: the minimum-round-trip filter, with its error
accounted for. The rate begins as the firmware measured it at boot (within RATE_PPM_BOOT). From then on it is a regression with bounds:
between any two pings lie at least t0_j - t3_i and at most t3_j - t0_i nanoseconds, so each pair bounds the rate from both sides; f is the
middle of what all pairs allow, and `drift` half of it plus DRIFT_PPM_STEP for a crystal that warms up inside the window.

Assumptions, without which no bound holds: the counter runs from reset to reset and never pauses or jumps; the host's clock is monotonic.
Both can be broken from outside (a suspended host, a paused emulator). An empty intersection, or a stamp from after its own arrival, proves
it: the window is thrown away and `steps` counts. A stamp that came implausibly late (PAUSE_NS more than a round trip) may be a pause or a
busy host: until the next ping tells, stamps have no bound (`bound_ns` is None) and `suspect` asks for that ping. Before anything that
would show it has arrived the bound is wrong: no clock without a third one can do better.

Wrap: ticks are 32 bits; a stamp is unwrapped to the one nearest to the newest ping, right while that is younger than half a wrap (180 s in
QEMU at 11.9 MHz, 2147 s on the board at 1 MHz).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

NS = 1_000_000_000
WRAP = 1 << 32
WINDOW_PINGS = 32
WINDOW_NS = 60 * NS
RATE_PPM_BOOT = 1000.0  # of the rate that welcome tells; a crystal has 50, and QEMU on a busy machine measured 364 off
DRIFT_PPM_STEP = 5.0  # change of a crystal's rate within a window
REGRESS_NS = 2 * NS  # a shorter window tells less about the rate than the crystal's data sheet
PAUSE_NS = 50_000_000


@dataclass(frozen=True, slots=True)
class Ping:
    """One clock sample: `tick` (unwrapped) happened between `sent_ns` and `received_ns`."""

    tick: int
    sent_ns: int
    received_ns: int


@dataclass(frozen=True, slots=True)
class Stamp:
    """A moment on the host's clock; the truth is within `bound_ns` of `t_ns`. None: not synchronised, `t_ns` is a guess."""

    t_ns: int
    bound_ns: int | None


@dataclass(slots=True)
class ClockSync:
    """The map of one boot of the firmware; make a new one for a new boot_id."""

    tick_hz: int
    steps: int = 0
    suspect: bool = False
    _pings: deque[Ping] = field(default_factory=lambda: deque(maxlen=WINDOW_PINGS))
    _rate_hz: float = 0.0
    _drift: float = 0.0
    _newest: int = 0

    def __post_init__(self) -> None:
        self._forget()

    def add(self, tick: int, sent_ns: int, received_ns: int) -> None:
        """Take a ping's answer: firmware stamp `tick` (0..2^32-1), host times of sending and receiving."""
        whole = self._unwrap(tick)
        self._newest = whole
        while self._pings and received_ns - self._pings[0].received_ns > WINDOW_NS:
            self._pings.popleft()
        ping = Ping(whole, sent_ns, received_ns)
        if self._pings:
            low, high = self._interval(whole)
            if low > received_ns or high < sent_ns:  # nothing can be true: the past does not fit the present
                self._step()
        self._pings.append(ping)
        self.suspect = False
        self._regress()

    def to_host(self, tick: int, arrived_ns: int | None = None) -> Stamp:
        """Return when `tick` was, for a stamp that came at `arrived_ns` (None: not checked)."""
        if not self._pings:
            return Stamp(arrived_ns or 0, None)
        low, high = self._interval(self._unwrap(tick))
        if arrived_ns is not None:
            late = arrived_ns - high
            usual = min(p.received_ns - p.sent_ns for p in self._pings)
            if low > arrived_ns:
                self._step()
                return Stamp(arrived_ns, None)
            self.suspect = self.suspect or late > PAUSE_NS + usual
            high = min(high, arrived_ns)
        if self.suspect:
            return Stamp(round((low + high) / 2), None)
        return Stamp(round((low + high) / 2), max(1, round((high - low) / 2)))

    def to_ticks(self, t_ns: int) -> int | None:
        """Return the tick (0..2^32-1) at host time `t_ns`; None while not synchronised."""
        if not self._pings:
            return None
        anchor = self._pings[-1]
        guess = anchor.tick + (t_ns - (anchor.sent_ns + anchor.received_ns) / 2) * self._rate_hz / NS
        for _ in range(2):  # the estimate is piecewise linear with slope 1 +- drift: two corrections land within a tick
            low, high = self._interval(round(guess))
            guess += (t_ns - (low + high) / 2) * self._rate_hz / NS
        return round(guess) % WRAP

    @property
    def synchronised(self) -> bool:
        """Whether there is a bound."""
        return bool(self._pings)

    @property
    def pings(self) -> int:
        """How many pings the map rests on."""
        return len(self._pings)

    @property
    def rate_hz(self) -> float:
        """The rate as known now."""
        return self._rate_hz

    @property
    def drift_ppm(self) -> float:
        """How far the rate may be off."""
        return self._drift * 1e6

    def _unwrap(self, tick: int) -> int:
        return self._newest + (tick - self._newest + WRAP // 2) % WRAP - WRAP // 2

    def _interval(self, tick: int) -> tuple[float, float]:
        low, high = float("-inf"), float("inf")
        for p in self._pings:
            span = (tick - p.tick) * NS / self._rate_hz
            slack = abs(span) * self._drift
            low = max(low, p.sent_ns + span - slack)
            high = min(high, p.received_ns + span + slack)
        return low, high

    def _regress(self) -> None:
        """Bound the rate by every pair of the newest ping with an older one and what was known of it before."""
        if self._pings[-1].received_ns - self._pings[0].received_ns < REGRESS_NS:
            return
        slow = self.tick_hz * (1 - RATE_PPM_BOOT * 1e-6)
        fast = self.tick_hz * (1 + RATE_PPM_BOOT * 1e-6)
        pings = list(self._pings)
        for i, a in enumerate(pings):
            for b in pings[i + 1 :]:
                shortest, longest, ticks = b.sent_ns - a.received_ns, b.received_ns - a.sent_ns, b.tick - a.tick
                if shortest > 0:
                    fast = min(fast, ticks * NS / shortest)
                    slow = max(slow, ticks * NS / longest)
        middle = (fast + slow) / 2
        if slow - fast > 2 * DRIFT_PPM_STEP * 1e-6 * middle:  # no one rate explains the window
            newest = self._pings[-1]
            self._step()
            self._pings.append(newest)
            return
        self._rate_hz = middle
        self._drift = max(0.0, fast - slow) / 2 / middle + DRIFT_PPM_STEP * 1e-6

    def _step(self) -> None:
        self.steps += 1
        self._forget()

    def _forget(self) -> None:
        self._pings.clear()
        self.suspect = False
        self._rate_hz = float(self.tick_hz)
        self._drift = RATE_PPM_BOOT * 1e-6
