"""A TCP proxy between a link and QEMU that does to the bytes what lossy.Faults says, in both directions."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from types import TracebackType

from innervate.firmware_bridge.line_faults import Faults

CHUNK = 64  # small, so that "a whole chunk" is about a frame


class FaultProxy:
    """Listens on `url` and joins each client to `target`. `rate_bytes_s` slows both directions; `cut` ends the connection of now."""

    def __init__(self, target: tuple[str, int], up: Faults, down: Faults, rate_bytes_s: float | None = None) -> None:
        self.up, self.down = up, down
        self._target = target
        self._rate = rate_bytes_s
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ending = threading.Event()
        self._pair: tuple[socket.socket, ...] = ()
        self.url = f"socket://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """Pull the plug; the next client is served again."""
        for sock in self._pair:
            with contextlib.suppress(OSError):  # the other half may have closed both by now
                sock.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        while not self._ending.is_set():
            if not select.select([self._listener], [], [], 0.05)[0]:
                continue
            client, _ = self._listener.accept()
            with client, socket.create_connection(self._target) as server:
                for sock in (client, server):
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._pair = (client, server)
                try:
                    self._join(client, server)
                except OSError:
                    continue
                finally:
                    self._pair = ()

    def _join(self, client: socket.socket, server: socket.socket) -> None:
        while not self._ending.is_set():
            for sock in select.select([client, server], [], [], 0.05)[0]:
                data = sock.recv(CHUNK)
                if not data:
                    return
                faults, other = (self.up, server) if sock is client else (self.down, client)
                if self._rate:
                    time.sleep(len(data) / self._rate)
                other.sendall(faults.apply(data))

    def __enter__(self) -> FaultProxy:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ending.set()
        self._thread.join(5.0)
        self._listener.close()
