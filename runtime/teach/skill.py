"""The component that a taught skill is: it listens to a sense, and when it recognises what it was shown it speaks to the model.

`plugin.toml` of every taught skill names these two classes; the networks lie beside it. The detector sees every packet of the sense that it
listens to and keeps a window of them inside its graph. When it is sure it gives one sample, the number of what it recognised; the encoder's
table turns that into the latents that were found to make the model do what the owner asked for.
"""

from __future__ import annotations

from collections import deque

import msgspec
import numpy as np
import numpy.typing as npt

from innervate.runtime.ali.component import Encoder, Sample, Sensor
from innervate.runtime.ali.errors import DeviceError, LatentError
from innervate.runtime.ali.options import read_options
from innervate.runtime.ali.space import Floats

DETECTOR_FILE, ENCODER_FILE = "detector.onnx", "encoder.onnx"
NOTHING = 0  # the class of everything that was not taught
WAITING_MAX = 8  # recognised and not yet read; the loop reads four a tick


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[component.NAME.options]` of a board; the defaults are what the skill was judged with.

    `sure`: lowest probability that counts. `packets`: so many in a row. `rest_packets`: so many of nothing before it may happen again.
    """

    sure: float = 0.6
    packets: int = 2
    rest_packets: int = 3


class Trigger:
    """Decides from the detector's probabilities, packet by packet, when something has happened: once for each time."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._armed, self._class, self._count, self._quiet = True, NOTHING, 0, 0

    def see(self, p: Floats) -> int:
        """Take the probabilities [C] of one packet; return the class that has just happened, NOTHING mostly."""
        best = int(p.argmax())
        sure = best != NOTHING and float(p[best]) >= self._options.sure
        self._count = self._count + 1 if sure and best == self._class else int(sure)
        self._class = best if sure else NOTHING
        self._quiet = self._quiet + 1 if best == NOTHING else 0
        if not self._armed:
            self._armed = self._quiet >= self._options.rest_packets
        elif self._count >= self._options.packets:
            self._armed = False
            return best
        return NOTHING


class Taught(Sensor):
    """Gives the number of what was recognised, uint8 [1], once for each time that it happens.

    Raises DeviceError without a tap (its manifest lacks `listens`), LatentError for latents of another shape than those it was taught on.
    """

    dtype = np.uint8
    shape = (1,)

    def _open(self) -> None:
        from innervate.runtime.backbone.graph import Graph  # late: with it onnxruntime

        if self.context.tap is None or self.context.folder is None:
            step = "teach it again; its plugin.toml must say `listens`"
            raise DeviceError(self.name, "nothing to listen to", "a tap on another sense", step)
        self._tap = self.context.tap
        self._graph = Graph(self.context.folder / DETECTOR_FILE, who=f"{self.name}.detector")
        self._trigger = Trigger(read_options(self.context, Options))
        self._happened: deque[tuple[int, int]] = deque(maxlen=WAITING_MAX)
        self._tap.take()  # what was sensed before this life

    def _read(self, timeout_s: float) -> tuple[npt.NDArray[np.uint8], int] | None:
        for sample, latents in self._tap.take():
            if latents.data.shape != self._graph.x_shape:
                came = f"{list(latents.data.shape)} latents of {self._tap.source}"
                raise LatentError(self.name, came, f"{list(self._graph.x_shape)}", f"teach it again: innervate teach {self.name} --again")
            happened = self._trigger.see(self._graph.run(latents.data)[0])
            if happened != NOTHING:
                self._happened.append((happened, sample.t_ns))
        if not self._happened:
            return None
        happened, t_ns = self._happened.popleft()
        return np.array([happened], np.uint8), t_ns


class TaughtEncoder(Encoder):
    """The number of what was recognised, uint8 [1], to the latents that say it to the model, [K, D]."""

    def _encode(self, sample: Sample) -> Floats:
        return self.graph.run(sample.data.astype(np.float32)).copy()
