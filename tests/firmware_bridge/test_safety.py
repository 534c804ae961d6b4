"""What the firmware lets move: ODrive's and moteus's tests and our own, on the host port, in simulated time."""

from __future__ import annotations

import ctypes
from dataclasses import replace

import pytest

from innervate.firmware_bridge.message import Message
from innervate.firmware_bridge.messages import (
    PROTOCOL,
    SCHEMA_HASH,
    Arm,
    Cause,
    Configure,
    Hello,
    Ping,
    Probe,
    Reset,
    Rest,
    Safe,
    Setpoint,
    State,
    Status,
    Stop,
    Telemetry,
    Welcome,
)
from innervate.firmware_bridge.trials import times_to_stop_ms
from tests.firmware_bridge.build import build
from tests.firmware_bridge.mcu import LIMITS, Mcu


def to(mcu: Mcu, pan: float, ahead_ms: float = 0.0, valid_ms: float = 100.0) -> Setpoint:
    at = mcu.ticks + round(ahead_ms * 1000)
    return Setpoint(at % 2**32, (at + round(valid_ms * 1000)) % 2**32, pan, 0.0)


@pytest.fixture
def mcu() -> Mcu:
    made = Mcu()
    made.arm()
    return made


def test_the_deadman_is_fed_by_setpoints_and_latches(mcu: Mcu) -> None:
    for _ in range(5):
        mcu.send(to(mcu, 1.0))
        mcu.advance_ms(70)
        assert mcu.state == State.MOVING
    mcu.advance_ms(60)
    stop = mcu.stopped()
    assert mcu.state == State.STOPPED and stop.cause is Cause.DEADMAN
    assert 100_000 < stop.t_stop_ticks - stop.t_food_ticks <= 110_000
    assert stop.detail == 100
    for _ in range(5):  # the host comes back: nothing moves until it re-arms
        mcu.send(to(mcu, 2.0))
        mcu.advance_ms(10)
    assert mcu.state == State.STOPPED
    assert mcu.ask(Arm(mcu.hello(1).boot_id, mcu.stop_count())).status is Status.OK
    mcu.send(to(mcu, 2.0))
    mcu.advance_ms(5)
    assert mcu.state == State.MOVING


@pytest.mark.parametrize("other", [Ping(1), Probe(bytes(16)), Setpoint(0, 0, 1.0, 0.0), Hello(PROTOCOL, SCHEMA_HASH, 1)])
def test_nothing_else_feeds_it(mcu: Mcu, other: Message) -> None:
    mcu.send(to(mcu, 1.0))
    for _ in range(11):
        mcu.advance_ms(10)
        mcu.send(other)
    mcu.advance_ms(5)
    assert mcu.stopped().cause is Cause.DEADMAN


def test_time_to_stop_two_hundred_times() -> None:
    times = times_to_stop_ms(build("host") / "libfirmware.so", 200)
    assert len(times) == 200 and max(times) <= 110.0


def test_rest_puts_the_deadman_to_sleep(mcu: Mcu) -> None:
    mcu.send(to(mcu, 1.0))
    mcu.advance_ms(5)
    assert mcu.ask(Rest()).status is Status.OK
    mcu.advance_ms(5000)
    assert mcu.state == State.READY


def test_late_future_and_stale_setpoints_are_refused_and_counted(mcu: Mcu) -> None:
    mcu.send(to(mcu, 1.0))
    mcu.advance_ms(30)
    before = stats_now(mcu)
    mcu.send(to(mcu, 9.0, ahead_ms=-20.0, valid_ms=10.0))  # late
    mcu.send(to(mcu, 9.0, ahead_ms=150.0))  # too far ahead
    mcu.send(to(mcu, 9.0), seq=0)  # seen before
    mcu.send(to(mcu, 91.0))  # beyond the board's limit
    mcu.send(Setpoint(mcu.ticks, mcu.ticks + 5_000_000, 9.0, 0.0))  # valid for longer than anything should be
    mcu.advance_ms(2)
    after = stats_now(mcu)
    assert [after[k] - before[k] for k in ("late", "future", "stale", "range", "accepted")] == [1, 1, 1, 2, 0]


def stats_now(mcu: Mcu) -> dict[str, int]:
    """The counters as they are; waiting for a Stats frame would let a second pass, and the deadman with it."""
    values = (ctypes.c_uint32 * 7)()
    mcu.lib.host_counters(values)
    return dict(zip(("late", "future", "range", "state", "stale", "accepted", "executed"), values, strict=True))


def test_a_setpoint_waits_for_its_time(mcu: Mcu) -> None:
    mcu.send(to(mcu, 5.0, ahead_ms=50.0))
    mcu.advance_ms(40)
    assert mcu.lib.host_target(0) == 0
    mcu.advance_ms(20)
    assert 0 < mcu.lib.host_target(0)


