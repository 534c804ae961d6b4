import pytest

from innervate.runtime.loop.events import Close, Fault, Open, Setpoint, Stop, Text
from innervate.runtime.loop.router import STEP_BUDGET

from .parts import EO_MOTOR, IDLE, SO_CLAW, SO_MOTOR, Body

H, LOW_I, LF = ord("h"), ord("i"), ord("\n")


def test_idle_ends_the_tick_at_once() -> None:
    body = Body({})
    assert body.emit() == 0
    assert body.script.passes == [1]
    assert body.log.events == []


def test_bytes_become_one_utterance_and_reach_the_sink_as_they_come() -> None:
    body = Body({IDLE: H, H: LOW_I, LOW_I: LF, LF: IDLE})
    assert body.emit() == 3
    assert body.page.written == b"hi\n"
    assert body.log.events == [Text(0.0, "hi")]
    assert body.script.inputs == [IDLE, H, LOW_I, LF], "each emitted byte is fed back"


def test_an_utterance_may_take_several_ticks() -> None:
    body = Body({IDLE: H})
    body.emit()
    body.script.answers = {IDLE: LF}
    assert body.log.events == []
    body.emit()
    assert body.log.events == [Text(0.08, "h")]


def test_the_step_budget_ends_a_tick_that_never_idles() -> None:
    body = Body({IDLE: H, H: H})
    assert body.emit() == STEP_BUDGET
    assert body.page.written == b"h" * STEP_BUDGET


def test_opening_pins_the_position_and_steers_from_the_fed_token() -> None:
    body = Body({IDLE: SO_MOTOR, SO_MOTOR: IDLE})
    assert body.emit() == 1
    assert body.router.open == "motor"
    assert body.script.pins == {"motor"}
    assert body.log.names() == ["open", "setpoint", "setpoint"]
    assert body.servos["motor"].told[-1] == {"pan": 90.0, "tilt": 0.0}, "257 clamped to the limit"


def test_while_open_only_control_rows_count_and_the_decoder_gets_the_query_state() -> None:
    body = Body({IDLE: SO_MOTOR, SO_MOTOR: IDLE})
    body.emit()
    body.script.answers = {IDLE: IDLE}
    body.emit()
    assert len(body.log.of(Setpoint)) == 4
    assert body.script.passes == [1, 1, 1], "an open component costs no pass of its own"
    body.script.answers = {IDLE: H, H: IDLE}  # a byte row scores highest, but it is not looked at
    body.emit()
    assert body.page.written == b""
    assert body.router.open == "motor"


def test_closing_makes_safe_releases_the_pin_and_may_answer_in_the_same_tick() -> None:
    body = Body({IDLE: SO_MOTOR, SO_MOTOR: IDLE})
    body.emit()
    body.script.answers = {IDLE: EO_MOTOR, EO_MOTOR: H, H: LF, LF: IDLE}
    body.emit()
    assert body.router.open is None
    assert body.script.pins == set()
    assert body.servos["motor"].told[-1] == "safe"
    assert body.log.events[-3:] == [Stop(0.08, "closed by the model"), Close(0.08, "motor"), Text(0.08, "h")]
    assert len(body.log.of(Setpoint)) == 2, "no setpoint in the tick that closes"


def test_reopening_while_open_is_a_new_goal_pinned_anew() -> None:
    body = Body({IDLE: SO_MOTOR, SO_MOTOR: IDLE})
    body.emit()
    body.emit()
    assert body.script.pins == {"motor"}
    assert [type(event) for event in body.log.events if isinstance(event, Open | Close)] == [Open, Open]
    assert body.servos["motor"].told.count("safe") == 1, "motion goes on: only the open made it safe"


def test_opening_another_component_closes_the_first() -> None:
    body = Body({IDLE: SO_MOTOR, SO_MOTOR: IDLE})
    body.emit()
    body.script.answers = {IDLE: SO_CLAW, SO_CLAW: IDLE}
    body.emit()
    assert body.router.open == "claw"
    assert body.script.pins == {"claw"}
    assert body.servos["motor"].is_safe
    assert not body.servos["claw"].is_safe


def test_a_closing_token_with_nothing_open_has_no_effect() -> None:
    body = Body({IDLE: EO_MOTOR, EO_MOTOR: IDLE})
    body.emit()
    assert body.log.events == []


@pytest.mark.parametrize("token", ["<so_wing>", "<eo_wing>"])
def test_a_component_that_the_board_lacks_cannot_be_opened(token: str) -> None:
    body = Body({IDLE: 257, 257: IDLE}, control=("<idle>", token))
    body.emit()
    assert body.router.open is None
    assert 257 not in body.script.inputs, "its row is never chosen"


def test_an_actuator_that_fails_is_closed_and_the_model_is_told() -> None:
    body = Body({IDLE: SO_MOTOR, SO_MOTOR: IDLE})
    body.emit()
    body.script.answers = {IDLE: IDLE}
    body.servos["motor"].fails = {"apply"}
    body.emit()
    assert body.router.open is None
    assert body.script.pins == set()
    assert body.script.inputs[-1] == EO_MOTOR
    assert body.log.names()[-3:] == ["fault", "stop", "close"]
    assert body.servos["motor"].told[-2:] == ["safe", "close"]


def test_a_recovered_actuator_does_not_resume_by_itself() -> None:
    body = Body({IDLE: SO_MOTOR, SO_MOTOR: IDLE})
    body.emit()
    body.script.answers = {IDLE: IDLE}
    body.servos["motor"].fails = {"apply"}
    body.emit()
    body.servos["motor"].fails = set()
    body.clock.advance_s(1.0)
    body.limbs["motor"].start(body.clock.now_ns())
    before = len(body.servos["motor"].told)
    body.emit()
    assert body.limbs["motor"].up
    assert len(body.servos["motor"].told) == before


def test_opening_a_component_that_is_down_closes_it_again() -> None:
    body = Body({IDLE: SO_MOTOR, SO_MOTOR: IDLE})
    body.servos["motor"].close()
    body.emit()
    assert body.router.open is None
    assert body.log.names() == ["open", "close"]


def test_a_sink_that_breaks_is_a_fault_and_the_words_are_still_told() -> None:
    body = Body({IDLE: H, H: LF, LF: IDLE})
    body.page.broken = True
    body.emit()
    assert [event.source for event in body.log.of(Fault) if isinstance(event, Fault)] == ["text_out"]
    assert body.log.of(Text) == [Text(0.0, "h")]
    body.page.broken = False
    body.clock.advance_s(1.0)
    body.voice.start(body.clock.now_ns())
    body.emit()
    assert body.page.written == b"h\n"


def test_an_endless_utterance_is_finished_at_its_bound() -> None:
    body = Body({IDLE: H, H: H})
    for _ in range(17):
        body.emit()
    assert body.log.of(Text) == [Text(1.2, "h" * 1024)]
