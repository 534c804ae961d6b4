"""`innervate run`: a board, a bundle and a scenario become a device that runs."""

import argparse
import gc
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

from innervate.runtime.ali.errors import BoardError, BundleError, InnervateError
from innervate.runtime.cli.signals import EndingSignals

if TYPE_CHECKING:
    from collections.abc import Callable

    from innervate.runtime.ali.clock import Clock
    from innervate.runtime.ali.registry import Registry
    from innervate.runtime.backbone.bundle import Bundle
    from innervate.runtime.board import Board
    from innervate.runtime.cli.picture import Picture
    from innervate.runtime.loop.device import Device, Watcher, World
    from innervate.runtime.loop.events import EventFile, Log

_EPILOG = """\
Without --realtime a board of twins runs on a virtual clock: as fast as the machine, and the same scenario and seed give the
same events. A board with a driver runs in real time; so does one without --scenario and --duration.

examples:
  innervate run --board emulator --scenario scene.toml
  innervate run --board emulator --scenario scene.toml --headless --events out/events.jsonl --seed 7
  innervate run --board emulator --scenario scene.toml --picture out/timeline.png
  innervate run --board laptop
  innervate run --board ./my_board.toml --bundle ./my_bundle --variant fp32 --duration 60

exit codes: 0 done, 1 the run failed, 2 a mistake in the command line, board or scenario, 3 something missing or broken,
130 / 143 / 129 ended by Ctrl-C / SIGTERM / SIGHUP
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb's parser."""
    parser = subparsers.add_parser(
        "run",
        help="run a device",
        description="Run a device until its scenario ends, --duration has passed, or Ctrl-C.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_device_options(parser)
    parser.add_argument("--realtime", action="store_true", help="run on the real clock")


def add_device_options(parser: argparse.ArgumentParser) -> None:
    """Add what says which device runs and what it leaves behind."""
    parser.add_argument("--board", default="emulator", metavar="NAME|PATH", help="a board that ships, or a file (default: emulator)")
    parser.add_argument("--scenario", type=Path, metavar="FILE", help="what happens to the device, for boards with a world")
    parser.add_argument("--events", type=Path, metavar="OUT.jsonl", help="write the run's events there, one JSON object a line")
    parser.add_argument("--picture", type=Path, metavar="OUT.png", help="draw the run: film strip, pose, force, open components")
    parser.add_argument("--headless", action="store_true", help="print only faults and one line at the end")
    parser.add_argument("--seed", type=int, metavar="N", help="seed of the world (default: the scenario's)")
    parser.add_argument("--bundle", type=Path, metavar="PATH", help="model bundle (default: the one that ships)")
    parser.add_argument("--variant", metavar="NAME", help="auto, measure, or a variant of the bundle (default: the board's)")
    parser.add_argument("--skills", type=Path, metavar="DIR", help="where taught skills are kept (default: as for `innervate teach`)")
    parser.add_argument("--gist", type=Path, metavar="FILE", help="begin with a context that `innervate gist` compressed")
    parser.add_argument("--untaught", action="store_true", help="leave taught skills out")
    parser.add_argument("--duration", type=_positive, metavar="S", help="end after S seconds of the device's time")


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r}; expected seconds, more than 0")
    return value


def run(args: argparse.Namespace) -> int:
    """Carry out the verb; return the exit code."""
    with EndingSignals() as signals:
        run_device(args, signals)
    return signals.exit_code or 0


def run_device(args: argparse.Namespace, signals: EndingSignals, extend: "Callable[[Device, list[Log], Log], None] | None" = None) -> None:
    """Assemble and run the device that the options name.

    `extend` is called with the device, the list of its logs and the log in front of them, when all else is ready to run.
    """
    # Imported here so that a mistake in the command line is answered at once.
    from innervate.runtime.backbone.bundle import Bundle
    from innervate.runtime.board import find_board, load_board
    from innervate.runtime.loop.assemble import assemble
    from innervate.runtime.loop.clock import RealClock, VirtualClock
    from innervate.runtime.loop.events import Fan

    board = load_board(find_board(args.board))
    bundle = Bundle.open(args.bundle or default_bundle())
    board, registry = _with_skills(args, board, bundle)
    world = _make_world(board, args.scenario, args.seed)
    realtime = args.realtime or board.has_drivers or (args.scenario is None and args.duration is None)
    clock: Clock = RealClock() if realtime else VirtualClock()
    until_ns = _until_ns(args.duration, world)
    logs: list[Log] = []
    watchers: list[Watcher] = []
    fan = Fan(logs)
    try:
        picture = _show(args, board, world, logs, watchers)
        device = assemble(board, bundle, registry, clock, world, fan, watchers, args.variant)
        if args.gist is not None:
            _begin_with(device, args.gist)
        events = _event_file(args.events)
    except BaseException:
        if world is not None:
            world.close()
        raise
    try:
        if events is not None:
            logs.append(events)
        if extend is not None:
            extend(device, logs, fan)
        signals.stop = device.stop
        gc.collect()
        gc.freeze()  # what has been loaded stays; collections during the run then have little to look at
        device.run(until_ns)
    finally:
        if events is not None:
            events.close()
    if fan.broken:
        raise fan.broken[0]
    if picture is not None:
        picture.save(args.picture)
    for name, count in device.dropped.items():
        if count and not args.headless:
            print(f"{name}: {count} samples came faster than the loop took them; the oldest were dropped", file=sys.stderr)


