"""`innervate check NAME`: the published conformance checks, run on a plugin's twins or drivers, or on a bundle's gradient."""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

from innervate.runtime.cli.heard import Heard, heard_by

if TYPE_CHECKING:
    from innervate.runtime.ali.component import Array, Context, Limit, Sample, Sensor
    from innervate.runtime.ali.conformance import Report
    from innervate.runtime.ali.manifest import ComponentEntry
    from innervate.runtime.backbone.bundle import Bundle
    from innervate.runtime.loop.clock import RealClock, VirtualClock
    from innervate.runtime.loop.device import World

_EPILOG = """\
Twins are checked on a virtual clock in a world where somebody types, speaks and squeezes. Encoders and decoders are checked
with the graphs of the bundle.

examples:
  innervate check force
  innervate check mic --driver          your real microphone
  innervate check three                 what the device was taught, on the examples that it was taught from
  innervate check gradient              the bundle's gradient against differences on its deployed weights: a minute
  innervate check motor --driver        MOVES THE MOTOR by a tenth of its range: clear the space around it

exit codes: 0 every rule holds, 1 one does not, 2 a broken manifest, 3 no such plugin, or one that cannot be loaded
"""

GRADIENT = "gradient"  # stands where a plugin's name does
WORLD = "innervate.boards.emulator:make_still"
_TYPED = "\n".join(f'[[input]]\nt_s = {i + 0.1}\nkind = "text"\ntext = "line {i}"' for i in range(12))
SCENARIO = f"""\
[run]
duration_s = 16.0
[[input]]
t_s = 0.0
kind = "squeeze"
force_n = [[0.0, 0.0], [1.0, 12.0], [3.0, 0.0]]
{_TYPED}
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb's parser."""
    parser = subparsers.add_parser(
        "check",
        help="check a plugin",
        description="Run the published conformance checks on every component of a plugin.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", help="a plugin, as `innervate plugins` lists them, or `gradient`")
    parser.add_argument("--driver", action="store_true", help="check the drivers, on the real devices, rather than the twins")
    parser.add_argument("--bundle", type=Path, metavar="PATH", help="model bundle (default: the one that ships)")


class Stand:
    """What a component is checked on: a clock, and for twins a world, made anew for each device that is made."""

    def __init__(self, entry: "ComponentEntry", driver: bool, scenario: Path, folder: Path | None = None) -> None:
        self.heard: Heard | None = None  # what a listening component hears
        self._entry = entry
        self._driver = driver
        self._scenario = scenario
        self._folder = folder
        self._clock: VirtualClock | RealClock | None = None
        self._world: World | None = None

    @property
    def advance(self) -> Callable[[float], None] | None:
        """Return what lets time pass for the newest device; None for drivers, whose time passes by itself."""
        return None if self._driver else self._advance

    def _advance(self, seconds: float) -> None:
        from innervate.runtime.loop.clock import VirtualClock

        if isinstance(self._clock, VirtualClock) and self._world is not None:
            self._clock.advance_s(seconds)
            self._world.advance_to(self._clock.now_ns())
            if self.heard is not None:
                self.heard.advance_to(self._clock)

    def context(self) -> "Context":
        """Return a new context on a new clock and in a new world."""
        from innervate.runtime.ali.component import Context
        from innervate.runtime.ali.registry import load_attribute
        from innervate.runtime.loop.clock import RealClock, VirtualClock

        self.close()
        self._clock = RealClock() if self._driver else VirtualClock()
        if not self._driver:
            make = cast("Callable[[Path, int], World]", load_attribute(WORLD, "check"))
            self._world = make(self._scenario, 0)
        tap = self.heard.begin() if self.heard is not None else None
        return Context(self._entry.name, self._clock, dict(self._entry.options), self._world, self._folder, tap)

    def limits(self) -> "dict[str, Limit]":
        """Return the manifest's limits."""
        return {axis: limit.limit() for axis, limit in self._entry.limits.items()}

    def close(self) -> None:
        """Release the world."""
        if self._world is not None:
            self._world.close()
            self._world = None


def run(args: argparse.Namespace) -> int:
    """Carry out the verb; return the exit code."""
    from innervate.runtime.ali.registry import Registry
    from innervate.runtime.teach.home import skills_folder

    if args.name == GRADIENT:
        return _check_gradient(args.bundle)
    registry = Registry(more=[skills_folder()])
    manifest, place = registry.manifest(args.name), registry.folder(args.name)
    good = True
    with tempfile.TemporaryDirectory(prefix="innervate-check-") as folder:
        scenario = Path(folder) / "scenario.toml"
        scenario.write_text(SCENARIO)
        bundle = _open_bundle(args.bundle)
        for entry in manifest.component:
            driver = args.driver and entry.listens is None  # what listens has no device: it is checked on a clock of its own
            reference = entry.driver if driver else entry.virtual
            what = "driver" if driver else "twin"
            if reference is None:
                print(f"{entry.name}: has no {what}")
                continue
            print(f"{entry.name}: {what} {reference}")
            stand = Stand(entry, driver, scenario, place)
            try:
                if entry.listens is not None:
                    stand.heard = heard_by(entry, place, registry, bundle, lambda source: _read_twin(source, scenario))
                for report in _check(entry, reference, stand, bundle, place):
                    good = _print(report) and good
            finally:
                stand.close()
    print("every rule holds" if good else "rules are broken: see the lines marked FAILS")
    return 0 if good else 1


