import numpy as np

from innervate.runtime.loop.events import Text
from innervate.runtime.loop.tick import TICK_NS, Tick
from tests.ali.parts import WIDTH

from .parts import IDLE, Body, Sense


class Turn:
    """A body with three senses; their latents hold 301, 302, ... so that the order shows in the script's inputs."""

    def __init__(self, answers: dict[int, int] | None = None) -> None:
        self.body = Body(answers or {})
        self.senses = [Sense(self.body.log, name, rate_hz=None) for name in ("mic", "camera", "force")]
        for mark, sense in enumerate(self.senses):
            sense.graph.answer = np.full((1, WIDTH), 301.0 + mark, np.float32)
            sense.upstream.start(0)
        upstreams = [sense.upstream for sense in self.senses]
        body = self.body
        self.tick = Tick(upstreams, body.script, body.script.row(IDLE), body.router, body.limbs, body.voice)


def test_a_tick_is_one_pass_that_ends_with_the_query() -> None:
    turn = Turn()
    for sense in turn.senses:
        sense.give(TICK_NS)
    assert turn.tick.turn(TICK_NS) == 0
    assert turn.body.script.passes == [4]
    assert turn.body.script.inputs == [301, 302, 303, IDLE]


def test_within_a_tick_the_order_is_that_of_training_whatever_the_stamps() -> None:
    turn = Turn()
    turn.senses[0].give(TICK_NS)
    turn.senses[1].give(TICK_NS // 2)
    turn.senses[2].give(1)
    turn.tick.turn(TICK_NS)
    assert turn.body.script.inputs == [301, 302, 303, IDLE]


def test_what_was_captured_in_an_earlier_tick_comes_first() -> None:
    turn = Turn()
    turn.senses[0].give(2 * TICK_NS)
    turn.senses[2].give(TICK_NS, 2 * TICK_NS)
    turn.tick.turn(2 * TICK_NS)
    assert turn.body.script.inputs == [303, 301, 303, IDLE]


def test_a_tick_in_which_nothing_arrived_still_asks() -> None:
    turn = Turn({IDLE: ord("h"), ord("h"): ord("\n")})
    turn.tick.turn(TICK_NS)
    assert turn.body.log.of(Text) == [Text(0.08, "h")]


def test_a_burst_longer_than_a_pass_is_cut_into_passes() -> None:
    turn = Turn()
    turn.senses[1].graph.answer = np.full((40, WIDTH), 302.0, np.float32)
    turn.senses[1].give(TICK_NS)
    turn.tick.turn(TICK_NS)
    assert turn.body.script.passes == [16, 16, 9]
    assert turn.body.script.inputs[-1] == IDLE


def test_one_sense_that_fails_does_not_keep_the_others_from_the_backbone() -> None:
    turn = Turn()
    turn.senses[0].feeds[0].gives = RuntimeError("cable")
    turn.senses[2].give(TICK_NS)
    turn.tick.turn(TICK_NS)
    assert turn.body.script.inputs == [303, IDLE]
    assert turn.body.log.names() == ["fault"]
