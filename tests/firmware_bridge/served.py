"""The firmware's core behind a TCP port, in real time: a board for tests of the link that need a flash or many restarts, and no QEMU."""

from __future__ import annotations

import select
import socket
import threading
import time
from types import TracebackType

from innervate.firmware_bridge.simulated import SimulatedMcu

TURN_S = 0.001


class Served:
    """Serves `mcu` on `url` until closed; one client at a time. Hold `lock` to touch the mcu meanwhile."""

    def __init__(self, mcu: SimulatedMcu) -> None:
        self.mcu = mcu
        self.lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"socket://127.0.0.1:{self._listener.getsockname()[1]}"
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        client: socket.socket | None = None
        last = time.monotonic()
        while not self._ending.is_set():
            for sock in select.select([client or self._listener], [], [], TURN_S)[0]:
                if sock is self._listener:
                    client, _ = self._listener.accept()
                    continue
                try:
                    data = sock.recv(1024)
                except ConnectionError:  # it left with our words unread
                    data = b""
                if data:
                    with self.lock:
                        self.mcu.feed(data)
                else:
                    sock.close()
                    client = None
            now = time.monotonic()
            with self.lock:
                self.mcu.advance_ms((now - last) * 1000)
                said = self.mcu.take()
            last = now
            if client is not None and said:
                try:
                    client.sendall(said)
                except OSError:
                    client.close()
                    client = None
        if client is not None:
            client.close()

    def __enter__(self) -> Served:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ending.set()
        self._thread.join(5.0)
        self._listener.close()
