"""The serving process's way to the device's live session: one socket to the device's process, shared by all clients.

Rules:
- The device answers between two turns; a request waits for at most ANSWER_S more than it asked for, then it is an error.
- What the device tells goes through each client's outbox. An outbox is bounded: of events the oldest are dropped and counted, for
  somebody who reads too late has no use for them; an application whose latents do not fit has stopped reading, and the device
  notices that by itself (`TAKEN` fails to come).
- What enters the live session is metered where it comes in; an application that keeps on flooding loses its connection.
"""

import itertools
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from innervate.runtime.ali.errors import InnervateError
from innervate.runtime.ali.space import Floats
from innervate.runtime.serve import wire
from innervate.runtime.serve.budget import Meter
from innervate.runtime.serve.links import Link, StreamLink
from innervate.runtime.serve.wire import Frame, Kind, ServeError, raw

ANSWER_S = 3.0  # the device takes up to a turn, 80 ms; this is for one that a slow driver holds
WAIT_S_MAX = 30.0  # longest that a question to the device may wait for its answer
OUTBOX_MAX = 256  # frames that wait for a client to read
PUSH_LATENTS_S = 100.0  # of one application, into the live session: eight a tick, as much as all built-in senses together
PUSH_BURST = 64.0
LINES_S, LINES_BURST = 2.0, 8.0  # typed or spoken for one client
FLOODS_MAX = 200  # refused pushes without a good one in between, and the application is cut off


class Caller:
    """One connection as the hub sees it: its name, what it may still use, and its outbox."""

    def __init__(self, name: str, link: Link) -> None:
        self.name = name
        self.application: str | None = None
        self.latents = Meter(PUSH_LATENTS_S, PUSH_BURST)
        self.lines = Meter(LINES_S, LINES_BURST)
        self.floods = 0
        self.may: tuple[str, ...] = ()
        self._link = link
        self._waiting: deque[tuple[Kind, dict[str, Any], bytes]] = deque()
        self._dropped = 0
        self._ready = threading.Condition()
        self._writer: threading.Thread | None = None
        self._closed = False

    def post(self, kind: Kind, meta: dict[str, Any], body: bytes = b"") -> None:
        """Put a frame into the outbox; never waits."""
        with self._ready:
            if self._closed:
                return
            if len(self._waiting) >= OUTBOX_MAX:
                self._waiting.popleft()
                self._dropped += 1
            self._waiting.append((kind, meta, body))
            if self._writer is None:
                self._writer = threading.Thread(target=self._write, name=f"outbox-{self.name}", daemon=True)
                self._writer.start()
            self._ready.notify()

    def cut(self, error: ServeError) -> None:
        """Tell the client why and end its connection."""
        with suppress(ServeError):
            self._link.send(Kind.ERROR, 0, wire.error_meta(error))
        self.close()
        self._link.close()

    def close(self) -> None:
        """End the outbox."""
        with self._ready:
            self._closed = True
            self._waiting.clear()
            self._ready.notify()

    def _write(self) -> None:
        while True:
            with self._ready:
                while not self._waiting and not self._closed:
                    self._ready.wait()
                if self._closed:
                    return
                kind, meta, body = self._waiting.popleft()
                dropped, self._dropped = self._dropped, 0
            if dropped:
                meta = {**meta, "dropped": dropped}
            try:
                self._link.send(kind, 0, meta, body)
            except ServeError:  # too slow, or gone: its own thread notices the end of the link
                self.close()
                self._link.close()
                return


