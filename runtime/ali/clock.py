"""The one clock of a device: everything that stamps or waits is given it and asks no other."""

from typing import Protocol


class Clock(Protocol):
    """Monotonic time in integer nanoseconds since the run began.

    Implementations: `innervate.runtime.loop.clock.VirtualClock` and `RealClock`.
    """

    def now_ns(self) -> int:
        """Return the time now; never less than the value returned before."""
        ...

    def sleep_until_ns(self, t_ns: int) -> None:
        """Return when the time is `t_ns` or later; at once when that is past. Virtual clocks jump."""
        ...
