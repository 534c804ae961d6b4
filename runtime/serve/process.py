"""Starting the serving process from the device's: a program of its own, at the other end of a socket pair.

It is given its configuration over that socket, so that the token never stands in a command line. It ends when the socket does, and
when its parent dies; Ctrl-C reaches the device alone, which then ends it in good order.
"""

import json
import os
import socket
import subprocess
import sys
from typing import Any

from innervate.runtime.serve import wire
from innervate.runtime.serve.wire import HEADER, Kind, ServeError

READY_S = 20.0  # importing onnxruntime and opening a bundle on a slow card
END_S = 2.0


class ServingProcess:
    """Starts serving processes, one after the other; `config` is what `worker.main` reads."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._config = config
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> socket.socket:
        """Start one; return this end of its socket at once. Raises ServeError when it cannot be started."""
        self.stop(0.0)  # inside a turn of the device: no patience with one that hangs
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "innervate.runtime.serve.worker", str(theirs.fileno()), str(os.getpid())]
        try:
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True)
        except OSError as error:
            ours.close()
            step = "free some memory or processes"
            raise ServeError("request", "serve", f"cannot be started ({error.strerror})", "a process", step) from error
        finally:
            theirs.close()
        ours.sendall(wire.head(Kind.CONFIG, 0, {"config": json.dumps(self._config)}, 0))
        return ours

    def start_and_wait(self) -> tuple[socket.socket, list[str]]:
        """Start one and wait until its doors are open; return this end and the addresses. Raises ServeError with its cause."""
        ours = self.start()
        ours.settimeout(READY_S)
        try:
            # No more than this one frame is read: what follows is for the port.
            _, _, size, _ = wire.read_header(ours.recv(HEADER.size, socket.MSG_WAITALL).ljust(HEADER.size, b"\0"), "serve")
            meta = wire.read_meta(ours.recv(size, socket.MSG_WAITALL), "serve")
        except (OSError, ServeError) as error:
            ours.close()
            self.stop()
            step = "see what it printed above"
            raise ServeError("request", "serve", "did not open its doors", f"them open within {READY_S:g} s", step) from error
        if "addresses" in meta:
            return ours, [str(one) for one in meta["addresses"]]
        ours.close()
        self.stop()
        raise wire.error_of(meta)

    def stop(self, patience_s: float = END_S) -> None:
        """Wait for it to end, its socket being closed; kill it when it does not."""
        process, self._process = self._process, None
        if process is None:
            return
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
