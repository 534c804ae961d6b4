"""Twins of keyboard and terminal."""

from collections import deque

import numpy as np
import numpy.typing as npt

from innervate.runtime.ali.component import Sensor, Sink

UTTERANCES_MAX = 1000  # finished utterances that a twin keeps for a test to look at
BYTES_MAX = 4096  # of one unfinished utterance; a longer one is cut, as a model that never ends its line


class VirtualKeyboard(Sensor):
    """Gives the bytes that the world typed since the last read, uint8 [N]; each input ends with a line feed.

    Without a world nobody types. Not imitated: the time between keys.
    """

    dtype = np.uint8
    shape = (None,)

    def _open(self) -> None:
        self._read_ns = self.context.clock.now_ns()

    def _read(self, timeout_s: float) -> tuple[npt.NDArray[np.uint8], int] | None:
        now_ns = self.context.clock.now_ns()
        if self.context.world is None or now_ns <= self._read_ns:
            return None
        since_ns, self._read_ns = self._read_ns, now_ns
        typed = self.context.world.typed(since_ns, now_ns)
        return (np.frombuffer(typed, np.uint8), now_ns) if typed else None


class VirtualTerminal(Sink):
    """Keeps what the model says, one entry of `utterances` a line; the newest thousand.

    Not imitated: a terminal's width and its control codes.
    """

    def _open(self) -> None:
        self.utterances: deque[str] = deque(maxlen=UTTERANCES_MAX)
        self._running = b""

    def _write(self, data: bytes) -> None:
        *finished, rest = (self._running + data).split(b"\n")
        self.utterances.extend(line.decode("utf-8", "replace") for line in finished)
        self._running = rest[:BYTES_MAX]
