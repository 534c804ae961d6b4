"""What `make bench-teach` prints: the figures of teaching a device, of its gradients and of serving them, each with its goal.

A group of figures is a module with `rows(bundle)`, which yields a Row for each as it is measured; GROUPS names them. Nothing else is
shared, so that a group can be measured alone.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from innervate.models.machine import machine
from innervate.runtime.ali.errors import InnervateError
from innervate.runtime.backbone.bundle import Bundle
from innervate.runtime.cli.run import default_bundle

GROUPS = {
    "gradient": "innervate.models.bench.gradient",
    "taught": "innervate.models.bench.taught",
    "served": "innervate.models.bench.served",
}


@dataclass(frozen=True, slots=True)
class Row:
    """A figure: what it is, what was found, the goal in words, and whether it is met (None: there is no goal)."""

    what: str
    found: str
    goal: str = ""
    met: bool | None = None

    def __str__(self) -> str:
        verdict = "" if self.met is None else f"   goal {self.goal}: {'met' if self.met else 'NOT MET'}"
        return f"  {self.what:<62} {self.found}{verdict}"


def at_most(what: str, values: dict[str, float], most: float, form: str = ".2f") -> Row:
    """A row of several values that each should be at most ``most``."""
    found = "   ".join(f"{name} {value:{form}}" for name, value in values.items())
    return Row(what, found, f"at most {most:g}", max(values.values()) <= most)


def rows_of(group: str, bundle: Bundle) -> Iterator[Row]:
    """The rows of a group, measured one after the other."""
    yield from importlib.import_module(GROUPS[group]).rows(bundle)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 0 whether or not goals are met, 2 for a mistake in the command line, 3 for a bundle that is missing or broken."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    parser = argparse.ArgumentParser(prog="bench-teach", description="Measure gradients, teaching and serving on this machine.")
    parser.add_argument("--bundle", type=Path, metavar="PATH", help="model bundle (default: the one that ships)")
    parser.add_argument("--only", nargs="+", choices=list(GROUPS), default=list(GROUPS), metavar="GROUP", help=f"some of {', '.join(GROUPS)}")
    chosen = parser.parse_args(arguments)
    try:
        bundle = Bundle.open(chosen.bundle or default_bundle())
        print(f"{bundle.folder}; {machine()}; load {os.getloadavg()[0]:.1f}", flush=True)
        for group in chosen.only:
            print(f"\n{group}")
            for row in rows_of(group, bundle):
                print(row, flush=True)
    except InnervateError as error:
        print(f"bench-teach: {error}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
