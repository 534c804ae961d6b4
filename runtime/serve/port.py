"""The device's side of serving: what comes from other processes enters between two turns, what the turn tells leaves after it.

Rules:
- Nothing here waits, and nothing here raises: the serving process may hang, flood or die, and the tick goes on.
- The serving process is supervised like a component: when it ends or stops reading, that is one fault, every application is
  detached, and it is started again with growing pauses, RESTARTS_MAX times.
- An application that dies, hangs or floods is a fault in its own name. It may register again when its pause is over.
- A line that somebody types is answered by the first utterance after it; or, when the device acts instead, SETTLE_TURNS after the first
  thing that it opened or closed; or, when neither comes, at the end of the wait. One line at a time, the others queue.
"""

import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from innervate.runtime.ali.clock import Clock
from innervate.runtime.ali.component import Encoder, Sample
from innervate.runtime.ali.errors import InnervateError
from innervate.runtime.ali.latents import Border
from innervate.runtime.ali.space import Floats, Space
from innervate.runtime.backbone.side import check_name
from innervate.runtime.backbone.vocabulary import Vocabulary
from innervate.runtime.loop.assemble import ByteRows, NoGraph
from innervate.runtime.loop.device import Device, Turn
from innervate.runtime.loop.events import Close, Event, Fault, Log, Open, Stop, Text
from innervate.runtime.loop.limb import Voice
from innervate.runtime.loop.meter import MeteredBackbone
from innervate.runtime.loop.router import Router
from innervate.runtime.loop.supervise import Restarts, Upstream
from innervate.runtime.loop.tick import TICK_NS
from innervate.runtime.serve import wire
from innervate.runtime.serve.guests import AsLatents, GuestLimb, PushFeed
from innervate.runtime.serve.outlet import Outlet
from innervate.runtime.serve.wire import Frame, Kind, ServeError, raw

GUESTS_MAX = 8
LINES_MAX = 8  # typed lines that wait for their turn
SETTLE_TURNS = 10  # after an action, for a word that comes with it
TYPED = "typed"  # the source of lines that come through the server
RECENT_ROWS = 256  # input latents kept for applications that learn: some two seconds, half of nano's context
KINDS = ("upstream", "downstream", "both")
FAILURES_KEPT = 32  # names whose failures are remembered


@dataclass(frozen=True, slots=True)
class Body:
    """The parts of a running device that the port touches."""

    senses: list[Upstream]
    router: Router
    vocabulary: Vocabulary
    voice: Voice
    backbone: MeteredBackbone
    space: Space
    clock: Clock
    log: Log

    @classmethod
    def of(cls, device: Device, log: Log) -> "Body":
        """Return the parts of `device`; `log` is the one in front of all its logs."""
        tick, router = device.tick, device.router
        return cls(tick.senses, router, cast(Vocabulary, router.vocabulary), tick.voice, device.backbone, device.space, device.clock, log)


@dataclass(slots=True)
class Guest:
    """One registered application."""

    name: str
    feed: PushFeed | None = None
    sense: Upstream | None = None
    limb: GuestLimb | None = None


@dataclass(slots=True)
class Line:
    """A typed line that waits for its answer."""

    id: int
    text: str
    turns_left: int
    ticks: int = 0
    opened: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    said: str | None = None
    quiet: int | None = None  # turns since it first acted


class TypedFeed:
    """Lines typed through the server, as a feed: uint8 [N] each."""

    def __init__(self, clock: Clock) -> None:
        self.dropped = 0
        self._clock = clock
        self._queue: deque[bytes] = deque()
        self._seq = 0

    def put(self, line: str) -> None:
        """Type a line in this turn."""
        self._queue.append(line.encode() + b"\n")

    def poll(self) -> list[Sample]:
        """Return what was typed."""
        samples = []
        while self._queue:
            samples.append(Sample(np.frombuffer(self._queue.popleft(), np.uint8), self._clock.now_ns(), self._seq))
            self._seq += 1
        return samples

    def stop(self) -> None:
        """Forget what waits."""
        self._queue.clear()


