"""`innervate link`: the microcontroller's link from the command line."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from innervate.firmware_bridge.message import Message
from innervate.runtime.ali.errors import DeviceError, InnervateError

if TYPE_CHECKING:
    from innervate.firmware_bridge.image import Image
    from innervate.firmware_bridge.link import Link

SESSION_S = 5.0
WHO_S = 1.5  # for a port that may be anything
SEEN_S = 3.0  # about and stats come once a second
STOP_S = 2.0
ERASE_LINE = "\r\x1b[K"

_EPILOG = """\
One program has the port at a time: end `innervate run` first. A session begins stopped, and what a command here arms is stopped again when it ends.

examples:
  innervate link list                                    ports that are plugged in
  innervate link info                                    who is there: firmware, schema, clock, newest stop
  innervate link monitor --seconds 5                     telemetry, one JSON object a line
  innervate link stats                                   counters of both ends
  innervate link stop                                    latched stop, now
  innervate link rearm                                   does anything keep the board from being armed?
  innervate link flash out/firmware/update-*.img         a new signed firmware, confirmed when it lives
  innervate link info --url socket://127.0.0.1:5555      an emulated board

exit codes: 0 done, 1 the board said no, 2 a mistake in the command line, 3 no port, no answer, or something missing
"""


class RefusedError(InnervateError):
    """The board answered, and will not."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb's parser."""
    parser = subparsers.add_parser(
        "link",
        help="talk to the microcontroller",
        description="List, ask, watch, stop and flash the microcontroller.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    summaries = {
        "list": "ports that are plugged in, and what each says it is",
        "info": "firmware, schema, clock, state and newest stop",
        "monitor": "telemetry as it comes, until Ctrl-C",
        "stats": "counters of firmware and host",
        "stop": "stop now; it stays stopped",
        "rearm": "arm with narrow limits, tell what comes, stop again: a check that nothing holds the stop",
        "flash": "send a signed image, restart, confirm",
    }
    for name, summary in summaries.items():
        action = actions.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        if name != "list":
            action.add_argument("--url", metavar="PORT", help="serial port or socket://HOST:PORT (default: the only port that is plugged in)")
        if name == "monitor":
            action.add_argument("--seconds", type=float, metavar="S", help="end after S seconds")
        if name == "flash":
            action.add_argument("images", type=Path, nargs="+", metavar="IMAGE", help="one image for each slot; the right one is chosen")


def run(args: argparse.Namespace) -> int:
    """Carry out the verb; return the exit code."""
    if args.action == "list":
        return _list()
    from innervate.firmware_bridge.image import parse
    from innervate.firmware_bridge.link import Link
    from innervate.runtime.loop.clock import RealClock

    images = [parse(_bytes(path), str(path)) for path in getattr(args, "images", [])]  # before the port: mistakes first
    with_link: dict[str, Callable[[Link], None]] = {
        "info": _info,
        "monitor": lambda link: _monitor(link, args.seconds),
        "stats": _stats,
        "stop": _stop,
        "rearm": _rearm,
        "flash": lambda link: _flash(link, images),
    }
    link = Link.open(args.url or only_port([device for device, _ in ports()]), RealClock(), SESSION_S)
    try:
        with_link[args.action](link)
    except RefusedError as error:
        print(f"innervate link {args.action}: {error}", file=sys.stderr)
        return 1
    finally:
        link.close()
    return 0


def who(url: str) -> str:
    """Ask the firmware on a port what it is; for `innervate doctor`.

    Raises PortError or LinkError when nobody of ours answers, RefusedError when it speaks another schema; each with the next step.
    """
    from innervate.firmware_bridge.link import Link
    from innervate.firmware_bridge.session import State
    from innervate.runtime.loop.clock import RealClock

    link = Link.open(url, RealClock(), WHO_S)
    try:
        link.wait(lambda: link.info.about is not None, SEEN_S)
        info = link.info
        assert info.about is not None and info.welcome is not None  # wait saw the one, and the other comes first
        build = info.about.build.rstrip(b"\0").decode("ascii", "replace")
        told = f"{info.welcome.port.name.lower()} firmware, version {info.about.version}, build {build}"
        if info.state is State.LIMITED:
            mismatch, _, remedy = info.fault.partition("; ")
            raise RefusedError(url, f"{told}: {mismatch}", "one schema at both ends", remedy)
        return f"{told}, of this program's schema"
    finally:
        link.close()


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DeviceError(str(path), f"cannot be read ({error.strerror})", "a firmware image", "make -C firmware_bridge/firmware update") from error


