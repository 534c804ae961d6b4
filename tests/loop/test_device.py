"""Whole devices: board, plugins, a real bundle through the real engine, in a world without a renderer."""

import gc
import json
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from innervate.boards.emulator import make_still
from innervate.runtime.ali.errors import BoardError, BundleError, PluginError, SpaceMismatch
from innervate.runtime.ali.registry import Registry
from innervate.runtime.backbone.bundle import Bundle
from innervate.runtime.board import load_board
from innervate.runtime.loop.assemble import assemble
from innervate.runtime.loop.clock import RealClock, VirtualClock
from innervate.runtime.loop.device import Device, Turn, World
from innervate.runtime.loop.events import EventFile, Fault, Log, Open, Pose, Setpoint, Stop, Summary, Text, Tick
from tests.loop.parts import Kept

BOARD = """\
[board]
name = "bench"
variant = "fp32"
world = "innervate.boards.emulator:make_still"
"""
PARTS = {"mic": "mic", "camera": "camera", "force": "force", "pose": "motor", "text_in": "text", "motor": "motor", "text_out": "text"}
SCENARIO = """\
[run]
duration_s = 2.0
seed = 3
[[input]]
t_s = 0.5
kind = "text"
text = "what do you see"
[[input]]
t_s = 0.6
kind = "squeeze"
force_n = [[0.0, 0.0], [0.2, 12.0], [0.6, 0.0]]
"""
S = 1_000_000_000


