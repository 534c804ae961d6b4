"""`plugin.toml`: what a plugin says about itself, readable with no hardware present and nothing imported.

    [plugin]
    name = "force"
    version = "0.1.0"
    summary = "grip force in newtons at 100 Hz"
    licence = "Apache-2.0"

    [[component]]
    name = "force"
    kind = "upstream"                                   # gives latents; "downstream" takes them
    virtual = "innervate.plugins.force.virtual:Twin"    # module:attribute; at least one of driver and virtual
    encoder = "innervate.plugins.force.latent:Encoder"  # upstream; "decoder" downstream; neither: a sink of bytes
    graph = "force.encoder"                             # network in the bundle; "rows": the byte rows
    rate_hz = 12.5                                      # samples that arrive; silence for ten of them is a fault
    keep = "all"                                        # or "newest": of several in a tick only the last counts
    caps = ["force"]

    [component.limits.force]
    min = 0.0
    max = 200.0
    unit = "n"

    [component.options]                                 # every option that a board may set, with its default
    port = ""

A component that brings a network of its own has `space_id`, the latent space that it was trained for, and no `graph`, or one that lies
beside this file: `graph = "./encoder.onnx"`. An upstream component that `listens` to another one has no device: it is given that one's
samples and latents, in the tick. A downstream component that is not the bundle's own brings its tokens in a file beside this one:
`tokens = "./tokens.npz"`.
An actuator adds `safe` (in words), `hold_ms_max`, and `feedback`: the component whose newest sample its decoder is
given.
"""

import tomllib
from pathlib import Path
from typing import Any, Literal

import msgspec

from innervate.runtime.ali.component import Limit
from innervate.runtime.ali.errors import ManifestError, nearest

BESIDE = "./"  # begins a graph that lies beside plugin.toml


class LimitEntry(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One `[component.limits.AXIS]` table: range in `unit`, `rate_max` in unit per second."""

    min: float
    max: float
    unit: str
    rate_max: float | None = None

    def limit(self) -> Limit:
        """Return the same as the contract's Limit."""
        return Limit(self.min, self.max, self.unit, self.rate_max)


class ComponentEntry(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One `[[component]]` table."""

    name: str
    kind: Literal["upstream", "downstream"]
    driver: str | None = None
    virtual: str | None = None
    encoder: str | None = None
    decoder: str | None = None
    graph: str | None = None
    listens: str | None = None
    tokens: str | None = None
    space_id: str | None = None
    rate_hz: float | None = None
    keep: Literal["all", "newest"] = "all"
    caps: list[str] = []
    safe: str | None = None
    hold_ms_max: int | None = None
    feedback: str | None = None
    limits: dict[str, LimitEntry] = {}
    options: dict[str, Any] = {}

    @property
    def is_sink(self) -> bool:
        """True for a component that takes bytes rather than latents."""
        return self.kind == "downstream" and self.decoder is None


class PluginEntry(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The `[plugin]` table."""

    name: str
    version: str
    summary: str
    licence: str


class Manifest(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A whole `plugin.toml`."""

    plugin: PluginEntry
    component: list[ComponentEntry]

    def find(self, name: str) -> ComponentEntry | None:
        """Return the component of that name, None when the plugin has no such component."""
        return next((entry for entry in self.component if entry.name == name), None)


def load_manifest(path: Path) -> Manifest:
    """Read and check a `plugin.toml`. Raises ManifestError naming the file, the field and what to do."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ManifestError(str(path), f"cannot be read ({error.strerror})", "a plugin.toml", "ship it with the plugin") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ManifestError(str(path), f"is not TOML: {error}", "a TOML file", "correct that line") from error
    _refuse_unknown(path, raw)
    try:
        manifest = msgspec.convert(raw, Manifest)
    except msgspec.ValidationError as error:
        raise ManifestError(str(path), str(error), "the fields of docs/plugin_guide.md", "add or correct that field") from error
    _check(path, manifest)
    return manifest


def _refuse_unknown(path: Path, raw: dict[str, Any]) -> None:
    """Name the nearest known key, which msgspec's own message does not."""
    tables: list[tuple[str, object, type[msgspec.Struct]]] = [
        ("", raw, Manifest),
        ("plugin.", raw.get("plugin"), PluginEntry),
    ]
    components = raw.get("component")
    for index, entry in enumerate(components if isinstance(components, list) else []):
        tables.append((f"component[{index}].", entry, ComponentEntry))
        limits = entry.get("limits") if isinstance(entry, dict) else None
        for axis, limit in (limits if isinstance(limits, dict) else {}).items():
            tables.append((f"component[{index}].limits.{axis}.", limit, LimitEntry))
    for prefix, table, struct in tables:
        known = [field.name for field in msgspec.structs.fields(struct)]
        for key in table if isinstance(table, dict) else ():
            if key not in known:
                raise ManifestError(str(path), f"unknown key {prefix}{key}", "a known one", nearest(key, known))


def _check(path: Path, manifest: Manifest) -> None:
    if not manifest.component:
        raise ManifestError(str(path), "no [[component]]", "at least one", "describe what the plugin gives or takes")
    for entry in manifest.component:
        who = f"{path}: component {entry.name}"
        if entry.driver is None and entry.virtual is None:
            raise ManifestError(who, "neither driver nor virtual", "at least one", 'add virtual = "module:Class"')
        for field in ("driver", "virtual", "encoder", "decoder"):
            reference = getattr(entry, field)
            if reference is not None and reference.count(":") != 1:
                raise ManifestError(who, f"{field} = {reference!r}", '"module:attribute"', "name the module and the class")
        for axis, limit in entry.limits.items():
            if not limit.min < limit.max:
                raise ManifestError(f"{who}.{axis}", f"min {limit.min:g}, max {limit.max:g}", "min < max", "correct the limits")
        if entry.kind == "upstream":
            _need(who, entry, ("encoder",))
            if entry.tokens is not None:
                raise ManifestError(who, f"tokens = {entry.tokens!r}", "no such key in an upstream component", "remove it")
        elif entry.tokens is not None and (not entry.tokens.startswith(BESIDE) or ".." in entry.tokens):
            raise ManifestError(who, f"tokens = {entry.tokens!r}", f'"{BESIDE}FILE"', "put the file beside plugin.toml")
        elif entry.listens is not None:
            raise ManifestError(who, f"listens = {entry.listens!r}", "no such key in a downstream component", "remove it")
        elif not entry.is_sink:
            _need(who, entry, ("safe", "hold_ms_max"))
        if not entry.is_sink and (entry.graph is None or entry.graph.startswith(BESIDE)):
            _need(who, entry, ("space_id",))


def _need(who: str, entry: ComponentEntry, fields: tuple[str, ...]) -> None:
    for field in fields:
        if getattr(entry, field) is None:
            raise ManifestError(who, f"no {field}", f"one in every {entry.kind} component", f"add {field} = ...")
