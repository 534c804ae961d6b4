"""The latent packet and the border that every packet crosses on its way into the backbone.

Invariants: a packet that exists is valid (checked once, at construction) and immutable. A packet that the border
refuses leaves everything behind it as it was: checks come before any effect.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from innervate.runtime.ali.errors import LatentError, SpaceMismatch
from innervate.runtime.ali.space import Floats, Space

Stamps = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Latents:
    """T latents of one source, with the time at which each was captured.

    data: [T, D] float32, finite, T >= 1. t_ns: [T] int64, nanoseconds of the device's clock at capture, non-decreasing.
    source: the component's name. seq: the packet's number at its source. Arrays become read-only.
    Raises LatentError when any of this does not hold.
    """

    data: Floats
    space: Space
    t_ns: Stamps
    source: str
    seq: int

    def __post_init__(self) -> None:
        check_data(self.source, self.data, self.space.width)
        rows = self.data.shape[0]
        if self.t_ns.dtype != np.int64 or self.t_ns.shape != (rows,):
            came = f"capture times {self.t_ns.dtype} {list(self.t_ns.shape)}"
            raise LatentError(self.source, came, f"int64 [{rows}]", "stamp every latent at capture")
        if rows > 1 and bool((np.diff(self.t_ns) < 0).any()):
            raise LatentError(
                self.source,
                "capture times go backwards inside a packet",
                "non-decreasing nanoseconds",
                "stamp with the injected clock",
            )
        self.data.flags.writeable = False
        self.t_ns.flags.writeable = False


def check_data(who: str, data: object, width: int) -> None:
    """Raise LatentError unless `data` is [T, width] float32 with T >= 1 and finite values."""
    if not isinstance(data, np.ndarray) or data.dtype != np.float32:
        came = f"latents of dtype {getattr(data, 'dtype', type(data).__name__)}"
        raise LatentError(who, came, "float32", "convert at the encoder")
    if data.ndim != 2 or data.shape[0] < 1 or data.shape[1] != width:
        came = f"latents of shape {list(data.shape)}"
        raise LatentError(who, came, f"[T, {width}] with T >= 1", "use an encoder trained for this bundle")
    if b"\0" in np.isfinite(data).tobytes():  # half the time of .all()
        bad = int(np.count_nonzero(~np.isfinite(data)))
        raise LatentError(who, f"latents with {bad} non-finite values", "finite values", "look at the sensor's raw data")


class Border:
    """The one door into the backbone: admits packets of its space whose time does not run backwards at their source.

    `admit` returns the packet's [T, D] data, or raises SpaceMismatch or LatentError and remembers nothing of the
    packet.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self._newest_ns: dict[str, int] = {}

    def admit(self, latents: Latents) -> Floats:
        """Check one packet against the space and its source's clock; return its data [T, D]."""
        if latents.space.space_id != self.space.space_id:
            raise SpaceMismatch(
                latents.source,
                f"latents of space {latents.space.space_id}",
                f"the backbone's {self.space.space_id}",
                "negotiate an adapter before sending",
            )
        if latents.data.shape[1] != self.space.width:  # all else was checked when the packet was made
            check_data(latents.source, latents.data, self.space.width)
        newest_ns = self._newest_ns.get(latents.source)
        if newest_ns is not None and int(latents.t_ns[0]) < newest_ns:
            raise LatentError(
                latents.source,
                f"a latent captured at {int(latents.t_ns[0])} ns after one of {newest_ns} ns",
                "capture times that do not go backwards",
                "stamp with the injected clock",
            )
        self._newest_ns[latents.source] = int(latents.t_ns[-1])
        return latents.data

    def forget(self, source: str) -> None:
        """Forget the newest stamp of `source`: it has been restarted and may begin a new time line."""
        self._newest_ns.pop(source, None)