def ports() -> list[tuple[str, str]]:
    """Return (device, description) of each USB serial port. Raises DeviceError without pyserial."""
    try:
        from serial.tools.list_ports import comports
    except ImportError as error:
        raise DeviceError("link", "pyserial is not installed", "", "pip install 'innervate[link]'") from error
    return sorted((port.device, port.description) for port in comports() if port.vid is not None)


def only_port(devices: list[str]) -> str:
    """Return the one device of `devices`. Raises DeviceError when there is none or a choice."""
    if len(devices) == 1:
        return devices[0]
    came = f"several ports: {', '.join(devices)}" if devices else "no serial port is plugged in"
    raise DeviceError("link", came, "one", "name it with --url" if devices else "plug the board in, or name an emulated one with --url")


def _list() -> int:
    found = ports()
    for device, description in found:
        print(f"{device}  {description}")
    if not found:
        print("no USB serial port is plugged in", file=sys.stderr)
    return 0


def _plain(message: Message | None) -> dict[str, object]:
    """A message's fields, ready for JSON: enums by name, bytes in hex."""
    if message is None:
        return {}
    fields = asdict(message)  # type: ignore[call-overload]
    return {key: value.hex() if isinstance(value, bytes) else getattr(value, "name", value) for key, value in fields.items()}


def _info(link: Link) -> None:
    from innervate.firmware_bridge.words import explain

    link.wait(lambda: link.info.about is not None and link.telemetry is not None, SEEN_S)
    info, sample = link.info, link.telemetry
    assert sample is not None  # wait saw it
    print(f"port      {info.url}")
    print(f"session   {info.state.value}{f': {info.fault}' if info.fault else ''}")
    for name, message in (("welcome", info.welcome), ("about", info.about), ("telemetry", sample.telemetry)):
        print(f"{name:<9} " + ", ".join(f"{key} {value}" for key, value in _plain(message).items()))
    bound = info.clock.bound_ns
    print("clock     " + ("not synchronised" if bound is None else f"known to {bound / 1e6:.3f} ms"))
    if link.stopped is not None:
        print(f"stop      {explain(link.stopped)}")


def _monitor(link: Link, seconds: float | None) -> None:
    import time

    end = None if seconds is None else time.monotonic() + seconds
    while end is None or time.monotonic() < end:
        link.wait(lambda: link.telemetry is not None, SEEN_S)
        for sample in link.drain():
            print(json.dumps({"t_ns": sample.stamp.t_ns, "gap": sample.gap, **_plain(sample.telemetry)}), flush=True)
        time.sleep(0.05)


def _stats(link: Link) -> None:
    link.wait(lambda: link.stats is not None, SEEN_S)
    for key, value in _plain(link.stats).items():
        print(f"firmware  {key:<20} {value}")
    for key, value in asdict(link.info.counters).items():
        print(f"host      {key:<20} {value}")


def _stop(link: Link) -> None:
    from innervate.firmware_bridge.messages import Cause, State
    from innervate.firmware_bridge.words import explain

    link.stop(Cause.HOST_REQUEST)
    link.wait(lambda: link.motion in (State.STOPPED, State.UNCONFIGURED), STOP_S)
    said = explain(link.stopped) if link.stopped is not None else "nothing was armed"
    print(f"stopped: {said}")


def _rearm(link: Link) -> None:
    from innervate.firmware_bridge.link import LinkError
    from innervate.firmware_bridge.messages import Configure, Safe

    # A degree to either side: nothing is sent to move to, and nothing far could be.
    narrow = Configure(-1.0, 1.0, -1.0, 1.0, 1.0, 1.0, 100, Safe.HOLD, 0.0, 0, 0, 0)
    try:
        link.configure(narrow)
        link.rearm()
    except LinkError as error:
        raise RefusedError(error.who, error.came, error.expected, error.next_step) from error
    print("armed: nothing holds the stop; it is stopped again now, a program that drives arms it for itself")


def _flash(link: Link, images: list[Image]) -> None:
    from innervate.firmware_bridge.link import LinkError
    from innervate.firmware_bridge.update import flash

    shown = sys.stderr.isatty()

    def progress(part: float) -> None:
        if shown:
            print(f"{ERASE_LINE}{part:6.1%}", end="", file=sys.stderr, flush=True)

    try:
        about = flash(link, images, progress)
    except LinkError as error:
        raise RefusedError(error.who, error.came, error.expected, error.next_step) from error
    finally:
        if shown:
            print(file=sys.stderr)
    print(f"version {about.version} runs from slot {about.slot} and is confirmed")
