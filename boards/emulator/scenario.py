"""Scenarios: what stands around the device, what is said to it, typed and pressed, and when.

A scenario is a TOML file (`load_scenario`) or the same built in a program from the dataclasses here, which is how
training and evaluation make theirs. The file is read once, whole: an unknown key, a wrong type, a value out of range and
a sound that cannot be read are ScenarioErrors, each naming the table it stands in.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from innervate.boards.emulator.scene import (
    COLOURS,
    DISTANCE_MAX_M,
    DISTANCE_MIN_M,
    SHAPES,
    SLOTS,
    Colour,
    SceneObject,
    Shape,
)
from innervate.boards.emulator.wav import RATE_HZ, read_wav
from innervate.runtime.ali.errors import ScenarioError, nearest

__all__ = ["RATE_HZ", "AudioInput", "Input", "Label", "Scenario", "SpeechInput", "SqueezeInput", "TextInput", "load_scenario"]

DAY_S = 86_400.0
FORCE_MAX_N = 100.0  # what the grip's sensor can measure
INPUTS_MAX = 1_000


@dataclass(frozen=True, slots=True)
class AudioInput:
    """Recorded sound from `t_s` on: a WAV file, or `pcm` int16 [N] mono at 16 kHz in its place."""

    t_s: float
    wav: Path | None = None
    gain_db: float = 0.0
    pcm: NDArray[np.int16] | None = None

    def samples(self) -> NDArray[np.int16]:
        """The sound as int16 [N] at 16 kHz, before gain. Raises ScenarioError when the file cannot be used."""
        if self.pcm is not None:
            return self.pcm
        if self.wav is None:
            raise ScenarioError("audio input", "neither wav nor pcm", "one of them", "give a file or an array")
        return read_wav(self.wav)


@dataclass(frozen=True, slots=True)
class SpeechInput:
    """A sentence spoken from `t_s` on by an espeak-ng voice; everything after `voice` is for programs only."""

    t_s: float
    text: str
    voice: str = "en-gb"
    gain_db: float = 0.0
    rate_wpm: int = 175
    pitch: int = 50
    pitch_range: int = 50

    def samples(self) -> NDArray[np.int16]:
        """The sound as int16 [N] at 16 kHz. Raises DeviceError without espeak-ng or for a voice it does not know."""
        from innervate.boards.emulator.speech import speak

        return speak(
            self.text, self.voice, rate_wpm=self.rate_wpm, pitch=self.pitch, pitch_range=self.pitch_range
        )


@dataclass(frozen=True, slots=True)
class SqueezeInput:
    """Force on the grip: (seconds after `t_s`, newtons), linear between the points, none outside them."""

    t_s: float
    force_n: tuple[tuple[float, float], ...]

    def force_at(self, t_s: float) -> float:
        """Newtons at scenario time `t_s`."""
        times = [t for t, _ in self.force_n]
        since_s = round(t_s - self.t_s, 9)  # so that the last point is met whatever the rounding of the difference
        return float(np.interp(since_s, times, [n for _, n in self.force_n], left=0.0, right=0.0))


@dataclass(frozen=True, slots=True)
class TextInput:
    """One typed line, without its newline, that arrives whole at `t_s`."""

    t_s: float
    text: str


Input = AudioInput | SpeechInput | SqueezeInput | TextInput


@dataclass(frozen=True, slots=True)
class Label:
    """What a person says is happening between two times; the device never sees it. For `innervate teach --recording`."""

    t_s: float
    until_s: float
    name: str


@dataclass(frozen=True, slots=True)
class Scenario:
    """Everything that happens to the device. `duration_s` None never ends.

    `noise` is for programs only: int16 [N] mono at 16 kHz, looped under everything that is heard.
    """

    duration_s: float | None = 10.0
    seed: int = 0
    objects: tuple[SceneObject, ...] = ()
    inputs: tuple[Input, ...] = ()
    noise: NDArray[np.int16] | None = field(default=None, repr=False)
    labels: tuple[Label, ...] = ()


@dataclass(frozen=True, slots=True)
class _Number:
    low: float
    high: float
    default: float | None = None  # None: the key must be there
    whole: bool = False


@dataclass(frozen=True, slots=True)
class _Word:
    choices: tuple[str, ...] = ()
    default: str | None = None


@dataclass(frozen=True, slots=True)
class _Points:
    """A list of [seconds, newtons]."""


_Rule = _Number | _Word | _Points
_RUN: dict[str, _Rule] = {
    "duration_s": _Number(0.08, DAY_S, 10.0),
    "seed": _Number(0, 2**63 - 1, 0, whole=True),
}
_OBJECT: dict[str, _Rule] = {
    "shape": _Word(SHAPES),
    "colour": _Word(COLOURS),
    "pan_deg": _Number(-180.0, 180.0),
    "tilt_deg": _Number(-60.0, 60.0, 0.0),
    "distance_m": _Number(DISTANCE_MIN_M, DISTANCE_MAX_M, 0.8),
    "pan_rate_deg_s": _Number(-360.0, 360.0, 0.0),
}
_LABEL: dict[str, _Rule] = {"t_s": _Number(0.0, DAY_S), "until_s": _Number(0.0, DAY_S), "name": _Word()}
_TIMED: dict[str, _Rule] = {"t_s": _Number(0.0, DAY_S), "kind": _Word(("audio", "speech", "squeeze", "text"))}
_INPUT: dict[str, dict[str, _Rule]] = {
    "audio": {**_TIMED, "wav": _Word(), "gain_db": _Number(-60.0, 40.0, 0.0)},
    "speech": {**_TIMED, "text": _Word(), "voice": _Word(default="en-gb")},
    "squeeze": {**_TIMED, "force_n": _Points()},
    "text": {**_TIMED, "text": _Word()},
}


def load_scenario(path: Path) -> Scenario:
    """Read a scenario file and the sounds that it names. Raises ScenarioError for anything that does not hold."""
    who = f"scenario {path}"
    try:
        with path.open("rb") as file:
            top = tomllib.load(file)
    except FileNotFoundError:
        raise ScenarioError(who, "no such file", "a TOML file", "check the path") from None
    except OSError as cause:
        raise ScenarioError(who, f"cannot be read ({cause.strerror})", "a readable TOML file", "check it") from cause
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as cause:
        raise ScenarioError(who, f"not TOML ({cause})", "a TOML file", "mend that line") from cause
    _reject_unknown(who, top, ("run", "object", "input", "label"))
    run = top.get("run", {})
    if not isinstance(run, dict):
        raise ScenarioError(who, f"run = {run!r}", "a table", "write it as [run]")
    settings = _read(f"{who}: [run]", run, _RUN)
    return Scenario(
        duration_s=settings["duration_s"],
        seed=settings["seed"],
        objects=tuple(_object(at, table) for at, table in _tables(who, top, "object", SLOTS)),
        inputs=tuple(_input(at, table, path.parent) for at, table in _tables(who, top, "input", INPUTS_MAX)),
        labels=tuple(_label(at, table) for at, table in _tables(who, top, "label", INPUTS_MAX)),
    )


def _tables(who: str, top: Mapping[str, Any], name: str, most: int) -> list[tuple[str, dict[str, Any]]]:
    """The tables [[name]] with the words that say where each stands."""
    rows = top.get(name, [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ScenarioError(who, f"{name} is not a list of tables", f"[[{name}]]", "use double brackets")
    if len(rows) > most:
        raise ScenarioError(who, f"{len(rows)} [[{name}]] tables", f"at most {most}", "remove some")
    return [(f"{who}: [[{name}]] {i}", row) for i, row in enumerate(rows, start=1)]


def _object(who: str, table: Mapping[str, Any]) -> SceneObject:
    values = _read(who, table, _OBJECT)
    return SceneObject(
        shape=cast(Shape, values["shape"]),
        colour=cast(Colour, values["colour"]),
        pan_deg=values["pan_deg"],
        tilt_deg=values["tilt_deg"],
        distance_m=values["distance_m"],
        pan_rate_deg_s=values["pan_rate_deg_s"],
    )


def _label(who: str, table: Mapping[str, Any]) -> Label:
    values = _read(who, table, _LABEL)
    if not values["t_s"] < values["until_s"]:
        came = f"from {values['t_s']:g} to {values['until_s']:g} s"
        raise ScenarioError(who, came, "an end after the beginning", "correct until_s")
    return Label(**values)


def _input(who: str, table: Mapping[str, Any], folder: Path) -> Input:
    kind = _word(who, "kind", table, cast(_Word, _TIMED["kind"]))
    values = _read(f"{who} ({kind})", table, _INPUT[kind])
    if kind == "squeeze":
        return SqueezeInput(values["t_s"], values["force_n"])
    if kind == "audio":
        wav = folder / values["wav"]  # an absolute path stays as it is
        try:
            pcm = read_wav(wav)
        except ScenarioError as cause:
            raise ScenarioError(f"{who} (audio): {cause.who}", cause.came, cause.expected, cause.next_step) from cause
        return AudioInput(values["t_s"], wav, values["gain_db"], pcm)
    text = values["text"]
    if not text.strip() or "\n" in text or "\r" in text:
        raise ScenarioError(f"{who} ({kind})", f"text = {text!r}", "one line that is not empty", "write one input a line")
    if kind == "speech":
        return SpeechInput(values["t_s"], text, values["voice"])
    return TextInput(values["t_s"], text)


def _reject_unknown(who: str, table: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in table:
        if key not in known:
            raise ScenarioError(who, f"unknown key {key!r}", f"one of {', '.join(known)}", nearest(key, known))


def _read(who: str, table: Mapping[str, Any], rules: Mapping[str, _Rule]) -> dict[str, Any]:
    """Check a table against its rules and fill in what is left out."""
    _reject_unknown(who, table, tuple(rules))
    values: dict[str, Any] = {}
    for key, rule in rules.items():
        if isinstance(rule, _Number):
            values[key] = _number(who, key, table, rule)
        elif isinstance(rule, _Word):
            values[key] = _word(who, key, table, rule)
        else:
            values[key] = _points(who, key, table)
    return values


def _missing(who: str, key: str, expected: str) -> ScenarioError:
    return ScenarioError(who, f"{key} is missing", expected, f"add {key} = ...")


def _number(who: str, key: str, table: Mapping[str, Any], rule: _Number) -> float:
    expected = f"{'a whole number' if rule.whole else 'a number'} from {rule.low:g} to {rule.high:g}"
    if key not in table:
        if rule.default is None:
            raise _missing(who, key, expected)
        return rule.default
    value = table[key]
    kinds = (int,) if rule.whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not rule.low <= value <= rule.high:
        raise ScenarioError(who, f"{key} = {value!r}", expected, f"change {key}")
    return value if rule.whole else float(value)


def _word(who: str, key: str, table: Mapping[str, Any], rule: _Word) -> str:
    expected = f"one of {', '.join(rule.choices)}" if rule.choices else "a text in quotes"
    if key not in table:
        if rule.default is None:
            raise _missing(who, key, expected)
        return rule.default
    value = table[key]
    if not isinstance(value, str):
        raise ScenarioError(who, f"{key} = {value!r}", expected, f"change {key}")
    if rule.choices and value not in rule.choices:
        raise ScenarioError(who, f"{key} = {value!r}", expected, nearest(value, rule.choices))
    return value


def _points(who: str, key: str, table: Mapping[str, Any]) -> tuple[tuple[float, float], ...]:
    expected = f"points [seconds, newtons] with rising seconds and 0 to {FORCE_MAX_N:g} newtons"
    if key not in table:
        raise _missing(who, key, expected)
    rows = table[key]
    wrong = ScenarioError(who, f"{key} = {rows!r}", expected, "write [[0.0, 0.0], [0.3, 12.0], [1.0, 0.0]]")
    if not isinstance(rows, list) or not rows:
        raise wrong
    points: list[tuple[float, float]] = []
    for row in rows:
        if not isinstance(row, list) or len(row) != 2:
            raise wrong
        if any(isinstance(v, bool) or not isinstance(v, (int, float)) or not math.isfinite(v) for v in row):
            raise wrong
        at, newtons = float(row[0]), float(row[1])
        if at < (points[-1][0] if points else 0.0) or not 0.0 <= newtons <= FORCE_MAX_N:
            raise wrong
        points.append((at, newtons))
    return tuple(points)