class Rig:
    """Builds and runs devices; `world` may be wrapped before the run."""

    def __init__(self, folder: Path, bundle: Path, parts: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.bundle = Bundle.open(bundle)
        self.clock = VirtualClock()
        self.log = Kept()
        self.turns: list[Turn] = []
        tables = "".join(f'[component.{name}]\nplugin = "{plugin}"\nuse = "virtual"\n' for name, plugin in (parts or PARTS).items())
        (folder / "board.toml").write_text(BOARD + tables)
        (folder / "scenario.toml").write_text(SCENARIO)
        self.world: World = make_still(folder / "scenario.toml", None)

    def device(self, log: Log | None = None, registry: Registry | None = None) -> Device:
        board = load_board(self.folder / "board.toml")
        registry = registry or Registry(entry_points=False)
        return assemble(board, self.bundle, registry, self.clock, self.world, log or self.log, [self.turns.append])


@pytest.fixture
def rig(tmp_path: Path, driving_bundle: Path) -> Rig:
    return Rig(tmp_path, driving_bundle)


def test_a_run_tells_what_the_design_says(rig: Rig) -> None:
    rig.device().run(rig.world.end_ns)
    summary = rig.log.events[-1]
    assert isinstance(summary, Summary)
    assert (summary.ticks, summary.late, summary.t_s, summary.variant) == (25, 0, 2.0, "fp32")
    assert summary.space_id == rig.bundle.header.space_id
    assert summary.capture_to_setpoint_us_p50 is not None
    assert len(rig.log.of(Tick)) == len(rig.log.of(Pose)) == 25
    assert len(rig.log.of(Setpoint)) == 50
    assert rig.log.of(Stop) == [Stop(2.0, "end of run")]
    assert rig.log.of(Fault) == []
    poses = [event for event in rig.log.of(Pose) if isinstance(event, Pose)]
    assert max(abs(pose.pan_deg) for pose in poses) > 1.0, "the head has been moved"


def test_the_watcher_sees_every_turn_with_the_newest_samples(rig: Rig) -> None:
    rig.device().run(S)
    assert [turn.t_ns for turn in rig.turns] == [80_000_000 * (i + 1) for i in range(12)]
    assert set(rig.turns[-1].samples) >= {"mic", "camera", "force", "pose"}
    assert rig.turns[-1].open == "motor"


def test_speech_of_the_model_becomes_text_events(tmp_path: Path, speaking_bundle: Path) -> None:
    rig = Rig(tmp_path, speaking_bundle)
    rig.device().run(S // 2)
    assert [event.text for event in rig.log.of(Text) if isinstance(event, Text)] == ["hi"] * 6
    assert all(event.steps == 3 for event in rig.log.of(Tick) if isinstance(event, Tick))


def test_the_same_scenario_and_seed_give_the_same_bytes(tmp_path: Path, driving_bundle: Path) -> None:
    files = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        rig = Rig(tmp_path / name, driving_bundle)
        with EventFile(tmp_path / f"{name}.jsonl") as file:
            rig.device(file).run(2 * S)
        files.append((tmp_path / f"{name}.jsonl").read_bytes().splitlines())
    assert files[0][:-1] == files[1][:-1]
    wall = {"step_us_p50", "step_us_p99", "capture_to_setpoint_us_p50", "capture_to_setpoint_us_p99", "rss_mb"}
    summaries = [{key: value for key, value in json.loads(lines[-1]).items() if key not in wall} for lines in files]
    assert summaries[0] == summaries[1]


class Watched:
    """The world with a record of what it was told, and a hook at each advance."""

    def __init__(self, world: World, at: Callable[[int], None] = lambda t_ns: None) -> None:
        self._world = world
        self._at = at
        self.told: list[str] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._world, name)

    def advance_to(self, t_ns: int) -> None:
        self._at(t_ns)
        self._world.advance_to(t_ns)

    def drive(self, pan_deg: float, tilt_deg: float) -> None:
        self.told.append("drive")
        self._world.drive(pan_deg, tilt_deg)

    def hold(self) -> None:
        self.told.append("hold")
        self._world.hold()

    def close(self) -> None:
        self.told.append("close")
        self._world.close()


def raising(error: BaseException) -> Callable[[int], None]:
    def at(t_ns: int) -> None:
        if t_ns >= S:
            raise error

    return at


@pytest.mark.parametrize("error", [RuntimeError("the world broke"), KeyboardInterrupt(), SystemExit(3)])
def test_an_exception_leaves_the_motor_safe_and_the_log_whole(rig: Rig, error: BaseException) -> None:
    watched = Watched(rig.world, raising(error))
    rig.world = watched  # type: ignore[assignment]
    with pytest.raises(type(error)):
        rig.device().run(None)
    assert watched.told[-2:] == ["hold", "close"]
    assert "drive" in watched.told
    assert rig.log.names()[-2:] == ["stop", "summary"]
    assert ("fault" in rig.log.names()) == isinstance(error, Exception), "a signal is no fault"


def test_stop_ends_an_endless_run_and_leaves_the_motor_safe(rig: Rig) -> None:
    device = rig.device()
    watched = Watched(rig.world, lambda t_ns: device.stop("asked") if t_ns >= S else None)
    device._world = watched  # type: ignore[assignment]
    device.run(None)
    assert rig.log.of(Stop) == [Stop(1.04, "asked")]
    assert device.ticks == 13


class Overslept(VirtualClock):
    """Virtual time that is 200 ms late once, at one second."""

    def sleep_until_ns(self, t_ns: int) -> None:
        super().sleep_until_ns(t_ns + (200_000_000 if t_ns == 960_000_000 else 0))


def test_late_ticks_are_counted_and_never_stack_up(rig: Rig) -> None:
    rig.clock = Overslept()
    device = rig.device()
    device.run(2 * S)
    ticks = [event for event in rig.log.of(Tick) if isinstance(event, Tick)]
    late = [event for event in ticks if event.late_ms > 0]
    assert [(event.t_s, event.late_ms) for event in late] == [(1.16, 200.0)]
    assert device.late == 1
    assert ticks[ticks.index(late[0]) + 1].t_s == 1.2, "the two missed turns are left out, the grid stays"
    assert any(event.cause == "no setpoint within the longest hold" for event in rig.log.of(Stop) if isinstance(event, Stop))


PLANTED = """\
from innervate.plugins.mic.virtual import VirtualMicrophone
from innervate.plugins.camera.virtual import VirtualCamera


class NeverOpens(VirtualMicrophone):
    def _open(self):
        raise RuntimeError("no such card")


class FailsOnce(VirtualMicrophone):
    failed = False

    def _read(self, timeout_s):
        if not FailsOnce.failed and self.context.clock.now_ns() > 500_000_000:
            FailsOnce.failed = True
            raise RuntimeError("cable")
        return super()._read(timeout_s)


class FailsForEver(VirtualMicrophone):
    def _read(self, timeout_s):
        raise RuntimeError("broken for good")


class Stops(VirtualCamera):
    def _read(self, timeout_s):
        return super()._read(timeout_s) if self.context.clock.now_ns() < 500_000_000 else None
"""


def planted(rig: Rig, monkeypatch: pytest.MonkeyPatch, plugin: str, reference: str) -> Registry:
    """A registry whose `plugin` has another twin, from a module in the rig's folder."""
    (rig.folder / "planted.py").write_text(PLANTED)
    monkeypatch.syspath_prepend(str(rig.folder))
    monkeypatch.delitem(__import__("sys").modules, "planted", raising=False)
    source = next(Path(place) for place in __import__("innervate.plugins", fromlist=["x"]).__path__) / plugin / "plugin.toml"
    lines = [f'virtual = "{reference}"' if line.startswith("virtual") else line for line in source.read_text().splitlines()]
    (rig.folder / "plugins" / plugin).mkdir(parents=True)
    (rig.folder / "plugins" / plugin / "plugin.toml").write_text("\n".join(lines))
    return Registry([rig.folder / "plugins", source.parent.parent], entry_points=False)


@pytest.mark.parametrize(
    ("plugin", "kind", "words", "faults"),
    [
        ("mic", "NeverOpens", "no such card", 6),
        ("mic", "FailsOnce", "cable", 1),
        ("mic", "FailsForEver", "broken for good", 6),
        ("camera", "Stops", "gave nothing for 1 s", 1),
    ],
)
def test_a_component_fails_alone(rig: Rig, monkeypatch: pytest.MonkeyPatch, plugin: str, kind: str, words: str, faults: int) -> None:
    registry = planted(rig, monkeypatch, plugin, f"planted:{kind}")
    rig.device(registry=registry).run(20 * S if faults > 1 else 2 * S)
    causes = [event.cause for event in rig.log.of(Fault) if isinstance(event, Fault)]
    assert sum(words in cause for cause in causes) == faults
    assert all(event.source == plugin for event in rig.log.of(Fault) if isinstance(event, Fault))
    assert len(rig.log.of(Setpoint)) == 2 * len(rig.log.of(Tick)), "the arm goes on in every tick"


def test_a_plugin_that_cannot_be_loaded_ends_the_assembly_with_its_cause(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = planted(rig, monkeypatch, "mic", "planted:Missing")
    with pytest.raises(PluginError, match="Missing"):
        rig.device(registry=registry)


def test_a_component_of_a_foreign_space_is_refused_before_anything_is_opened(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = planted(rig, monkeypatch, "mic", "planted:FailsOnce")
    manifest = rig.folder / "plugins" / "mic" / "plugin.toml"
    manifest.write_text(manifest.read_text().replace("rate_hz", f'space_id = "{"f" * 64}"\nrate_hz'))
    with pytest.raises(SpaceMismatch, match="f" * 64) as caught:
        rig.device(registry=registry)
    assert rig.bundle.header.space_id in str(caught.value)


def test_a_motor_without_its_feedback_is_refused(tmp_path: Path, driving_bundle: Path) -> None:
    with pytest.raises(BoardError, match=r"add \[component\.pose\]"):
        Rig(tmp_path, driving_bundle, {"motor": "motor"}).device()


def test_an_unknown_variant_is_refused(rig: Rig) -> None:
    board = (rig.folder / "board.toml").read_text().replace("fp32", "fp31")
    (rig.folder / "board.toml").write_text(board)
    with pytest.raises(BundleError, match="fp31"):
        rig.device()


def test_a_board_with_fewer_senses_runs(tmp_path: Path, driving_bundle: Path) -> None:
    rig = Rig(tmp_path, driving_bundle, {"camera": "camera"})
    rig.device().run(S // 2)
    assert rig.log.of(Open) == []
    assert rig.log.of(Fault) == []
    assert len(rig.log.of(Tick)) == 6


def test_the_order_of_latents_is_that_of_the_bundle_whatever_the_board_says(tmp_path: Path, driving_bundle: Path) -> None:
    device = Rig(tmp_path, driving_bundle, dict(reversed(PARTS.items()))).device()
    assert [sense.name for sense in device._tick.senses] == ["mic", "camera", "force", "pose", "text_in"]


def test_in_real_time_twins_live_at_the_time_of_the_turn(rig: Rig) -> None:
    rig.clock = RealClock()  # type: ignore[assignment]
    device = rig.device()
    device.run(S)
    assert rig.log.of(Fault) == []
    for turn in rig.turns:
        assert all(sample.t_ns <= turn.t_ns for sample in turn.samples.values())
        assert turn.samples["pose"].t_ns == turn.t_ns


class Slow(VirtualClock):
    """Virtual time in which the turn at one second takes 110 ms."""

    def now_ns(self) -> int:
        now_ns = super().now_ns()
        if now_ns == 960_000_000:
            self.advance_s(0.110)
        return now_ns


def test_a_turn_that_overruns_makes_the_next_one_late(rig: Rig) -> None:
    rig.clock = Slow()
    device = rig.device()
    device.run(2 * S)
    ticks = [(event.t_s, event.late_ms) for event in rig.log.of(Tick) if isinstance(event, Tick)]
    assert ticks[11:14] == [(0.96, 0.0), (1.07, 30.0), (1.12, 0.0)]
    assert device.late == 1


def test_a_driver_on_its_own_thread_feeds_a_running_device(rig: Rig) -> None:
    fifo = rig.folder / "keys"
    os.mkfifo(fifo)
    board = (rig.folder / "board.toml").read_text()
    wired = f'[component.text_in]\nplugin = "text"\nuse = "driver"\n[component.text_in.options]\npath = "{fifo}"\n'
    (rig.folder / "board.toml").write_text(board.replace('[component.text_in]\nplugin = "text"\nuse = "virtual"\n', wired))
    fd = os.open(fifo, os.O_RDWR)  # before the run, so that nothing has to wait for the other
    os.write(fd, b"stop\n")
    rig.clock = RealClock()  # type: ignore[assignment]
    device = rig.device()

    def watch(turn: Turn) -> None:
        if "text_in" in turn.samples:
            device.stop("read")

    device._watchers.append(watch)
    device.run(20 * S)
    os.close(fd)
    assert rig.log.of(Stop)[-1].t_s < 19.0
    assert rig.turns[-1].samples["text_in"].data.tobytes() == b"stop\n"


class Nowhere:
    """A log that keeps nothing."""

    def emit(self, event: object) -> None:
        """Forget it."""


@pytest.mark.slow
def test_memory_is_constant_over_an_endless_run(rig: Rig) -> None:
    """Invariant: what a run holds after its first minute does not grow in the next ones."""
    sizes: list[int] = []

    def measure(t_ns: int) -> None:
        if t_ns % (60 * S) == 0:
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0])

    rig.world = Watched(rig.world, measure)  # type: ignore[assignment]
    board = load_board(rig.folder / "board.toml")
    device = assemble(board, rig.bundle, Registry(entry_points=False), rig.clock, rig.world, Nowhere())
    rig.world.told = _Forgetful()  # type: ignore[attr-defined]
    tracemalloc.start()
    try:
        device.run(5 * 60 * S)
    finally:
        tracemalloc.stop()
    growth = np.diff(sizes[1:])
    assert len(sizes) >= 4
    assert sizes[-1] - sizes[1] < 16_384, f"bytes a minute: {growth}"


class _Forgetful(list[str]):
    def append(self, item: str) -> None:
        """Keep nothing."""


class Caller:
    """A visitor that keeps when it was called."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []

    def before(self, now_ns: int) -> None:
        self.calls.append(("before", now_ns))

    def after(self, turn: Turn) -> None:
        self.calls.append(("after", turn.t_ns))

    def end(self) -> None:
        self.calls.append(("end", 0))


def test_visitors_come_before_and_after_every_turn_and_at_the_end(rig: Rig) -> None:
    device, caller = rig.device(), Caller()
    device.visitors.append(caller)
    device.run(160_000_000)
    assert caller.calls == [("before", 80_000_000), ("after", 80_000_000), ("before", 160_000_000), ("after", 160_000_000), ("end", 0)]
