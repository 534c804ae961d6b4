"""The serving process: `python -m innervate.runtime.serve.worker FD PARENT`, started by `process.py` and by nobody else."""

import ctypes
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from innervate.runtime.ali.errors import InnervateError
from innervate.runtime.serve import wire
from innervate.runtime.serve.links import StreamLink
from innervate.runtime.serve.wire import Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from innervate.runtime.serve.server import Server

PR_SET_PDEATHSIG = 1
NICE = 5  # the device's own process goes first


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that a server needs to know. `ws` and `http`: host and port, None for a shut door."""

    bundle: str
    variant: str
    token: str
    unix: str | None = None
    ws: tuple[str, int] | None = None
    http: tuple[str, int] | None = None
    bytes_s: float = 64e6
    requests_s: float = 2000.0
    latents_s: float = 20_000.0


def build(config: Config, link: StreamLink | None, on_gone: "Callable[[str], None] | None" = None) -> "Server":
    """Open the bundle and every door that `config` names; return the Server. Raises InnervateError with nothing left open."""
    from innervate.runtime.backbone.bundle import Bundle
    from innervate.runtime.serve.budget import Allowance
    from innervate.runtime.serve.hub import Hub
    from innervate.runtime.serve.server import Server
    from innervate.runtime.serve.sessions import Weights

    weights = Weights(Bundle.open(config.bundle), config.variant)
    hub = Hub(link, on_gone or (lambda cause: None)) if link is not None else None
    allowance = Allowance(config.bytes_s, config.requests_s, config.latents_s)
    server = Server(weights, config.token, hub, allowance, lambda text: print(f"warning: {text}", file=sys.stderr, flush=True))
    try:
        if config.unix is not None:
            server.open_unix(Path(config.unix))
        if config.ws is not None:
            server.open_ws(*config.ws)
        if config.http is not None:
            from innervate.runtime.serve.chat import open_http

            open_http(server, hub, weights, config.token, *config.http)
    except BaseException:
        server.close()
        raise
    if hub is not None:
        hub.tell_ready(server.addresses)
    return server


def main(argv: list[str]) -> int:
    """Serve until the device's end of the socket closes; return the exit code."""
    sock, parent = socket.socket(fileno=int(argv[0])), int(argv[1])
    _die_with(parent)
    os.nice(NICE)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: ended.set())
    link = StreamLink(sock, "device")
    frame = link.receive()
    if frame is None or frame.kind != Kind.CONFIG:
        return 1
    try:
        server = build(msgspec.json.decode(frame.meta["config"], type=Config), link, lambda cause: ended.set())
    except InnervateError as error:
        link.send(Kind.ERROR, 0, wire.error_meta(error))
        return 1
    ended.wait()
    server.close()
    # Threads of clients may be inside a request of a library; the process ends without waiting for them.
    sys.stdout.flush()
    os._exit(0)


def _die_with(parent: int) -> None:
    """End with the device's process, however that ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
