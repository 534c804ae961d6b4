"""Bytes in and out of a serial port: the half of the link that does I/O.

A port is anything that `serial.serial_for_url` opens: `/dev/ttyACM0`, `/dev/serial/by-id/...`, `socket://127.0.0.1:5555` (a QEMU), `rfc2217://...`.
A port that cannot be opened or that vanishes is a `PortError` with the next step; `Transport` remembers how to open it again.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket as sockets
from pathlib import Path
from typing import Any

from innervate.runtime.ali.errors import DeviceError

BAUD = 1_000_000
CHUNK = 4096
OUT_MAX = 65536  # bytes that wait for the port; a port that takes none for so long is as good as gone


class PortError(DeviceError):
    """A serial port that cannot be opened, read or written."""


def _advice(url: str, error: Exception) -> tuple[str, str]:
    """Return what happened and the next step, in words."""
    code = getattr(error, "errno", None)
    text = str(error)
    if code == errno.ENOENT or "No such file" in text:
        near = ", ".join(sorted(str(p) for pattern in ("ttyACM*", "ttyUSB*") for p in Path("/dev").glob(pattern))) or "none"
        return "no such port", f"plug the board in, or name another port (here now: {near})"
    if code == errno.EACCES or "Permission denied" in text:
        return "not allowed to open it", f"add yourself to the group that owns it: sudo usermod -aG {_group(url)} $USER, then log in again"
    if code == errno.EBUSY or "exclusively lock" in text or "Resource temporarily unavailable" in text:
        return "another program has it open", f"close that program; `fuser {url}` names it"
    if code == errno.ECONNREFUSED or "refused" in text:
        return "nobody listens there", "start the emulator first"
    return text, "unplug the board, plug it in again"


def _group(url: str) -> str:
    try:
        return Path(url).group()
    except (OSError, KeyError, NotImplementedError):
        return "dialout"


class Transport:
    """One port, opened for this program alone. Not thread-safe but for `wake`."""

    def __init__(self, url: str, baud: int = BAUD) -> None:
        self.url = url
        self.baud = baud
        self._port: Any = None
        self._out = bytearray()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)

    @property
    def is_open(self) -> bool:
        """Whether the port is open."""
        return self._port is not None

    def open(self) -> None:
        """Open the port. Raises PortError with the next step."""
        import serial

        self.shut()
        try:
            if self.url.startswith("socket://"):
                host, _, number = self.url.removeprefix("socket://").partition(":")
                raw = sockets.create_connection((host, int(number)), timeout=2.0)
                raw.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_NODELAY, 1)
                raw.setblocking(False)
                self._port = raw
            else:
                self._port = serial.serial_for_url(self.url, baudrate=self.baud, timeout=0, write_timeout=0, exclusive=True)
        except (OSError, ValueError) as error:
            self._port = None
            came, step = _advice(self.url, error)
            raise PortError(self.url, came, "a serial port with our firmware", step) from error

    def shut(self) -> None:
        """Close the port; what waited to leave is forgotten. May be opened again."""
        port, self._port = self._port, None
        self._out.clear()
        if port is not None:
            with contextlib.suppress(OSError):
                port.close()

    def dispose(self) -> None:
        """Close for good."""
        self.shut()
        for end in (self._wake_read, self._wake_write):
            with contextlib.suppress(OSError):
                os.close(end)

    def wake(self) -> None:
        """End a `wait` that another thread sits in."""
        with contextlib.suppress(OSError):
            os.write(self._wake_write, b"\0")

    def wait(self, timeout_s: float) -> None:
        """Return when bytes may have come, `wake` was called, or time is up."""
        readers: list[Any] = [self._wake_read]
        if self._port is not None:
            readers.append(self._port)
        writers = [self._port] if self._out and self._port is not None else []
        try:
            select.select(readers, writers, [], max(0.0, timeout_s))
        except (OSError, ValueError) as error:
            self._fail(error)
        with contextlib.suppress(OSError):
            os.read(self._wake_read, CHUNK)

    def read(self) -> bytes:
        """Return what has come, b"" for nothing. Raises PortError when the port is gone."""
        port = self._port
        if port is None:
            return b""
        try:
            if isinstance(port, sockets.socket):
                try:
                    data = port.recv(CHUNK)
                except BlockingIOError:
                    return b""
                if not data:
                    raise OSError(errno.EPIPE, "the other end closed")
                return data
            return bytes(port.read(CHUNK))
        except (OSError, TypeError) as error:  # pyserial raises TypeError when the port is closed under it
            self._fail(error)
        return b""

    def write(self, data: bytes) -> None:
        """Send as much as the port takes now; the rest goes with the next call. Raises PortError when the port is gone or takes nothing."""
        if self._port is None:
            return
        self._out += data
        if not self._out:
            return
        if len(self._out) > OUT_MAX:
            self._fail(OSError(errno.EIO, f"{len(self._out)} bytes wait and the port takes none"))
        try:
            try:
                if isinstance(self._port, sockets.socket):
                    sent = self._port.send(self._out)
                else:
                    sent = os.write(self._port.fileno(), self._out)
            except BlockingIOError:
                sent = 0
            del self._out[:sent]
        except OSError as error:
            self._fail(error)

    def discard_unsent(self) -> None:
        """Forget what has not left yet, here and in the kernel where that can be told: something urgent comes. A frame may be cut by this."""
        self._out.clear()
        if self._port is not None and not isinstance(self._port, sockets.socket):
            with contextlib.suppress(OSError):
                self._port.reset_output_buffer()

    def _fail(self, error: Exception) -> None:
        self.shut()
        raise PortError(self.url, f"the port went away ({error})", "a port that stays", "plug it in again; the link reconnects by itself") from error
