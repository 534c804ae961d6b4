"""The device's end of the socket to its serving process: neither sending nor receiving ever waits.

What cannot be sent at once waits in a buffer of WAITING_MAX bytes. When that is full the serving process has stopped reading: it is of
no use any more, and `broken` says so.
"""

import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from innervate.runtime.serve import wire
from innervate.runtime.serve.wire import Frame, FrameBuffer, Kind, ServeError

WAITING_MAX = 4 * 1024 * 1024  # bytes: minutes of a busy device's events
TURN_BYTES = 1 << 20  # taken in one turn; the rest waits in the system's buffer, and the sender with it


class Outlet:
    """Frames to and from the serving process, from within a turn."""

    def __init__(self, sock: socket.socket) -> None:
        self.broken: str | None = None
        self._sock = sock
        self._waiting = bytearray()
        self._frames = FrameBuffer("serve")
        sock.setblocking(False)

    def send(self, kind: Kind, id: int = 0, meta: dict[str, Any] | None = None, body: Any = b"") -> None:
        """Put a frame on its way; `flush` sends it."""
        if self.broken is None:
            self._waiting += wire.head(kind, id, meta, len(body))
            self._waiting += body
            if len(self._waiting) > WAITING_MAX:
                self.broken = f"the serving process does not read ({len(self._waiting)} bytes wait)"

    def flush(self) -> None:
        """Send what can be sent now."""
        try:
            while self._waiting and self.broken is None:
                del self._waiting[: self._sock.send(self._waiting)]
        except BlockingIOError:
            pass
        except OSError as error:
            self.broken = f"the serving process has gone ({error.strerror})"

    def receive(self) -> Iterator[Frame]:
        """Give the whole frames that have come."""
        left = TURN_BYTES
        try:
            while left > 0 and (data := self._sock.recv(left)):
                left -= len(data)
                self._frames.feed(data)
            if left > 0 and not data:
                self.broken = self.broken or "the serving process has ended"
        except BlockingIOError:
            pass
        except OSError as error:
            self.broken = f"the serving process has gone ({error.strerror})"
        try:
            while (frame := self._frames.next()) is not None:
                yield frame
        except ServeError as error:
            self.broken = str(error)

    def close(self) -> None:
        """Close the socket; the serving process ends by that."""
        with suppress(OSError):
            self._sock.close()
