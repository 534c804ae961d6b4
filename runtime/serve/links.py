"""A link: frames in, frames out, over a Unix or TCP stream or a WebSocket. Every wait is bounded except the one for the next frame.

Rules:
- `receive` is called by one thread, `send` by any number.
- A peer that stops in the middle of a frame for STALL_S, or does not take what is sent for STALL_S, is given up: ServeError "gone".
  Between two frames it may be silent for as long as it likes.
- After a ServeError out of `receive` or `send` nobody knows where a frame begins: close the link.
"""

import os
import select
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Protocol

from innervate.runtime.serve import wire
from innervate.runtime.serve.wire import HEADER, Frame, ServeError

STALL_S = 5.0
SOCKET_BYTES = 1 << 20  # of the kernel's buffer each way: a frame of a tick's latents never waits for its reader
READ_AHEAD = 64 * 1024  # bytes taken from the kernel at once: a small frame is one call
STALL_LIMIT = struct.pack("@ll", int(STALL_S), int(STALL_S % 1 * 1e6))  # as the kernel wants it, a struct timeval


class Link(Protocol):
    """One end of a connection."""

    peer: str

    def receive(self, timeout_s: float | None = None) -> Frame | None:
        """Wait for the next frame; None when the peer has closed between two frames.

        Raises ServeError, also when nothing came within `timeout_s` (None: no limit), give or take STALL_S.
        """
        ...

    def waits(self, timeout_s: float) -> bool:
        """Return whether something has come, or the end, within `timeout_s`: `receive` then does not wait for long."""
        ...

    def send(self, kind: int, id: int = 0, meta: dict[str, Any] | None = None, body: Any = b"") -> None:
        """Send one frame. Raises ServeError when the peer has gone or does not read."""
        ...

    def close(self) -> None:
        """End the connection; wakes a thread that waits in `receive`. Never raises."""
        ...