class Hub:
    """Requests to the device and what it tells. Safe to use from any thread."""

    def __init__(self, link: StreamLink, on_gone: Callable[[str], None]) -> None:
        self._link = link
        self._on_gone = on_gone
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._answers: dict[int, deque[Frame]] = {}
        self._answered = threading.Condition(self._lock)
        self._watchers: list[Caller] = []
        self._applications: dict[str, Caller] = {}
        self._gone: str | None = None
        threading.Thread(target=self._read, name="device", daemon=True).start()

    # -- what clients ask ---------------------------------------------------------------------------------------------

    def say(self, text: str, wait_s: float, caller: Caller) -> dict[str, Any]:
        """Type a line to the device; return what it said and did: `text`, `opened`, `closed`, `ticks`, `timed_out`."""
        if caller.application is not None and "act" not in caller.may:
            step = 'register with may = ["act"]'
            raise ServeError("refused", caller.name, "asks the device to act", "an application that may", step)
        if not caller.lines.take(1):
            raise ServeError("budget", caller.name, "too many lines", f"{LINES_S:g} a second", "wait a moment between two lines")
        wait_s = min(max(wait_s, 0.1), WAIT_S_MAX)
        # others' questions go first
        return self._ask(Kind.SAY, {"text": " ".join(text.split()), "wait_s": wait_s}, b"", wait_s * 9).meta

    def recent(self, caller: Caller) -> bytes:
        """Return the newest input latents of the live session, as they stand in a body."""
        if caller.application is not None and "listen" not in caller.may:
            step = 'register with may = ["listen"]'
            raise ServeError("refused", caller.name, "asks what the device has sensed", "an application that may", step)
        if not caller.lines.take(1):
            raise ServeError("budget", caller.name, "too many requests", f"{LINES_S:g} a second", "wait a moment between two")
        return bytes(self._ask(Kind.RECENT, {}, b"").body)

    def watch(self, caller: Caller) -> None:
        """Have the device's events sent to the client from now on."""
        with self._lock:
            if caller not in self._watchers:
                self._watchers.append(caller)

    def register(self, meta: dict[str, Any], body: bytes, caller: Caller) -> dict[str, Any]:
        """Make the client a component of the device. Raises ServeError with the device's cause."""
        if caller.application is not None:
            step = "open one connection for each application"
            raise ServeError("refused", caller.name, f"is application {caller.application} already", "one a connection", step)
        name = str(meta.get("name"))
        with self._lock:
            if name in self._applications:
                step = "stop the other one, or give this one another name"
                raise ServeError("refused", caller.name, f"an application {name} is connected already", "a free name", step)
            self._applications[name] = caller
        try:
            told = self._ask(Kind.REGISTER, meta, body).meta
        except BaseException:
            with self._lock:
                self._applications.pop(name, None)
            with suppress(ServeError):  # it may have been taken after all, too late for an answer
                self._send(Kind.LEAVE, 0, {"name": name})
            raise
        caller.application, caller.may = name, tuple(map(str, meta.get("may") or ()))
        return told

    def push(self, x: Floats, age_ms: float, caller: Caller) -> None:
        """Hand latents of an application to the device's next turn."""
        name = self._need_application(caller)
        if not caller.latents.take(len(x)):
            caller.floods += 1
            if caller.floods > FLOODS_MAX:
                cause = f"floods: {caller.floods} pushes in a row over {PUSH_LATENTS_S:g} latents/s"
                self.forget(caller, cause)
                raise ServeError("gone", caller.name, cause, "", "push less, then register again")
            came = f"more than {PUSH_LATENTS_S:g} latents/s into the live session"
            raise ServeError("budget", caller.name, came, "less", "push when something happens, not all the time")
        caller.floods = 0
        self._send(Kind.PUSH, 0, {"name": name, "age_ms": min(max(age_ms, 0.0), 1000.0)}, raw(x))

    def tell(self, text: str, caller: Caller) -> None:
        """Have the device say a line of an application to whoever is there."""
        name = self._need_application(caller)
        if "tell" not in caller.may:
            raise ServeError("refused", caller.name, "speaks", "an application that may", 'register with may = ["tell"]')
        if not caller.lines.take(1):
            raise ServeError("budget", caller.name, "too many lines", f"{LINES_S:g} a second", "say less")
        self._ask(Kind.TELL, {"name": name, "text": " ".join(text.split())}, b"")

    def taken(self, seq: int, caller: Caller) -> None:
        """Note that an application has done with a latent."""
        self._send(Kind.TAKEN, 0, {"name": self._need_application(caller), "seq": seq})

    def finish(self, caller: Caller) -> None:
        """An application has done what it was opened for."""
        self._send(Kind.FINISH, 0, {"name": self._need_application(caller)})

    def forget(self, caller: Caller, cause: str | None) -> None:
        """The client goes: with a cause it is a fault of its application, without one it took its leave."""
        name, caller.application = caller.application, None
        with self._lock:
            if caller in self._watchers:
                self._watchers.remove(caller)
            if name is not None:
                self._applications.pop(name, None)
        if name is not None:
            with suppress(ServeError):  # the device has gone too
                self._send(Kind.LEAVE, 0, {"name": name, **({"cause": cause} if cause else {})})

    def tell_ready(self, addresses: list[str]) -> None:
        """Tell the device that the doors are open."""
        self._send(Kind.READY, 0, {"addresses": addresses})

    def _need_application(self, caller: Caller) -> str:
        if caller.application is None:
            raise ServeError("refused", caller.name, "is no application", "one that has registered", "register first")
        return caller.application

    # -- the wire to the device ---------------------------------------------------------------------------------------

    def _ask(self, kind: Kind, meta: dict[str, Any], body: Any, wait_s: float = 0.0) -> Frame:
        id, answer = next(self._ids), deque[Frame]()
        with self._lock:
            self._answers[id] = answer
        try:
            self._send(kind, id, meta, body)
            with self._answered:
                self._answered.wait_for(lambda: answer or self._gone, wait_s + ANSWER_S)
        finally:
            with self._lock:
                del self._answers[id]
        if not answer:
            raise ServeError("device", "device", self._gone or "does not answer", "an answer", "look at the device's own messages")
        if answer[0].kind == Kind.ERROR:
            raise wire.error_of(answer[0].meta)
        return answer[0]

    def _send(self, kind: Kind, id: int, meta: dict[str, Any], body: Any = b"") -> None:
        if self._gone is not None:
            raise ServeError("device", "device", self._gone, "one that runs", "start it again")
        self._link.send(kind, id, meta, body)

    def _read(self) -> None:
        cause = "has ended"
        try:
            while (frame := self._link.receive()) is not None:
                self._route(frame)
        except InnervateError as error:
            cause = str(error)
        with self._answered:
            self._gone = cause
            self._answered.notify_all()
        self._on_gone(cause)

    def _route(self, frame: Frame) -> None:
        if frame.id:
            with self._answered:
                answer = self._answers.get(frame.id)
                if answer is not None:
                    answer.append(frame)
                    self._answered.notify_all()
        elif frame.kind == Kind.EVENT:
            with self._lock:
                watchers = list(self._watchers)
            for caller in watchers:
                caller.post(Kind.EVENT, frame.meta)
        else:
            name = str(frame.meta.pop("name", ""))
            with self._lock:
                found = self._applications.get(name)
            if found is None:
                return
            if frame.kind == Kind.GONE:  # the device has cut it off
                with self._lock:
                    self._applications.pop(name, None)
                found.application = None
                found.cut(ServeError("gone", name, str(frame.meta.get("cause")), "", "correct that, then register again"))
            else:
                found.post(Kind(frame.kind), frame.meta, bytes(frame.body))
