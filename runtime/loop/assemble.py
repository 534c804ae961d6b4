"""Assembly: a board, a bundle and the plugins that the board names become a device."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from innervate.runtime.ali.clock import Clock
from innervate.runtime.ali.component import Actuator, Array, Context, Decoder, Encoder, Graph, Sensor, Sink
from innervate.runtime.ali.errors import BoardError, BundleError, LatentError, PluginError, nearest
from innervate.runtime.ali.latents import Border
from innervate.runtime.ali.manifest import BESIDE, ComponentEntry
from innervate.runtime.ali.registry import Registry, load_class
from innervate.runtime.ali.space import Floats, Space, negotiate
from innervate.runtime.ali.tap import Tap
from innervate.runtime.backbone.bundle import Bundle
from innervate.runtime.backbone.engine import Engine
from innervate.runtime.backbone.vocabulary import Vocabulary
from innervate.runtime.board import Board, Wiring
from innervate.runtime.loop.clock import VirtualClock
from innervate.runtime.loop.device import Device, Watcher, World
from innervate.runtime.loop.events import Fan, Log
from innervate.runtime.loop.limb import Limb, Voice
from innervate.runtime.loop.meter import LatencyMeter, MeteredBackbone
from innervate.runtime.loop.router import Router
from innervate.runtime.loop.supervise import QUEUE_MAX, DirectFeed, Feed, ThreadFeed, Upstream
from innervate.runtime.loop.tick import Tick

WORLD = "world:"  # begins a driver's option that the board's world fills in
ROWS = "rows"  # the manifest's name for the byte rows, in place of a graph


class ByteRows:
    """The byte rows of the vocabulary in the shape of a component graph: `run` takes uint8 [T] and gives [T, D]."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary

    def run(self, x: Array) -> Floats:
        """Look up each byte's row. Raises LatentError for anything but uint8 [T]."""
        if x.dtype != np.uint8 or x.ndim != 1:
            raise LatentError(ROWS, f"{x.dtype} {list(x.shape)}", "uint8 [T]", "hand over the bytes as typed")
        return self._vocabulary.rows(x.tobytes())

    def reset(self) -> None:
        """Rows have no state."""


class NoGraph:
    """Stands where a component brings a network of its own."""

    def __init__(self, who: str) -> None:
        self._who = who

    def run(self, x: Array) -> Floats:
        """Raise PluginError: there is nothing to run."""
        raise PluginError(self._who, "runs a graph of the bundle", "none, for its manifest names none", "add graph = to plugin.toml")

    def reset(self) -> None:
        """There is no state."""


def component_graph(bundle: Bundle, entry: ComponentEntry, folder: Path | None = None) -> Graph:
    """Return the component's network from the bundle or from `folder`, the plugin's own, or what stands in its place.

    Raises BundleError when there is none.
    """
    if entry.graph is None:
        return NoGraph(entry.name)
    if entry.graph == ROWS:
        return ByteRows(Vocabulary(bundle))
    if entry.graph.startswith(BESIDE):
        from innervate.runtime.backbone.graph import Graph as OnnxGraph  # as Bundle.component does: boards without graphs do without

        return OnnxGraph((folder or Path()) / entry.graph, who=f"{entry.name}.{entry.graph.removeprefix(BESIDE)}")
    name, dot, part = entry.graph.partition(".")
    if not dot:
        raise BundleError(f"component {entry.name}", f"graph = {entry.graph!r}", '"component.part" or "rows"', "correct plugin.toml")
    return bundle.component(name, part)


