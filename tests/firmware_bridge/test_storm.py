"""Both ends under what no test thinks of: damaged frames in millions, a minute of a fuzzer with sanitizers, a minute of random peers."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.firmware_bridge.build import build
from tests.firmware_bridge.fuzz import survive


def test_no_wrong_setpoint_in_ten_million_damaged_frames() -> None:
    """Bit flips at 1e-3 and 10 % byte loss; wire.py says what to expect: 0.002 wrong ones in the worst case."""
    done = subprocess.run([build("storm") / "storm", "10000000", "1"], capture_output=True, text=True, check=False)
    told = json.loads(done.stdout)
    assert done.returncode == 0 and told["wrong"] == 0
    assert told["executed"] > 800_000 and told["bad_crc"] > 100_000


def test_the_fuzzer_finds_nothing(tmp_path: Path) -> None:
    """Invariants: those of firmware/ports/host/fuzz.c. A minute here; `make fuzz` runs it for half an hour."""
    program = build("fuzz") / "fuzz"
    options = ["-max_total_time=60", "-max_len=1200", "-seed=1", f"-artifact_prefix={tmp_path}/"]
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
    done = subprocess.run([program, *options, tmp_path], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]


def test_the_host_s_half_survives_a_minute_of_random_peers() -> None:
    assert survive(60.0) > 0


pytestmark = pytest.mark.slow
