"""Contracts of what gives latents to the backbone and of what takes them from it.

A driver author overrides small hooks (`_open`, `_read`, `_close`; `_apply`, `_safe`) and no more; the public methods
here own state, stamps, order, ranges, deadlines and the wrapping of foreign errors.

    upstream      Sensor --Sample--> Encoder --Latents--> backbone
    downstream    backbone --Latents--> Decoder --values--> Setpoint --> Actuator
    text out      backbone --bytes--> Sink
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from innervate.runtime.ali.clock import Clock
from innervate.runtime.ali.errors import DeviceError, InnervateError, LatentError
from innervate.runtime.ali.latents import Latents
from innervate.runtime.ali.space import Floats, Space

if TYPE_CHECKING:
    from innervate.runtime.ali.tap import Tap

Array = npt.NDArray[Any]

SMALL = 64  # values that Python compares faster one by one than numpy does together


class Bench(Protocol):
    """What a virtual twin may ask of the world that it lives in (the emulator implements it).

    Angles in degrees of the device's frame (pan left and tilt up positive), times in nanoseconds since the run began.
    """

    def frame(self) -> npt.NDArray[np.uint8]:
        """RGB of the camera now, [H, W, 3]."""
        ...

    def audio(self, t0_ns: int, t1_ns: int) -> npt.NDArray[np.int16]:
        """Mono 16 kHz sound at the microphone over that span, [N]."""
        ...

    def force(self, t0_ns: int, t1_ns: int) -> Floats:
        """Grip force in newtons at 100 Hz over (t0, t1], [N]."""
        ...

    def pose(self) -> Floats:
        """Measured pan_deg, tilt_deg, pan_deg_s, tilt_deg_s of the head now, [4]."""
        ...

    def drive(self, pan_deg: float, tilt_deg: float) -> None:
        """Set the servo's target."""
        ...

    def hold(self) -> None:
        """Stop as quickly as the servo's limits allow, and stay."""
        ...

    def typed(self, t0_ns: int, t1_ns: int) -> bytes:
        """Bytes typed over [t0, t1); each input ends with a line feed."""
        ...


class Graph(Protocol):
    """A component's network from the bundle: numpy in, numpy out, its states kept inside."""

    def run(self, x: Array) -> Floats:
        """Run one step on `x` (shape and dtype are the graph's) and keep the next states."""
        ...

    def reset(self) -> None:
        """Set the states back to zeros."""
        ...


@dataclass(frozen=True, slots=True)
class Limit:
    """Allowed range of one axis or quantity, in `unit`; `rate_max` in unit per second (None: not limited)."""

    min: float
    max: float
    unit: str
    rate_max: float | None = None

    def clamp(self, value: float) -> float:
        """Return `value` moved into the range."""
        return min(max(value, self.min), self.max)


@dataclass(frozen=True, slots=True)
class Context:
    """What a component is given at its birth: its name on the board, the clock, its options, and the world of twins.

    `options` is complete: the manifest's defaults with the board's values over them. `world` is None for real drivers.
    `folder` is where the plugin's own files lie; `tap` is what it listens to, when its manifest has `listens`.
    """

    name: str
    clock: Clock
    options: Mapping[str, object]
    world: Bench | None = None
    folder: Path | None = None
    tap: "Tap | None" = None

    def bench(self) -> Bench:
        """Return the world; raises DeviceError when there is none (a twin on a board without a world)."""
        if self.world is None:
            step = 'set use = "driver", or add world = "innervate.boards.emulator:make_world" to the board'
            raise DeviceError(self.name, "a virtual twin without a world", "a board that names one", step)
        return self.world


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """What one read of a sensor gave. `t_ns`: capture time of the last element. `seq`: 0, 1, 2, ... since the open."""

    data: Array
    t_ns: int
    seq: int


