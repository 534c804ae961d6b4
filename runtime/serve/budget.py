"""Budgets: what one client may use in a second. Who asks for more is slowed, not refused: its next frames wait unread, and its own
send blocks. The others do not notice.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

BURST_S = 1.0  # what may be used at once after a pause: a second's worth
SLOW_S_MAX = 30.0  # a wait is never longer, so that a connection can still be told to end


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a client may use a second: `bytes_s` both ways together, `requests_s`, and `latents_s` that go through the backbone."""

    bytes_s: float = 64e6
    requests_s: float = 2000.0
    latents_s: float = 20_000.0


class Budget:
    """Three token buckets. `spend` returns how long to wait, in seconds, before going on (0: nothing)."""

    def __init__(self, allowance: Allowance, now: Callable[[], float] = time.monotonic) -> None:
        self._rates = (allowance.bytes_s, allowance.requests_s, allowance.latents_s)
        self._left = [rate * BURST_S for rate in self._rates]
        self._now = now
        self._when = now()

    def spend(self, size: int = 0, requests: int = 0, latents: int = 0) -> float:
        """Take from the buckets, into debt if need be; return the seconds until the deepest debt is paid."""
        now = self._now()
        passed, self._when = now - self._when, now
        wait_s = 0.0
        for i, (rate, spent) in enumerate(zip(self._rates, (size, requests, latents), strict=True)):
            left = min(self._left[i] + passed * rate, rate * BURST_S) - spent
            self._left[i] = left
            if left < 0:
                wait_s = max(wait_s, -left / rate)
        return min(wait_s, SLOW_S_MAX)


class Meter:
    """A bucket that refuses: for what goes into the device's one live session, where waiting would make it stale."""

    def __init__(self, rate_s: float, burst: float, now: Callable[[], float] = time.monotonic) -> None:
        self._rate_s, self._burst, self._left = rate_s, burst, burst
        self._now = now
        self._when = now()

    def take(self, amount: float) -> bool:
        """Take `amount` if it is there."""
        now = self._now()
        passed, self._when = now - self._when, now
        self._left = min(self._left + passed * self._rate_s, self._burst)
        if amount > self._left:
            return False
        self._left -= amount
        return True
