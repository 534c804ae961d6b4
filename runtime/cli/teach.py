"""`innervate teach`: show the device something, say what shall happen, wait, try, keep or discard."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from innervate.runtime.ali.errors import InnervateError
from innervate.runtime.cli.signals import EndingSignals

if TYPE_CHECKING:
    from innervate.runtime.backbone.bundle import Bundle
    from innervate.runtime.board import Board
    from innervate.runtime.loop.device import Device
    from innervate.runtime.teach.lesson import Bar, Lesson, Order, Taught
    from innervate.runtime.teach.recording import Recording

_EPILOG = """\
Without a recording it walks you through: a name, the sense to listen to, what shall happen, then ten examples by the clock (hands
are busy, so no keys), then anything else but that. With --recording it asks nothing: the scenario's [[label]] tables say when what happened
(docs/teach.md), and the skill is kept when its verdict is good.

A skill is a plugin folder of its own under $INNERVATE_HOME/skills, $XDG_DATA_HOME/innervate/skills or ~/.local/share/innervate/skills. Every
`innervate run` takes it up; the model itself is never written to. `innervate forget NAME` removes it.

examples:
  innervate teach                                                              be asked for everything
  innervate teach clap --listen mic --does "look left" --board laptop          show it a clap, ten times
  innervate teach three --listen force --does "look left" --recording docs/examples/three_squeezes.toml
  innervate teach wave --listen camera --says "hello" --board laptop
  innervate teach three --again                                                anew from its own examples, after the model has changed
  innervate teach three --resume                                               go on where an interrupted lesson was

exit codes: 0 kept, 1 not kept, or examples that cannot be taught from, 2 a mistake in the command line, board or scenario, 3 something missing
or broken, 130 / 143 / 129 ended by Ctrl-C / SIGTERM / SIGHUP: motors were never on, and what was shown waits for --resume
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb's parser."""
    parser = subparsers.add_parser(
        "teach",
        help="teach the device a gesture, a sound or a sight, and what to do then",
        description="Teach the device something new, on the device, without touching its model.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="what it is called: a-z, 0-9, _")
    parser.add_argument("--listen", metavar="SENSE", help="the component that is shown it, such as force, mic, camera")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--does", metavar="COMMAND", help='a command that the device knows, such as "look left"')
    what.add_argument("--says", metavar="TEXT", help="something to say, at most 48 bytes")
    parser.add_argument("--recording", type=Path, metavar="FILE.toml", help="learn from a scenario with labelled spans, and ask nothing")
    parser.add_argument("--examples", type=_count, default=10, metavar="N", help="examples to show (default: 10, at least 5)")
    parser.add_argument("--board", default="emulator", metavar="NAME|PATH", help="a board that ships, or a file (default: emulator)")
    parser.add_argument("--bundle", type=Path, metavar="PATH", help="model bundle (default: the one that ships)")
    parser.add_argument("--variant", metavar="NAME", help="auto, measure, or a variant of the bundle (default: the board's)")
    parser.add_argument("--skills", type=Path, metavar="DIR", help="where skills are kept (default: see below)")
    parser.add_argument("--typed", action="store_true", help="push the typed command's own latents, without a search for fewer")
    parser.add_argument("--replace", action="store_true", help="take the place of a skill of that name")
    once = parser.add_mutually_exclusive_group()
    once.add_argument("--again", action="store_true", help="teach a skill anew from the examples it was taught from")
    once.add_argument("--resume", action="store_true", help="go on with a lesson that was interrupted, from what was shown")
    parser.add_argument("--yes", action="store_true", help="keep it when the verdict is good, without asking")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="another draw of variants and starts (default: 0)")


def _count(text: str) -> int:
    value = int(text)
    if not 5 <= value <= 100:
        raise argparse.ArgumentTypeError(f"{text}; expected 5 to 100")
    return value


def run(args: argparse.Namespace) -> int:
    """Carry out the verb; return the exit code."""
    code = 1
    with EndingSignals() as signals:

        def going(device: Device) -> None:
            signals.stop = device.stop

        code = _teach(args, going, signals)
    if signals.exit_code is not None:
        print("interrupted; what was shown, if all of it was, waits for `innervate teach NAME --resume`", file=sys.stderr)
        return signals.exit_code
    return code


class _Shown:
    """A progress bar for each stage."""

    def __call__(self, stage: str) -> Bar:
        from innervate.runtime.teach.progress import Progress

        bar = Progress(stage)

        def show(done: int, total: int, note: str) -> None:
            bar.show(done, total, note)
            if done >= total:
                bar.end()

        return show


