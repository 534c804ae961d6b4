"""Of the ten trials of trusted systems those that test_qemu.py does not have, against the ELF in QEMU.

No claim about real time: durations are the firmware's own stamps, time-outs are seconds. A busy test machine keeps simulated servos from answering
in time, which rightly stops the firmware: then a trial begins again.
"""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from innervate.firmware_bridge.link import Link, LinkError, UnsyncedError
from innervate.firmware_bridge.messages import Cause, Configure, Setpoint
from innervate.firmware_bridge.messages import State as Motion
from tests.firmware_bridge.rig import LIMITS, Rig, arm

pytestmark = pytest.mark.slow
TIMEOUT_S = 10.0
TRIES = 20
TIM2_CNT = 0x40000024  # the counter that the firmware's time is


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with Rig() as made:
        yield made


@pytest.fixture
def link(rig: Rig) -> Iterator[Link]:
    made = rig.open()
    yield made
    made.close()


def again(trial: Callable[[], bool]) -> None:
    """Hold the trial until it says that it was undisturbed, TRIES times at the most."""
    for _ in range(TRIES):
        try:
            if trial():
                return
        except LinkError as error:
            if not any(word in str(error) for word in ("servo", "setpoint", "synchronised")):
                raise
    raise AssertionError("never undisturbed")


def motion(link: Link) -> Motion | None:
    return None if link.telemetry is None else link.telemetry.telemetry.state


def latched(link: Link, cause: Cause) -> bool:
    """Wait for a stop; whether it is for `cause`."""
    link.wait(lambda: motion(link) is Motion.STOPPED and link.stopped is not None, TIMEOUT_S)
    return link.stopped is not None and link.stopped.cause is cause


