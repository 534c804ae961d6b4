"""The plugin against the contracts of Innervate: `pytest docs/examples/light`."""

from pathlib import Path

import pytest
from innervate_light.driver import LightSensor
from innervate_light.virtual import VirtualLight

from innervate.runtime.ali.component import Context
from innervate.runtime.ali.conformance import check_sensor
from innervate.runtime.ali.errors import DeviceError
from innervate.runtime.loop.clock import RealClock, VirtualClock


def test_the_twin_keeps_the_contract() -> None:
    clock = VirtualClock()
    check_sensor(lambda: VirtualLight(Context("light", clock, {"period_s": 2.0})), advance=clock.advance_s).require()


def test_the_driver_tells_dark_from_light_once(tmp_path: Path) -> None:
    lamp = tmp_path / "in_illuminance_input"
    lamp.write_text("300\n")
    sensor = LightSensor(Context("light", RealClock(), {"path": str(lamp)}))
    sensor.open()
    heard = []
    for lux in (300, 15, 5, 15, 25, 30):  # 15 is neither: it stays what it was
        lamp.write_text(f"{lux}\n")
        sample = sensor.read(0.0)
        heard.append(float(sample.data[0]) if sample else None)
    sensor.close()
    assert heard == [300.0, None, 5.0, None, 25.0, None]


def test_a_sensor_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"expected a file with lux; .*set its option path"):
        LightSensor(Context("light", RealClock(), {"path": str(tmp_path / "none")})).open()