@dataclass(frozen=True, slots=True)
class Setpoint:
    """Target values by axis, in the axis's unit, to be reached from `execute_at_ns` and obeyed until
    `valid_until_ns`.
    """

    values: Mapping[str, float]
    execute_at_ns: int
    valid_until_ns: int
    seq: int


class _Device:
    """Open and closed, shared by sensors, actuators and sinks: `close` may be called at any time and any number of
    times.
    """

    def __init__(self, context: Context) -> None:
        self.context = context
        self.name = context.name
        self._is_open = False

    @property
    def is_open(self) -> bool:
        """True between a successful `open` and the next `close`."""
        return self._is_open

    def open(self) -> None:
        """Open the device. Raises DeviceError with the cause; the device is then closed."""
        if self._is_open:
            raise DeviceError(self.name, "opened twice", "a closed device", "close it first")
        try:
            self._open()
        except Exception as error:
            self._quietly_close()
            raise self._wrapped(error, "cannot be opened") from error
        self._is_open = True

    def close(self) -> None:
        """Close the device; no effect when it is closed. Raises DeviceError when the driver fails in closing."""
        if not self._is_open:
            return
        self._is_open = False
        try:
            self._close()
        except Exception as error:
            raise self._wrapped(error, "cannot be closed") from error

    def _need_open(self) -> None:
        if not self._is_open:
            raise DeviceError(self.name, "used while closed", "an open device", "call open() first")

    def _wrapped(self, error: Exception, what: str) -> InnervateError:
        if isinstance(error, InnervateError):
            return error
        came = f"{what}: {type(error).__name__}: {error}"
        return DeviceError(self.name, came, "", "check the device, its wiring and its options on the board")

    def _quietly_close(self) -> None:
        with suppress(Exception):  # the error of the open is the one to report
            self._close()

    def _open(self) -> None:
        """Hook: acquire the device."""

    def _close(self) -> None:
        """Hook: release the device; must tolerate a half-done `_open`."""


class Sensor(_Device, ABC):
    """Base of upstream devices; a driver writes `_open`, `_read`, `_close`.

    Class attributes state what `_read` gives: `dtype`, and `shape` with None for any length. `limits` comes from the
    manifest and board: one limit bounds every value, several bound the columns of the last axis in their order.
    """

    dtype: ClassVar[type[np.generic]] = np.float32
    shape: ClassVar[tuple[int | None, ...]] = (None,)

    def __init__(self, context: Context, limits: Mapping[str, Limit] | None = None) -> None:
        super().__init__(context)
        self.limits: dict[str, Limit] = dict(limits or {})
        self._seq = 0
        self._newest_ns: int | None = None

    def open(self) -> None:
        """Open the device; samples are numbered from 0 again. Raises DeviceError with the cause."""
        super().open()
        self._seq = 0
        self._newest_ns = None

    def read(self, timeout_s: float) -> Sample | None:
        """Return the next sample, or None when nothing new arrived within `timeout_s` (0: only what is there now).

        Twins in virtual time return at once whatever the timeout. Raises DeviceError when the device fails or is
        closed, LatentError when what it gave breaks its own contract (dtype, shape, range, time going backwards, the
        future).
        """
        self._need_open()
        try:
            came = self._read(timeout_s)
        except Exception as error:
            raise self._wrapped(error, "cannot be read") from error
        if came is None:
            return None
        data, t_ns = came
        self._check(data, t_ns)
        sample = Sample(data, int(t_ns), self._seq)
        self._newest_ns = sample.t_ns
        self._seq += 1
        return sample

    def _check(self, data: Array, t_ns: int) -> None:
        fits = data.ndim == len(self.shape) and all(want in (None, have) for want, have in zip(self.shape, data.shape, strict=True))
        if data.dtype != self.dtype or not fits:
            want = ", ".join("any" if n is None else str(n) for n in self.shape)
            came = f"a sample {data.dtype} {list(data.shape)}"
            raise LatentError(self.name, came, f"{np.dtype(self.dtype)} [{want}]", "correct the driver's _read")
        if self._newest_ns is not None and t_ns < self._newest_ns:
            came = f"a sample captured at {t_ns} ns after one of {self._newest_ns} ns"
            raise LatentError(self.name, came, "time that does not go backwards", "stamp with context.clock")
        if t_ns > self.context.clock.now_ns():
            came = f"a sample from the future ({t_ns} ns, now {self.context.clock.now_ns()} ns)"
            raise LatentError(self.name, came, "the time of capture", "stamp with context.clock")
        if data.size and self.limits:
            self._check_range(data)

    def _check_range(self, data: Array) -> None:
        several = len(self.limits) > 1
        small = data.ndim == 1 and data.size <= SMALL
        listed = data.tolist() if small else []
        for column, (axis, limit) in enumerate(self.limits.items()):
            if small and all(limit.min <= value <= limit.max for value in (listed[column : column + 1] if several else listed)):
                continue  # a pose or a tick of force: numpy's calls would take 20 us
            values = data[..., column] if several else data
            low, high = float(values.min()), float(values.max())
            # Written so that NaN, which compares false with everything, fails too.
            if not (limit.min <= low and high <= limit.max):
                came = f"values from {low:g} to {high:g} {limit.unit}"
                want = f"{limit.min:g} to {limit.max:g}"
                raise LatentError(f"{self.name}.{axis}", came, want, "check the sensor, or its limits in plugin.toml")

    @abstractmethod
    def _read(self, timeout_s: float) -> tuple[Array, int] | None:
        """Hook: return (data, capture time of its last element in ns of `context.clock`), or None when nothing is
        new.
        """


