"""What a client has of its own: a session of the backbone and a vocabulary; and what all share: weights, gradient graph, cores.

Rules:
- Every session is an engine with its own context on the one set of weights; SESSIONS_MAX bounds their memory (5 MB each for nano).
- No more than `lanes` requests compute at once, so that the device's own process keeps a core; the others wait their turn.
- The gradient's graph is loaded when first asked for.
"""

import os
import threading
from contextlib import AbstractContextManager

from innervate.runtime.ali.errors import LatentError
from innervate.runtime.ali.space import Floats
from innervate.runtime.backbone.bundle import Bundle
from innervate.runtime.backbone.cache import Snapshot
from innervate.runtime.backbone.engine import Engine
from innervate.runtime.backbone.gradient import Gradient
from innervate.runtime.backbone.vocabulary import Vocabulary
from innervate.runtime.serve.wire import ServeError

SESSIONS_MAX = 40
SNAPSHOTS_MAX = 8  # of one session, each up to a whole context of keys and values


class Session:
    """One client's context and tokens. Belongs to the thread of its connection."""

    def __init__(self, engine: Engine, vocabulary: Vocabulary) -> None:
        self.engine = engine
        self.vocabulary = vocabulary
        self._snapshots: dict[int, Snapshot] = {}
        self._taken = 0

    def append(self, x: Floats) -> Floats:
        """Append [T, D] in passes as long as the engine takes; return the hidden states [T, D]. Raises LatentError."""
        return self.engine.append(x)

    def snapshot(self) -> int:
        """Keep the present state; return its number. The oldest of more than SNAPSHOTS_MAX is forgotten."""
        self._taken += 1
        self._snapshots[self._taken] = self.engine.snapshot()
        if len(self._snapshots) > SNAPSHOTS_MAX:
            del self._snapshots[min(self._snapshots)]
        return self._taken

    def rewind(self, number: object) -> None:
        """Come back to a kept state. Raises LatentError when that is not kept."""
        snapshot = self._snapshots.get(number) if isinstance(number, int) else None
        if snapshot is None:
            kept = ", ".join(map(str, self._snapshots)) or "none"
            raise LatentError("session", f"snapshot {number!r}", f"one of the newest {SNAPSHOTS_MAX}: {kept}", "take a snapshot first")
        self.engine.rewind_to(snapshot)


class Weights:
    """The bundle as it is served. Safe to use from any thread."""

    def __init__(self, bundle: Bundle, variant: str, lanes: int | None = None) -> None:
        self.bundle = bundle
        self.first = Engine(bundle, variant)  # never appended to: its weights are everybody's
        self.lanes: AbstractContextManager[object] = threading.BoundedSemaphore(lanes or max(1, (os.cpu_count() or 2) - 1))
        self._lock = threading.Lock()
        self._open = 0
        self._gradient: Gradient | None = None

    def open_session(self) -> Session:
        """Open a session. Raises ServeError when there are SESSIONS_MAX."""
        with self._lock:
            if self._open >= SESSIONS_MAX:
                step = "close a connection that has one, or try again later"
                raise ServeError("busy", "server", f"{self._open} sessions are open", f"at most {SESSIONS_MAX}", step)
            self._open += 1
        return Session(Engine(self.bundle, self.first.variant, like=self.first), Vocabulary(self.bundle))

    def close_session(self) -> None:
        """Make room for another."""
        with self._lock:
            self._open -= 1

    def gradient(self) -> Gradient:
        """Return the gradient of the weights that run. Raises BundleError when the bundle has no gradient graph."""
        with self._lock:
            if self._gradient is None:
                gradient = Gradient(self.bundle, self.first.variant)
                gradient.require(self.first.space)
                self._gradient = gradient
            return self._gradient
