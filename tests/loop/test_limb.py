import numpy as np
import pytest

from innervate.runtime.ali.component import Sample
from innervate.runtime.loop.clock import VirtualClock
from innervate.runtime.loop.events import Fault, Setpoint, Stop
from innervate.runtime.loop.limb import Limb, Voice
from tests.ali.parts import SPACE, WIDTH, Identity, PlainDecoder, Servo, context

from .parts import TICK_NS, Kept, Sense

S = 1_000_000_000


class Arm:
    def __init__(self, with_pose: bool = False) -> None:
        self.clock = VirtualClock()
        self.log = Kept()
        self.servo = Servo(context(self.clock, "motor"))
        self.pose = Sense(self.log, name="pose")
        decoder = PlainDecoder(Identity(), SPACE, "motor")
        self.limb = Limb(self.servo, decoder, self.pose.upstream if with_pose else None, self.log)
        self.limb.start(0)

    def steer(self, value: float = 1.0) -> bool:
        return self.limb.steer(np.full(WIDTH, value, np.float32), self.clock.now_ns())


def test_setpoints_are_told_as_applied() -> None:
    arm = Arm()
    assert arm.steer(45.0)
    assert arm.log.events == [Setpoint(0.0, "pan", deg=45.0), Setpoint(0.0, "tilt", deg=30.0)]


def test_expiry_is_a_stop_with_its_cause() -> None:
    arm = Arm()
    arm.steer()
    arm.limb.expire(99_000_000)
    assert arm.log.of(Stop) == []
    arm.limb.expire(100_000_000)
    arm.limb.expire(200_000_000)
    assert arm.log.of(Stop) == [Stop(0.1, "no setpoint within the longest hold")]
    assert arm.servo.is_safe


def test_making_safe_what_is_safe_tells_nothing() -> None:
    arm = Arm()
    arm.limb.safe(0, "closed by the model")
    assert arm.log.events == []


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_hidden_state_that_is_not_finite_stops_the_limb(value: float) -> None:
    arm = Arm()
    arm.steer()
    assert not arm.steer(value)
    assert arm.servo.is_safe
    assert arm.log.names()[-2:] == ["fault", "stop"]


def test_without_a_fresh_pose_the_limb_stands_safe() -> None:
    arm = Arm(with_pose=True)
    arm.pose.upstream.start(0)
    arm.pose.give(0)
    arm.pose.upstream.collect(0)
    assert arm.steer()
    arm.clock.advance_s(0.3)
    assert not arm.steer()
    fault = arm.log.of(Fault)[0]
    assert isinstance(fault, Fault)
    assert "no fresh sample of pose" in fault.cause
    assert arm.servo.is_safe
    assert isinstance(arm.pose.upstream.newest, Sample)


def test_a_limb_that_failed_is_opened_again_after_its_back_off() -> None:
    arm = Arm()
    arm.servo.fails = {"apply"}
    arm.steer()
    assert not arm.limb.up
    arm.servo.fails = set()
    arm.limb.start(TICK_NS)
    assert not arm.limb.up
    arm.limb.start(S)
    assert arm.limb.up


def test_a_limb_that_cannot_be_made_safe_says_so_and_is_closed() -> None:
    arm = Arm()
    arm.steer()
    arm.servo.fails = {"safe"}
    arm.limb.safe(0, "closed by the model")
    fault = arm.log.of(Fault)[0]
    assert isinstance(fault, Fault)
    assert "cannot reach its safe value (closed by the model)" in fault.cause
    assert arm.servo.told[-1] == "close"


def test_the_end_makes_safe_closes_and_tells_even_when_the_driver_fails() -> None:
    arm = Arm()
    arm.steer()
    arm.servo.fails = {"close"}
    arm.limb.stop(S, "end of run")
    stop = arm.log.of(Stop)[0]
    assert isinstance(stop, Stop)
    assert stop.cause.startswith("end of run; motor: cannot be closed")
    assert arm.servo.is_safe


def test_the_voice_tells_whether_it_is_in_the_middle_of_an_utterance() -> None:
    voice = Voice(None, Kept())
    for byte, speaking in zip(b"hi\n", (True, True, False), strict=True):
        voice.speak(byte, 0)
        assert voice.speaking is speaking
