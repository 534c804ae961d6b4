"""The microphone's twin: hears the world, or a WAV file, or silence."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from innervate.plugins.mic.settings import BACKLOG_BLOCKS, BLOCK, BLOCK_NS, RATE_HZ, Options
from innervate.plugins.mic.wav import read_wav
from innervate.runtime.ali.component import Sensor
from innervate.runtime.ali.options import read_options


class VirtualMicrophone(Sensor):
    """Gives int16 [1280] at 16 kHz for every 80 ms that pass on the clock, exact and without noise of its own.

    Blocks lie on multiples of 80 ms, the first at or after the open. A reader that falls behind loses the oldest blocks;
    `dropped` counts them. Without a world it hears the option `wav` from the open on, then silence.

    Not imitated: a sound card's clock drift, its overruns, the 1-100 ms that a driver takes to hand a block over.
    """

    dtype = np.int16
    shape = (BLOCK,)

    def _open(self) -> None:
        options = read_options(self.context, Options)
        self.dropped = 0
        self._next_ns = -(-self.context.clock.now_ns() // BLOCK_NS) * BLOCK_NS
        self._loop = options.loop
        self._played = 0  # samples
        self._sound = np.zeros(0, np.int16)  # [N]
        if self.context.world is None and options.wav:
            self._sound = read_wav(Path(options.wav), RATE_HZ)

    def _read(self, timeout_s: float) -> tuple[npt.NDArray[np.int16], int] | None:
        due = (self.context.clock.now_ns() - self._next_ns) // BLOCK_NS
        if due < 1:
            return None
        if due > BACKLOG_BLOCKS:
            late = due - BACKLOG_BLOCKS
            self.dropped += late
            self._skip(late)
        start_ns, self._next_ns = self._next_ns, self._next_ns + BLOCK_NS
        if self.context.world is not None:
            return self.context.world.audio(start_ns, self._next_ns), self._next_ns
        return self._from_file(), self._next_ns

    def _skip(self, blocks: int) -> None:
        self._next_ns += blocks * BLOCK_NS
        self._played += blocks * BLOCK

    def _from_file(self) -> npt.NDArray[np.int16]:
        at = np.arange(self._played, self._played + BLOCK)
        self._played += BLOCK
        if not len(self._sound):
            return np.zeros(BLOCK, np.int16)
        heard = self._sound[at % len(self._sound)]
        return heard if self._loop else np.where(at < len(self._sound), heard, np.int16(0))
