"""Small components and graphs for the tests of the contracts."""

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from innervate.runtime.ali.component import Actuator, Array, Context, Decoder, Encoder, Limit, Sample, Sensor, Sink
from innervate.runtime.ali.latents import Latents
from innervate.runtime.ali.space import Floats, Space
from innervate.runtime.loop.clock import VirtualClock

WIDTH = 8
SPACE = Space("a" * 64, "b" * 64, WIDTH)
FOREIGN = Space("c" * 64, "d" * 64, WIDTH)
LIMITS = {"pan": Limit(-90.0, 90.0, "deg", 150.0), "tilt": Limit(-30.0, 30.0, "deg")}
MS = 1_000_000


def context(clock: VirtualClock | None = None, name: str = "part") -> Context:
    return Context(name, clock or VirtualClock(), {})


def packet(rows: int = 1, t_ns: int = 0, source: str = "mic", space: Space = SPACE, seq: int = 0) -> Latents:
    return Latents(np.ones((rows, WIDTH), np.float32), space, np.full(rows, t_ns, np.int64), source, seq)


class Gauge(Sensor):
    """Gives what `script` returns for each read; by default a growing number, once for each time."""

    dtype = np.float32
    shape = (1,)

    def __init__(self, ctx: Context, limits: Mapping[str, Limit] | None = None) -> None:
        super().__init__(ctx, limits)
        self.script: Callable[[], tuple[npt.NDArray[np.float32], int] | None] = self.grow
        self.opened = 0
        self.closed = 0
        self._read_ns = -1

    def grow(self) -> tuple[npt.NDArray[np.float32], int] | None:
        now_ns = self.context.clock.now_ns()
        if now_ns <= self._read_ns:
            return None
        self._read_ns = now_ns
        return np.array([now_ns / 1e9], np.float32), now_ns

    def _open(self) -> None:
        self.opened += 1
        self._read_ns = -1

    def _read(self, timeout_s: float) -> tuple[npt.NDArray[np.float32], int] | None:
        return self.script()

    def _close(self) -> None:
        self.closed += 1


class Servo(Actuator):
    """Remembers what it was told; `fails` names hooks that raise."""

    def __init__(self, ctx: Context, limits: Mapping[str, Limit] = LIMITS, hold_ms_max: int = 100) -> None:
        super().__init__(ctx, limits, hold_ms_max)
        self.told: list[str | dict[str, float]] = []
        self.fails: set[str] = set()

    def _do(self, what: str) -> None:
        self.told.append(what)
        if what in self.fails:
            raise RuntimeError(f"{what} broke")

    def _open(self) -> None:
        self._do("open")

    def _apply(self, values: Mapping[str, float]) -> None:
        if "apply" in self.fails:
            raise RuntimeError("apply broke")
        self.told.append(dict(values))

    def _safe(self) -> None:
        self._do("safe")

    def _close(self) -> None:
        self._do("close")


class Page(Sink):
    """Keeps what is written; `broken` makes it fail."""

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        self.written = b""
        self.broken = False

    def _write(self, data: bytes) -> None:
        if self.broken:
            raise BrokenPipeError("nobody reads")
        self.written += data


class Identity:
    """A graph that repeats its input's mean over the width, plus a count of its runs: it has a state."""

    def __init__(self) -> None:
        self.runs = 0
        self.answer: Floats | None = None

    def run(self, x: Array) -> Floats:
        self.runs += 1
        if self.answer is not None:
            return self.answer
        return np.full((1, WIDTH), float(np.mean(x)) + self.runs, np.float32)

    def reset(self) -> None:
        self.runs = 0


class PlainEncoder(Encoder):
    def _encode(self, sample: Sample) -> Floats:
        return self.graph.run(sample.data).copy()


class PlainDecoder(Decoder):
    """Targets from the first two numbers of the latent."""

    def _decode(self, latents: Latents, feedback: Sample | None) -> dict[str, float]:
        first, second = latents.data[-1, :2]
        return {"pan": float(first), "tilt": float(second)}