def test_the_goal_moves_no_faster_than_the_rate(mcu: Mcu) -> None:
    for _ in range(20):
        mcu.send(to(mcu, 80.0))
        before = mcu.lib.host_target(0)
        mcu.advance_ms(10)
        assert 0 <= mcu.lib.host_target(0) - before <= 1.3 * 120  # 120 deg/s: 1.2 degrees in 10 ms
    assert 2200 <= mcu.lib.host_target(0) <= 2400


def test_an_expired_setpoint_stops_on_its_way(mcu: Mcu) -> None:
    mcu.send(to(mcu, 80.0, valid_ms=20.0))
    mcu.advance_ms(60)
    at = mcu.lib.host_target(0)
    mcu.advance_ms(30)
    assert mcu.lib.host_target(0) == at < 400


@pytest.mark.parametrize(("safe", "torque"), [(Safe.HOLD, 1), (Safe.RELEASE, 0)])
def test_the_safe_state_is_the_board_s(safe: Safe, torque: int) -> None:
    mcu = Mcu()
    mcu.arm(replace(LIMITS, safe=safe))
    mcu.send(to(mcu, 10.0))
    mcu.advance_ms(30)
    mcu.send(Stop(Cause.HOST_REQUEST, 9))
    mcu.advance_ms(1)
    at = mcu.lib.host_target(0)
    mcu.advance_ms(50)
    assert (mcu.state, mcu.lib.host_torque(), mcu.lib.host_target(0)) == (State.STOPPED, torque, at)
    stop = mcu.stopped()
    assert (stop.cause, stop.token) == (Cause.HOST_REQUEST, 9)


def test_a_stop_is_obeyed_without_a_session_and_with_a_foreign_schema() -> None:
    mcu = Mcu()
    mcu.arm()
    mcu.send(to(mcu, 1.0))
    mcu.advance_ms(1)
    mcu.feed(b"\0\x05garbage" + b"\0")
    mcu.send(Stop(Cause.HOST_FAULT, 1))
    mcu.advance_ms(1)
    assert mcu.stopped().cause is Cause.HOST_FAULT


def test_the_first_cause_stays(mcu: Mcu) -> None:
    mcu.send(Stop(Cause.HOST_REQUEST, 1))
    mcu.advance_ms(1)
    mcu.send(Stop(Cause.HOST_FAULT, 2))
    mcu.advance_ms(1)
    stop = mcu.stopped()
    assert (stop.cause, stop.token) == (Cause.HOST_REQUEST, 2)


def test_an_old_arm_cannot_end_a_newer_stop(mcu: Mcu) -> None:
    boot, count = mcu.hello(1).boot_id, 1
    mcu.send(Stop(Cause.HOST_REQUEST, 1))
    mcu.advance_ms(1)
    reply = mcu.ask(Arm(boot, count))
    assert (reply.status, reply.detail) == (Status.BOOT, count + 1)
    assert mcu.ask(Arm(boot ^ 1, count + 1)).status is Status.BOOT
    assert mcu.state == State.STOPPED


def test_another_host_s_session_stops_the_motion(mcu: Mcu) -> None:
    mcu.send(to(mcu, 1.0))
    mcu.advance_ms(1)
    mcu.hello(2)
    assert mcu.stopped().cause is Cause.SESSION


def test_limits_are_needed_checked_and_kept_while_armed() -> None:
    mcu = Mcu()
    boot = mcu.hello().boot_id
    assert mcu.ask(Arm(boot, 1)).status is Status.STATE
    reply = mcu.ask(replace(LIMITS, pan_min_deg=10.0, pan_max_deg=-10.0))
    assert (reply.status, reply.detail) == (Status.RANGE, 0)
    assert mcu.ask(LIMITS).status is Status.OK
    assert mcu.ask(Arm(boot, 1)).status is Status.OK
    assert mcu.ask(LIMITS).status is Status.STATE


@pytest.mark.parametrize(
    ("limits", "fault", "cause"),
    [
        (replace(LIMITS, force_max_n=20.0), (2500, 1, 0, 0), Cause.FORCE_OVER),
        (replace(LIMITS, force_max_n=20.0), (-2500, 1, 0, 0), Cause.FORCE_OVER),
        (replace(LIMITS, force_max_n=20.0), (100, 1, 3, 0), Cause.FORCE_OVER),
        (replace(LIMITS, force_missing_ms=50), (100, 1, 0, 1), Cause.FORCE_MISSING),
        (replace(LIMITS, force_missing_ms=50), (100, 0, 1, 0), Cause.FORCE_MISSING),
        (replace(LIMITS, force_stuck_ms=200), (100, 1, 0, 0), Cause.FORCE_STUCK),
    ],
)
def test_force_faults_stop(limits: Configure, fault: tuple[int, int, int, int], cause: Cause) -> None:
    mcu = Mcu()
    mcu.lib.host_force(100, 1, 0, 0)
    mcu.arm(limits)
    mcu.lib.host_force(*fault)
    for _ in range(30):
        mcu.send(to(mcu, 0.5))
        mcu.advance_ms(10)
    assert mcu.stopped().cause is cause


