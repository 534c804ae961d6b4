"""The host's end of the session: a state machine without I/O. Bytes and times go in, events and bytes come out.

States and what leads from one to the next (TRANSITIONS is the table that the code runs):

    closed    --open-->      greeting   hello goes out every HELLO_NS until welcome answers its nonce
    greeting  --welcome-->   live       protocol and schema hash are ours: everything goes
    greeting  --mismatch-->  limited    telemetry, stop, dictionary and update go; whatever moves is refused here and in the firmware
    live, limited --reboot--> greeting  a welcome with another boot_id, or with nonce 0: the firmware has no session of ours any more
    any       --silence-->   greeting   nothing valid for SILENCE_NS
    any       --close-->     closed

Rules and invariants
- Commands arrive once and in order (window.py). What a session's end dropped may or may not have been done, so nothing is sent again in a
  new session by itself: limits, arming and motion are for the owner of the link to decide anew.
- A stop goes ahead of everything that waits, in any state but closed, and again every STOP_REPEAT_NS until `stopped` returns its token.
  It forgets the setpoints that wait.
- Streams are sent once. A newer setpoint replaces one that has not left yet. Gaps in the firmware's streams are counted per message.
- `receive` never raises, whatever comes.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum

from innervate.firmware_bridge import wire
from innervate.firmware_bridge.message import LocalProtocolError, Message
from innervate.firmware_bridge.messages import (
    PROTOCOL,
    SCHEMA_HASH,
    Arm,
    Cause,
    Configure,
    Hello,
    Port,
    Reply,
    Rest,
    Setpoint,
    Stop,
    Stopped,
    Welcome,
)
from innervate.firmware_bridge.window import Dropped, Replied, Window

MS = 1_000_000
HELLO_NS = 20 * MS  # at 10 % byte loss one hello in ten arrives and one welcome in twenty-four
SILENCE_NS = 3_000 * MS  # above the 2 s that erasing a slot may take, when the firmware is deaf and still
STOP_REPEAT_NS = 10 * MS
STREAMS_MAX = 64  # frames that wait to leave; more and the oldest go
MOVES: tuple[type[Message], ...] = (Configure, Arm, Rest, Setpoint)


class State(Enum):
    """Where the session stands."""

    CLOSED = "closed"
    GREETING = "greeting"
    LIVE = "live"
    LIMITED = "limited"


class Input(Enum):
    """What moves it."""

    OPEN = "open"
    WELCOME = "welcome"
    MISMATCH = "mismatch"
    REBOOT = "reboot"
    SILENCE = "silence"
    CLOSE = "close"


TRANSITIONS: dict[tuple[State, Input], State] = {
    (State.CLOSED, Input.OPEN): State.GREETING,
    (State.GREETING, Input.WELCOME): State.LIVE,
    (State.GREETING, Input.MISMATCH): State.LIMITED,
    (State.LIVE, Input.REBOOT): State.GREETING,
    (State.LIMITED, Input.REBOOT): State.GREETING,
    (State.LIVE, Input.SILENCE): State.GREETING,
    (State.LIMITED, Input.SILENCE): State.GREETING,
    (State.GREETING, Input.CLOSE): State.CLOSED,
    (State.LIVE, Input.CLOSE): State.CLOSED,
    (State.LIMITED, Input.CLOSE): State.CLOSED,
}


@dataclass(frozen=True, slots=True)
class Connected:
    """A session began. `rebooted`: the firmware started anew since the last one; `matched`: it may move things."""

    welcome: Welcome
    rebooted: bool
    matched: bool


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The session ended without us; a new one is being asked for."""

    cause: str


@dataclass(frozen=True, slots=True)
class Received:
    """A stream message; `gap` frames of its kind were lost before it."""

    message: Message
    gap: int


Event = Connected | Disconnected | Replied | Dropped | Received


@dataclass(frozen=True, slots=True)
class Counters:
    """What happened on this end since it was made."""

    commands: int = 0
    retransmissions: int = 0
    gaps: int = 0
    streams_dropped: int = 0
    sessions: int = 0


