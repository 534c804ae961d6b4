"""The emulated handheld with the firmware's ELF in QEMU. No claim about real time: time-outs are seconds."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from innervate.boards.emulator.devices.apart import DevicesApart, ToldAxes
from innervate.boards.emulator.mcu import McuWorld
from innervate.boards.emulator.scenario import Scenario, SqueezeInput
from innervate.firmware_bridge.link import Link, LinkError
from innervate.firmware_bridge.qemu import EmulatorError
from innervate.runtime.ali.errors import BoardError, DeviceError
from innervate.runtime.ali.registry import Registry
from innervate.runtime.backbone.bundle import Bundle
from innervate.runtime.board import load_board
from innervate.runtime.loop.assemble import assemble
from innervate.runtime.loop.clock import RealClock
from innervate.runtime.loop.events import Fan
from tests.firmware_bridge.build import build
from tests.firmware_bridge.rig import arm

WAIT_S = 10.0
TRIES = 20
BOARD = """\
[board]
name = "b"
world = "innervate.boards.emulator.mcu:make_world"
[component.pose]
plugin = "motor"
use = "driver"
[component.pose.options]
url = "world:{name}"
"""


@pytest.fixture(scope="module")
def world() -> Iterator[McuWorld]:
    scenario = Scenario(duration_s=None, inputs=(SqueezeInput(0.0, ((0.0, 7.0), (1e5, 7.0))),))
    with closing(McuWorld(scenario, 1, build("stm32f405") / "stm32f405.elf")) as made:
        yield made


@pytest.fixture(scope="module")
def link(world: McuWorld) -> Iterator[Link]:
    made = Link.open(world.offers["mcu"], RealClock(), WAIT_S)
    yield made
    made.close()


def test_changed_targets_are_told_once_and_in_order() -> None:
    up, down = os.pipe()
    axes = ToldAxes(down)
    axes.state(0, 1)  # somebody asks
    axes.state(1, 2)
    axes.drive(0, 10.0, 3)
    axes.drive(0, 10.0, 4)  # no change
    axes.drive(1, 99.0, 5)  # clamped to the tilt's range
    axes.let_go(0, 6)
    os.close(down)
    with os.fdopen(up) as lines:
        assert [json.loads(line) for line in lines] == [[1, 0.0, 0.0], [3, 10.0, 0.0], [5, 10.0, 30.0], [6, 0.0, 30.0]]


def test_a_reader_that_does_not_read_holds_nobody_up() -> None:
    up, down = os.pipe()
    os.set_blocking(down, False)
    axes = ToldAxes(down)
    for t_ns in range(10_000):
        axes.drive(0, float(t_ns % 2), t_ns)
    os.close(up)
    axes.drive(0, 5.0, 10_000)  # nor one that is gone
    os.close(down)
    assert axes.servos[0].target_deg == 5.0


@pytest.mark.slow
def test_the_world_s_head_goes_where_the_firmware_sends_the_servos(world: McuWorld, link: Link) -> None:
    for _ in range(TRIES):  # a busy machine keeps simulated servos from answering in time, which rightly stops the firmware
        try:
            arm(link)
            for _ in range(60):
                link.setpoint(20.0, 5.0)
                time.sleep(0.01)
        except LinkError as error:
            if "servo" not in str(error) and "setpoint" not in str(error) and "synchronised" not in str(error):
                raise
        if link.telemetry is not None and link.telemetry.telemetry.pan_deg > 5.0:
            break
    link.stop()
    begun_ns = time.monotonic_ns()
    for _ in range(100):
        world.advance_to(max(world.t_ns, 1_000_000_000) + time.monotonic_ns() - begun_ns)
        begun_ns = time.monotonic_ns()
        time.sleep(0.01)
    measured = world.pose()[:2]
    assert measured[0] > 5.0
    assert link.telemetry is not None
    assert measured == pytest.approx([link.telemetry.telemetry.pan_deg, link.telemetry.telemetry.tilt_deg], abs=0.5)


@pytest.mark.slow
def test_the_load_cell_feels_the_scenario_s_hand(link: Link) -> None:
    link.wait(lambda: link.telemetry is not None and abs(link.telemetry.telemetry.force_n - 7.0) < 0.2, WAIT_S)


@pytest.mark.slow
def test_nothing_outlives_the_world() -> None:
    made = McuWorld(Scenario(duration_s=None), 1, build("stm32f405") / "stm32f405.elf")
    made.close()
    made.close()
    assert made.qemu.process.returncode is not None and made.devices.process.returncode == 0


HOLDER = """
from innervate.boards.emulator.devices.apart import DevicesApart
held = DevicesApart(1, 2, [], 0)
print(held.process.pid, flush=True)
input()
"""


@pytest.mark.slow
def test_the_simulators_end_with_a_device_that_is_killed() -> None:
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    device = subprocess.Popen([sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=paths)
    assert device.stdout is not None
    pid = int(device.stdout.readline())
    device.kill()
    device.communicate()
    end = time.monotonic() + WAIT_S
    while Path(f"/proc/{pid}/stat").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text(encoding="ascii"):
        assert time.monotonic() < end, "it lives on"
        time.sleep(0.02)


@pytest.mark.slow
def test_simulators_that_end_by_themselves_are_told() -> None:
    with DevicesApart(1, 2, [], 0) as devices:
        devices.begin(time.monotonic_ns())
        devices.process.send_signal(signal.SIGTERM)
        devices.process.wait(WAIT_S)
        with pytest.raises(DeviceError, match="ended with status -15"):
            devices.begin(time.monotonic_ns())
        assert devices.told() == []


def test_a_missing_elf_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(EmulatorError, match="make firmware"):
        McuWorld(Scenario(duration_s=None), 1, tmp_path / "none.elf")


@pytest.mark.slow
def test_a_driver_finds_the_port_that_the_world_opened(world: McuWorld, tmp_path: Path, quiet_bundle: Path) -> None:
    path = tmp_path / "board.toml"

    def assembled(name: str) -> None:
        path.write_text(BOARD.format(name=name))
        assemble(load_board(path), Bundle.open(quiet_bundle), Registry(entry_points=False), RealClock(), world, Fan([]))

    assembled("mcu")
    with pytest.raises(BoardError, match="did you mean 'mcu'"):
        assembled("mcv")
