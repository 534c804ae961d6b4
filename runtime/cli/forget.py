"""`innervate forget`: take a taught skill away."""

from __future__ import annotations

import argparse
from pathlib import Path

_EPILOG = """\
The skill's folder is removed, with the examples that it was taught from; the model was never changed and is not touched.

examples:
  innervate forget three_squeezes
  innervate forget --list            what has been taught

exit codes: 0 done, 2 a mistake in the command line, 3 no such skill
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb's parser."""
    parser = subparsers.add_parser(
        "forget",
        help="take away what the device was taught",
        description="Take a taught skill away.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("name", nargs="?", metavar="NAME", help="the skill")
    which.add_argument("--list", action="store_true", help="list the skills instead")
    parser.add_argument("--skills", type=Path, metavar="DIR", help="where skills are kept (default: as for `innervate teach`)")


def run(args: argparse.Namespace) -> int:
    """Carry out the verb; return the exit code."""
    from innervate.runtime.ali.errors import InnervateError
    from innervate.runtime.teach import store
    from innervate.runtime.teach.home import skills_folder

    folder = skills_folder(args.skills)
    if args.list:
        for name in store.names(folder):
            try:
                card = store.load(folder, name).card
            except InnervateError as error:
                print(f"{name}  CANNOT BE USED: {error}")
            else:
                what = f'does as for "{card.does}"' if card.does else f'says "{card.says}"'
                print(f"{name:<20} {card.source:<8} {what}; {card.latents} latents, {card.how}; {100 * card.accuracy:.0f} % held out")
        return 0
    store.forget(folder, args.name)
    print(f"{args.name} is forgotten")
    return 0