class AsTyped(Encoder):
    """Bytes to their rows."""

    def _encode(self, sample: Sample) -> Floats:
        return self.graph.run(sample.data).copy()


class Port:
    """One serving process and its applications, as the loop sees them: `before` and `after` every turn, `end` at the last.

    `start` makes a serving process and returns the device's end of its socket; it raises InnervateError when it cannot.
    """

    def __init__(self, body: Body, start: Callable[[], socket.socket]) -> None:
        self.addresses: list[str] = []
        self._body = body
        self._start = start
        self._outlet: Outlet | None = None
        self._restarts = Restarts("serve", body.log)
        self._failures: dict[str, Restarts] = {}
        self._guests: dict[str, Guest] = {}
        self._lines: deque[Line] = deque()
        self._typed = TypedFeed(body.clock)
        typed = AsTyped(ByteRows(body.vocabulary), body.space, TYPED)
        self._border = Border(body.space)
        body.senses.append(Upstream(lambda: self._typed, typed, self._border, body.log, None, False))
        body.backbone.keep_recent(RECENT_ROWS, body.space.width)
        self._answers: dict[int, Callable[[Frame, int], dict[str, Any] | None]] = {
            Kind.RECENT: self._recent,
            Kind.SAY: self._say,
            Kind.REGISTER: self._register,
            Kind.TELL: self._tell,
        }

    def attach(self, sock: socket.socket) -> None:
        """Take the socket of a serving process that has been started already."""
        self._outlet = Outlet(sock)

    # -- the loop's side ----------------------------------------------------------------------------------------------

    def before(self, now_ns: int) -> None:
        """Let in what has come."""
        if self._outlet is None:
            self._restart(now_ns)
            return
        for frame in self._outlet.receive():
            self._take(frame, now_ns)
        if self._outlet.broken is not None:
            self._lost(now_ns, self._outlet.broken)

    def after(self, turn: Turn) -> None:
        """Send what the turn told, and look after the applications."""
        for guest in list(self._guests.values()):
            if guest.limb is not None and guest.limb.fault is not None:
                self._cut(guest, turn.t_ns, guest.limb.fault)
        self._answer_lines()
        if self._outlet is not None:
            self._outlet.flush()
            if self._outlet.broken is not None:
                self._lost(turn.t_ns, self._outlet.broken)

    def end(self) -> None:
        """The run is over: the serving process ends with its socket."""
        if self._outlet is not None:
            self._outlet.flush()
            self._outlet.close()
            self._outlet = None

    def emit(self, event: Event) -> None:
        """Take an event of the device, as a log of its run."""
        if isinstance(event, (Text, Open, Close, Stop, Fault)):
            if self._lines:
                _note(self._lines[0], event)
            self._send(Kind.EVENT, 0, {"event": type(event).__name__.lower(), **_fields(event)})

    # -- what comes in ------------------------------------------------------------------------------------------------

    def _take(self, frame: Frame, now_ns: int) -> None:
        try:
            answer = self._answers.get(frame.kind)
            if answer is not None:
                told = answer(frame, now_ns)
                if told is not None:
                    self._send(Kind.DONE, frame.id, told)
            elif frame.kind == Kind.READY:
                self.addresses = [str(one) for one in frame.meta.get("addresses", ())]
                self._restarts.served(now_ns)
            else:
                self._note_guest(frame, now_ns)
        except Exception as error:  # a peer's mistake is answered, and stays the peer's
            self._send(Kind.ERROR, frame.id, wire.error_meta(error))

    def _note_guest(self, frame: Frame, now_ns: int) -> None:
        guest = self._guests.get(str(frame.meta.get("name")))
        if guest is None:
            return  # it has gone already
        if frame.kind == Kind.PUSH and guest.feed is not None:
            data = frame.floats(self._body.space.width, guest.name)
            guest.feed.put(data, now_ns - round(float(frame.meta.get("age_ms", 0.0)) * 1e6))
        elif frame.kind == Kind.TAKEN and guest.limb is not None:
            guest.limb.taken(int(frame.meta["seq"]))
        elif frame.kind == Kind.FINISH and guest.limb is not None:
            guest.limb.finish()
        elif frame.kind == Kind.LEAVE:
            cause = frame.meta.get("cause")
            if cause:
                self._fault(guest.name, now_ns, f"{guest.name}: {cause}")
            self._detach(guest, now_ns, str(cause or "the application took its leave"))

    def _say(self, frame: Frame, now_ns: int) -> None:
        if len(self._lines) >= LINES_MAX:
            raise ServeError("busy", "device", f"{LINES_MAX} lines wait for an answer", "fewer", "wait for one of them")
        turns = max(1, round(float(frame.meta["wait_s"]) * 1e9 / TICK_NS))
        self._lines.append(Line(frame.id, str(frame.meta["text"]), turns))
        if len(self._lines) == 1:
            self._typed.put(self._lines[0].text)

    def _recent(self, frame: Frame, now_ns: int) -> None:
        recent = self._body.backbone.recent()
        self._send(Kind.DATA, frame.id, {"rows": len(recent)}, raw(recent) if len(recent) else b"")

    def _answer_lines(self) -> None:
        """One turn has passed for the line that was typed; answer it when it is done, and type the next."""
        if not self._lines:
            return
        line = self._lines[0]
        line.ticks += 1
        line.turns_left -= 1
        if line.quiet is not None:
            line.quiet += 1
        acted = line.quiet is not None and line.quiet >= SETTLE_TURNS
        if line.said is None and not acted and line.turns_left > 0:
            return
        timed_out = line.said is None and line.quiet is None
        told = {"text": line.said or "", "opened": line.opened, "closed": line.closed, "ticks": line.ticks, "timed_out": timed_out}
        self._send(Kind.DONE, line.id, told)
        self._lines.popleft()
        if self._lines:
            self._typed.put(self._lines[0].text)

    def _tell(self, frame: Frame, now_ns: int) -> dict[str, Any]:
        if self._body.voice.speaking:
            raise ServeError("busy", "device", "the model is speaking", "a pause", "try again in a moment")
        for byte in str(frame.meta["text"]).encode() + b"\n":
            self._body.voice.speak(byte, now_ns)
        return {}

    # -- applications -------------------------------------------------------------------------------------------------

    def _register(self, frame: Frame, now_ns: int) -> dict[str, Any]:
        meta = frame.meta
        name, kind, rate_hz = str(meta.get("name")), meta.get("kind"), meta.get("rate_hz")
        check_name(name)
        if "/" not in name:
            raise ServeError("request", name, "a name without a namespace", '"namespace/name", such as acme/ring', "register again")
        if kind not in KINDS:
            raise ServeError("request", name, f"kind {kind!r}", f"one of {', '.join(KINDS)}", "register again")
        if rate_hz is not None and not 0.1 <= float(rate_hz) <= 100.0:
            raise ServeError("request", name, f"rate_hz {rate_hz}", "0.1 to 100, or none", "register again")
        if name in self._guests or any(sense.name == name for sense in self._body.senses):
            raise ServeError("refused", name, "is connected already", "a free name", "stop the other one, or take another name")
        if len(self._guests) >= GUESTS_MAX:
            raise ServeError("refused", name, f"{GUESTS_MAX} applications are connected", "fewer", "stop one of them")
        past = self._failures.get(name)
        if past is not None and not past.due(now_ns):
            step = "correct the cause and restart the device" if past.gave_up else "correct the cause; try again a little later"
            raise ServeError("refused", name, f"has failed {past.failures} times", "a steady application", step)
        guest = Guest(name)
        start = end = -1
        if kind != "upstream":
            start, end = self._admit_limb(guest, frame)
        if kind != "downstream":
            self._admit_sense(guest, float(rate_hz) if rate_hz is not None else None, now_ns)
        self._guests[name] = guest
        return {"start": start, "end": end, "t_ns": now_ns}

    def _admit_limb(self, guest: Guest, frame: Frame) -> tuple[int, int]:
        """Give the application its tokens and make it known to the router. Raises VocabularyError when it cannot have them."""
        outlet = self._outlet
        if outlet is None:
            raise ServeError("device", guest.name, "the serving process is being restarted", "", "try again")
        side = self._body.vocabulary.add_component(guest.name)
        if len(frame.body):
            rows = frame.floats(self._body.space.width, guest.name)
            side.embedding[:], side.classifier[:] = rows[:2], rows[2:]
        guest.limb = GuestLimb(guest.name, outlet)
        self._body.router.attach(guest.limb)
        return side.start, side.end

    def _admit_sense(self, guest: Guest, rate_hz: float | None, now_ns: int) -> None:
        feed = guest.feed = PushFeed()
        encoder = AsLatents(NoGraph(guest.name), self._body.space, guest.name)
        guest.sense = Upstream(lambda: feed, encoder, self._border, self._body.log, rate_hz, False)
        guest.sense.start(now_ns)
        self._body.senses.insert(len(self._body.senses) - 1, guest.sense)  # typed lines stay last, as in training

    def _fault(self, name: str, now_ns: int, cause: str) -> None:
        """Report a failure of an application and make it wait; each time twice as long."""
        if name not in self._failures:
            while len(self._failures) >= FAILURES_KEPT:
                del self._failures[next(iter(self._failures))]
            self._failures[name] = Restarts(name, self._body.log)
        self._failures[name].failed(now_ns, cause)

    def _cut(self, guest: Guest, now_ns: int, cause: str) -> None:
        self._fault(guest.name, now_ns, f"{guest.name}: {cause}")
        self._detach(guest, now_ns, cause)
        self._send(Kind.GONE, 0, {"name": guest.name, "cause": cause})

    def _detach(self, guest: Guest, now_ns: int, cause: str) -> None:
        self._guests.pop(guest.name, None)
        if guest.limb is not None:
            guest.limb.up = False
            self._body.router.detach(guest.name, now_ns, cause)
            self._body.vocabulary.remove_component(guest.name)
        if guest.sense is not None:
            self._body.senses.remove(guest.sense)
            guest.sense.stop()
            self._border.forget(guest.name)

    # -- the serving process ------------------------------------------------------------------------------------------

    def _lost(self, now_ns: int, cause: str) -> None:
        if self._outlet is not None:
            self._outlet.close()
            self._outlet = None
        for guest in list(self._guests.values()):
            self._detach(guest, now_ns, "the serving process ended")
        self._lines.clear()
        self._restarts.failed(now_ns, f"serve: {cause}; the device goes on without it")

    def _restart(self, now_ns: int) -> None:
        if not self._restarts.due(now_ns):
            return
        try:
            self._outlet = Outlet(self._start())
        except InnervateError as error:
            self._restarts.failed(now_ns, str(error))

    def _send(self, kind: Kind, id: int, meta: dict[str, Any], body: Any = b"") -> None:
        if self._outlet is not None:
            self._outlet.send(kind, id, meta, body)


def _note(line: Line, event: Event) -> None:
    """Count an event towards the answer to a line."""
    match event:
        case Text(text=text) if line.said is None:
            line.said = text
        case Open(component=component):
            _add(line, line.opened, component)
        case Close(component=component):
            _add(line, line.closed, component)
        case _:
            pass


def _add(line: Line, names: list[str], component: str) -> None:
    if component not in names:
        names.append(component)
    if line.quiet is None:
        line.quiet = 0


def _fields(event: Event) -> dict[str, Any]:
    return {name: value for name in event.__struct_fields__ if (value := getattr(event, name)) is not None}
