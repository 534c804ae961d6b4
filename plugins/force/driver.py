"""The grip's load cell behind the microcontroller."""

from collections.abc import Mapping
from contextlib import suppress

import msgspec
import numpy as np
import numpy.typing as npt

from innervate.firmware_bridge.known import Sample
from innervate.firmware_bridge.link import Link, LinkError
from innervate.firmware_bridge.shared import borrow, give_back
from innervate.plugins.force.latent import RATE_HZ, WINDOW
from innervate.runtime.ali.component import Context, Limit, Sensor
from innervate.runtime.ali.errors import DeviceError
from innervate.runtime.ali.options import read_options

PERIOD_NS = 1_000_000_000 // RATE_HZ
BATCH_NS = 4 * PERIOD_NS  # one read gives so much: half a tick, so that none is stale and few threads wake
OPEN_S = 3.0
SILENT_NS = 500_000_000  # no new conversion for so long: the cell is gone
INVALID = 1 << 4  # of telemetry.device_faults


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[component.force.options]` of a board."""

    url: str = ""
    rest_n: float = 0.0


class Force(Sensor):
    """Gives the grip force since the last read, float32 [N] newtons at 100 Hz, stamped by the firmware's clock.

    Each 10 ms instant has the newest conversion before it, so a lost frame or a slow transmitter stretches nothing; of a gap only the last 1.04 s
    are filled. It is the one reader of the link's telemetry queue. Raises DeviceError when no conversion came for half a second.
    """

    dtype = np.float32
    shape = (None,)

    def __init__(self, context: Context, limits: Mapping[str, Limit] | None = None) -> None:
        super().__init__(context, limits)
        self._options = read_options(context, Options)
        self._link: Link | None = None

    def _open(self) -> None:
        self._link = borrow(self._options.url, self.context.clock, OPEN_S)
        self._link.drain()
        self._held: float | None = None
        self._force_seq = -1
        self._grid_ns = 0
        self._heard_ns = self._looked_ns = self.context.clock.now_ns()

    def _read(self, timeout_s: float) -> tuple[npt.NDArray[np.float32], int] | None:
        link = self._link
        assert link is not None  # the base refuses a read while closed
        due_ns = self._looked_ns + BATCH_NS  # since the last look, not the last force: a silent cell must not make this turn without a wait
        if timeout_s > 0:
            with suppress(LinkError):
                link.wait(lambda: link.telemetry is not None and link.telemetry.stamp.t_ns >= due_ns, timeout_s)
        self._looked_ns = link.telemetry.stamp.t_ns if link.telemetry is not None else self._looked_ns
        forces: list[float] = []
        now_ns = self.context.clock.now_ns()
        for sample in link.drain():
            self._take(sample, forces, now_ns)
        if now_ns - self._heard_ns > SILENT_NS:
            came = "no conversion of the load cell for half a second"
            raise DeviceError(self.name, came, f"{RATE_HZ} a second", link.info.fault or "check the transmitter's power and cable")
        return (np.asarray(forces, np.float32), min(self._grid_ns, now_ns)) if forces else None

    def _take(self, sample: Sample, forces: list[float], now_ns: int) -> None:
        """Fill the grid up to this telemetry with what was held before it, then hold what it says."""
        telemetry, t_ns = sample.telemetry, min(sample.stamp.t_ns, now_ns)
        if telemetry.device_faults & INVALID:
            return
        if self._held is None:
            self._grid_ns = t_ns // PERIOD_NS * PERIOD_NS
            self._held = telemetry.force_n
        count = max(0, (t_ns - self._grid_ns) // PERIOD_NS)
        forces += [self._held] * min(count, WINDOW)
        self._grid_ns += count * PERIOD_NS
        self._held = telemetry.force_n
        if telemetry.force_seq != self._force_seq:
            self._force_seq = telemetry.force_seq
            self._heard_ns = now_ns

    def _close(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            give_back(link)