class Actuator(_Device, ABC):
    """Base of downstream devices; a driver writes `_open`, `_apply`, `_safe`, `_close`.

    The safe value is reached by `safe`, by `close`, and by `expire` when no valid setpoint came for `hold_ms_max`.
    `_apply` and `_safe` must return within a few milliseconds: they run inside the tick. Speed and acceleration are the
    servo's or the microcontroller's to limit, where no host can forget to.
    """

    def __init__(self, context: Context, limits: Mapping[str, Limit], hold_ms_max: int = 100) -> None:
        super().__init__(context)
        self.limits: dict[str, Limit] = dict(limits)
        self.hold_ms_max = hold_ms_max
        self.refused = 0  # setpoints that came after their own valid_until
        self._driven_until_ns: int | None = None  # None: at the safe value

    @property
    def is_safe(self) -> bool:
        """True while the actuator stands at its safe value."""
        return self._driven_until_ns is None

    def open(self) -> None:
        """Open the device and put it at its safe value."""
        super().open()
        self.safe("opened")

    def apply(self, setpoint: Setpoint) -> dict[str, float] | None:
        """Drive to `setpoint`, clamped to the limits; return the values as applied, None when it came too late.

        Raises DeviceError when the device fails or is closed, LatentError for an unknown axis or a non-finite value.
        The actuator is put at its safe value first in all these cases.
        """
        self._need_open()
        now_ns = self.context.clock.now_ns()
        if now_ns >= setpoint.valid_until_ns:
            self.refused += 1
            return None
        try:
            values = {axis: self._limited(axis, value) for axis, value in setpoint.values.items()}
            self._apply(values)
        except Exception as error:
            wrapped = self._wrapped(error, "cannot be driven")
            self.safe(str(wrapped))
            raise wrapped from error
        self._driven_until_ns = min(setpoint.valid_until_ns, now_ns + self.hold_ms_max * 1_000_000)
        return values

    def _limited(self, axis: str, value: float) -> float:
        limit = self.limits.get(axis)
        if limit is None:
            known = ", ".join(self.limits)
            raise LatentError(f"{self.name}.{axis}", "a setpoint for an unknown axis", known, "correct the decoder")
        if not np.isfinite(value):
            raise LatentError(f"{self.name}.{axis}", f"setpoint {value}", "a finite value", "look at the decoder's output")
        return limit.clamp(float(value))

    def safe(self, cause: str) -> None:
        """Go to the safe value now, whatever went before; no effect when closed. Raises DeviceError when it cannot."""
        if not self._is_open:
            return
        self._driven_until_ns = None
        try:
            self._safe()
        except Exception as error:
            raise self._wrapped(error, f"cannot reach its safe value ({cause})") from error

    def expire(self, now_ns: int) -> bool:
        """Go to the safe value when the last setpoint has outlived its time; return whether that happened now."""
        if not self._is_open or self._driven_until_ns is None or now_ns < self._driven_until_ns:
            return False
        self.safe("no setpoint within the longest hold")
        return True

    def close(self) -> None:
        """Go to the safe value, then close."""
        try:
            self.safe("closing")
        finally:
            super().close()

    @abstractmethod
    def _apply(self, values: Mapping[str, float]) -> None:
        """Hook: drive to `values` (finite, known axes, inside the limits)."""

    @abstractmethod
    def _safe(self) -> None:
        """Hook: reach the safe value; called at any time between `_open` and `_close`, also twice."""


