"""The socket that joins a simulated device to an emulated UART (`-serial tcp:HOST:PORT,server=on,wait=off,nodelay=on` or the other way round).

One thread for each port. Bytes go to the device as they come, answers leave when the device's time for them has come. A peer that goes is waited
for again: nothing is kept for it. Loopback is the default; nothing here asks who the peer is.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType

from innervate.boards.emulator.devices.wire import Device

CHUNK = 4096
WAIT_S = 0.2  # longest sleep without a reason to wake
RETRY_S = 0.05  # between two attempts to reach a peer that does not listen yet
SEND_S = 1.0  # a peer that takes nothing for this long is dropped
JOIN_S = 5.0
EARLY_NS = 1_000_000  # an answer due within this leaves at once: a socket does not keep such times, and each sleep is a chance to wake late
GAP_NS = 500_000_000  # on a busy machine tens of milliseconds can pass between two reads of bytes that were sent together


class DevicePort:
    """Serve `device` on a TCP connection until closed. Its `gap_ns` is raised, since a socket does not keep the time between bytes.

    With `connect` it calls on that address, again and again until there is an answer; else it listens on `listen` (port 0: any free one, told by
    `address`). `lock`, if given, is held while the device works: for those who change its faults from another thread. Raises OSError
    when it cannot listen. An error of the device ends the port and is raised by `close`.
    """

    def __init__(
        self,
        device: Device,
        listen: tuple[str, int] = ("127.0.0.1", 0),
        connect: tuple[str, int] | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
        lock: threading.Lock | None = None,
    ) -> None:
        self.device = device
        device.gap_ns = max(device.gap_ns, GAP_NS)
        self.lock = lock if lock is not None else threading.Lock()
        self._clock = clock
        self._connect = connect
        self._error: Exception | None = None
        self._stop = threading.Event()
        self._wake_out, self._wake_in = socket.socketpair()
        self._listener: socket.socket | None = None
        if connect is not None:
            host, number = connect
        else:
            try:
                self._listener = socket.create_server(listen, backlog=1)
            except OSError:
                self._wake_in.close()
                self._wake_out.close()
                raise
            host, number = self._listener.getsockname()[:2]
        self.address: tuple[str, int] = (host, number)
        self._thread = threading.Thread(target=self._run, name=f"{type(device).__name__}@{self.address[1]}", daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether it serves: False once the device has raised, or after `close`."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Stop serving; raises what the device raised. Safe to call twice."""
        self._stop.set()
        if self._thread.is_alive():
            self._wake_in.send(b"x")
            self._thread.join(JOIN_S)
        for sock in (self._wake_in, self._wake_out, self._listener):
            if sock is not None:
                sock.close()
        error, self._error = self._error, None
        if error is not None:
            raise error

    def __enter__(self) -> DevicePort:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                peer = self._meet()
                if peer is not None:
                    with peer:
                        self._serve(peer)
        except Exception as error:  # the thread's last word goes to whoever closes the port
            self._error = error

    def _meet(self) -> socket.socket | None:
        """A connection to the peer, or None when there is none yet."""
        if self._listener is not None:
            ready = select.select([self._listener, self._wake_out], [], [], WAIT_S)[0]
            peer = self._listener.accept()[0] if self._listener in ready else None
        else:
            assert self._connect is not None
            try:
                peer = socket.create_connection(self._connect, timeout=SEND_S)
            except OSError:
                self._stop.wait(RETRY_S)
                return None
        if peer is not None:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            peer.settimeout(SEND_S)
        return peer

    def _serve(self, peer: socket.socket) -> None:
        """Carry bytes between peer and device until either ends."""
        while not self._stop.is_set():
            with self.lock:
                due = self.device.due_ns()
            wait_s = WAIT_S if due is None else min(WAIT_S, max(0.0, (due - EARLY_NS - self._clock()) * 1e-9))
            ready = select.select([peer, self._wake_out], [], [], wait_s)[0]
            try:
                data = peer.recv(CHUNK) if peer in ready else None
                with self.lock:
                    if data:
                        self.device.feed(data, self._clock())
                    answer = self.device.take(self._clock() + EARLY_NS)
                if answer:
                    peer.sendall(answer)
            except OSError:
                return  # the peer is gone, or takes nothing
            if data == b"":
                return
