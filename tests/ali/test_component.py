import numpy as np
import pytest

from innervate.runtime.ali.component import Limit, Sample, Setpoint
from innervate.runtime.ali.errors import DeviceError, LatentError
from innervate.runtime.ali.latents import Latents
from innervate.runtime.loop.clock import VirtualClock

from .parts import FOREIGN, MS, SPACE, WIDTH, Gauge, Identity, Page, PlainDecoder, PlainEncoder, Servo, context, packet


def opened(limits: dict[str, Limit] | None = None) -> tuple[Gauge, VirtualClock]:
    clock = VirtualClock(1000)
    gauge = Gauge(context(clock), limits)
    gauge.open()
    return gauge, clock


def test_samples_are_numbered_and_stamped_anew_after_each_open() -> None:
    gauge, clock = opened()
    first = gauge.read(0.0)
    clock.advance_s(0.08)
    second = gauge.read(0.0)
    assert first is not None
    assert second is not None
    assert (first.seq, second.seq, second.t_ns) == (0, 1, clock.now_ns())
    assert gauge.read(0.0) is None
    gauge.close()
    gauge.open()
    again = gauge.read(0.0)
    assert again is not None
    assert again.seq == 0


@pytest.mark.parametrize(
    ("data", "t_ns", "words"),
    [
        (np.zeros(1, np.float64), 0, "float64"),
        (np.zeros(2, np.float32), 0, r"\[2\]"),
        (np.zeros((1, 1), np.float32), 0, r"\[1, 1\]"),
        (np.zeros(1, np.float32), 2000, "future"),
    ],
)
def test_a_sample_that_breaks_the_contract_is_refused(data: np.ndarray, t_ns: int, words: str) -> None:
    gauge, _ = opened()
    gauge.script = lambda: (data, t_ns)
    with pytest.raises(LatentError, match=words):
        gauge.read(0.0)


def test_time_going_backwards_at_a_sensor_is_refused() -> None:
    gauge, _ = opened()
    times = iter([500, 499])
    gauge.script = lambda: (np.zeros(1, np.float32), next(times))
    gauge.read(0.0)
    with pytest.raises(LatentError, match="499 ns after one of 500"):
        gauge.read(0.0)


@pytest.mark.parametrize("value", [2.0, -2.0, np.nan])
def test_a_value_out_of_range_is_refused(value: float) -> None:
    gauge, _ = opened({"grip": Limit(-1.0, 1.0, "n")})
    gauge.script = lambda: (np.array([value], np.float32), 0)
    with pytest.raises(LatentError, match=r"part\.grip"):
        gauge.read(0.0)


def test_several_limits_bound_the_columns() -> None:
    class Pair(Gauge):
        shape = (2,)

    pair = Pair(context(), {"a": Limit(0.0, 1.0, "n"), "b": Limit(5.0, 6.0, "n")})
    pair.open()
    pair.script = lambda: (np.array([0.5, 5.5], np.float32), 0)
    assert pair.read(0.0) is not None
    pair.script = lambda: (np.array([0.5, 0.5], np.float32), 0)
    with pytest.raises(LatentError, match=r"part\.b"):
        pair.read(0.0)


def test_a_drivers_own_error_is_wrapped_with_its_name() -> None:
    def broken() -> None:
        raise RuntimeError("cable")

    gauge, _ = opened()
    gauge.script = broken
    with pytest.raises(DeviceError, match="part: cannot be read: RuntimeError: cable"):
        gauge.read(0.0)


def test_a_failed_open_closes_what_it_opened() -> None:
    class Half(Gauge):
        def _open(self) -> None:
            super()._open()
            raise RuntimeError("half way")

    half = Half(context())
    with pytest.raises(DeviceError, match="cannot be opened"):
        half.open()
    assert (half.opened, half.closed, half.is_open) == (1, 1, False)


def setpoint(clock: VirtualClock, valid_ms: int = 80, **values: float) -> Setpoint:
    return Setpoint(values, clock.now_ns(), clock.now_ns() + valid_ms * MS, 0)


def servo() -> tuple[Servo, VirtualClock]:
    clock = VirtualClock()
    part = Servo(context(clock))
    part.open()
    return part, clock


