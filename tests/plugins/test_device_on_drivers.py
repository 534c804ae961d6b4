"""A whole device on real drivers: PyAudio through the file card, OpenCV through the MJPEG stream, a FIFO as keyboard."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from innervate.boards.emulator import make_still
from innervate.boards.emulator.alsa import make_card
from innervate.runtime.ali.registry import Registry
from innervate.runtime.backbone.bundle import Bundle
from innervate.runtime.board import load_board
from innervate.runtime.loop.assemble import assemble
from innervate.runtime.loop.clock import RealClock
from innervate.runtime.loop.device import Device, Turn
from innervate.runtime.loop.events import Event, Fault, Summary
from tests.plugins.mjpeg import MjpegServer
from tests.plugins.test_camera_driver import picture

FRAME_S = 0.04
FRESH_NS = 1_000_000_000  # a tick takes what came since the last one; the rest is for an overloaded machine
BOARD = """\
[board]
name = "bench"
world = "innervate.boards.emulator:make_still"
[component.mic]
plugin = "mic"
use = "driver"
[component.camera]
plugin = "camera"
use = "driver"
[component.camera.options]
source = "{url}"
[component.force]
plugin = "force"
use = "virtual"
[component.pose]
plugin = "motor"
use = "virtual"
[component.text_in]
plugin = "text"
use = "driver"
[component.text_in.options]
path = "{fifo}"
[component.motor]
plugin = "motor"
use = "virtual"
[component.text_out]
plugin = "text"
use = "driver"
"""


class Events:
    def __init__(self) -> None:
        self.all: list[Event] = []

    def emit(self, event: Event) -> None:
        self.all.append(event)

    def faults(self) -> list[Fault]:
        return [event for event in self.all if isinstance(event, Fault)]


class Desk:
    """A sound card, a camera and a keyboard; `device` wires them. The watcher `turn` may be replaced by a test."""

    def __init__(self, folder: Path, bundle: Path) -> None:
        self.events = Events()
        self.turns: list[Turn] = []
        self.server = MjpegServer()
        self.server.start()
        self.server.show(picture(100))
        self._folder, self._bundle = folder, bundle
        self._done = threading.Event()
        self._film = threading.Thread(target=self._roll)
        self._film.start()
        self.sound = folder / "noise.raw"
        np.random.default_rng(0).integers(-3000, 3000, 16_000 * 20).astype("<i2").tofile(self.sound)
        self.fifo = folder / "keys"
        os.mkfifo(self.fifo)

    def _roll(self) -> None:
        jpeg = picture(140)
        while not self._done.wait(FRAME_S):
            self.server.show(jpeg)

    def device(self) -> Device:
        path = self._folder / "board.toml"
        path.write_text(BOARD.format(url=self.server.url, fifo=self.fifo))
        world = make_still(None)
        return assemble(load_board(path), Bundle.open(self._bundle), Registry(entry_points=False), RealClock(), world, self.events, [self.watch])

    def watch(self, turn: Turn) -> None:
        self.turns.append(turn)
        self.turn(len(self.turns))

    def turn(self, count: int) -> None:
        """Called after each turn."""

    def close(self) -> None:
        self._done.set()
        self._film.join()
        self.server.stop()


@pytest.fixture
def desk(tmp_path: Path, quiet_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    made = Desk(tmp_path, quiet_bundle)
    for key, value in make_card(tmp_path / "card", capture=made.sound, cache=tmp_path).environ.items():
        monkeypatch.setenv(key, value)
    yield made
    made.close()


def test_every_sense_speaks_and_nothing_is_late_for_good(desk: Desk) -> None:
    def turn(count: int) -> None:
        if count == 12:
            with open(desk.fifo, "wb") as keys:
                keys.write(b"look left\n")

    desk.turn = turn  # type: ignore[method-assign]
    desk.device().run(2_400_000_000)
    assert not desk.events.faults()
    assert set(desk.turns[-1].samples) == {"mic", "camera", "force", "pose", "text_in"}
    assert desk.turns[-1].samples["text_in"].data.tobytes() == b"look left\n"
    last = desk.turns[-1]
    assert all(last.t_ns - last.samples[name].t_ns < FRESH_NS for name in ("mic", "camera"))
    summary = desk.events.all[-1]
    assert isinstance(summary, Summary) and summary.ticks == len(desk.turns)


def test_a_camera_and_a_microphone_that_fail_come_back_and_the_others_go_on(desk: Desk) -> None:
    sound = desk.sound.read_bytes()

    def turn(count: int) -> None:
        if count == 10:
            desk.server.stop()
            desk.sound.unlink()  # unplugs the card
        if count == 14:
            desk.server.start()
            desk.sound.write_bytes(sound)

    desk.turn = turn  # type: ignore[method-assign]
    desk.device().run(4_800_000_000)
    causes = {fault.source: fault.cause for fault in desk.events.faults()}
    assert set(causes) == {"camera", "mic"}
    assert all("check its cable" in fault.cause or "cannot be opened" in fault.cause for fault in desk.events.faults())
    for name, others in (("camera", {"force", "pose"}), ("mic", {"force", "pose"})):
        without = [seen for seen in desk.turns[14:] if name not in seen.samples]
        assert without and all(others <= set(seen.samples) for seen in without)
    last = desk.turns[-1]
    assert all(last.t_ns - last.samples[name].t_ns < FRESH_NS for name in ("mic", "camera"))
