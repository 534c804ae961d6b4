"""`innervate boards`: the boards that ship, and what is wired on one."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from innervate.runtime.board import Board

_EPILOG = """\
examples:
  innervate boards                    one line a board
  innervate boards laptop             what is wired on it, with options and limits as they will be used
  innervate boards ./my_board.toml    checks your own file against the plugins, opening nothing

exit codes: 0 good, 2 a board that cannot be used, 3 a plugin that it needs is missing
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb's parser."""
    parser = subparsers.add_parser(
        "boards",
        help="list boards",
        description="List the boards that ship, or show and check one.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("board", nargs="?", metavar="NAME|PATH", help="show and check this one")


def run(args: argparse.Namespace) -> int:
    """Carry out the verb; return the exit code."""
    from innervate.runtime.board import board_paths, find_board, load_board

    if args.board is not None:
        _show(load_board(find_board(args.board)))
        return 0
    for name, path in board_paths().items():
        print(f"{name:<18} {load_board(path).summary}")
    return 0


def _show(board: "Board") -> None:
    from innervate.runtime.ali.registry import Registry

    registry = Registry()
    print(f"{board.name}: {board.summary}")
    memory = f", {board.memory_mb} MB" if board.memory_mb is not None else ""
    print(f"{board.path}; {board.threads} thread{'s' if board.threads > 1 else ''}, variant {board.variant}{memory}")
    if board.world is not None:
        print(f"world {board.world}")
    for wiring in board.components:
        entry = registry.component(wiring.plugin, wiring.name)
        options, limits = board.options(wiring, entry), board.limits(wiring, entry)
        print(f"  {wiring.name:<10} {entry.kind:<10} {wiring.use} of plugin {wiring.plugin}")
        for axis, limit in limits.items():
            rate = f", at most {limit.rate_max:g} {limit.unit}/s" if limit.rate_max is not None else ""
            print(f"      {axis}: {limit.min:g} to {limit.max:g} {limit.unit}{rate}")
        for key, value in options.items():
            print(f"      {key} = {value!r}")
