"""The whole device on the firmware's ELF in QEMU, as a user runs it: the shipped model turns the head through the microcontroller."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.firmware_bridge.build import build

RUN_S = 120.0
TRIES = 4  # a machine that stands still for a tenth of a second makes simulated servos late, which rightly stops the firmware
TURN_DEG = 8.0  # the tolerance of the direction commands
STILL_DEG = 0.5
SCENARIO = """\
[run]
duration_s = 6.0
seed = 1
[[input]]
t_s = 0.4
kind = "text"
text = "look left"
[[input]]                       # from +60 to -60 takes 0.9 s
t_s = 3.0
kind = "text"
text = "look right"
[[input]]                       # twice over 5 N on the way
t_s = 3.15
kind = "squeeze"
force_n = [[0.0, 0.0], [0.04, 12.0], [0.12, 12.0], [0.16, 0.0], [0.3, 0.0], [0.34, 12.0], [0.5, 12.0], [0.56, 0.0]]
"""


def played(folder: Path) -> list[dict[str, Any]]:
    """Run the scenario on the board; return its events."""
    scenario, events = folder / "scene.toml", folder / "events.jsonl"
    scenario.write_text(SCENARIO, encoding="utf-8")
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-m", "innervate.runtime.cli", "run", "--board", "emulator_mcu", "--scenario", str(scenario)]
    done = subprocess.run([*command, "--headless", "--events", str(events)], env=paths, capture_output=True, text=True, timeout=RUN_S, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in events.read_text(encoding="utf-8").splitlines()]


def failures(events: list[dict[str, Any]]) -> list[str]:
    """Say what went otherwise than it should, and the faults that may have been why."""
    poses = [(e["t_s"], e["pan_deg"], e["tilt_deg"]) for e in events if e["event"] == "pose"]
    said = []
    left = [pose for pose in poses if 2.4 <= pose[0] <= 3.0]
    if not left or any(abs(pan - 60.0) > TURN_DEG or abs(tilt) > TURN_DEG for _, pan, tilt in left):
        said.append(f"look left: {left}")
    rises = [e["t_s"] for e in events if e["event"] == "force" and e["n"] > 5.0]
    if not rises or not 3.1 <= rises[0] <= 3.6:
        said.append(f"squeeze felt at {rises}")
    closed = [e["t_s"] for e in events if e["event"] == "close" and e["component"] == "motor" and e["t_s"] > 3.15]
    if not closed or closed[0] > 4.0:
        said.append(f"closed at {closed}")
    end = [pose for pose in poses if pose[0] > 4.6]
    if not end or end[0][1] < -60.0 + TURN_DEG or any(abs(pan - end[0][1]) > STILL_DEG for _, pan, _ in end):
        said.append(f"squeezed on its way to the right, then: {end}")
    return said and [*said, *(f"fault at {e['t_s']}: {e['source']}: {e['cause']}" for e in events if e["event"] == "fault")]


@pytest.mark.slow
@pytest.mark.alone
def test_typed_words_turn_the_head_and_a_double_squeeze_stops_it(tmp_path: Path) -> None:
    build("stm32f405")
    told = []
    for _ in range(TRIES):
        said = failures(played(tmp_path))
        if not said:
            return
        told.append(said)
    raise AssertionError(told)
