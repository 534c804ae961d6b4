"""The firmware's devices in the emulator's world: the servos turn its head, the transmitter feels its grip."""

from __future__ import annotations

import ctypes

import pytest

from innervate.boards.emulator.devices.modbus import LoadCell
from innervate.boards.emulator.devices.plants import WorldAxes, grip_n
from innervate.boards.emulator.devices.sts import head
from innervate.boards.emulator.scenario import Scenario, SqueezeInput
from innervate.boards.emulator.world import World
from tests.firmware_bridge.devices.bench import FORCE, PAN, SERVO, TILT, Bench


def test_the_head_turns_and_the_grip_is_felt(lib: ctypes.CDLL) -> None:
    squeeze = SqueezeInput(t_s=0.0, force_n=((0.0, 0.0), (0.5, 0.0), (0.6, 15.0), (9.0, 15.0)))
    with World(Scenario(duration_s=None, inputs=(squeeze,)), seed=3) as world:
        bench = Bench(lib, {SERVO: head(WorldAxes(world)), FORCE: LoadCell(lambda: grip_n(world))})

        def live(seconds: float) -> None:
            for _ in range(round(seconds / 0.002)):
                bench.run(0.002)
                world.advance_to(bench.t_ns)

        live(0.1)
        lib.motor_torque(True)
        live(0.2)
        assert bench.force().force_cn < 10
        lib.motor_target(PAN, 2000)
        lib.motor_target(TILT, -500)
        live(0.6)
        pan, tilt = world.pose()[:2]
        assert (pan, tilt) == (pytest.approx(20.0, abs=0.1), pytest.approx(-5.0, abs=0.1))
        assert abs(bench.motor(PAN).position_cdeg - 2000) < 15
        assert abs(bench.motor(TILT).position_cdeg + 500) < 15
        assert abs(bench.force().force_cn - 1500) < 30
        lib.motor_target(PAN, -9000)
        live(0.15)
        lib.motor_torque(False)
        live(0.3)
        stopped = world.pose()[0]
        assert -60.0 < stopped < 18.0
        assert world.pose()[2] == pytest.approx(0.0, abs=0.05)
        live(0.1)
        assert world.pose()[0] == pytest.approx(stopped, abs=0.02)
