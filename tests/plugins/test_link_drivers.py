"""Motor, pose and force behind a microcontroller: the firmware's core on a TCP port, in real time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from innervate.firmware_bridge import shared
from innervate.firmware_bridge.messages import Cause, State
from innervate.plugins.force.driver import Force
from innervate.plugins.motor.driver import Motor, Pose
from innervate.runtime.ali.component import Actuator, Context, Sensor, Setpoint
from innervate.runtime.ali.conformance import check_actuator, check_sensor
from innervate.runtime.ali.errors import BoardError, DeviceError
from innervate.runtime.ali.registry import Registry
from innervate.runtime.backbone.bundle import Bundle
from innervate.runtime.board import load_board
from innervate.runtime.loop import events as events_of_the_loop
from innervate.runtime.loop.assemble import assemble
from innervate.runtime.loop.clock import RealClock
from innervate.runtime.loop.device import Turn
from innervate.runtime.loop.events import Event
from tests.firmware_bridge.mcu import Mcu
from tests.firmware_bridge.served import Served

MS = 1_000_000
PATIENT = {"deadman_ms": 500}  # a busy test machine may keep a host thread from running for 100 ms


@pytest.fixture
def served() -> Iterator[Served]:
    with Served(Mcu()) as made:
        yield made
    assert not shared._borrowed  # every driver gave its link back


class Parts:
    """Makes the drivers of one device: one clock, one url."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.clock = RealClock()

    def make(self, name: str, options: Mapping[str, object] = PATIENT) -> Motor | Pose | Force:
        entry = Registry(entry_points=False).component("force" if name == "force" else "motor", name)
        complete = {**entry.options, "url": self.url, **(options if name == "motor" else {})}
        context = Context(name, self.clock, complete)
        limits = {axis: limit.limit() for axis, limit in entry.limits.items()}
        if name == "motor":
            return Motor(context, limits, entry.hold_ms_max or 0)
        return Pose(context, limits) if name == "pose" else Force(context, limits)

    def motor(self, **options: object) -> Motor:
        made = self.make("motor", {**PATIENT, **options})
        assert isinstance(made, Motor)
        return made

    def sense(self, name: str) -> Sensor:
        made = self.make(name)
        assert isinstance(made, Sensor)
        return made

    def order(self, pan_deg: float, tilt_deg: float = 0.0, seq: int = 0) -> Setpoint:
        now_ns = self.clock.now_ns()
        return Setpoint({"pan": pan_deg, "tilt": tilt_deg}, now_ns, now_ns + 200 * MS, seq)


@pytest.fixture
def parts(served: Served) -> Parts:
    return Parts(served.url)


def until(true: Callable[[], bool], turn: Callable[[], object] = lambda: None, timeout_s: float = 5.0) -> None:
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end, "waited in vain"
        turn()
        time.sleep(0.01)


def firmware_state(served: Served) -> State:
    with served.lock:
        return State(served.mcu.state)


def test_the_motor_keeps_the_contract_of_actuators(parts: Parts) -> None:
    def make() -> Actuator:
        return parts.motor()

    check_actuator(make).require()


@pytest.mark.parametrize("name", ["pose", "force"])
def test_the_senses_keep_the_contract_of_sensors(parts: Parts, name: str) -> None:
    check_sensor(lambda: parts.sense(name)).require()


def test_three_drivers_share_one_link_and_the_pose_follows(served: Served, parts: Parts) -> None:
    motor, pose, force = parts.motor(), parts.sense("pose"), parts.sense("force")
    with served.lock:
        served.mcu.lib.host_force(350, 1, 0, 0)
    for driver in (motor, pose, force):
        driver.open()
    assert len(shared._borrowed) == 1 and firmware_state(served) is State.READY
    pans: list[float] = []

    def turn() -> None:
        motor.apply(parts.order(10.0, -5.0))
        sample = pose.read(0.2)
        if sample is not None:
            pans.append(float(sample.data[0]))

    until(lambda: bool(pans) and abs(pans[-1] - 10.0) < 0.1, turn)
    assert firmware_state(served) is State.MOVING
    felt = force.read(1.0)
    assert felt is not None and np.allclose(felt.data, 3.5)
    motor.safe("enough")
    until(lambda: firmware_state(served) is State.READY)
    motor.close()
    until(lambda: firmware_state(served) is State.STOPPED)
    assert pose.read(1.0) is not None  # the others go on
    pose.close()
    force.close()


def test_force_comes_at_100_hz(parts: Parts) -> None:
    force = parts.sense("force")
    force.open()
    count, first, last = 0, None, None
    while count < 60:
        sample = force.read(1.0)
        if sample is None:
            continue
        if first is None:
            first = sample.t_ns
        else:
            count += len(sample.data)
            last = sample.t_ns
    force.close()
    assert first is not None and last is not None and last - first == count * 10 * MS


def test_a_silent_cell_is_waited_for_and_then_named(served: Served, parts: Parts) -> None:
    force = parts.sense("force")
    force.open()
    with served.lock:
        served.mcu.lib.host_force(0, 0, 1, 1)
    reads: list[object] = []
    with pytest.raises(DeviceError, match="transmitter's power"):
        until(lambda: False, lambda: reads.append(force.read(0.2)))
    assert len(reads) < 40  # half a second in steps of 40 ms, not a loop without a wait
    force.close()