def _teach(args: argparse.Namespace, going: Callable[[Device], None], signals: EndingSignals) -> int:
    from innervate.runtime.ali.registry import Registry
    from innervate.runtime.backbone.bundle import Bundle
    from innervate.runtime.board import find_board, load_board
    from innervate.runtime.cli.run import default_bundle
    from innervate.runtime.teach import store
    from innervate.runtime.teach.home import skills_folder
    from innervate.runtime.teach.lesson import Lesson
    from innervate.runtime.teach.recording import check_source

    board, folder = load_board(find_board(args.board)), skills_folder(args.skills)
    bundle = Bundle.open(args.bundle or default_bundle())
    order = _order(args, board, folder)
    registry = Registry()
    check_source(board, registry, order.source)
    store.check_name(order.name, registry, board, folder, over=args.replace or args.again)
    lesson = Lesson(order, board, bundle, folder, args.variant, _Shown())
    recording = _recording(args, lesson, going)
    signals.stop = None  # what follows drives nothing: a signal ends it at once
    lesson.set_aside(recording)
    taught = lesson.learn(recording)
    print("\n".join(taught.lines()))
    print("took", ", ".join(f"{name} {took:.1f} s" for name, took in taught.took_s.items()))
    if not _wanted(args, lesson, taught, bundle, board, going):
        print(f"discarded; what was shown waits for `innervate teach {order.name} --resume`")
        return 1
    skill = lesson.keep(taught)
    lesson.clear()
    print(f"kept in {skill.folder}; `innervate run` takes it up, `innervate forget {order.name}` removes it")
    return 0


def _order(args: argparse.Namespace, board: Board, folder: Path) -> Order:
    """What is to be taught: from the command line, from the skill itself (--again), else by asking."""
    from innervate.runtime.ali.registry import Registry
    from innervate.runtime.teach import store
    from innervate.runtime.teach.lesson import Order
    from innervate.runtime.teach.recording import senses_of

    name, source, does, says = args.name, args.listen, args.does, args.says
    if args.again and name:
        card = store.load(folder, name).card
        source, does, says = source or card.source, does if does or says else card.does, says if does or says else card.says
    asked = args.recording is None and not args.again and sys.stdin.isatty()
    if asked:
        name = name or _ask("What shall it be called?")
        source = source or _ask(f"Which sense shall listen? ({', '.join(senses_of(board, Registry()))})")
        if not (does or says):
            does = _ask('What shall happen? A command such as "look left", or nothing to have it say something:')
            says = None if does else _ask("What shall it say?")
    missing = [flag for flag, value in (("NAME", name), ("--listen", source), ("--does or --says", does or says)) if not value]
    if missing:
        raise InnervateError("teach", f"no {' and no '.join(missing)}", "all three", "see the examples of `innervate teach --help`")
    return Order(name, source, does or "", says or "", not args.typed, args.seed)


def _ask(question: str) -> str:
    print(question, end=" ", flush=True)
    return sys.stdin.readline().strip()


def _recording(args: argparse.Namespace, lesson: Lesson, going: Callable[[Device], None]) -> Recording:
    from innervate.runtime.ali.registry import Registry
    from innervate.runtime.cli.timeline import Essentials
    from innervate.runtime.loop.clock import RealClock
    from innervate.runtime.teach import showing, store

    order, board = lesson.order, lesson.board
    if args.again:
        return store.unpack(store.load(lesson.folder, order.name).folder / store.EXAMPLES_FILE)
    if args.resume:
        aside = lesson.aside()
        if aside is None:
            raise InnervateError(f"teach {order.name} --resume", "no interrupted lesson of that name", "one", "leave --resume out")
        return aside
    log = Essentials()
    if args.recording is not None:
        return showing.play(board, lesson.bundle, Registry(), args.recording, order.name, order.source, log, going)
    use = next(wiring.use for wiring in board.components if wiring.name == order.source)
    if use != "driver":
        came = f"{order.source} is a twin on board {board.name}: nobody can show it anything"
        raise InnervateError("teach", came, "a real sensor, or a recording", "name one with --recording FILE.toml, or take --board laptop")
    part = showing.cues(order.name, args.examples, lesson.kind == "held")
    return showing.show(board, lesson.bundle, Registry(), RealClock(), None, order.source, part, lambda text: print(text, flush=True), log, going)


def _wanted(args: argparse.Namespace, lesson: Lesson, taught: Taught, bundle: Bundle, board: Board, going: Callable[[Device], None]) -> bool:
    """Try it, and ask whether to keep it."""
    import tempfile

    from innervate.runtime.loop.clock import RealClock, VirtualClock
    from innervate.runtime.teach import showing

    order = lesson.order
    with tempfile.TemporaryDirectory(prefix="innervate-teach-") as place:
        lesson.keep(taught, Path(place))
        if args.recording is not None:
            world = showing.make_world(board, args.recording)
            try:
                spans = taught.recording.spans
                tried = showing.try_on(board, bundle, Path(place), order.name, spans, world, VirtualClock(), world.end_ns, lambda text: None, going)
            finally:
                world.close()
            print(tried.line())
        elif board.has_drivers and not args.yes and _agreed("Try it now, for 20 seconds? The device will move."):
            until = round(showing.TRY_S * 1e9)
            showing.try_on(board, bundle, Path(place), order.name, [], None, RealClock(), until, print, going)
    if not taught.good:
        print("the verdict is not good enough to keep it by itself")
    if args.recording is not None or args.yes or not sys.stdin.isatty():
        return taught.good
    return _agreed("Keep it?")


def _agreed(question: str) -> bool:
    return sys.stdin.isatty() and _ask(f"{question} [y/N]").lower() in ("y", "yes")