def _with_skills(args: argparse.Namespace, board: "Board", bundle: "Bundle") -> "tuple[Board, Registry]":
    """Put on the board what the owner taught; a skill that does not fit is named and left out."""
    from innervate.runtime.ali.registry import Registry
    from innervate.runtime.teach.home import skills_folder

    folder = skills_folder(args.skills)
    if args.untaught or not folder.is_dir():
        return board, Registry()
    from innervate.runtime.teach.store import with_skills

    fitted, registry, notes = with_skills(board, bundle, folder)
    for note in notes:
        print(f"innervate run: {note}", file=sys.stderr)
    return fitted, registry


def _begin_with(device: "Device", path: Path) -> None:
    """Put a gist at the beginning of the device's context."""
    from innervate.runtime.teach.gist import load

    latents = load(path, device.space).latents
    device.tick.backbone.append(latents)


def default_bundle() -> Path:
    """Return the folder of the bundle that ships. Raises BundleError when this installation has none."""
    spec = importlib.util.find_spec("innervate.models")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        folder = Path(place) / "nano"
        if folder.is_dir():
            return folder
    raise BundleError("innervate.models", "holds no bundle nano", "the bundle that ships", "reinstall, or name one with --bundle PATH")


def _make_world(board: "Board", scenario: Path | None, seed: int | None) -> "World | None":
    from innervate.runtime.ali.registry import load_attribute

    if board.world is None:
        if scenario is not None:
            step = "leave --scenario out, or run it on --board emulator"
            raise BoardError(str(board.path), "a scenario, but no world to play it in", "a board with world =", step)
        return None
    make = load_attribute(board.world, f"{board.path}: board.world")
    if not callable(make):
        raise BoardError(f"{board.path}: board.world", f"{board.world} is not callable", "a function", "correct it")
    return cast("World", make(scenario, seed))


def _until_ns(duration_s: float | None, world: "World | None") -> int | None:
    ends = [round(duration_s * 1e9)] if duration_s is not None else []
    if world is not None:
        ends.append(world.end_ns)
    return min(ends) if ends else None


def _show(args: argparse.Namespace, board: "Board", world: "World | None", logs: "list[Log]", watchers: "list[Watcher]") -> "Picture | None":
    """Set up what the owner sees while it runs and afterwards."""
    from innervate.runtime.cli.timeline import Essentials, Timeline, Truth

    if args.headless:
        logs.append(Essentials())
    else:
        shared = any(wiring.plugin == "text" and wiring.use == "driver" for wiring in board.components)
        timeline = Timeline(cast(Truth, world) if hasattr(world, "truth") else None, shared, _captions(world))
        logs.append(timeline)
        watchers.append(timeline.watch)
    if args.picture is None:
        return None
    from innervate.runtime.cli.picture import Picture

    picture = Picture(_captions(world))
    logs.append(picture)
    watchers.append(picture.watch)
    return picture


def _captions(world: "World | None") -> list[tuple[float, str, str]]:
    """Return what a scenario says and types, where the world tells; only the timeline shows it, the device never sees it."""
    captions = []
    for one in getattr(getattr(world, "scenario", None), "inputs", ()):
        text, wav = getattr(one, "text", None), getattr(one, "wav", None)
        if text is not None:
            captions.append((float(one.t_s), "voice" if hasattr(one, "voice") else "typed", f'"{text}"'))
        elif wav is not None:
            captions.append((float(one.t_s), "plays", Path(wav).name))
    return captions


def _event_file(path: Path | None) -> "EventFile | None":
    from innervate.runtime.loop.events import EventFile

    if path is None:
        return None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        step = "name another file with --events"
        raise InnervateError(str(path.parent), f"cannot be made ({error.strerror})", "a folder", step) from error
    return EventFile(path)