def test_an_actuator_is_safe_from_the_open_on_and_limits_are_kept() -> None:
    part, clock = servo()
    assert part.told == ["open", "safe"]
    assert part.apply(setpoint(clock, pan=500.0, tilt=-1.0)) == {"pan": 90.0, "tilt": -1.0}
    assert not part.is_safe


def test_close_goes_to_the_safe_value_first() -> None:
    part, clock = servo()
    part.apply(setpoint(clock, pan=1.0))
    part.close()
    part.close()
    assert part.told[-2:] == ["safe", "close"]


@pytest.mark.parametrize("values", [{"pan": float("nan")}, {"elbow": 1.0}])
def test_a_bad_setpoint_is_refused_and_leaves_the_actuator_safe(values: dict[str, float]) -> None:
    part, clock = servo()
    part.apply(setpoint(clock, pan=1.0))
    with pytest.raises(LatentError):
        part.apply(Setpoint(values, 0, clock.now_ns() + MS, 0))
    assert part.is_safe
    assert part.told[-1] == "safe"


def test_a_setpoint_after_its_time_is_not_applied() -> None:
    part, clock = servo()
    late = setpoint(clock, pan=1.0)
    clock.advance_s(0.08)
    assert part.apply(late) is None
    assert part.refused == 1
    assert part.told == ["open", "safe"]


def test_the_deadman_counts_from_the_last_setpoint() -> None:
    part, clock = servo()
    part.apply(setpoint(clock, valid_ms=1000, pan=1.0))
    assert not part.expire(clock.now_ns() + 99 * MS)
    assert part.expire(clock.now_ns() + 100 * MS)
    assert part.is_safe
    assert not part.expire(clock.now_ns() + 200 * MS)


def test_a_driver_that_fails_in_apply_is_made_safe() -> None:
    part, clock = servo()
    part.fails = {"apply"}
    with pytest.raises(DeviceError, match="cannot be driven: RuntimeError: apply broke"):
        part.apply(setpoint(clock, pan=1.0))
    assert part.told[-1] == "safe"


def test_a_driver_that_cannot_be_made_safe_is_still_closed() -> None:
    part, _ = servo()
    part.fails = {"safe"}
    with pytest.raises(DeviceError, match="cannot reach its safe value"):
        part.close()
    assert part.told[-1] == "close"


def test_a_sink_takes_bytes_between_open_and_close() -> None:
    page = Page(context())
    with pytest.raises(DeviceError):
        page.write(b"a")
    page.open()
    page.write(b"a")
    page.broken = True
    with pytest.raises(DeviceError, match="cannot be written"):
        page.write(b"b")
    assert page.written == b"a"


def test_an_encoder_stamps_with_the_time_of_capture() -> None:
    latents = PlainEncoder(Identity(), SPACE, "mic").encode(Sample(np.zeros(3, np.float32), 77, 5))
    assert (latents.t_ns.tolist(), latents.seq, latents.source) == ([77], 5, "mic")


def test_an_encoder_that_gives_nan_is_refused() -> None:
    graph = Identity()
    graph.answer = np.full((1, WIDTH), np.nan, np.float32)
    with pytest.raises(LatentError, match="mic"):
        PlainEncoder(graph, SPACE, "mic").encode(Sample(np.zeros(3, np.float32), 0, 0))


def test_a_decoder_refuses_foreign_latents_and_non_finite_targets() -> None:
    decoder = PlainDecoder(Identity(), SPACE, "motor")
    assert decoder.decode(packet()) == {"pan": 1.0, "tilt": 1.0}
    with pytest.raises(LatentError, match="space"):
        decoder.decode(packet(space=FOREIGN))

    class Wild(PlainDecoder):
        def _decode(self, latents: Latents, feedback: Sample | None) -> dict[str, float]:
            return {"pan": float("inf")}

    with pytest.raises(LatentError, match=r"motor\.pan"):
        Wild(Identity(), SPACE, "motor").decode(packet())


def test_a_twin_without_a_world_says_what_to_do() -> None:
    with pytest.raises(DeviceError, match="add world ="):
        context().bench()
