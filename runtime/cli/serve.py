"""`innervate serve`: a device that runs, and doors through which other programs reach it and its backbone."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from innervate.runtime.cli.run import add_device_options, default_bundle, run_device
from innervate.runtime.cli.signals import EndingSignals

if TYPE_CHECKING:
    from innervate.runtime.loop.device import Device
    from innervate.runtime.loop.events import Log

WS, HTTP = "127.0.0.1:8765", "127.0.0.1:8766"
DEFAULT = "default"  # of --unix: the path depends on the environment

_EPILOG = """\
Everything listens on this machine alone, and asks for a token: the environment variable INNERVATE_TOKEN, or a file that is made
when it is missing and that only you can read. docs/serve.md has the protocol, the client and the applications.

examples:
  innervate serve --board emulator                      a device in the emulator, three doors
  innervate serve --board laptop --http off --ws off    the Unix socket alone
  innervate serve --no-device                           the backbone alone: latents, gradients, tokens
  innervate serve --unix /tmp/mine.sock --ws 127.0.0.1:0

exit codes: 0 done, 1 a door cannot be opened or the run failed, 2 a mistake in the command line, board or scenario, 3 something missing or broken,
130 / 143 / 129 ended by Ctrl-C / SIGTERM / SIGHUP
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb's parser."""
    parser = subparsers.add_parser(
        "serve",
        help="run a device and let other programs in",
        description="Run a device in real time and serve its latents, gradients, tokens and text to other programs.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_device_options(parser)
    parser.add_argument("--no-device", action="store_true", help="serve the backbone alone, with nothing sensed or moved")
    parser.add_argument("--unix", default=DEFAULT, metavar="PATH|off", help="the Unix socket (default: serve.sock in your runtime folder)")
    parser.add_argument("--ws", default=WS, metavar="HOST:PORT|off", help=f"the WebSocket (default: {WS}; port 0 takes a free one)")
    parser.add_argument("--http", default=HTTP, metavar="HOST:PORT|off", help=f"the OpenAI text API (default: {HTTP})")
    parser.add_argument("--token-file", type=Path, metavar="PATH", help="where the token lies (default: in your state folder)")
    parser.add_argument("--bytes-s", type=_budget, default=64e6, metavar="N", help="bytes a second for one client (default: 64 million)")
    parser.add_argument("--requests-s", type=_budget, default=2000.0, metavar="N", help="requests a second for one client (default: 2000)")
    parser.add_argument("--latents-s", type=_budget, default=20_000.0, metavar="N", help="latents a second for one client (default: 20000)")


def _budget(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 1.0 <= value < 1e12:
        raise argparse.ArgumentTypeError(f"{text!r}; expected a number, 1 or more")
    return value


def run(args: argparse.Namespace) -> int:
    """Carry out the verb; return the exit code."""
    config = _config(args)
    with EndingSignals() as signals:
        if args.no_device:
            _serve_backbone(config, signals)
        else:
            _serve_device(args, config, signals)
    return signals.exit_code or 0


def _config(args: argparse.Namespace) -> "dict[str, Any]":
    from innervate.runtime.serve.token import default_socket, server_token

    token, source = server_token(args.token_file)
    unix = str(default_socket()) if args.unix == DEFAULT else args.unix
    config = {
        "bundle": str(args.bundle or default_bundle()),
        "variant": args.variant or "auto",
        "token": token,
        "unix": None if unix == "off" else os.path.abspath(unix),
        "ws": _address(args.ws, "--ws", WS),
        "http": _address(args.http, "--http", HTTP),
        "bytes_s": args.bytes_s,
        "requests_s": args.requests_s,
        "latents_s": args.latents_s,
    }
    print(f"token: {source}", file=sys.stderr)
    return config


def _address(text: str, option: str, default: str) -> tuple[str, int] | None:
    """Return host and port. Raises ServeError for what is neither an address nor "off"."""
    from innervate.runtime.serve.wire import ServeError

    if text == "off":
        return None
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise ServeError("request", option, repr(text), f"HOST:PORT such as {default}, or off", "correct the command line")
    if text == default and option == "--ws":
        import importlib.util

        if importlib.util.find_spec("websockets") is None:
            print("no WebSocket: pip install 'innervate[serve]' adds it", file=sys.stderr)
            return None
    return host.strip("[]"), int(port)


def _serve_device(args: argparse.Namespace, config: "dict[str, Any]", signals: EndingSignals) -> None:
    from innervate.runtime.board import find_board, load_board
    from innervate.runtime.serve.process import ServingProcess

    if args.variant is None:
        config["variant"] = load_board(find_board(args.board)).variant
    args.realtime = True  # clients live in real time
    process = ServingProcess(config)

    def extend(device: "Device", logs: "list[Log]", log: "Log") -> None:
        from innervate.runtime.serve.port import Body, Port

        port = Port(Body.of(device, log), process.start)
        sock, addresses = process.start_and_wait()
        port.attach(sock)
        device.visitors.append(port)
        logs.append(port)
        _announce(addresses)

    try:
        run_device(args, signals, extend)
    finally:
        process.stop()


def _serve_backbone(config: "dict[str, Any]", signals: EndingSignals) -> None:
    import threading

    import msgspec

    from innervate.runtime.serve.worker import Config, build

    ended = threading.Event()
    server = build(msgspec.convert(config, Config), None)
    signals.stop = lambda cause: ended.set()
    _announce(server.addresses)
    try:
        ended.wait()
    finally:
        server.close()


def _announce(addresses: list[str]) -> None:
    for address in addresses:
        print(f"serving at {address}", flush=True)
