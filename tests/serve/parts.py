"""What the tests of serving share: a served backbone, a served device in real time, and a port under the test's hand."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from innervate.boards.emulator import make_still
from innervate.runtime.ali.registry import Registry
from innervate.runtime.backbone.bundle import Bundle
from innervate.runtime.board import load_board
from innervate.runtime.loop.assemble import assemble
from innervate.runtime.loop.clock import RealClock, VirtualClock
from innervate.runtime.loop.device import Device
from innervate.runtime.loop.events import Event, Fan, Log
from innervate.runtime.loop.tick import TICK_NS
from innervate.runtime.serve import wire
from innervate.runtime.serve.client import Client, connect
from innervate.runtime.serve.port import Body, Port
from innervate.runtime.serve.process import ServingProcess
from innervate.runtime.serve.server import Server
from innervate.runtime.serve.wire import Floats, Frame, FrameBuffer, Kind
from innervate.runtime.serve.worker import Config, build
from tests.bundles import EO_MOTOR, SO_MOTOR

TOKEN = "a token for the tests only"
WAIT_S = 20.0  # longer than anything here takes; a test that waits so long has failed
BOARD = """\
[board]
name = "bench"
variant = "fp32"
world = "innervate.boards.emulator:make_still"
[component.pose]
plugin = "motor"
use = "virtual"
[component.motor]
plugin = "motor"
use = "virtual"
"""


class Kept:
    """A log that keeps its events and lets others wait for one."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._came = threading.Condition()

    def emit(self, event: Event) -> None:
        with self._came:
            self.events.append(event)
            self._came.notify_all()

    def of(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]

    def wait(self, true: Callable[[list[Event]], object]) -> None:
        """Wait until `true` of the events so far."""
        with self._came:
            assert self._came.wait_for(lambda: true(self.events), WAIT_S), self.events[-20:]


@contextmanager
def served_backbone(folder: Path, bundle: Path, variant: str = "fp32", **budget: float) -> Iterator[Server]:
    """A server without a device, in this process; its addresses: unix, ws, http."""
    config = Config(str(bundle), variant, TOKEN, str(folder / "s.sock"), ("127.0.0.1", 0), ("127.0.0.1", 0), **budget)
    server = build(config, None)
    try:
        yield server
    finally:
        server.close()


class Served:
    """A device that runs in real time on a thread, with a serving process; `address` is its Unix socket."""

    def __init__(self, folder: Path, bundle: Path) -> None:
        (folder / "board.toml").write_text(BOARD)
        self.log = Kept()
        logs: list[Log] = [self.log]
        self.fan = Fan(logs)
        board = load_board(folder / "board.toml")
        world = make_still(None, 0)
        self.device: Device = assemble(board, Bundle.open(bundle), Registry(entry_points=False), RealClock(), world, self.fan, variant="fp32")
        config = {"bundle": str(bundle), "variant": "fp32", "token": TOKEN, "unix": str(folder / "d.sock"), "http": ("127.0.0.1", 0)}
        self.process = ServingProcess(config)
        self.port = Port(Body.of(self.device, self.fan), self.process.start)
        sock, addresses = self.process.start_and_wait()
        self.address, self.http = addresses
        self.port.attach(sock)
        self.device.visitors.append(self.port)
        logs.append(self.port)
        self._thread = threading.Thread(target=self.device.run, args=(None,), name="device")
        self._thread.start()

    def connect(self) -> Client:
        return connect(self.address, token=TOKEN)

    def close(self) -> None:
        self.device.stop("the test is over")
        self._thread.join(WAIT_S)
        self.process.stop()
        assert not self._thread.is_alive()


class Hand:
    """A device on a virtual clock whose port the test holds the other end of: frames in, turns, frames out."""

    def __init__(self, folder: Path, bundle: Path) -> None:
        (folder / "board.toml").write_text(BOARD)
        self.log = Kept()
        logs: list[Log] = [self.log]
        fan = Fan(logs)
        self.clock = VirtualClock()
        board = load_board(folder / "board.toml")
        self.device = assemble(board, Bundle.open(bundle), Registry(entry_points=False), self.clock, make_still(None, 0), fan, variant="fp32")
        body = Body.of(self.device, fan)
        self.vocabulary = body.vocabulary
        self.starts = 0
        self.deaf = False  # the serving process does not read
        self._sockets: list[socket.socket] = []
        self.refuses: Exception | None = None
        self.port = Port(body, self._start)
        self.port.attach(self._start())
        self.device.visitors.append(self.port)
        logs.append(self.port)

    def _start(self) -> socket.socket:
        self.starts += 1
        if self.refuses is not None:
            raise self.refuses
        self._buffer = FrameBuffer("port")
        ours, self.theirs = socket.socketpair()
        self.theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self.theirs.setblocking(False)
        self._sockets += [ours, self.theirs]
        return ours

    def close(self) -> None:
        for sock in self._sockets:
            sock.close()

    def play(self, steps: Mapping[int, Callable[[], None]], turns: int) -> None:
        """Run `turns` turns; before turn n, counted from 1, call steps[n]."""

        class Script:
            turn = 0

            def before(self, now_ns: int) -> None:
                self.turn += 1
                steps.get(self.turn, lambda: None)()

            def after(self, turn: object) -> None:
                drain()

            def end(self) -> None:
                pass

        drain = self._drain
        self.device.visitors.insert(0, Script())
        self.device.run(turns * TICK_NS)

    def send(self, kind: int, id: int = 0, meta: dict[str, Any] | None = None, body: bytes | memoryview = b"") -> None:
        self.theirs.sendall(wire.head(kind, id, meta, len(body)) + bytes(body))

    def register(self, name: str = "acme/ring", kind: str = "both", id: int = 1, body: bytes | memoryview = b"", **more: object) -> None:
        self.send(Kind.REGISTER, id, {"name": name, "kind": kind, **more}, body)

    def frames(self) -> list[Frame]:
        """What the port has sent so far and nobody has looked at yet."""
        self._drain()
        return list(iter(self._buffer.next, None))

    def _drain(self) -> None:
        if self.deaf:
            return
        with suppress(OSError):  # nothing there, or closed by the test
            while data := self.theirs.recv(1 << 20):
                self._buffer.feed(data)

    def answer(self, id: int) -> Frame:
        """The answer to request `id`, of the frames so far."""
        (found,) = [frame for frame in self.frames() if frame.id == id]
        return found


def opening_rows(bundle: Path) -> Floats:
    """Rows of a component for the bundle that opens the motor in every tick: they are scored as the motor's, only higher."""
    embedding, classifier = Bundle.open(bundle).rows()
    return np.stack([embedding[SO_MOTOR], embedding[EO_MOTOR], 2 * classifier[SO_MOTOR], -classifier[SO_MOTOR]])