class Sink(_Device, ABC):
    """Base of what takes bytes from the model, such as a terminal; a driver writes `_open`, `_write`, `_close`."""

    def write(self, data: bytes) -> None:
        """Take the next bytes of the running utterance. Raises DeviceError when the device fails or is closed."""
        self._need_open()
        try:
            self._write(data)
        except Exception as error:
            raise self._wrapped(error, "cannot be written") from error

    @abstractmethod
    def _write(self, data: bytes) -> None:
        """Hook: take `data`; it may end in the middle of a UTF-8 character."""


class Encoder(ABC):
    """Samples in, latents out. `graph` is the component's network from the bundle, or the byte rows for text.

    A subclass writes `_encode` (and `_reset` when it keeps anything of its own).
    """

    def __init__(self, graph: Graph, space: Space, source: str) -> None:
        self.graph = graph
        self.space = space
        self.source = source

    def encode(self, sample: Sample) -> Latents:
        """Turn one sample into T latents stamped with its capture time. Raises LatentError when the result is not
        valid.
        """
        data = self._encode(sample)
        stamps = np.full(data.shape[:1], sample.t_ns, dtype=np.int64)  # [T]
        return Latents(data, self.space, stamps, self.source, sample.seq)

    def reset(self) -> None:
        """Forget the stream so far: states to zeros."""
        self.graph.reset()
        self._reset()

    @abstractmethod
    def _encode(self, sample: Sample) -> Floats:
        """Hook: return [T, D] float32, a new array."""

    def _reset(self) -> None:  # noqa: B027 - most encoders keep nothing outside their graph
        """Hook: forget what the subclass keeps."""


class Decoder(ABC):
    """Output latents in, axis values out. A subclass writes `_decode`."""

    def __init__(self, graph: Graph, space: Space, source: str) -> None:
        self.graph = graph
        self.space = space
        self.source = source

    def decode(self, latents: Latents, feedback: Sample | None = None) -> dict[str, float]:
        """Turn output latents into a target for each axis, in the axis's unit.

        `feedback` is the newest sample of the component's own sensor (the motor's pose), None when it has none.
        Raises LatentError for latents of another space or a result that is not finite.
        """
        if latents.space.space_id != self.space.space_id:
            came = f"latents of space {latents.space}"
            raise LatentError(self.source, came, f"space {self.space}", "use the decoder of this bundle")
        values = self._decode(latents, feedback)
        for axis, value in values.items():
            if not np.isfinite(value):
                raise LatentError(f"{self.source}.{axis}", f"decoded {value}", "a finite value", "check the bundle")
        return values

    def reset(self) -> None:
        """Forget the stream so far: states to zeros."""
        self.graph.reset()

    @abstractmethod
    def _decode(self, latents: Latents, feedback: Sample | None) -> dict[str, float]:
        """Hook: return the target of every axis."""
