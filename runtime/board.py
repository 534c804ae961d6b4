"""Board files: what is wired to what on one device, with its limits and budgets. Read once, whole.

[board]
name = "emulator"
summary = "a handheld in a simulated room"
threads = 1                                      # of the backbone
variant = "auto"                                 # or dq8, nb8, fp32
memory_mb = 400                                  # what the whole program may use
world = "innervate.boards.emulator:make_world"   # where twins live; real devices leave it out

[component.mic]                                  # the order of components is the order of their latents in a tick
plugin = "mic"
use = "virtual"                                  # or "driver"
[component.mic.options]                          # only those that the plugin's manifest lists
gain_db = 0.0

[component.motor.limits.pan]                     # may only narrow the manifest's
min_deg = -90.0
max_deg = 90.0
rate_max_deg_s = 150.0
"""

import importlib.util
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec

from innervate.runtime.ali.component import Limit
from innervate.runtime.ali.errors import BoardError, nearest
from innervate.runtime.ali.manifest import ComponentEntry


class _Head(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    name: str
    summary: str = ""
    threads: int = 1
    variant: str = "auto"
    memory_mb: int | None = None
    world: str | None = None


class _Wiring(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    plugin: str
    use: Literal["virtual", "driver"]
    options: dict[str, Any] = {}
    limits: dict[str, dict[str, float]] = {}


class _File(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    board: _Head
    component: dict[str, _Wiring]


@dataclass(frozen=True, slots=True)
class Wiring:
    """How one component is wired: which plugin, its driver or its twin, the board's options and limits."""

    name: str
    plugin: str
    use: Literal["virtual", "driver"]
    options: dict[str, Any] = field(default_factory=dict)
    limits: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Board:
    """One board file, checked for everything that needs no plugin."""

    path: Path
    name: str
    summary: str
    threads: int
    variant: str
    memory_mb: int | None
    world: str | None
    components: tuple[Wiring, ...]

    @property
    def has_drivers(self) -> bool:
        """True when a real device is wired; such a board runs in real time only."""
        return any(wiring.use == "driver" for wiring in self.components)

    def options(self, wiring: Wiring, entry: ComponentEntry) -> dict[str, object]:
        """Return the manifest's defaults with the board's values over them. Raises BoardError for an unknown or wrong
        one.
        """
        for key, value in wiring.options.items():
            who = f"{self.path}: component.{wiring.name}.options.{key}"
            if key not in entry.options:
                raise BoardError(who, "unknown key", f"an option of plugin {wiring.plugin}", nearest(key, entry.options))
            default = entry.options[key]
            numbers = isinstance(default, float) and type(value) is int
            if type(value) is not type(default) and not numbers:
                raise BoardError(who, f"{value!r}", f"a value like {default!r}", "correct its type")
        return {**entry.options, **wiring.options}

    def limits(self, wiring: Wiring, entry: ComponentEntry) -> dict[str, Limit]:
        """Return the manifest's limits narrowed by the board's. Raises BoardError for one that is unknown or wider."""
        limits = {axis: limit.limit() for axis, limit in entry.limits.items()}
        for axis, table in wiring.limits.items():
            who = f"{self.path}: component.{wiring.name}.limits.{axis}"
            if axis not in limits:
                raise BoardError(who, "unknown axis", f"an axis of plugin {wiring.plugin}", nearest(axis, limits))
            limits[axis] = _narrowed(who, limits[axis], table)
        return limits


def _narrowed(who: str, limit: Limit, table: dict[str, float]) -> Limit:
    keys = {f"min_{limit.unit}": "min", f"max_{limit.unit}": "max", f"rate_max_{limit.unit}_s": "rate_max"}
    values: dict[str, float | None] = {"min": limit.min, "max": limit.max, "rate_max": limit.rate_max}
    for key, value in table.items():
        if key not in keys:
            raise BoardError(f"{who}.{key}", "unknown key", "a limit in the manifest's unit", nearest(key, keys))
        allowed = values[keys[key]]
        wider = allowed is not None and (value < allowed if keys[key] == "min" else value > allowed)
        if wider:
            step = "a board may only narrow what the plugin allows"
            raise BoardError(f"{who}.{key}", f"{value:g}", f"no wider than {allowed:g}", step)
        values[keys[key]] = value
    low, high = values["min"], values["max"]
    if low is None or high is None or low >= high:
        raise BoardError(who, f"from {low} to {high}", "min < max", "correct the limits")
    return Limit(low, high, limit.unit, values["rate_max"])


def board_paths() -> dict[str, Path]:
    """Return the boards that ship with Innervate, by name."""
    spec = importlib.util.find_spec("innervate.boards")
    folders = [Path(place) for place in spec.submodule_search_locations or ()] if spec else []
    return {path.stem: path for folder in folders for path in sorted(folder.glob("*.toml"))}


def find_board(name_or_path: str) -> Path:
    """Return the file of a board given by name, or by path (with a slash or .toml). Raises BoardError when there is
    none.
    """
    if "/" in name_or_path or name_or_path.endswith(".toml"):
        return Path(name_or_path)
    known = board_paths()
    if name_or_path not in known:
        raise BoardError(f"board {name_or_path}", "is not known", "a board or a path", nearest(name_or_path, known))
    return known[name_or_path]


def load_board(path: Path) -> Board:
    """Read and check a board file. Raises BoardError naming the file, the key and what to do."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        step = "innervate boards lists those that ship"
        raise BoardError(str(path), f"cannot be read ({error.strerror})", "a board file", step) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BoardError(str(path), f"is not TOML: {error}", "a TOML file", "correct that line") from error
    _refuse_unknown(path, raw)
    try:
        parsed = msgspec.convert(raw, _File)
    except msgspec.ValidationError as error:
        raise BoardError(str(path), str(error), "the fields of a board file", "add or correct that field") from error
    head = parsed.board
    if head.threads < 1:
        raise BoardError(f"{path}: board.threads", str(head.threads), "1 or more", "correct it")
    if not parsed.component:
        raise BoardError(str(path), "no component", "at least one [component.NAME]", "wire something to the board")
    wirings = tuple(Wiring(name, wiring.plugin, wiring.use, wiring.options, wiring.limits) for name, wiring in parsed.component.items())
    return Board(path, head.name, head.summary, head.threads, head.variant, head.memory_mb, head.world, wirings)


def _refuse_unknown(path: Path, raw: dict[str, Any]) -> None:
    tables: list[tuple[str, object, type[msgspec.Struct]]] = [("", raw, _File), ("board.", raw.get("board"), _Head)]
    components = raw.get("component")
    for name, table in (components if isinstance(components, dict) else {}).items():
        tables.append((f"component.{name}.", table, _Wiring))
    for prefix, table, struct in tables:
        known = [entry.name for entry in msgspec.structs.fields(struct)]
        for key in table if isinstance(table, dict) else ():
            if key not in known:
                raise BoardError(f"{path}: {prefix}{key}", "unknown key", "a known one", nearest(key, known))
