"""Words that several verbs share on the command line."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from innervate.runtime.backbone.bundle import Bundle


def add_bundle(parser: argparse.ArgumentParser) -> None:
    """Add ``--bundle``; `opened` opens it."""
    parser.add_argument("--bundle", type=Path, metavar="PATH", help="model bundle (default: the one that ships)")


def opened(args: argparse.Namespace) -> Bundle:
    """The bundle that was asked for. Raises BundleError."""
    from innervate.runtime.backbone.bundle import Bundle
    from innervate.runtime.cli.run import default_bundle

    return Bundle.open(args.bundle or default_bundle())


def pip() -> str:
    """How to call the pip of this Python."""
    return f"{sys.executable} -m pip"


def installs_extra(extra: str) -> str:
    """The command that installs an extra of this package."""
    return f"{pip()} install 'innervate[{extra}]'"