def test_a_stop_is_told_in_words_and_waits_for_a_start(served: Served, parts: Parts) -> None:
    motor = parts.motor(force_max_n=20.0)
    motor.open()
    motor.apply(parts.order(1.0))
    with served.lock:
        served.mcu.lib.host_force(2500, 1, 0, 0)
    with pytest.raises(DeviceError, match=r"force 25.00 N is above the limit; let go"):
        until(lambda: False, lambda: motor.apply(parts.order(1.0)))
    assert motor.is_safe
    pose = parts.sense("pose")  # keeps the session
    pose.open()
    motor.close()
    with pytest.raises(DeviceError, match="start the program again"):
        motor.open()
    with served.lock:
        served.mcu.lib.host_force(100, 1, 0, 0)
    again = parts.motor(force_max_n=20.0)  # the program started anew
    again.open()
    assert firmware_state(served) is State.READY
    again.close()
    pose.close()


def test_a_starved_deadman_is_told_and_opening_arms_again(served: Served, parts: Parts) -> None:
    motor = parts.motor(deadman_ms=60)
    motor.open()
    motor.apply(parts.order(1.0))
    until(lambda: firmware_state(served) is State.STOPPED)
    with pytest.raises(DeviceError, match="no valid setpoint"):
        until(lambda: False, lambda: motor.apply(parts.order(1.0)))
    motor.close()
    motor.open()
    assert firmware_state(served) is State.READY
    motor.close()


def test_a_stop_at_rest_is_told_before_the_next_command(served: Served, parts: Parts) -> None:
    motor = parts.motor(rearm="always")
    motor.open()
    assert not motor.expire(parts.clock.now_ns())
    with served.lock:
        served.mcu.lib.host_axis(0, 0, 2)
    with pytest.raises(DeviceError, match="servo 1 reports fault"):
        until(lambda: False, lambda: motor.expire(parts.clock.now_ns()))
    with served.lock:
        served.mcu.lib.host_axis(0, 1, 0)
    motor.close()
    assert not motor.expire(parts.clock.now_ns())  # closed: nothing to tell
    motor.open()
    assert firmware_state(served) is State.READY
    motor.close()


def test_a_silent_servo_is_named(served: Served, parts: Parts) -> None:
    with served.lock:
        served.mcu.lib.host_axis(1, 0, 2)
    motor = parts.motor()
    motor._armed_before = True  # or it would wait for a board that boots
    with pytest.raises(DeviceError, match=r"tilt servo silent.*ids"):
        motor.open()


def test_a_missing_port_is_named() -> None:
    with pytest.raises(DeviceError, match=r"no such port.*plug the board in"):
        Parts("/dev/ttyACM99").motor().open()
    with pytest.raises(DeviceError, match="innervate link list"):
        Parts("").motor().open()


def test_a_deadman_beyond_the_firmware_s_range_is_refused() -> None:
    with pytest.raises(BoardError, match="deadman_ms"):
        Parts("x").motor(deadman_ms=5)


def test_a_stop_by_another_user_of_the_link_is_latched(served: Served, parts: Parts) -> None:
    motor = parts.motor()
    motor.open()
    link = shared.borrow(served.url, parts.clock, 1.0)
    link.stop(Cause.HOST_REQUEST)
    until(lambda: link.motion is State.STOPPED)
    with pytest.raises(DeviceError, match="the host asked for a stop"):
        motor.apply(parts.order(1.0))
    shared.give_back(link)
    motor.close()


BOARD = """\
[board]
name = "b"
[component.force]
plugin = "force"
use = "driver"
[component.force.options]
url = "{url}"
[component.pose]
plugin = "motor"
use = "driver"
[component.pose.options]
url = "{url}"
[component.motor]
plugin = "motor"
use = "driver"
[component.motor.options]
url = "{url}"
deadman_ms = 500
rearm = "always"
"""


class Events:
    def __init__(self) -> None:
        self.all: list[Event] = []

    def emit(self, event: Event) -> None:
        self.all.append(event)


def test_a_device_drives_the_firmware_and_leaves_it_stopped(served: Served, tmp_path: Path, driving_bundle: Path) -> None:
    path = tmp_path / "board.toml"
    path.write_text(BOARD.format(url=served.url))
    events = Events()
    turns: list[Turn] = []

    def watch(turn: Turn) -> None:
        turns.append(turn)
        if any(isinstance(event, events_of_the_loop.Setpoint) for event in events.all) and "force" in turn.samples:
            device.stop("seen enough")

    bundle = Bundle.open(driving_bundle)
    device = assemble(load_board(path), bundle, Registry(entry_points=False), RealClock(), None, events, [watch])
    device.run(20_000_000_000)
    assert set(turns[-1].samples) == {"force", "pose"}
    assert any(isinstance(event, events_of_the_loop.Setpoint) for event in events.all)
    until(lambda: firmware_state(served) is State.STOPPED)