def _check_gradient(path: Path | None) -> int:
    """Check the gradient of each variant of the bundle and print its errors."""
    from innervate.runtime.backbone.bundle import Bundle
    from innervate.runtime.backbone.gradient_check import check_gradient
    from innervate.runtime.cli.run import default_bundle

    bundle = Bundle.open(path or default_bundle())
    good = True
    for variant in bundle.variants:
        found = check_gradient(bundle, variant)
        for rows, error in found.exact.items():
            runs, answer = found.as_it_runs[rows], found.answer[rows]
            print(f"  {variant} {rows:3} latents: {error:.1e} on the deployed weights, {runs:.1e} as it runs, answer {answer:.1e}", flush=True)
        good = _print(found.report()) and good
    print("every rule holds" if good else "rules are broken: see the lines marked FAILS")
    return 0 if good else 1


def _open_bundle(path: Path | None) -> "Bundle | None":
    from innervate.runtime.ali.errors import BundleError
    from innervate.runtime.backbone.bundle import Bundle
    from innervate.runtime.cli.run import default_bundle

    if path is not None:
        return Bundle.open(path)
    try:
        return Bundle.open(default_bundle())
    except BundleError as error:
        print(f"encoders and decoders are not checked: {error}")
        return None


def _read_twin(entry: "ComponentEntry", scenario: Path) -> "list[Sample]":
    """Return what a sense's twin gives in the check's world."""
    from innervate.runtime.ali.component import Sensor
    from innervate.runtime.ali.conformance import STEPS_MAX, read_some
    from innervate.runtime.ali.registry import load_class

    sensor: type[Sensor] = load_class(entry.virtual or "", Sensor, f"component {entry.name}")  # type: ignore[type-abstract]
    stand = Stand(entry, False, scenario)
    try:
        device = sensor(stand.context(), stand.limits())
        device.open()
        samples = read_some(device, stand.advance, STEPS_MAX)
        device.close()
    finally:
        stand.close()
    return samples


def _check(entry: "ComponentEntry", reference: str, stand: Stand, bundle: "Bundle | None", folder: Path) -> "list[Report]":
    from innervate.runtime.ali.component import Actuator, Sensor, Sink
    from innervate.runtime.ali.conformance import check_actuator, check_sensor, check_sink
    from innervate.runtime.ali.registry import load_class

    who = f"component {entry.name}"
    if entry.is_sink:
        sink: type[Sink] = load_class(reference, Sink, who)  # type: ignore[type-abstract]
        return [check_sink(lambda: sink(stand.context()))]
    if entry.kind == "upstream":
        sensor: type[Sensor] = load_class(reference, Sensor, who)  # type: ignore[type-abstract]
        twin = stand.advance is not None
        report = check_sensor(lambda: sensor(stand.context(), stand.limits()), stand.advance, repeatable=twin)
        return [report, *_check_encoder(entry, sensor, stand, bundle, folder)]
    actuator: type[Actuator] = load_class(reference, Actuator, who)  # type: ignore[type-abstract]
    report = check_actuator(lambda: actuator(stand.context(), stand.limits(), entry.hold_ms_max or 0), stand.advance)
    return [report, *_check_decoder(entry, bundle, folder)]


def _check_encoder(entry: "ComponentEntry", sensor: "type[Sensor]", stand: Stand, bundle: "Bundle | None", folder: Path) -> "list[Report]":
    from innervate.runtime.ali.component import Encoder
    from innervate.runtime.ali.conformance import READS, check_encoder, read_some
    from innervate.runtime.ali.registry import load_class
    from innervate.runtime.loop.assemble import component_graph

    if bundle is None or entry.encoder is None:
        return []
    device = sensor(stand.context(), stand.limits())
    device.open()
    try:
        stream: list[Array] = [sample.data for sample in read_some(device, stand.advance, READS)]
    finally:
        device.close()
    if not stream:
        return []
    encoder: type[Encoder] = load_class(entry.encoder, Encoder, entry.name)  # type: ignore[type-abstract]
    space = bundle.space(bundle.variants[0])
    return [check_encoder(lambda: encoder(component_graph(bundle, entry, folder), space, entry.name), lambda i: stream[i % len(stream)])]


def _check_decoder(entry: "ComponentEntry", bundle: "Bundle | None", folder: Path) -> "list[Report]":
    import numpy as np

    from innervate.runtime.ali.component import Decoder
    from innervate.runtime.ali.conformance import check_decoder
    from innervate.runtime.ali.registry import load_class
    from innervate.runtime.loop.assemble import component_graph

    if bundle is None or entry.decoder is None:
        return []
    decoder: type[Decoder] = load_class(entry.decoder, Decoder, entry.name)  # type: ignore[type-abstract]
    space = bundle.space(bundle.variants[0])
    # Angle and rate of each axis at rest: what a pose sensor gives.
    feedback = np.zeros(2 * len(entry.limits), np.float32) if entry.feedback is not None else None
    return [check_decoder(lambda: decoder(component_graph(bundle, entry, folder), space, entry.name), entry.limits, feedback)]


def _print(report: "Report") -> bool:
    for finding in report.findings:
        print(f"    {'holds' if finding.ok else 'FAILS'}  {finding.rule}{'' if finding.ok else ': ' + finding.came}")
    return report.ok
