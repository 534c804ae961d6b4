"""`innervate gist`: a long instruction as a few latents."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from innervate.runtime.ali.errors import InnervateError
from innervate.runtime.cli.signals import EndingSignals

if TYPE_CHECKING:
    from innervate.runtime.teach.gist import Gist

_EPILOG = """\
Every line of the file is typed to the model, in company of what its senses gave in a minute of ordinary life. Latents are then searched that
stand in the place of all that: what follows should be answered as before. For each K it prints how well they do (mean KL divergence of the next
token; share of the following ticks that go the same way), beside the same figures with no context at all. The file belongs to one
model in one quantisation. What was open is not in it: a file cannot switch a limb on.

examples:
  innervate gist instruction.txt --out instruction.gist
  innervate gist instruction.txt --k 2,4,8,16 --out instruction.gist     the last K is written
  innervate run --gist instruction.gist --scenario scene.toml

exit codes: 0 done, 1 a context that cannot be compressed, 2 a mistake in the command line, 3 something missing or broken, 130 ended by Ctrl-C
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb's parser."""
    parser = subparsers.add_parser(
        "gist",
        help="compress a long instruction into a few latents",
        description="Compress a long instruction into a few latents.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="the instruction, a line each time that something is typed")
    parser.add_argument("--k", type=_counts, default=(8,), metavar="K,K", help="how many latents, each tried in turn (default: 8)")
    parser.add_argument("--out", type=Path, metavar="OUT", help="write the last one there")
    parser.add_argument("--board", default="emulator", metavar="NAME|PATH", help="whose senses keep it company (default: emulator)")
    parser.add_argument("--bundle", type=Path, metavar="PATH", help="model bundle (default: the one that ships)")
    parser.add_argument("--variant", default="auto", metavar="NAME", help="auto, or a variant of the bundle (default: auto)")
    parser.add_argument("--steps", type=int, metavar="N", help="steps of the search (default: 90)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="another draw (default: 0)")


def _counts(text: str) -> tuple[int, ...]:
    counts = tuple(int(part) for part in text.split(","))
    if not all(1 <= count <= 64 for count in counts):
        raise argparse.ArgumentTypeError(f"{text}; expected numbers from 1 to 64")
    return counts


def run(args: argparse.Namespace) -> int:
    """Carry out the verb; return the exit code."""
    code = 0
    with EndingSignals() as signals:
        code = _gist(args)
    return signals.exit_code or code


def _lines(path: Path) -> list[bytes]:
    try:
        lines = [line.strip() for line in path.read_bytes().splitlines() if line.strip()]
    except OSError as error:
        raise InnervateError(str(path), f"cannot be read ({error.strerror})", "a text file", "check the path") from error
    if not lines:
        raise InnervateError(str(path), "is empty", "at least one line", "write what is to be kept")
    return lines


def _gist(args: argparse.Namespace) -> int:
    import numpy as np

    from innervate.runtime.ali.registry import Registry
    from innervate.runtime.backbone.bundle import Bundle
    from innervate.runtime.backbone.engine import Engine
    from innervate.runtime.backbone.gradient import Gradient
    from innervate.runtime.backbone.vocabulary import Vocabulary
    from innervate.runtime.board import find_board, load_board
    from innervate.runtime.cli.run import default_bundle
    from innervate.runtime.teach.gist import STEPS, Compressor, instruction, save
    from innervate.runtime.teach.life import live, of_twins
    from innervate.runtime.teach.progress import Progress

    lines, registry = _lines(args.file), Registry()
    bundle = Bundle.open(args.bundle or default_bundle())
    engine = Engine(bundle, args.variant)
    gradient, vocabulary = Gradient(bundle, args.variant, exact_id=engine.space.exact_id), Vocabulary(bundle)
    moments = live(of_twins(load_board(find_board(args.board)), registry), bundle, registry, "", args.variant).recording.moments
    context = instruction(engine, vocabulary, lines, moments)
    compressor = Compressor(engine, gradient, vocabulary, context, moments, args.seed)
    left = context.open or "nothing"
    print(f"{len(lines)} lines are {len(context.rows)} latents; at their end {left} is open; {bundle.folder.name}, {engine.variant}")
    none = compressor.judge(np.zeros((0, engine.width), np.float32))
    print(f"{'latents':>8} {'KL, nats':>10} {'same ticks':>11}")
    print(f"{0:>8} {none.kl:>10.4f} {100 * none.agreement:>10.1f}%")
    made: Gist | None = None
    for count in args.k:
        bar = Progress("gist")
        made = compressor.compress(min(count, len(context.rows)), args.steps or STEPS, args.seed, bar.show)
        bar.end()
        print(f"{len(made.latents):>8} {made.match.kl:>10.4f} {100 * made.match.agreement:>10.1f}%", flush=True)
    if args.out is not None and made is not None:
        save(made, args.out)
        print(f"{args.out}: {len(made.latents)} latents for {made.stands_for}")
    if context.open is not None:
        print(f"{context.open} was open at the end; a run that begins with the gist begins with nothing open", file=sys.stderr)
    return 0
