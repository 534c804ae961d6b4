"""What `innervate check` lets a listening component hear: the examples that it was taught from, else the twin of the sense that it listens to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from innervate.runtime.ali.errors import InnervateError
from innervate.runtime.ali.tap import Tap

if TYPE_CHECKING:
    from innervate.runtime.ali.component import Encoder, Sample
    from innervate.runtime.ali.manifest import ComponentEntry
    from innervate.runtime.ali.registry import Registry
    from innervate.runtime.backbone.bundle import Bundle
    from innervate.runtime.loop.clock import VirtualClock

LEAD_NS = 3_000_000_000  # of rest before the first example
EXAMPLES = "examples.npz"


class Heard:
    """Puts samples into a tap as virtual time passes, encoded as on a device; begins anew for each device that is made."""

    def __init__(self, encoder: Encoder, samples: list[Sample], source: str) -> None:
        self._encoder, self._samples, self._source = encoder, samples, source
        self.begin()

    def begin(self) -> Tap:
        """Return a new tap; what is heard begins again."""
        self._encoder.reset()
        self._next, self._tap = 0, Tap(self._source)
        return self._tap

    def advance_to(self, clock: VirtualClock) -> None:
        """Put in what has been captured by now."""
        from innervate.runtime.ali.component import Sample

        first_ns = self._samples[0].t_ns
        while self._next < len(self._samples) and self._samples[self._next].t_ns - first_ns < clock.now_ns():
            data = self._samples[self._next].data
            sample = Sample(data, clock.now_ns(), self._next)
            self._tap.put(sample, self._encoder.encode(sample))
            self._next += 1


def heard_by(entry: ComponentEntry, folder: Path, registry: Registry, bundle: Bundle | None, twin: Callable[[ComponentEntry], list[Sample]]) -> Heard:
    """Return what `entry` hears. `twin` reads samples of a sense's twin. Raises InnervateError when there is no such sense, or no bundle."""
    from innervate.runtime.ali.component import Encoder
    from innervate.runtime.ali.registry import load_class
    from innervate.runtime.loop.assemble import component_graph

    found = [
        (plugin, one) for plugin in registry.names() if plugin not in registry.broken()
        for one in registry.manifest(plugin).component if one.name == entry.listens and one.kind == "upstream"
    ]  # fmt: skip
    if not found or bundle is None:
        came = f"listens to {entry.listens}" if found else f"listens to {entry.listens}, which no plugin has"
        raise InnervateError(f"component {entry.name}", came, "that sense, and a bundle with its encoder", "install the one, or name the other")
    plugin, source = found[0]
    kind: type[Encoder] = load_class(source.encoder or "", Encoder, f"plugin {plugin}")  # type: ignore[type-abstract]
    encoder = kind(component_graph(bundle, source, registry.folder(plugin)), bundle.space(bundle.variants[0]), source.name)
    return Heard(encoder, _examples(folder) or twin(source), source.name)


def _examples(folder: Path) -> list[Sample]:
    """Return what a taught skill was shown, from shortly before the first example; empty for other plugins."""
    from innervate.runtime.teach.store import unpack

    if not (folder / EXAMPLES).is_file():
        return []
    recording = unpack(folder / EXAMPLES)
    own = [span.t0_ns for span in recording.spans if span.name == folder.name]
    since_ns = min(own, default=0) - LEAD_NS
    return [sample for sample in recording.samples() if sample.t_ns >= since_ns]
