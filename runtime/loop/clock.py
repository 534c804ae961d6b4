"""The two clocks: one that jumps and one that runs."""

import time

NS_PER_S = 1_000_000_000


class VirtualClock:
    """Time that moves only when told to: `sleep_until_ns` jumps. Runs on it are repeatable, and as fast as the
    machine.
    """

    def __init__(self, start_ns: int = 0) -> None:
        self._now_ns = start_ns

    def now_ns(self) -> int:
        """Return the time now."""
        return self._now_ns

    def sleep_until_ns(self, t_ns: int) -> None:
        """Jump to `t_ns`; no effect when that is past."""
        self._now_ns = max(self._now_ns, t_ns)

    def advance_s(self, seconds: float) -> None:
        """Jump forward."""
        self._now_ns += round(seconds * NS_PER_S)


class RealClock:
    """The machine's monotonic clock, counted from the clock's making or its last `restart`."""

    def __init__(self) -> None:
        self._origin_ns = time.monotonic_ns()

    def restart(self) -> None:
        """Count from now on: the run begins. Only before anything has been stamped."""
        self._origin_ns = time.monotonic_ns()

    def now_ns(self) -> int:
        """Return nanoseconds since the clock began."""
        return time.monotonic_ns() - self._origin_ns

    def sleep_until_ns(self, t_ns: int) -> None:
        """Sleep to `t_ns`; return at once when that is past."""
        left_ns = t_ns - self.now_ns()
        if left_ns > 0:
            time.sleep(left_ns / NS_PER_S)
