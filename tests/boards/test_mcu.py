"""The emulated handheld with the firmware's ELF in QEMU. No claim about real time: time-outs are seconds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from innervate.boards.emulator.mcu import McuWorld, ToldAxes
from innervate.boards.emulator.scenario import Scenario, SqueezeInput
from innervate.firmware_bridge.link import Link, LinkError
from innervate.firmware_bridge.qemu import EmulatorError
from innervate.runtime.ali.errors import BoardError
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


def test_told_targets_come_back_once_and_in_order() -> None:
    axes = ToldAxes()
    axes.drive(0, 10.0, 1)
    axes.drive(0, 10.0, 2)  # no change
    axes.drive(1, 99.0, 3)  # clamped to the tilt's range
    assert axes.told() == [(1, 10.0, 0.0), (3, 10.0, 30.0)]
    assert axes.told() == []
    axes.let_go(0, 4)
    assert axes.told() == [(4, 0.0, 30.0)]


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
        if world.axes.servos[0].position_deg > 5.0:
            break
    link.stop()
    begun_ns = time.monotonic_ns()
    for _ in range(100):
        world.advance_to(max(world.t_ns, 1_000_000_000) + time.monotonic_ns() - begun_ns)
        begun_ns = time.monotonic_ns()
        time.sleep(0.01)
    measured = world.pose()[:2]
    assert measured[0] > 5.0
    assert measured == pytest.approx([servo.position_deg for servo in world.axes.servos], abs=0.5)


@pytest.mark.slow
def test_the_load_cell_feels_the_scenario_s_hand(link: Link) -> None:
    link.wait(lambda: link.telemetry is not None and abs(link.telemetry.telemetry.force_n - 7.0) < 0.2, WAIT_S)


@pytest.mark.slow
def test_nothing_outlives_the_world() -> None:
    made = McuWorld(Scenario(duration_s=None), 1, build("stm32f405") / "stm32f405.elf")
    made.close()
    made.close()
    assert made.qemu.process.returncode is not None


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
