"""The command `innervate`. Each verb is a module here with `add_parser(subparsers)` and `run(args) -> int`.

Only the chosen verb's module is imported, so that what one verb needs does not slow another down.

A verb returns its exit code; an InnervateError that reaches `main` is printed without a traceback and mapped below.
"""

import argparse
import importlib
import os
import sys

from innervate.runtime.ali.errors import (
    BoardError,
    BundleError,
    DeviceError,
    InnervateError,
    ManifestError,
    PluginError,
    ScenarioError,
)

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_MISTAKE = 2  # argparse's own code for a wrong command line
EXIT_MISSING = 3

VERBS = {
    "run": "run a device: a board, in the emulator or on real hardware",
    "doctor": "what this machine has and lacks, with the command that mends it",
    "plugins": "the plugins in reach, and why one cannot be used",
    "boards": "the boards that ship, and what is wired on one",
    "check": "run the published conformance checks on a plugin",
    "eval": "measure the model's skills in closed-loop runs",
    "bench": "measure speed and memory on this machine",
}

_EPILOG = """\
examples:
  innervate run --board emulator --scenario scene.toml
  innervate run --board laptop                  your own microphone, webcam and keyboard
  innervate doctor                              what is missing here
  innervate VERB --help                         a verb's options, with examples

exit codes:
  0  done
  1  it began and failed, or a check did not hold
  2  a mistake in the command line, a board, a scenario or a manifest
  3  something it needs is missing or broken: a bundle, a device, a package
  130, 143, 129  ended by Ctrl-C, SIGTERM, SIGHUP, with everything made safe
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command line `argv` (None: the program's own); return the exit code."""
    words = sys.argv[1:] if argv is None else argv
    chosen = next((word for word in words if not word.startswith("-")), None)
    parser = argparse.ArgumentParser(
        prog="innervate",
        description="A nervous system for AI hardware: senses and limbs that speak to a model in its own latents.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subparsers = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    module = None
    for verb, summary in VERBS.items():
        if verb == chosen:
            module = importlib.import_module(f"innervate.runtime.cli.{verb}")
            module.add_parser(subparsers)
        else:
            subparsers.add_parser(verb, help=summary)
    args = parser.parse_args(words)
    if module is None:
        parser.error("name a verb")
    try:
        return int(module.run(args))
    except InnervateError as error:
        print(f"innervate {args.verb}: {error}", file=sys.stderr)
        return _exit_code(error)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output has gone, as in `innervate plugins | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # so that the interpreter's last flush has somewhere to go
        return EXIT_FAILED


def _exit_code(error: InnervateError) -> int:
    if isinstance(error, (BoardError, ManifestError, ScenarioError)):
        return EXIT_MISTAKE
    if isinstance(error, (BundleError, DeviceError, PluginError)):
        return EXIT_MISSING
    return EXIT_FAILED