class _Builder:
    """Builds the parts of one device; what they share is in its fields."""

    def __init__(
        self, board: Board, bundle: Bundle, registry: Registry, clock: Clock, twin_clock: Clock, world: World | None, log: Log, engine: Engine
    ) -> None:
        self.board = board
        self.bundle = bundle
        self.registry = registry
        self.clock = clock
        self.twin_clock = twin_clock
        self.world = world
        self.log = log
        self.engine = engine
        self.vocabulary = Vocabulary(bundle)
        self.border = Border(engine.space)
        self.entries = {wiring.name: registry.component(wiring.plugin, wiring.name) for wiring in board.components}
        self.taps: list[tuple[str, Tap]] = []  # (who listens, through which tap)
        self.spoken: dict[str, str] = {}  # the vocabulary's name of a limb that brought its own tokens

    def senses(self) -> list[Upstream]:
        """Return the upstream components in the order of the bundle's graphs, which is the order of training; listeners come last."""
        trained = [f"{name}.{part}" for name, parts in self.bundle.components.items() for part in parts]

        def place(wiring: Wiring) -> int:
            entry = self.entries[wiring.name]
            if entry.listens is not None:
                return len(trained) + 1
            return trained.index(entry.graph) if entry.graph in trained else len(trained)

        wirings = [wiring for wiring in self.board.components if self.entries[wiring.name].kind == "upstream"]
        senses = {wiring.name: self.sense(wiring) for wiring in sorted(wirings, key=place)}
        for name, tap in self.taps:
            if tap.source not in senses or tap.source == name:
                who = f"{self.board.path}: component.{name}"
                raise BoardError(who, f"no component {tap.source} to listen to", "one on this board", f"add [component.{tap.source}]")
            senses[tap.source].taps.append(tap)
        return list(senses.values())

    def sense(self, wiring: Wiring) -> Upstream:
        """Return one supervised sensor with its encoder."""
        entry = self.entries[wiring.name]
        graph = component_graph(self.bundle, entry, self.registry.folder(wiring.plugin))
        encoder = self.load(wiring, entry.encoder, Encoder)(graph, self.agreed_space(wiring, entry), wiring.name)
        rate_hz = entry.rate_hz
        return Upstream(self.feed(wiring, entry), encoder, self.border, self.log, rate_hz, entry.keep == "newest")

    def feed(self, wiring: Wiring, entry: ComponentEntry) -> Callable[[], Feed]:
        """Return what makes a new life of the sensor: a device object of its own each time, for the last one may hang."""
        context, limits = self.context(wiring, entry), self.board.limits(wiring, entry)
        if wiring.use == "virtual" or entry.listens is not None:  # what listens never waits, so it is read in the tick
            twin: type[Sensor] = self.load(wiring, self.reference(wiring, entry), Sensor)
            return lambda: DirectFeed(twin(context, limits))
        driver: type[Sensor] = self.load(wiring, entry.driver, Sensor)
        capacity = 1 if entry.keep == "newest" else QUEUE_MAX
        return lambda: ThreadFeed(driver(context, limits), capacity)

    def limbs(self, senses: list[Upstream]) -> dict[str, Limb]:
        """Return the actuators by name."""
        by_name = {sense.name: sense for sense in senses}
        limbs = {}
        for wiring in self.board.components:
            entry = self.entries[wiring.name]
            if entry.kind == "upstream" or entry.is_sink:
                continue
            if entry.feedback is not None and entry.feedback not in by_name:
                who = f"{self.board.path}: component.{wiring.name}"
                raise BoardError(who, f"no component {entry.feedback}", "it, as feedback", f"add [component.{entry.feedback}]")
            kind: type[Actuator] = self.load(wiring, self.reference(wiring, entry), Actuator)
            actuator = kind(self.context(wiring, entry), self.board.limits(wiring, entry), entry.hold_ms_max or 0)
            space = self.agreed_space(wiring, entry)
            graph = component_graph(self.bundle, entry, self.registry.folder(wiring.plugin))
            decoder = self.load(wiring, entry.decoder, Decoder)(graph, space, wiring.name)
            if entry.tokens is not None:
                path = self.registry.folder(wiring.plugin) / entry.tokens.removeprefix(BESIDE)
                self.spoken[wiring.name] = self.vocabulary.load_component(path).name
            limbs[wiring.name] = Limb(actuator, decoder, by_name.get(entry.feedback or ""), self.log)
        return limbs

    def voice(self) -> Voice:
        """Return the voice, with the board's sink if it has one."""
        sinks = [wiring for wiring in self.board.components if self.entries[wiring.name].is_sink]
        if len(sinks) > 1:
            names = ", ".join(wiring.name for wiring in sinks)
            raise BoardError(str(self.board.path), f"several components that take text: {names}", "one", "keep one of them")
        if not sinks:
            return Voice(None, self.log)
        entry = self.entries[sinks[0].name]
        kind: type[Sink] = self.load(sinks[0], self.reference(sinks[0], entry), Sink)
        return Voice(kind(self.context(sinks[0], entry)), self.log)

    def reference(self, wiring: Wiring, entry: ComponentEntry) -> str | None:
        """Return the class that the board asks for."""
        return entry.virtual if wiring.use == "virtual" else entry.driver

    def load(self, wiring: Wiring, reference: str | None, kind: type[Any]) -> type[Any]:
        """Import a class of the component's plugin."""
        if reference is None:
            who = f"{self.board.path}: component.{wiring.name}"
            other = "driver" if wiring.use == "virtual" else "virtual"
            came = f"use = {wiring.use!r}, which plugin {wiring.plugin} lacks"
            raise BoardError(who, came, repr(other), f'set use = "{other}"')
        return load_class(reference, kind, f"plugin {wiring.plugin}")

    def context(self, wiring: Wiring, entry: ComponentEntry) -> Context:
        """Return the component's context; only twins see the world, whose time is theirs."""
        twin = wiring.use == "virtual"
        clock, world = (self.twin_clock, self.world) if twin else (self.clock, None)
        options = self.board.options(wiring, entry)
        tap = None if entry.listens is None else Tap(entry.listens)
        if tap is not None:
            self.taps.append((wiring.name, tap))
        folder = self.registry.folder(wiring.plugin)
        return Context(wiring.name, clock, options if twin else self.offered(wiring, options), world, folder, tap)

    def offered(self, wiring: Wiring, options: dict[str, object]) -> dict[str, object]:
        """Return a driver's options with each "world:NAME" replaced by what the board's world offers under that name: a port that it opened."""
        offers: dict[str, str] = getattr(self.world, "offers", {})
        complete = dict(options)
        for key, value in options.items():
            if isinstance(value, str) and value.startswith(WORLD):
                name = value.removeprefix(WORLD)
                if name not in offers:
                    who = f"{self.board.path}: component.{wiring.name}.options.{key}"
                    raise BoardError(who, f"{value!r}", "what the board's world offers", nearest(name, offers))
                complete[key] = offers[name]
        return complete

    def agreed_space(self, wiring: Wiring, entry: ComponentEntry) -> Space:
        """Return the space of the component after negotiation; graphs of the bundle are in the bundle's."""
        offered = self.engine.space
        if entry.space_id is not None:
            declared = Space(entry.space_id, entry.space_id, offered.width, entry.rate_hz)
            negotiate(wiring.name, declared, offered)
        return offered


