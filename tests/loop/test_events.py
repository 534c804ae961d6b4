import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from innervate.runtime.ali.errors import InnervateError
from innervate.runtime.loop.clock import RealClock, VirtualClock
from innervate.runtime.loop.events import Event, EventFile, Fan, Fault, Force, Histogram, Pose, Setpoint, Stop, Summary, Text, Tick, seconds
from tests.loop.parts import Kept


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_events_look_as_the_design_says(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with EventFile(path) as file:
        file.emit(Text(0.08, "a red cube"))
        file.emit(Setpoint(0.08, "pan", deg=1.5))
        file.emit(Setpoint(0.08, "grip", value=2.0, unit="n"))
        file.emit(Pose(0.08, 1.0, -2.0))
        file.emit(Force(0.08, 12.0))
        file.emit(Tick(0.08, 0.0, 0))
        file.emit(Summary(0.08, 1, 0, 1.0, 2.0, None, None, 50.0, "ab", "fp32"))
    assert lines(path) == [
        {"event": "text", "t_s": 0.08, "text": "a red cube"},
        {"event": "setpoint", "t_s": 0.08, "axis": "pan", "deg": 1.5},
        {"event": "setpoint", "t_s": 0.08, "axis": "grip", "value": 2.0, "unit": "n"},
        {"event": "pose", "t_s": 0.08, "pan_deg": 1.0, "tilt_deg": -2.0},
        {"event": "force", "t_s": 0.08, "n": 12.0},
        {"event": "tick", "t_s": 0.08, "late_ms": 0.0, "steps": 0},
        {"event": "summary", "t_s": 0.08, "ticks": 1, "late": 0, "step_us_p50": 1.0, "step_us_p99": 2.0}
        | {"capture_to_setpoint_us_p50": None, "capture_to_setpoint_us_p99": None}
        | {"rss_mb": 50.0, "space_id": "ab", "variant": "fp32"},
    ]


def test_the_file_has_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("the run before\n")
    file = EventFile(path)
    file.emit(Tick(0.08, 0.0, 0))
    assert path.read_text() == "the run before\n"
    assert lines(tmp_path / "out.jsonl.part")[0]["event"] == "tick", "flushed at every tick"
    file.close()
    file.close()
    assert lines(path)[0]["event"] == "tick"
    assert os.listdir(tmp_path) == ["out.jsonl"]


def test_an_exception_finishes_the_file_too(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"

    def broken_run() -> None:
        with EventFile(path) as file:
            file.emit(Stop(0.0, "boom"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        broken_run()
    assert lines(path) == [{"event": "stop", "t_s": 0.0, "cause": "boom"}]


def test_a_device_is_written_directly() -> None:
    with EventFile(Path("/dev/null")) as file:
        file.emit(Tick(0.0, 0.0, 0))
    assert not Path("/dev/null.part").exists()


def test_a_place_that_cannot_be_written_is_an_error_with_a_next_step(tmp_path: Path) -> None:
    with pytest.raises(InnervateError, match="--events"):
        EventFile(tmp_path / "nowhere" / "out.jsonl")


def test_a_full_disk_is_an_error_with_a_next_step() -> None:
    file = EventFile(Path("/dev/full"))
    with pytest.raises(InnervateError, match=r"No space left on device.*make room"):
        file.emit(Tick(0.0, 0.0, 0))
    with pytest.raises(InnervateError, match="make room"):
        file.close()


def test_a_log_that_fails_does_not_keep_the_others_from_their_events() -> None:
    class Full:
        def emit(self, event: Event) -> None:
            raise OSError("full")

    kept = Kept()
    fan = Fan([Full(), kept])
    fan.emit(Stop(1.0, "a"))
    fan.emit(Stop(2.0, "b"))
    assert kept.events == [Fault(1.0, "events", "full"), Stop(1.0, "a"), Stop(2.0, "b")]
    assert [str(error) for error in fan.broken] == ["full"]


def test_seconds_are_rounded_to_microseconds() -> None:
    assert seconds(80_000_000) == 0.08
    assert seconds(123_456_789) == 0.123457


@given(st.lists(st.floats(1.0, 9e7), min_size=1, max_size=200), st.sampled_from([1, 50, 99, 100]))
def test_percentiles_are_within_one_percent(values: list[float], percent: int) -> None:
    """Invariant: a percentile of the histogram is within 1 % (and rounding) of the value at that rank."""
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    exact = float(np.percentile(values, percent, method="inverted_cdf"))
    assert histogram.percentile(percent) == pytest.approx(exact, rel=0.011, abs=0.06)


def test_a_histogram_takes_any_value_and_starts_empty() -> None:
    histogram = Histogram()
    assert histogram.percentile(50) is None
    for value in (0.0, -1.0, 1e30):
        histogram.add(value)
    assert histogram.total == 3


def test_virtual_time_moves_only_when_told_to() -> None:
    clock = VirtualClock()
    clock.sleep_until_ns(100)
    clock.sleep_until_ns(50)
    assert clock.now_ns() == 100
    clock.advance_s(0.5)
    assert clock.now_ns() == 500_000_100


def test_the_real_clock_runs_and_does_not_sleep_into_the_past() -> None:
    clock = RealClock()
    before = clock.now_ns()
    clock.sleep_until_ns(before)
    clock.sleep_until_ns(before + 1000)
    assert clock.now_ns() >= before + 1000
