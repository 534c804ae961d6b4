"""`innervate bench` measures what it says, on a small real bundle; how fast this machine is, is no test's business."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from innervate.models.bench.boot import boot, twins_board
from innervate.models.bench.replay import EVERY_S, ReplayWorld, busy
from innervate.models.bench.tick import Span, long_run, part_figures, run_ticks, tick_figures
from innervate.models.machine import machine
from innervate.runtime.backbone.bundle import Bundle
from innervate.runtime.board import load_board
from innervate.runtime.cli import main
from innervate.runtime.loop.device import Turn

FRAMES = np.stack([np.full((96, 96, 3), shade, np.uint8) for shade in (10, 20, 30)])


def test_the_camera_goes_round_the_frames() -> None:
    world = ReplayWorld(busy(2.0), FRAMES)
    shades = []
    for k in range(5):
        world.advance_to(k * 80_000_000)
        shades.append(int(world.frame()[0, 0, 0]))
    assert shades == [10, 20, 30, 10, 20]


def test_sound_and_grip_are_played_from_a_recording() -> None:
    world = ReplayWorld(busy(61.0), FRAMES)
    first, again = (world.audio(t, t + 80_000_000) for t in (400_000_000, 10_400_000_000))
    assert first.dtype == np.int16 and first.shape == (1280,) and np.array_equal(first, again) and first.std() > 100
    assert world.audio(9_960_000_000, 10_040_000_000).shape == (1280,)
    still, squeezed = world.force(0, 80_000_000), world.force(53_000_000_000, 53_080_000_000)
    assert still.dtype == np.float32 and still.shape == (8,) and still.max() < 0.2
    assert squeezed.min() > 11.5


def test_a_busy_hour_has_commands_throughout() -> None:
    times = [given.t_s for given in busy(3600.0).inputs]
    assert times[0] < EVERY_S and times[-1] > 3600.0 - EVERY_S
    assert max(np.diff(sorted(times))) <= EVERY_S


def test_every_turn_is_seen_and_timed(speaking_bundle: Path) -> None:
    turns: list[Turn] = []
    log = run_ticks(Bundle.open(speaking_bundle), "fp32", 1.6, FRAMES, turns.append)
    assert len(turns) == 20 and all(turn.wall_us > 0 for turn in turns)
    assert log.counts["Text"] == 20 and log.counts["Summary"] == 1


def test_ticks_are_told_apart_by_the_motor(driving_bundle: Path, quiet_bundle: Path) -> None:
    quiet = tick_figures(Bundle.open(quiet_bundle), "fp32", 0.8, FRAMES)
    assert quiet.ticks == 10 and quiet.idle_p50 > 0 and np.isnan(quiet.driving_p50)
    assert np.isnan(tick_figures(Bundle.open(driving_bundle), "fp32", 0.8, FRAMES).idle_p50)


def test_every_part_of_a_tick_has_its_time(quiet_bundle: Path) -> None:
    bundle = Bundle.open(quiet_bundle)
    parts = part_figures(bundle, "fp32", repeats=5)
    assert {"ear", "eye", "force", "pose", "motor decoder"} <= parts.keys() and all(took > 0 for took in parts.values())


def test_a_long_run_is_reported_in_parts(quiet_bundle: Path) -> None:
    spans: list[Span] = []
    long_run(Bundle.open(quiet_bundle), "fp32", 0.08, FRAMES, 3, spans.append)
    assert [round(span.to_min, 4) for span in spans] == [0.0267, 0.0533, 0.08]
    assert all(span.p50 > 0 and span.rss_mb > 10 for span in spans)


def test_boot_is_timed_from_outside(quiet_bundle: Path, tmp_path: Path) -> None:
    board = load_board(twins_board(tmp_path))
    assert not board.has_drivers and len({wiring.plugin for wiring in board.components}) == 5
    assert board.world is not None and board.world.endswith("make_still")
    found = boot(quiet_bundle, "fp32")
    assert 0.01 < found.first_tick_s < 60.0 and 10 < found.rss_mb < 2000


def test_the_command_prints_goals_and_machine(quiet_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--bundle", str(quiet_bundle), "--variant", "fp32", "--parts", "boot"]) == 0
    shown = capsys.readouterr().out
    assert machine() in shown and "goal at most 0.8 s" in shown
    assert main(["bench", "--bundle", str(quiet_bundle), "--parts", "tock"]) != 0
    assert "tick" in capsys.readouterr().err


def test_the_engine_is_timed_against_genai(quiet_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--bundle", str(quiet_bundle), "--parts", "engine", "--repeats", "5"]) == 0
    shown = capsys.readouterr().out
    assert all(f"{variant} " in shown for variant in ("dq8", "nb8", "fp32")) and "step/genai: mean" in shown


def test_without_genai_one_command_is_named(quiet_bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["bench", "--bundle", str(quiet_bundle), "--variant", "dq8", "--parts", "engine"]) == 0
    assert "not installed here: onnx onnxruntime_genai; run: " in (shown := capsys.readouterr().out)
    assert shown.rstrip().endswith("-m pip install 'innervate[bench]'")