def assemble(
    board: Board,
    bundle: Bundle,
    registry: Registry,
    clock: Clock,
    world: World | None,
    log: Log,
    watchers: list[Watcher] | None = None,
    variant: str | None = None,
    taps: Mapping[str, Tap] | None = None,
) -> Device:
    """Wire a device. Nothing is opened yet. `taps`: by component, who else is shown what it senses.

    Raises BoardError, PluginError, ManifestError, BundleError, VocabularyError or SpaceMismatch when the parts do not fit.
    """
    engine = Engine(bundle, variant or board.variant, board.threads)
    backbone = MeteredBackbone(engine)
    senses: list[Upstream] = []

    def since_capture_ns() -> int:
        newest = [sense.newest.t_ns for sense in senses if sense.newest is not None and sense.has_rate]
        return clock.now_ns() - min(newest, default=clock.now_ns())

    latency = LatencyMeter(None if isinstance(clock, VirtualClock) else since_capture_ns)
    fan = Fan([log, latency])
    twin_clock = clock if isinstance(clock, VirtualClock) else VirtualClock()
    builder = _Builder(board, bundle, registry, clock, twin_clock, world, fan, engine)
    senses.extend(builder.senses())
    for sense in senses:
        sense.taps += [taps[sense.name]] if taps and sense.name in taps else []
    limbs, voice = builder.limbs(senses), builder.voice()
    router = Router(backbone, builder.vocabulary, limbs, voice, fan, builder.spoken)
    idle = builder.vocabulary.row(builder.vocabulary.id("<idle>"))
    tick = Tick(senses, backbone, idle, router, limbs, voice)
    return Device(tick, clock, twin_clock, world, fan, backbone, latency, (engine.space, engine.variant), watchers or [])