@pytest.mark.parametrize(("valid", "fault"), [(0, 1), (1, 2), (1, 5)])
def test_a_servo_fault_stops(mcu: Mcu, valid: int, fault: int) -> None:
    mcu.send(to(mcu, 1.0))
    mcu.lib.host_axis(1, valid, fault)
    mcu.advance_ms(2)
    stop = mcu.stopped()
    assert (stop.cause, stop.detail) == (Cause.MOTOR, 256 + fault)


def test_a_silent_servo_may_come_back_where_the_board_says_so() -> None:
    mcu = Mcu()
    mcu.arm(replace(LIMITS, servo_missing_ms=300))

    def follow(ms: int) -> None:
        for _ in range(ms // 10):
            mcu.send(to(mcu, 30.0))
            mcu.advance_ms(10)

    follow(100)
    mcu.lib.host_axis(0, 0, 1)
    before = mcu.lib.host_target(0)
    follow(250)
    assert mcu.state == State.MOVING and mcu.lib.host_target(0) == before > 0  # nobody is led further unseen
    mcu.lib.host_axis(0, 1, 0)
    follow(100)
    assert mcu.state == State.MOVING and mcu.lib.host_target(0) > before
    mcu.lib.host_axis(0, 0, 1)
    follow(320)
    assert mcu.stopped().cause is Cause.MOTOR


def test_another_fault_than_silence_stops_at_once() -> None:
    mcu = Mcu()
    mcu.arm(replace(LIMITS, servo_missing_ms=300))
    mcu.send(to(mcu, 1.0))
    mcu.lib.host_axis(0, 0, 5)
    mcu.advance_ms(2)
    assert mcu.stopped().cause is Cause.MOTOR


def test_a_short_silence_of_the_load_cell_passes_and_a_long_one_never_comes_round() -> None:
    mcu = Mcu()
    limits = replace(LIMITS, force_missing_ms=500)
    mcu.arm(limits)
    mcu.lib.host_force(100, 0, 1, 1)
    mcu.advance_ms(400)
    assert mcu.state == State.READY
    mcu.advance_ms(150)
    assert mcu.stopped().cause is Cause.FORCE_MISSING
    for _ in range(8):  # nine minutes at a time: a wrap of the counter and more
        mcu.advance_ms(540_000)
        while mcu.take():
            pass
        boot = mcu.hello().boot_id
        assert mcu.ask(Arm(boot, mcu.stop_count())).status is Status.OK
        mcu.advance_ms(2)
        assert mcu.state == State.STOPPED


def test_a_schema_mismatch_leaves_telemetry_and_refuses_to_move() -> None:
    mcu = Mcu()
    welcome = mcu.hello(schema=SCHEMA_HASH ^ 1)
    assert mcu.ask(LIMITS).status is Status.SCHEMA
    assert mcu.ask(Arm(welcome.boot_id, 1)).status is Status.SCHEMA
    mcu.advance_ms(6)
    assert any(isinstance(m, Telemetry) for m in mcu.messages())
    mcu.send(to(mcu, 1.0))
    mcu.advance_ms(1)
    assert mcu.state == State.UNCONFIGURED


def test_a_reset_in_mid_motion_forgets_everything(mcu: Mcu) -> None:
    boot = mcu.hello(1).boot_id
    mcu.send(to(mcu, 1.0))
    assert mcu.ask(Reset(boot)).status is Status.OK
    mcu.advance_ms(500)
    beacon = [m for m in mcu.messages() if isinstance(m, Welcome)][-1]
    assert beacon.nonce == 0 and beacon.boot_id != boot and mcu.state == State.UNCONFIGURED
    mcu.send(to(mcu, 1.0))
    mcu.advance_ms(1)
    assert mcu.state == State.UNCONFIGURED


def test_a_hanging_firmware_is_restarted_by_the_watchdog(mcu: Mcu) -> None:
    mcu.send(to(mcu, 1.0))
    mcu.advance_ms(1)
    mcu.lib.host_hang(250_000)
    mcu.advance_ms(1)
    assert mcu.state == State.UNCONFIGURED
    mcu.hello()
    assert mcu.stopped().cause is Cause.WATCHDOG


def test_everything_works_over_the_wrap() -> None:
    mcu = Mcu()
    mcu.lib.host_set_ticks(2**32 - 500_000)
    mcu.lib.host_power_on(3)
    mcu.arm()
    for _ in range(200):
        mcu.send(to(mcu, 1.0))
        mcu.advance_ms(10)
        assert mcu.state == State.MOVING
    assert mcu.ticks < 2_000_000
    mcu.advance_ms(140)
    stop = mcu.stopped()
    assert 100_000 < (stop.t_stop_ticks - stop.t_food_ticks) % 2**32 <= 110_000