def test_fed_in_time_it_goes_on_and_starved_it_stops_for_good(rig: Rig, link: Link) -> None:
    """ODrive's trial: time-out T, fed five times at 0.7 T, then not for 1.3 T. Then moteus's: what feeds again moves nothing until re-armed."""
    step_s = 0.7 * LIMITS.deadman_ms / 1000

    def trial() -> bool:
        rig.arm(link)
        for _ in range(5):
            link.setpoint(5.0, 0.0)
            time.sleep(step_s)
            if motion(link) is not Motion.MOVING:
                return False
        return latched(link, Cause.DEADMAN)

    again(trial)
    stop, welcome, stats = link.stopped, link.info.welcome, link.stats
    assert stop is not None and welcome is not None
    assert (stop.t_stop_ticks - stop.t_food_ticks) % 2**32 / welcome.tick_hz > LIMITS.deadman_ms / 1000
    for _ in range(10):
        now = link.to_ticks(rig.clock.now_ns())
        with link._lock:  # as a host that does not look would
            link._stream(Setpoint(now, (now + welcome.tick_hz // 2) % 2**32, 9.0, 0.0))
        time.sleep(0.02)
    link.wait(lambda: link.stats is not stats and link.stats is not None and link.stats.refused_state >= 1, TIMEOUT_S)
    assert motion(link) is Motion.STOPPED and link.stopped is not None and link.stopped.stop_count == stop.stop_count
    rig.arm(link)
    assert motion(link) in (Motion.READY, Motion.MOVING)


@pytest.mark.parametrize(("ahead_s", "counter"), [(-2.0, "refused_late"), (5.0, "refused_future")])
def test_setpoints_for_another_time_are_refused_and_counted(rig: Rig, link: Link, ahead_s: float, counter: str) -> None:
    def trial() -> bool:
        rig.arm(link)
        link.wait(lambda: link.stats is not None, TIMEOUT_S)
        assert link.stats is not None
        before = getattr(link.stats, counter)
        link.rest(TIMEOUT_S)
        link.setpoint(30.0, 0.0, rig.clock.now_ns() + round(ahead_s * 1e9))
        link.wait(lambda: getattr(link.stats, counter) > before, TIMEOUT_S)
        return motion(link) is Motion.READY  # and it fed no deadman

    again(trial)


def _cell(**faults: bool) -> Callable[[Rig, bool], None]:
    def set_faults(rig: Rig, on: bool) -> None:
        for name, value in faults.items():
            setattr(rig.cell.faults, name, value and on)

    return set_faults


def _servo(ident: int, name: str) -> Callable[[Rig, bool], None]:
    return lambda rig, on: setattr(rig.bus.servos[ident].faults, name, on)


SENSORS: dict[str, tuple[Configure, Callable[[Rig, bool], None], Cause, int | None]] = {
    "force stuck": (replace(LIMITS, force_stuck_ms=1000), _cell(stuck=True), Cause.FORCE_STUCK, None),
    "force lost": (replace(LIMITS, force_missing_ms=800), _cell(silent=True), Cause.FORCE_MISSING, None),
    "force out of range": (replace(LIMITS, force_max_n=50.0), _cell(over_range=True), Cause.FORCE_OVER, None),
    "servo lost": (LIMITS, _servo(2, "silent"), Cause.MOTOR, 256 + 1),
    "servo out of range": (LIMITS, _servo(1, "over_range"), Cause.MOTOR, 5),
    "servo hot": (LIMITS, _servo(2, "hot"), Cause.MOTOR, 256 + 3),
}


@pytest.mark.parametrize("name", SENSORS)
def test_a_sensor_that_fails_stops_the_motion(rig: Rig, link: Link, name: str) -> None:
    limits, fail, cause, detail = SENSORS[name]
    wobble = itertools.cycle([1.0, 1.1])
    rig.cell.newtons = lambda: next(wobble)

    def trial() -> bool:
        try:
            rig.arm(link, limits)
            link.setpoint(5.0, 0.0)
            fail(rig, True)
            end = time.monotonic() + TIMEOUT_S
            while motion(link) in (Motion.READY, Motion.MOVING):
                assert time.monotonic() < end, f"{name}: it goes on"
                link.setpoint(5.0, 0.0)
                time.sleep(0.02)
            return latched(link, cause) and link.stopped is not None and detail in (None, link.stopped.detail)
        except LinkError:  # the setpoint that met the stop
            return latched(link, cause) and link.stopped is not None and detail in (None, link.stopped.detail)
        finally:
            fail(rig, False)
            link.stop()

    again(trial)


def test_an_emulator_that_slept_costs_a_step_and_no_wrong_stamp(rig: Rig, link: Link) -> None:
    link.wait(lambda: link.info.clock.bound_ns is not None, TIMEOUT_S)
    for _ in range(3):
        rig.qemu.pause()
        time.sleep(0.7)
        rig.qemu.resume()
        woken_ns = rig.clock.now_ns()
        link.wait(lambda woken_ns=woken_ns: link.telemetry is not None and link.telemetry.arrived_ns > woken_ns + 1_000_000_000, TIMEOUT_S)  # type: ignore[misc]
        link.wait(lambda: link.info.clock.bound_ns is not None, TIMEOUT_S)
        link.drain()
        link.wait(lambda: len(link._known.history) > 20, TIMEOUT_S)
        for sample in link.drain():
            if sample.stamp.bound_ns is not None:
                assert sample.stamp.t_ns - sample.stamp.bound_ns <= sample.arrived_ns, "taken after it came"
                assert sample.arrived_ns - sample.stamp.t_ns < 500_000_000, "the sleep is taken for the way"


def test_the_counter_wraps_in_mid_motion(tmp_path: Path) -> None:
    """The firmware's 32 bits come round while it moves: put there by hand, for by itself that takes six minutes."""
    with Rig(qtest=tmp_path / "qtest") as rig, socket.socket(socket.AF_UNIX) as control:
        control.connect(str(tmp_path / "qtest"))
        answers = control.makefile("r", encoding="ascii")

        def put(counter: int) -> None:
            control.sendall(f"writel {TIM2_CNT:#x} {counter:#x}\n".encode())
            assert answers.readline() == "OK\n"
            time.sleep(0.3)  # turns of the main loop: it may see jumps of less than half a wrap only

        link = rig.open()
        welcome = link.info.welcome
        assert welcome is not None

        def trial() -> bool:
            put(0x40000000)
            put(0xA0000000)
            put(2**32 - 6 * welcome.tick_hz)
            link.drain()
            link.wait(lambda: len(link._known.history) > 100 and link.info.clock.bound_ns is not None, TIMEOUT_S)
            arm(link)
            began, wrapped = link.telemetry, False
            if began is None or began.telemetry.t_ticks < 2**31:
                return False  # too late
            while True:
                try:
                    link.setpoint(20.0, 5.0)
                except UnsyncedError:  # the step that we made
                    pass
                time.sleep(0.02)
                now = link.telemetry
                if now is None or now.telemetry.state not in (Motion.READY, Motion.MOVING):
                    return False
                wrapped = wrapped or now.telemetry.t_ticks < began.telemetry.t_ticks
                if wrapped and welcome.tick_hz < now.telemetry.t_ticks < 2**31:
                    assert now.telemetry.pan_deg > 5.0
                    assert now.stamp.bound_ns is None or abs(now.arrived_ns - now.stamp.t_ns) < 500_000_000
                    return now.telemetry.state is Motion.MOVING

        again(trial)
        link.close()
