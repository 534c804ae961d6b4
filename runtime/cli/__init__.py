"""The command `innervate`. Each verb is a module here with `add_parser(subparsers)` and `run(args) -> int`.

Only the chosen verb's module is imported, so that what one verb needs does not slow another down. The verbs of LENT belong to
another room, which the runtime does not import: they come by the entry-point group `innervate.verbs`.

A verb returns its exit code; an InnervateError that reaches `main` is printed without a traceback and mapped below.
"""

import argparse
import importlib
import os
import sys
from types import ModuleType

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
    "serve": "run a device and let other programs in: latents, gradients, tokens, text, applications",
    "doctor": "what this machine has and lacks, with the command that mends it",
    "plugins": "the plugins in reach, and why one cannot be used",
    "boards": "the boards that ship, and what is wired on one",
    "check": "run the published conformance checks on a plugin",
    "teach": "teach the device a gesture, a sound or a sight, and what to do then",
    "forget": "take away what the device was taught",
    "gist": "compress a long instruction into a few latents",
    "eval": "measure the model's skills in closed-loop runs",
    "link": "talk to the microcontroller: list, info, monitor, stats, stop, rearm, flash",
    "bench": "measure speed and memory on this machine",
}

VERB_GROUP = "innervate.verbs"
LENT = ("eval", "bench", "link")

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
            try:
                module = verb_module(verb)
            except InnervateError as error:
                print(f"innervate {verb}: {error}", file=sys.stderr)
                return _exit_code(error)
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


def verb_module(verb: str) -> ModuleType:
    """Import a verb's module. Raises PluginError when it is another room's and that room, or what it needs, is not installed."""
    if verb not in LENT:
        return importlib.import_module(f"innervate.runtime.cli.{verb}")
    from importlib.metadata import entry_points  # not on the boot path

    found = [entry for entry in entry_points(group=VERB_GROUP) if entry.name == verb]
    step = "run make setup in a checkout, or pip install 'innervate[emulator]'"
    if not found:
        raise PluginError(f"verb {verb}", "is not installed", f"an entry point {verb} in the group {VERB_GROUP}", step)
    try:
        module: ModuleType = found[0].load()
    except ImportError as error:
        raise PluginError(f"verb {verb}", f"cannot be imported ({error})", found[0].value, step) from error
    return module


def _exit_code(error: InnervateError) -> int:
    if isinstance(error, (BoardError, ManifestError, ScenarioError)):
        return EXIT_MISTAKE
    if isinstance(error, (BundleError, DeviceError, PluginError)):
        return EXIT_MISSING
    return EXIT_FAILED
