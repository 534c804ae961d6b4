"""Each check passes a good part and catches each planted breach."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from innervate.runtime.ali.component import Context, Sample
from innervate.runtime.ali.conformance import check_actuator, check_decoder, check_encoder, check_sensor, check_sink
from innervate.runtime.ali.errors import PluginError
from innervate.runtime.ali.space import Floats
from innervate.runtime.loop.clock import VirtualClock

from .parts import LIMITS, SPACE, WIDTH, Gauge, Identity, Page, PlainDecoder, PlainEncoder, Servo, context


class Stand:
    """Makes parts on a new clock each; `advance` drives the newest."""

    def __init__(self) -> None:
        self.clock = VirtualClock()

    def context(self) -> Context:
        self.clock = VirtualClock()
        return context(self.clock)

    def advance(self, seconds: float) -> None:
        self.clock.advance_s(seconds)


def test_a_good_sensor_passes() -> None:
    stand = Stand()
    report = check_sensor(lambda: Gauge(stand.context()), stand.advance, repeatable=True)
    report.require()
    assert len(report.findings) > 8


class Backwards(Gauge):
    def _read(self, timeout_s: float) -> tuple[npt.NDArray[np.float32], int] | None:
        return np.zeros(1, np.float32), 10**12 - self.context.clock.now_ns()


class Endless(Gauge):
    def _read(self, timeout_s: float) -> tuple[npt.NDArray[np.float32], int] | None:
        return np.zeros(1, np.float32), self.context.clock.now_ns()


class Mute(Gauge):
    def _read(self, timeout_s: float) -> tuple[npt.NDArray[np.float32], int] | None:
        return None


class Once(Gauge):
    def _open(self) -> None:
        super()._open()
        if self.opened > 1:
            raise RuntimeError("still in use")


class Dice(Gauge):
    throws = 0

    def grow(self) -> tuple[npt.NDArray[np.float32], int] | None:
        given = super().grow()
        Dice.throws += 1
        return given and (np.array([Dice.throws], np.float32), given[1])


@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        (Backwards, "reads: dtype"),
        (Endless, "nothing new while time stands still"),
        (Mute, "gives samples"),
        (Once, "opens and reads again"),
        (Dice, "gives the same again"),
    ],
)
def test_a_bad_sensor_is_caught(kind: type[Gauge], rule: str) -> None:
    stand = Stand()
    report = check_sensor(lambda: kind(stand.context()), stand.advance, repeatable=True)
    assert not report.ok
    with pytest.raises(PluginError, match=rule):
        report.require()


def test_a_good_actuator_passes() -> None:
    stand = Stand()
    check_actuator(lambda: Servo(stand.context()), stand.advance).require()


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (lambda ctx: Servo(ctx, {}), "declares limits"),
        (lambda ctx: Servo(ctx, hold_ms_max=0), "declares a longest hold"),
    ],
)
def test_a_bad_actuator_is_caught(make: Callable[..., Servo], rule: str) -> None:
    stand = Stand()
    with pytest.raises(PluginError, match=rule):
        check_actuator(lambda: make(stand.context()), stand.advance).require()


def test_an_actuator_that_cannot_be_made_safe_is_caught() -> None:
    stand = Stand()

    def make() -> Servo:
        servo = Servo(stand.context())
        servo.fails = {"safe"}
        return servo

    assert not check_actuator(make, stand.advance).ok


def test_encoders() -> None:
    def sample(i: int) -> npt.NDArray[np.float32]:
        return np.full(4, i, np.float32)

    check_encoder(lambda: PlainEncoder(Identity(), SPACE, "mic"), sample).require()

    class Forgetful(PlainEncoder):
        def reset(self) -> None:
            """Keeps its state, against the contract."""

    with pytest.raises(PluginError, match="begins anew after reset"):
        check_encoder(lambda: Forgetful(Identity(), SPACE, "mic"), sample).require()

    class Shared(PlainEncoder):
        buffer = np.zeros((1, WIDTH), np.float32)

        def _encode(self, sample: Sample) -> Floats:
            Shared.buffer.flags.writeable = True
            Shared.buffer[:] = self.graph.run(sample.data)
            return Shared.buffer

    with pytest.raises(PluginError, match=r"leaves given packets alone|encodes into valid"):
        check_encoder(lambda: Shared(Identity(), SPACE, "mic"), sample).require()


def test_decoders() -> None:
    check_decoder(lambda: PlainDecoder(Identity(), SPACE, "motor"), LIMITS).require()
    with pytest.raises(PluginError, match="names axes of its actuator"):
        check_decoder(lambda: PlainDecoder(Identity(), SPACE, "motor"), {"elbow": None}).require()


def test_sinks() -> None:
    check_sink(lambda: Page(context())).require()

    def broken() -> Page:
        page = Page(context())
        page.broken = True
        return page

    assert not check_sink(broken).ok
