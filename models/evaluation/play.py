"""One case on the real device: every plugin's twin, the engine on the bundle, the emulator, in virtual time."""

from __future__ import annotations

import contextlib
import math
import tomllib
import wave
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from innervate.boards.emulator.scenario import RATE_HZ, AudioInput, Scenario, SpeechInput, SqueezeInput, TextInput
from innervate.boards.emulator.world import World
from innervate.models.evaluation.cases import Case
from innervate.models.evaluation.judge import verdict
from innervate.runtime.ali.registry import Registry
from innervate.runtime.backbone.bundle import Bundle
from innervate.runtime.board import Board, find_board, load_board
from innervate.runtime.loop.assemble import assemble
from innervate.runtime.loop.clock import VirtualClock
from innervate.runtime.loop.events import Event

BOARD = "emulator"


class Tape:
    """A log that keeps its events; `lines` are what OUT.jsonl would hold."""

    def __init__(self) -> None:
        self._events: list[Event] = []

    def emit(self, event: Event) -> None:
        """Take one event."""
        self._events.append(event)

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The events as dictionaries."""
        built: list[dict[str, Any]] = msgspec.to_builtins(self._events)
        return built

    def text(self) -> str:
        """The events as lines of JSON."""
        return "".join(msgspec.json.encode(event).decode() + "\n" for event in self._events)


@dataclass
class Player:
    """Runs cases on one bundle; what can be shared by runs is made once."""

    bundle: Bundle
    board: Board = field(default_factory=lambda: load_board(find_board(BOARD)))
    registry: Registry = field(default_factory=Registry)

    def run(self, case: Case, variant: str) -> Tape:
        """Run `case` on `variant` of the bundle. A device that breaks off has told why in a `fault` event."""
        tape = Tape()
        world = World(case.scenario)
        try:
            device = assemble(self.board, self.bundle, self.registry, VirtualClock(), world, tape, None, variant)
            with contextlib.suppress(Exception):
                device.run(world.end_ns)
        finally:
            world.close()
        return tape

    def judge(self, case: Case, variant: str, keep: Path | None = None) -> list[str]:
        """Run `case` and return why it fails; with `keep`, what is needed to look into a failed run is written there."""
        tape = self.run(case, variant)
        reasons = verdict(case.expected, tape.lines)
        if reasons and keep is not None:
            keep_run(keep / f"{case.row}-{case.number:03d}-{variant}", case, tape, reasons)
        return reasons


def keep_run(folder: Path, case: Case, tape: Tape, reasons: list[str]) -> None:
    """Write scenario.toml (with sound.wav) for `innervate run`, events.jsonl and why.txt."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "scenario.toml").write_text(scenario_toml(case.scenario, folder), encoding="utf-8")
    (folder / "events.jsonl").write_text(tape.text(), encoding="utf-8")
    said = [f"{t_s:6.2f} s  {what}" for t_s, what in case.said]
    (folder / "why.txt").write_text("\n".join([*reasons, f"expected: {case.expected}", *said]) + "\n", encoding="utf-8")


def scenario_toml(scenario: Scenario, folder: Path) -> str:
    """Return the scenario as a file's text; its sound is written to `folder` beside it. Raises ValueError for spoken inputs."""
    lines = ["[run]", f"duration_s = {scenario.duration_s!r}", f"seed = {scenario.seed}"]
    for item in scenario.objects:
        lines += ["[[object]]", f'shape = "{item.shape}"', f'colour = "{item.colour}"']
        lines += [f"pan_deg = {item.pan_deg!r}", f"tilt_deg = {item.tilt_deg!r}"]
        lines += [f"distance_m = {item.distance_m!r}", f"pan_rate_deg_s = {item.pan_rate_deg_s!r}"]
    for k, given in enumerate(scenario.inputs):
        lines += ["[[input]]", f"t_s = {given.t_s!r}"]
        if isinstance(given, AudioInput):
            name = f"sound{k}.wav"
            with wave.open(str(folder / name), "wb") as file:
                file.setparams((1, 2, RATE_HZ, 0, "NONE", "not compressed"))
                file.writeframes(given.samples().astype("<i2").tobytes())
            lines += ['kind = "audio"', f'wav = "{name}"']
        elif isinstance(given, SqueezeInput):
            lines += ['kind = "squeeze"', f"force_n = {[list(point) for point in given.force_n]!r}"]
        elif isinstance(given, TextInput):
            lines += ['kind = "text"', f'text = "{given.text}"']
        elif isinstance(given, SpeechInput):
            raise ValueError("scenario: a spoken input; expected its sound as audio; render it first")
    text = "\n".join(lines) + "\n"
    assert math.isfinite(tomllib.loads(text)["run"]["duration_s"])
    return text