@dataclass(slots=True)
class Session:
    """The state machine. Times are integer nanoseconds of one monotonic clock that never goes back."""

    schema_hash: int = SCHEMA_HASH
    protocol: int = PROTOCOL
    state: State = State.CLOSED
    welcome: Welcome | None = None
    reader: wire.Reader = field(default_factory=wire.Reader)
    _nonce: int = 0
    _window: Window = field(default_factory=Window)
    _streams: deque[Message] = field(default_factory=deque)
    _stream_seq: dict[int, int] = field(default_factory=dict)
    _seen_seq: dict[int, int] = field(default_factory=dict)
    _stop: Stop | None = None
    _stop_token: int = 0
    _due_stop_ns: int = 0
    _due_hello_ns: int = 0
    _heard_ns: int = 0
    _gaps: int = 0
    _streams_dropped: int = 0
    _sessions: int = 0

    # --- what the owner asks -----------------------------------------------------------------------------------------

    def open(self, nonce: int, now_ns: int) -> None:
        """Begin to ask for a session; `nonce` 1..2^32-1, another one each time. Raises LocalProtocolError unless closed."""
        if self.state is not State.CLOSED:
            raise LocalProtocolError("session", f"open while {self.state.value}", "closed")
        self._greet(Input.OPEN, nonce, now_ns)

    def close(self) -> list[Event]:
        """End it; commands under way are dropped. The firmware's deadman does the rest."""
        if self.state is State.CLOSED:
            return []
        self.state = TRANSITIONS[self.state, Input.CLOSE]
        self._streams.clear()
        self._stop = None
        return [*self._window.drop_all()]

    def command(self, message: Message) -> int:
        """Queue an acknowledged command; return the token of its Replied or Dropped.

        Raises LocalProtocolError without a session, for what is no command, for a value out of range, and on a schema mismatch.
        """
        self._may_send(message, "command")
        wire.encode(message, 0)  # out of range: say so now, to the one who asked
        return self._window.put(message)

    def stream(self, message: Message) -> None:
        """Queue a stream message; of setpoints only the newest waits. Raises as `command` does."""
        self._may_send(message, "stream")
        wire.encode(message, 0)
        if isinstance(message, Setpoint):
            self._streams = deque(m for m in self._streams if not isinstance(m, Setpoint))
        self._streams.append(message)
        while len(self._streams) > STREAMS_MAX:
            self._streams.popleft()
            self._streams_dropped += 1

    def stop(self, cause: Cause, now_ns: int) -> int:
        """Stop now; return the token that `stopped` will carry. Works in every state but closed."""
        if self.state is State.CLOSED:
            raise LocalProtocolError("session", "stop while closed", "an open session", "the deadman stops what moves; cut the power if in doubt")
        self._stop_token = self._stop_token % 255 + 1
        self._stop = Stop(cause, self._stop_token)
        self._due_stop_ns = now_ns
        self._streams = deque(m for m in self._streams if not isinstance(m, Setpoint))
        return self._stop_token

    @property
    def idle(self) -> bool:
        """Whether every command is answered and nothing waits to leave."""
        return not (self._window.unanswered or self._streams or self._stop)

    @property
    def unanswered(self) -> int:
        """Commands that wait or fly."""
        return self._window.unanswered

    @property
    def flying(self) -> int:
        """Commands sent and not answered; at most WINDOW."""
        return self._window.flying

    @property
    def counters(self) -> Counters:
        """What happened so far."""
        return Counters(self._window.commands, self._window.retransmissions, self._gaps, self._streams_dropped, self._sessions)

    def _may_send(self, message: Message, kind: str) -> None:
        if message.DELIVERY != kind:
            raise LocalProtocolError(message.NAME, f"sent as {kind}", message.DELIVERY)
        if self.state not in (State.LIVE, State.LIMITED):
            raise LocalProtocolError(message.NAME, f"sent while {self.state.value}", "a session", "wait for Connected")
        if self.state is State.LIMITED and isinstance(message, MOVES):
            raise LocalProtocolError(message.NAME, self.mismatch(), "firmware of this schema", self.remedy())

    def mismatch(self) -> str:
        """Say what differs, for a person."""
        w = self.welcome
        if w is None:
            return "no firmware"
        return f"the firmware speaks schema {w.schema_hash:016x} (protocol {w.protocol}), this program {self.schema_hash:016x} ({self.protocol})"

    def remedy(self) -> str:
        """Name the file that mends a mismatch."""
        port = self.welcome.port if self.welcome else Port.UNKNOWN
        if port is Port.STM32F405:
            return "flash out/firmware/update-a.img or update-b.img (make -C firmware_bridge/firmware update; innervate link flash picks)"
        return f"build and load out/firmware/{port.name.lower()}.elf (make -C firmware_bridge/firmware {port.name.lower()})"

    # --- what the line brings ----------------------------------------------------------------------------------------

    def receive(self, data: bytes, now_ns: int) -> list[Event]:
        """Take bytes from the line; return what happened, oldest first."""
        events: list[Event] = []
        for message, seq in self.reader.feed(data):
            if self.state is State.CLOSED:
                break
            self._heard_ns = now_ns
            if isinstance(message, Welcome):
                events += self._hear_welcome(message, now_ns)
            elif self.state is State.GREETING:
                continue  # of a session that is over
            elif isinstance(message, Reply):
                replied = self._window.hear(message, now_ns)
                events += [replied] if replied is not None else []
            elif message.ID >= 0x80:
                if isinstance(message, Stopped) and self._stop is not None and message.token == self._stop.token:
                    self._stop = None
                events.append(Received(message, self._gap(message.ID, seq)))
        return events

    def poll(self, now_ns: int, nonce: int) -> list[Event]:
        """Let time act: silence. `nonce` is used if a new session must be asked for."""
        if self.state in (State.LIVE, State.LIMITED) and now_ns - self._heard_ns > SILENCE_NS:
            ended = self._window.drop_all()
            self._greet(Input.SILENCE, nonce, now_ns)
            return [Disconnected(f"no valid frame for {SILENCE_NS // MS} ms; check the cable and the firmware's power"), *ended]
        return []

    def data_to_send(self, now_ns: int) -> bytes:
        """Return the bytes that are due now, stop first."""
        if self.state is State.CLOSED:
            return b""
        out = bytearray()
        if self._stop is not None and now_ns >= self._due_stop_ns:
            out += b"\0" + wire.encode(self._stop, self._count(Stop.ID))
            self._due_stop_ns = now_ns + STOP_REPEAT_NS
        if self.state is State.GREETING:
            if now_ns >= self._due_hello_ns:
                hello = Hello(self.protocol, self.schema_hash, self._nonce)
                out += b"\0" + wire.encode(hello, self._count(Hello.ID))
                self._due_hello_ns = now_ns + HELLO_NS
            return bytes(out)
        while self._streams:
            message = self._streams.popleft()
            out += wire.encode(message, self._count(message.ID))
        out += self._window.data_to_send(now_ns)
        return bytes(out)

    def next_due_ns(self) -> int | None:
        """Return when `data_to_send` or `poll` will next have something without new input; None for never."""
        dues = []
        if self._stop is not None:
            dues.append(self._due_stop_ns)
        if self.state is State.GREETING:
            dues.append(self._due_hello_ns)
        if self.state in (State.LIVE, State.LIMITED):
            dues.append(self._heard_ns + SILENCE_NS)
            repeat_ns = self._window.due_ns()
            dues += [repeat_ns] if repeat_ns is not None else []
        return min(dues) if dues else None

    # --- inside ------------------------------------------------------------------------------------------------------

    def _greet(self, why: Input, nonce: int, now_ns: int) -> None:
        self.state = TRANSITIONS[self.state, why]
        self._nonce = nonce
        self._due_hello_ns = now_ns
        self._heard_ns = now_ns
        self._streams.clear()

    def _hear_welcome(self, message: Welcome, now_ns: int) -> list[Event]:
        known = self.welcome
        if self.state is State.GREETING:
            if message.nonce != self._nonce:
                return []
            matched = message.schema_hash == self.schema_hash and message.protocol == self.protocol
            self.state = TRANSITIONS[self.state, Input.WELCOME if matched else Input.MISMATCH]
            self.welcome = message
            self._window.begin()
            self._seen_seq.clear()
            self._sessions += 1
            return [Connected(message, known is not None and known.boot_id != message.boot_id, matched)]
        if known is not None and message.boot_id == known.boot_id and message.nonce == self._nonce:
            return []  # a second answer to a repeated hello
        ended = self._window.drop_all()
        same = known is not None and message.boot_id == known.boot_id
        # Another nonce than the one the firmware may still hold; derived, because this half makes no random numbers.
        self._greet(Input.REBOOT, (self._nonce * 2654435761 + message.boot_id) % 0xFFFFFFFF + 1, now_ns)
        cause = "the firmware gave the session to another host program" if same else "the firmware restarted; limits and arming are gone"
        return [Disconnected(cause), *ended]

    def _count(self, message_id: int) -> int:
        seq = self._stream_seq.get(message_id, 0)
        self._stream_seq[message_id] = (seq + 1) % 256
        return seq

    def _gap(self, message_id: int, seq: int) -> int:
        last = self._seen_seq.get(message_id)
        step = 1 if last is None else (seq - last) % 256
        if step == 0 or step > 127:
            return 0  # repeated or overtaken
        self._seen_seq[message_id] = seq
        self._gaps += step - 1
        return step - 1
