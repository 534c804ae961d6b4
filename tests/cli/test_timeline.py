"""The timeline tells what a person would want to know, once, in order."""

import io
from dataclasses import dataclass

import numpy as np
import pytest

from innervate.runtime.ali.component import Sample
from innervate.runtime.cli.timeline import Timeline
from innervate.runtime.loop.device import Turn
from innervate.runtime.loop.events import Close, Fault, Open, Pose, Stop, Text


@dataclass
class Thing:
    colour: str
    shape: str
    bearing_pan_deg: float
    in_view: bool = True


class Room:
    def __init__(self) -> None:
        self.things: list[Thing] = []

    def truth(self) -> list[Thing]:
        return self.things


class Show:
    """A timeline under the test's hand, with a text buffer for a terminal."""

    def __init__(self, tty: bool = False, shared: bool = False, captions: tuple[tuple[float, str, str], ...] = ()) -> None:
        self.out = io.StringIO()
        self.out.isatty = lambda: tty  # type: ignore[method-assign]
        self.room = Room()
        self.line = Timeline(self.room, shared, captions, self.out)
        self.tick = 0

    def turn(self, loudness: float = 0.0, force_n: float = 0.0, pan_rate: float = 0.0) -> None:
        self.tick += 1
        pcm = np.full(1280, loudness * 32767, np.int16)
        t_ns = self.tick * 80_000_000
        samples = {
            "mic": Sample(pcm, t_ns, 0),
            "force": Sample(np.array([force_n], np.float32), t_ns, 0),
            "pose": Sample(np.array([5.0, 0.0, pan_rate, 0.0], np.float32), t_ns, 0),
        }
        self.line.watch(Turn(t_ns, samples, None, 0, 1234.0))

    def lines(self) -> list[str]:
        return self.out.getvalue().splitlines()


def test_events_wait_for_the_latency_of_their_turn() -> None:
    show = Show()
    show.line.emit(Text(0.08, "a red cube"))
    show.line.emit(Open(0.08, "motor"))
    show.line.emit(Pose(0.08, 0.0, 0.0))
    assert show.lines() == []
    show.turn()
    assert show.lines() == ['  0.08  said   "a red cube"  [tick 1.2 ms]', "  0.08  open   motor  [tick 1.2 ms]"]


def test_stops_closes_and_faults_are_told() -> None:
    show = Show()
    for event in (Stop(0.08, "closed by the model"), Close(0.08, "motor"), Fault(0.08, "mic", "mic: gone"), Fault(0.08, "loop", "odd")):
        show.line.emit(event)
    show.turn()
    assert [line[8:].split("  [")[0] for line in show.lines()] == [
        "stop   closed by the model",
        "close  motor",
        "FAULT  mic: gone",
        "FAULT  loop: odd",
    ]


def test_a_sound_is_one_line_when_it_has_ended() -> None:
    show = Show()
    for loudness in [0.0, 0.1, 0.5, 0.0, 0.2] + [0.0] * 10:  # a short pause does not end it
        show.turn(loudness=loudness)
    assert len(show.lines()) == 1
    assert "heard  0.3 s of sound, up to -6 dBFS" in show.lines()[0]


def test_a_squeeze_is_one_line_with_its_peak() -> None:
    show = Show()
    for force_n in (0.0, 5.0, 12.0, 6.0, 0.5):
        show.turn(force_n=force_n)
    assert "felt   a squeeze of 0.2 s, up to 12.0 N" in show.lines()[0]


def test_a_motion_is_one_line_with_where_it_led() -> None:
    show = Show()
    for rate in (0.0, 50.0, 50.0, 0.0):
        show.turn(pan_rate=rate)
    assert "moved  to pan   +5.0 tilt   +0.0 in 0.2 s" in show.lines()[0]


def test_what_is_in_view_is_told_when_it_changes_from_left_to_right() -> None:
    show = Show()
    show.turn()
    assert show.lines() == [], "a world without objects has nothing to tell"
    show.room.things = [Thing("blue", "ball", -10.0), Thing("red", "cube", 10.0), Thing("green", "cone", 80.0, in_view=False)]
    show.turn()
    show.turn()
    assert len(show.lines()) == 1
    assert "red cube, blue ball" in show.lines()[0]


def test_a_caption_stands_before_what_it_led_to() -> None:
    show = Show(captions=((0.02, "typed", '"stop"'),))
    show.line.emit(Text(0.08, "done"))
    show.turn()
    assert [line[:14].strip() for line in show.lines()] == ["0.02  typed", "0.08  said"]


@pytest.mark.parametrize(("tty", "shared", "status"), [(True, False, True), (False, False, False), (True, True, False)])
def test_the_status_line_is_for_a_terminal_of_its_own(tty: bool, shared: bool, status: bool) -> None:
    show = Show(tty, shared)
    for _ in range(10):
        show.turn()
    assert ("\r" in show.out.getvalue()) is status


def test_a_terminal_that_the_device_writes_to_gets_no_second_copy() -> None:
    show = Show(shared=True)
    show.line.emit(Text(0.08, "a red cube"))
    show.turn()
    assert show.lines() == []


def test_a_terminal_that_has_gone_does_not_matter() -> None:
    show = Show()
    show.out.close()
    show.line.emit(Text(0.08, "a red cube"))
    show.turn()
