"""When the link asks for the firmware's clock, and the map that the answers make of it. No I/O and no clock of its own.

Rules
- A new boot is a new clock: the map begins anew, and answers to older questions are nobody's.
- Questions go quickly until the map has a window of them, then slowly; a telemetry stamp that the map cannot place (a step) makes the next one
  quick again. The map itself, its bound and its doubts are clock.py's.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from innervate.firmware_bridge.clock import ClockSync, Stamp
from innervate.firmware_bridge.messages import Ping, Pong

MS = 1_000_000
PING_FAST_NS = 50 * MS  # until the window has PINGS_FAST samples
PINGS_FAST = 8
PING_SLOW_NS = 1_500 * MS
PINGS_FLYING_MAX = 64


@dataclass(slots=True)
class Pings:
    """The questions under way and the map. `due_ns`: when the next question is due, host clock."""

    sync: ClockSync | None = None
    due_ns: int = 0
    _boot: int = 0
    _token: int = 0
    _asked_ns: int = 0
    _flying: dict[int, int] = field(default_factory=dict)

    def connected(self, boot_id: int, tick_hz: int, now_ns: int) -> None:
        """A session began: ask at once."""
        if self.sync is None or boot_id != self._boot:
            self.sync, self._boot = ClockSync(tick_hz), boot_id
            self._flying.clear()
        self.due_ns = now_ns

    def ask(self, now_ns: int) -> Ping | None:
        """Return the question that is due, which leaves at once; None for not yet."""
        if now_ns < self.due_ns:
            return None
        self._token = (self._token + 1) % (1 << 32)
        self._flying[self._token] = now_ns
        while len(self._flying) > PINGS_FLYING_MAX:
            self._flying.pop(next(iter(self._flying)))
        young = self.sync is None or self.sync.pings < PINGS_FAST
        self._asked_ns = now_ns
        self.due_ns = now_ns + (PING_FAST_NS if young else PING_SLOW_NS)
        return Ping(self._token)

    def hear(self, pong: Pong, now_ns: int) -> None:
        """Take an answer."""
        sent_ns = self._flying.pop(pong.token, None)
        if sent_ns is not None and self.sync is not None:
            self.sync.add(pong.received_ticks, sent_ns, now_ns)

    def stamp(self, tick: int, now_ns: int) -> Stamp | None:
        """Place a stamp that arrived now; None before the first session. In doubt the next question is quick."""
        if self.sync is None:
            return None
        placed = self.sync.to_host(tick, now_ns)
        if placed.bound_ns is None:
            self.due_ns = min(self.due_ns, self._asked_ns + PING_FAST_NS)
        return placed

    def to_ticks(self, t_ns: int) -> int | None:
        """Return the firmware's tick at host time `t_ns`; None in doubt."""
        return self.sync.to_ticks(t_ns) if self.sync else None

    def now(self, now_ns: int) -> Stamp:
        """Return `now_ns` with the bound that the map has now; no bound in doubt."""
        tick = self.to_ticks(now_ns)
        return self.sync.to_host(tick) if self.sync and tick is not None else Stamp(now_ns, None)
