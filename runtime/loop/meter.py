"""Wall-clock figures of a run, in constant memory. They reach the summary line and the terminal, nothing else."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from innervate.runtime.ali.space import Floats
from innervate.runtime.loop.events import Event, Histogram, Setpoint
from innervate.runtime.loop.router import Backbone


class MeteredBackbone:
    """A backbone that counts the wall time of each pass, in microseconds."""

    def __init__(self, backbone: Backbone) -> None:
        self.step_us = Histogram()
        self.rows_max = backbone.rows_max
        self._backbone = backbone
        self._recent: Floats | None = None  # [N, D], oldest last written over
        self._written = 0

    def append(self, x: Floats, *, pin: str | None = None) -> Floats:
        """Run one pass over `x` [T, D]; return the hidden states [T, D]."""
        began_ns = time.perf_counter_ns()
        hidden = self._backbone.append(x, pin=pin)
        self.step_us.add((time.perf_counter_ns() - began_ns) / 1e3)
        if self._recent is not None:
            self._keep(x)
        return hidden

    def unpin(self, name: str) -> None:
        """Release a pinned position."""
        self._backbone.unpin(name)

    def keep_recent(self, rows: int, width: int) -> None:
        """Keep the newest `rows` input latents from now on, for `recent`; nothing is kept unless asked."""
        self._recent, self._written = np.zeros((rows, width), np.float32), 0

    def recent(self) -> Floats:
        """Return the newest input latents, [T, D], oldest first; empty unless they are kept."""
        if self._recent is None:
            return np.zeros((0, 0), np.float32)
        kept, at = len(self._recent), self._written % len(self._recent)
        whole: Floats = np.concatenate([self._recent[at:], self._recent[:at]])
        return whole[kept - min(self._written, kept) :]

    def _keep(self, x: Floats) -> None:
        kept = self._recent
        if kept is not None:
            x = x[-len(kept) :]
            kept[np.arange(self._written, self._written + len(x)) % len(kept)] = x
            self._written += len(x)


class LatencyMeter:
    """Counts capture to setpoint.

    `since_capture_ns` gives the time since the oldest of the newest samples was captured. It is None on a virtual clock, where
    samples are captured as the turn begins: the wall time of the turn up to the setpoint counts then.
    """

    def __init__(self, since_capture_ns: Callable[[], int] | None) -> None:
        self.capture_to_setpoint_us = Histogram()
        self._since_capture_ns = since_capture_ns
        self._began_ns = 0

    def begin(self) -> None:
        """A turn begins now."""
        self._began_ns = time.perf_counter_ns()

    def elapsed_us(self) -> float:
        """Return the wall time since the turn began."""
        return (time.perf_counter_ns() - self._began_ns) / 1e3

    def emit(self, event: Event) -> None:
        """Count setpoints (one for each axis; they leave together)."""
        if isinstance(event, Setpoint):
            since = self._since_capture_ns
            self.capture_to_setpoint_us.add(self.elapsed_us() if since is None else since() / 1e3)


def rss_mb_peak() -> float:
    """Return the peak resident memory of this process in MiB.

    Linux keeps it in /proc as VmHWM; getrusage's figure would include what the parent had before exec.
    """
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) / 1024, 1)
    except OSError:
        pass
    import resource  # not on the boot path

    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
