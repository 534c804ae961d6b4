"""The doors: a Unix socket, a WebSocket, and who may come in.

Rules:
- A connection has a thread of its own, which reads one request, answers it, and only then reads the next. So a client that sends
  faster than it is served, or than its budget allows, fills the system's buffers and has to wait; no queue grows here.
- The first frame is HELLO with the token, within HELLO_S; nothing else is answered before that.
- Loopback unless told otherwise, and then with a warning: what goes over the network is not encrypted.
- Browsers are refused (they send Origin): no web page may reach the device through its owner's browser.
"""

import contextlib
import itertools
import os
import socket
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from innervate.runtime.ali.errors import InnervateError
from innervate.runtime.serve import wire
from innervate.runtime.serve.budget import Allowance, Budget
from innervate.runtime.serve.hub import Caller, Hub
from innervate.runtime.serve.links import STALL_LIMIT, Link, StreamLink, WebSocketLink
from innervate.runtime.serve.requests import Desk, keeps_going
from innervate.runtime.serve.sessions import Weights
from innervate.runtime.serve.token import same
from innervate.runtime.serve.wire import VERSION, VERSIONS, Frame, Kind, ServeError

CONNECTIONS_MAX = 64
HELLO_S = 5.0
PATH_MAX = 107  # bytes that Linux allows for a socket's path
LOOPBACK = ("127.0.0.1", "::1", "localhost")
PRODUCT = "innervate"


