"""The keyboard and the terminal."""

import codecs
import os
import select
import sys

import msgspec
import numpy as np
import numpy.typing as npt

from innervate.runtime.ali.component import Sensor, Sink
from innervate.runtime.ali.errors import DeviceError
from innervate.runtime.ali.options import read_options

BYTES_MAX = 256  # a read takes no more, so that a pasted page cannot fill a tick; the rest waits in the system's buffer


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[component.text_in.options]` of a board."""

    path: str = ""


class Keyboard(Sensor):
    """Gives the bytes typed since the last read, uint8 [N], N <= 256, stamped when they were read.

    Reads standard input, or the option `path`, without ever blocking a tick; a terminal hands over whole lines. At the
    end of the input (`< /dev/null`, Ctrl-D) nothing more comes, which is no fault: a device may run with no keyboard.
    """

    dtype = np.uint8
    shape = (None,)

    def _open(self) -> None:
        self._fd = -1
        self._ended = False
        path = read_options(self.context, Options).path
        try:
            # Opened for writing too: a FIFO then outlives the programs that write to it.
            self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC) if path else os.dup(sys.stdin.fileno())
        except (OSError, ValueError, AttributeError) as error:  # stdin may be closed, replaced or None
            if not path:
                self._ended = True
                return
            step = "correct its option path, or allow your user to read and write it"
            raise DeviceError(self.name, f"{path}: {error}", "a FIFO or a serial device", step) from error

    def _read(self, timeout_s: float) -> tuple[npt.NDArray[np.uint8], int] | None:
        if self._ended:
            return None
        # A read from the background of a shell would stop the whole program, motors and all (SIGTTIN).
        watched = [] if self._in_background() else [self._fd]
        ready, _, _ = select.select(watched, [], [], max(0.0, timeout_s))
        if not ready:
            return None
        typed = os.read(self._fd, BYTES_MAX)
        if not typed:
            self._ended = True
            return None
        return np.frombuffer(typed, np.uint8), self.context.clock.now_ns()

    def _in_background(self) -> bool:
        try:
            return os.tcgetpgrp(self._fd) != os.getpgrp()
        except OSError:  # not the terminal that this program was started from
            return False

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Terminal(Sink):
    """Prints what the model says on standard output as it comes.

    Bytes that are not UTF-8 and control characters other than tab and line feed show as a replacement mark: a model
    must not be able to move the cursor or retitle the window.
    """

    def _open(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def _write(self, data: bytes) -> None:
        said = self._decoder.decode(data)
        sys.stdout.write("".join(c if c in "\t\n" or c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in said))
        sys.stdout.flush()