class StreamLink:
    """Frames on a stream socket."""

    def __init__(self, sock: socket.socket, peer: str) -> None:
        self.peer = peer
        self._sock = sock
        self._sending = threading.Lock()
        self._buffer = bytearray(READ_AHEAD)
        self._view = memoryview(self._buffer)
        self._begin = self._end = 0  # of what has been read ahead
        sock.setblocking(True)
        # The kernel's own time limits cost no call of select before each read.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, STALL_LIMIT)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, STALL_LIMIT)
        for size in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            sock.setsockopt(socket.SOL_SOCKET, size, SOCKET_BYTES)

    def receive(self, timeout_s: float | None = None) -> Frame | None:
        """Wait for the next frame."""
        if not self._have(HEADER.size, True, timeout_s):
            return None
        kind, id, meta_size, body_size = wire.read_header(self._view[self._begin : self._begin + HEADER.size], self.peer)
        self._begin += HEADER.size
        meta = wire.read_meta(self._take(meta_size), self.peer) if meta_size else {}
        return Frame(kind, id, meta, self._take(body_size) if body_size else b"")

    def waits(self, timeout_s: float) -> bool:
        """Return whether something has come."""
        if self._end > self._begin:
            return True
        try:
            return bool(select.select([self._sock], [], [], max(0.0, timeout_s))[0])
        except (OSError, ValueError):  # closed meanwhile
            return True

    def send(self, kind: int, id: int = 0, meta: dict[str, Any] | None = None, body: Any = b"") -> None:
        """Send one frame."""
        begin = wire.head(kind, id, meta, len(body))
        with self._sending:
            try:
                sent = self._sock.sendmsg((begin, body))
                whole = len(begin) + len(body)
                if sent < whole:
                    self._send_rest(memoryview(begin + bytes(body))[sent:])
            except BlockingIOError as error:
                raise self._gone(f"did not read for {STALL_S:g} s", "read what is sent, or ask for less") from error
            except OSError as error:
                raise self._gone(f"closed the connection ({error.strerror or error})", "connect again") from error

    def close(self) -> None:
        """End the connection."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        with suppress(OSError):
            self._sock.close()

    def _send_rest(self, rest: memoryview) -> None:
        while len(rest):
            rest = rest[self._sock.send(rest) :]

    def _have(self, size: int, idle: bool, timeout_s: float | None) -> bool:
        """Read ahead until `size` bytes are there; False at the end of the stream, when that is between two frames (`idle`)."""
        waited_s = 0.0
        while self._end - self._begin < size:
            if self._begin == self._end:
                self._begin = self._end = 0
            elif self._begin + size > len(self._buffer):
                rest = self._end - self._begin
                self._view[:rest] = bytes(self._view[self._begin : self._end])
                self._begin, self._end = 0, rest
            between = idle and self._begin == self._end
            got = self._read(self._view[self._end :], between)
            if got is None:
                waited_s += STALL_S
                if timeout_s is not None and waited_s >= timeout_s:
                    raise self._gone(f"sent nothing for {waited_s:g} s", "say what you came for")
                continue
            if got == 0:
                if between:
                    return False
                raise self._gone("ended in the middle of a frame", "connect again")
            self._end += got
        return True

    def _take(self, size: int) -> bytearray:
        """Return the next `size` bytes of the frame, in memory of their own."""
        if self._end - self._begin >= size:  # all of it has been read ahead: one copy and no zeros before it
            begin = self._begin
            self._begin += size
            return bytearray(self._view[begin : self._begin])
        whole = bytearray(size)
        ready = min(size, self._end - self._begin)
        whole[:ready] = self._view[self._begin : self._begin + ready]
        self._begin += ready
        rest = memoryview(whole)[ready:]
        while len(rest):
            got = self._read(rest, False)
            if not got:
                raise self._gone("ended in the middle of a frame", "connect again")
            rest = rest[got:]
        return whole

    def _read(self, into: memoryview, may_wait: bool) -> int | None:
        """Read once; None when nothing came in time and that is no fault."""
        try:
            return self._sock.recv_into(into)
        except BlockingIOError as error:
            if may_wait:
                return None
            raise self._gone(f"stopped in the middle of a frame for {STALL_S:g} s", "send frames whole") from error
        except OSError as error:
            if may_wait:
                return 0  # a connection reset between two frames has ended, no more
            raise self._gone(f"broke the connection ({error.strerror or error})", "connect again") from error

    def _gone(self, came: str, step: str) -> ServeError:
        return ServeError("gone", self.peer, came, "", step)


class WebSocketLink:
    """Frames as binary messages of the library `websockets` (its threading implementation, either side)."""

    def __init__(self, connection: Any, peer: str, close: Callable[[], None] | None = None) -> None:
        self.peer = peer
        self._connection = connection
        self._close = close or connection.close
        self._sending = threading.Lock()
        self._early: Any = None  # a message that `waits` has taken already

    def receive(self, timeout_s: float | None = None) -> Frame | None:
        """Wait for the next message."""
        from websockets.exceptions import ConnectionClosed

        try:
            message = self._connection.recv(timeout_s) if self._early is None else self._early
            self._early = None
        except TimeoutError as error:
            raise ServeError("gone", self.peer, f"sent nothing for {timeout_s:g} s", "", "say what you came for") from error
        except ConnectionClosed as error:
            close = error.rcvd or error.sent
            if close is not None and close.code == 1009:
                came = "a message longer than a frame may be"
                raise ServeError("oversized", self.peer, came, f"at most {wire.BODY_MAX} bytes of body", "send the latents in parts") from error
            return None
        if isinstance(message, str):
            raise ServeError("frame", self.peer, "a text message", "binary messages, one frame each", "see docs/serve.md")
        if len(message) < HEADER.size:
            raise ServeError("frame", self.peer, f"a message of {len(message)} bytes", f"{HEADER.size} or more", "see docs/serve.md")
        kind, id, meta_size, body_size = wire.read_header(message, self.peer)
        if len(message) != HEADER.size + meta_size + body_size:
            came = f"a message of {len(message)} bytes whose header says {HEADER.size + meta_size + body_size}"
            raise ServeError("frame", self.peer, came, "one whole frame a message", "see docs/serve.md")
        begin = HEADER.size + meta_size
        meta = wire.read_meta(message[HEADER.size : begin], self.peer)
        return Frame(kind, id, meta, bytearray(message[begin:]))

    def waits(self, timeout_s: float) -> bool:
        """Return whether something has come."""
        from websockets.exceptions import ConnectionClosed

        if self._early is None:
            try:
                self._early = self._connection.recv(max(0.0, timeout_s))
            except TimeoutError:
                return False
            except ConnectionClosed:
                return True
        return True

    def send(self, kind: int, id: int = 0, meta: dict[str, Any] | None = None, body: Any = b"") -> None:
        """Send one message."""
        from websockets.exceptions import ConnectionClosed

        message = wire.head(kind, id, meta, len(body)) + bytes(body)
        with self._sending:
            try:
                self._connection.send(message)
            except (ConnectionClosed, OSError) as error:
                raise ServeError("gone", self.peer, f"closed the connection ({error})", "", "connect again") from error

    def close(self) -> None:
        """End the connection."""
        with suppress(Exception):  # whatever the other side or the library does by now, it is over
            self._close()


def connect_unix(path: Path) -> StreamLink:
    """Connect to a server's Unix socket. Raises ServeError when nobody listens there."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.connect(os.fspath(path))
    except OSError as error:
        sock.close()
        step = "start one: innervate serve --board emulator; it prints its addresses"
        raise ServeError("gone", f"unix:{path}", f"cannot be reached ({error.strerror or error})", "a running server", step) from error
    return StreamLink(sock, f"unix:{path}")


def connect_websocket(url: str, timeout_s: float) -> WebSocketLink:
    """Connect to ws://HOST:PORT. Raises ServeError when nobody listens there, or the library is missing."""
    try:
        from websockets.sync.client import connect
    except ImportError as error:
        step = "pip install 'innervate[serve]', or connect to the server's Unix socket"
        raise ServeError("request", url, "the library websockets is not installed", "it, for ws:// addresses", step) from error
    most = wire.BODY_MAX + wire.META_MAX + HEADER.size
    stack = ExitStack()  # the library wants to be entered; a link is closed by a method
    try:
        connection = stack.enter_context(connect(url, open_timeout=timeout_s, close_timeout=1.0, max_size=most, compression=None))
    except Exception as error:  # the library's own, and the system's
        step = "start one: innervate serve --board emulator; it prints its addresses"
        raise ServeError("gone", url, f"cannot be reached ({error})", "a running server", step) from error
    return WebSocketLink(connection, url, stack.close)