class Server:
    """Answers clients until `close`. `hub` is None where no device runs."""

    def __init__(self, weights: Weights, token: str, hub: Hub | None, allowance: Allowance, warn: Callable[[str], None]) -> None:
        self.addresses: list[str] = []
        self._weights = weights
        self._token = token
        self._hub = hub
        self._allowance = allowance
        self._warn = warn
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._links: set[Link] = set()
        self._closing: list[Callable[[], None]] = []

    # -- doors --------------------------------------------------------------------------------------------------------

    def open_unix(self, path: Path) -> None:
        """Listen on a Unix socket that only its owner can open. Raises ServeError when it cannot."""
        who = f"unix:{path}"
        if len(os.fsencode(path)) > PATH_MAX:
            raise ServeError("request", who, f"a path of {len(os.fsencode(path))} bytes", f"at most {PATH_MAX}", "name a shorter one with --unix")
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            _remove_stale(path, who)
            before = os.umask(0o177)
            try:
                sock.bind(os.fspath(path))
            finally:
                os.umask(before)
            sock.listen(CONNECTIONS_MAX)
        except ServeError:
            sock.close()
            raise
        except OSError as error:
            sock.close()
            raise ServeError("request", who, f"cannot be opened ({error.strerror})", "a place for a socket", "name one with --unix") from error

        def close() -> None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
            path.unlink(missing_ok=True)

        self._closing.append(close)
        self.addresses.append(f"unix:{path}")
        threading.Thread(target=self._accept, args=(sock,), name="unix", daemon=True).start()

    def _accept(self, sock: socket.socket) -> None:
        while True:
            try:
                peer, _ = sock.accept()
            except OSError:
                return  # closed
            link = StreamLink(peer, f"client {next(self._numbers)}")
            threading.Thread(target=self.serve, args=(link,), name=link.peer, daemon=True).start()

    def open_ws(self, host: str, port: int) -> None:
        """Listen for WebSockets. Raises ServeError when it cannot."""
        who = f"ws://{host}:{port}"
        try:
            from websockets.sync.server import serve
        except ImportError as error:
            step = "pip install 'innervate[serve]', or keep this door shut with --ws off"
            raise ServeError("request", who, "the library websockets is not installed", "it, for WebSockets", step) from error

        def handle(connection: Any) -> None:
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, STALL_LIMIT)
            self.serve(WebSocketLink(connection, f"client {next(self._numbers)}"))

        most = wire.BODY_MAX + wire.META_MAX + wire.HEADER.size
        try:
            server = serve(handle, host, port, origins=[None], max_size=most, compression=None, open_timeout=HELLO_S, close_timeout=1.0)
        except OSError as error:
            raise cannot_listen(who, error, "--ws") from error
        self.listens(f"ws://{host}:{server.socket.getsockname()[1]}", host)
        self._closing.append(server.shutdown)
        threading.Thread(target=server.serve_forever, name="ws", daemon=True).start()

    def listens(self, address: str, host: str) -> None:
        """Note an address; warn of one that other machines can reach."""
        self.addresses.append(address)
        if host not in LOOPBACK:
            self._warn(f"{address} can be reached from other machines, and nothing on it is encrypted; 127.0.0.1 keeps it here")

    def on_close(self, action: Callable[[], None]) -> None:
        """Have `action` called at the end."""
        self._closing.append(action)

    def close(self) -> None:
        """Shut every door and end every connection."""
        for action in self._closing:
            with contextlib.suppress(Exception):
                action()
        with self._lock:
            links = list(self._links)
        for link in links:
            link.close()

    # -- connections --------------------------------------------------------------------------------------------------

    def serve(self, link: Link) -> None:
        """Serve one connection to its end; on its own thread."""
        with self._lock:
            full = len(self._links) >= CONNECTIONS_MAX
            if not full:
                self._links.add(link)
        try:
            if full:
                came, step = f"{CONNECTIONS_MAX} connections are open", "close one, or try again later"
                raise ServeError("busy", "server", came, f"at most {CONNECTIONS_MAX}", step)
            self._talk(link, self._welcome(link))
        except ServeError as error:
            with contextlib.suppress(ServeError):
                link.send(Kind.ERROR, 0, wire.error_meta(error))
        except Exception:  # our own bug: one connection pays for it
            traceback.print_exc()
        finally:
            with self._lock:
                self._links.discard(link)
            link.close()

    def _welcome(self, link: Link) -> Caller:
        """Check the first frame and answer it. Raises ServeError when its sender may not come in."""
        frame = link.receive(HELLO_S)
        if frame is None:
            raise ServeError("gone", link.peer, "left without a word")
        if frame.kind != Kind.HELLO:
            came = f"began with a frame of kind {frame.kind}"
            raise ServeError("frame", link.peer, came, f"HELLO ({Kind.HELLO})", "say hello with the token first")
        versions = frame.meta.get("versions")
        if not isinstance(versions, list) or not set(map(str, versions)) & set(map(str, VERSIONS)):
            raise wire.old_version(link.peer, [one for one in versions if isinstance(one, int)] if isinstance(versions, list) else [])
        if not same(frame.meta.get("token"), self._token):
            time.sleep(0.2)  # guessing takes time
            came = "gave no token" if not frame.meta.get("token") else "gave another token"
            step = "give the one of the server's token file (innervate serve prints where it is), or set INNERVATE_TOKEN"
            raise ServeError("token", link.peer, came, "the server's", step)
        name = str(frame.meta.get("client") or link.peer)[:64]
        wanted, here = frame.meta.get("space_id"), self._weights.first.space.space_id
        if wanted is not None and wanted != here:
            step = "use a component trained for this space, or connect without space_id"
            raise ServeError("space", name, f"speaks latent space {wanted}", f"the backbone's {here}", step)
        link.send(Kind.WELCOME, frame.id, self._facts())
        return Caller(name, link)

    def _facts(self) -> dict[str, Any]:
        first, header = self._weights.first, self._weights.bundle.header
        return {
            "version": VERSION,
            "server": PRODUCT,
            "bundle": f"{header.name} {header.version}",
            "variant": first.variant,
            "space_id": first.space.space_id,
            "exact_id": first.space.exact_id,
            "width": first.width,
            "context": first.context,
            "rows_max": first.rows_max,
            "tick_ms": header.tick_ms,
            "control": list(self._weights.bundle.toml.tokens.control),
            "device": self._hub is not None,
            "body_max": wire.BODY_MAX,
            "budget": {"bytes_s": self._allowance.bytes_s, "requests_s": self._allowance.requests_s, "latents_s": self._allowance.latents_s},
        }

    def _talk(self, link: Link, caller: Caller) -> None:
        desk, budget = Desk(self._weights, self._hub, caller), Budget(self._allowance)
        cause: str | None = "its process has gone, or closed the connection without taking leave"
        try:
            while (frame := link.receive()) is not None:
                wait_s = budget.spend(len(frame.body), 1, desk.latents(frame))
                if wait_s:
                    time.sleep(wait_s)
                self._answer(link, desk, frame, budget)
        except ServeError as error:
            cause = str(error)
            raise
        finally:
            caller.close()
            desk.close(cause)

    def _answer(self, link: Link, desk: Desk, frame: Frame, budget: Budget) -> None:
        try:
            kind, meta, body = desk.answer(frame)
        except InnervateError as error:
            if not keeps_going(error):
                raise
            link.send(Kind.ERROR, frame.id, wire.error_meta(error))
            return
        except (ValueError, TypeError) as error:  # a field of a type that nobody sends
            link.send(Kind.ERROR, frame.id, wire.error_meta(error))
            return
        budget.spend(len(body))
        link.send(kind, frame.id, meta, body)


def _remove_stale(path: Path, who: str) -> None:
    """Take away the socket of a server that is no more. Raises ServeError when one answers there, or it is something else."""
    if not path.exists():
        return
    if not path.is_socket():
        raise ServeError("request", who, "is a file", "a free name, or an old socket", "name another with --unix")
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        probe.connect(os.fspath(path))
    except OSError:
        path.unlink(missing_ok=True)
    else:
        raise ServeError("request", who, "another server listens there", "a free name", "stop it, or name another with --unix")
    finally:
        probe.close()


def cannot_listen(who: str, error: OSError, option: str) -> ServeError:
    """Return the error for an address that cannot be listened on."""
    step = f"stop what listens there, or name another with {option} HOST:PORT ({option} off shuts this door)"
    return ServeError("request", who, f"cannot be opened ({error.strerror or error})", "a free port", step)
