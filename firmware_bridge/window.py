"""Commands that must arrive: numbered, in order, repeated until answered. The half of a session that knows about loss; no I/O.

Rules
- Commands are numbered from 0 in each session; the newest sent is less than WINDOW after the oldest unanswered. None is given up while the
  session lives; each is reported exactly once: Replied, or Dropped when the session ends first.
- A lost command costs all that fly after it (the firmware takes them in order): one timer, and the whole window again when it runs out.
- A retransmission begins with a delimiter, so that the rest of a damaged frame in front of it costs nothing more.

Known weakness: 8-bit sequence numbers. A command frame that something holds back for exactly 256 commands would be taken again; arm is safe
from that (it names boot and stop), and nothing on this wire holds frames.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from itertools import count

from innervate.firmware_bridge import wire
from innervate.firmware_bridge.message import Message
from innervate.firmware_bridge.messages import Reply, Status

MS = 1_000_000
WINDOW = 8  # as SESSION_WINDOW in firmware/core/session.h
RTO_FIRST_NS = 60 * MS
RTO_MIN_NS = 15 * MS
RTO_MAX_NS = 500 * MS
LINE_BYTES_S_MIN = 10_000  # a slower line than this sees needless repetitions, fewer as they back off


@dataclass(frozen=True, slots=True)
class Replied:
    """Command `token` was carried out or refused."""

    token: int
    status: Status
    detail: int
    round_trip_ns: int
    sends: int


@dataclass(frozen=True, slots=True)
class Dropped:
    """Command `token` was unanswered when the session ended."""

    token: int


@dataclass(slots=True)
class _Command:
    token: int
    message: Message
    seq: int = 0
    frame: bytes = b""
    sends: int = 0
    sent_ns: int = 0
    first_ns: int = 0


@dataclass(slots=True)
class Window:
    """The commands of one session after the other; tokens never repeat. `commands` and `retransmissions` count up."""

    commands: int = 0
    retransmissions: int = 0
    _waiting: deque[_Command] = field(default_factory=deque)
    _flying: deque[_Command] = field(default_factory=deque)
    _tokens: count[int] = field(default_factory=count)
    _next_seq: int = 0
    _srtt_ns: int = 0
    _rttvar_ns: int = 0
    _progress_ns: int = 0

    @property
    def unanswered(self) -> int:
        """Commands that wait or fly."""
        return len(self._waiting) + len(self._flying)

    @property
    def flying(self) -> int:
        """Commands sent and not answered; at most WINDOW."""
        return len(self._flying)

    def begin(self) -> None:
        """A session began: number anew."""
        self._next_seq = 0

    def put(self, message: Message) -> int:
        """Queue a command; return its token."""
        token = next(self._tokens)
        self._waiting.append(_Command(token, message))
        self.commands += 1
        return token

    def data_to_send(self, now_ns: int) -> bytes:
        """Return what is due now: the whole window again when its timer ran out, then what finds room in it."""
        out = bytearray()
        due_ns = self.due_ns()
        if due_ns is not None and now_ns >= due_ns:
            out += b"\0"
            self._progress_ns = now_ns
            for flying in self._flying:  # all of them: the firmware dropped what came after the lost one
                out += flying.frame
                flying.sends += 1
                flying.sent_ns = now_ns
                self.retransmissions += 1
        # The span counts, not how many are unanswered: an answer lost among answered ones must stay in the firmware's memory.
        while self._waiting and (not self._flying or (self._next_seq - self._flying[0].seq) % 256 < WINDOW):
            fresh = self._waiting.popleft()
            fresh.seq = self._next_seq
            self._next_seq = (self._next_seq + 1) % 256
            fresh.frame = wire.encode(fresh.message, fresh.seq)
            fresh.sends, fresh.sent_ns, fresh.first_ns = 1, now_ns, now_ns
            if not self._flying:
                self._progress_ns = now_ns
            self._flying.append(fresh)
            out += fresh.frame
        return bytes(out)

    def hear(self, message: Reply, now_ns: int) -> Replied | None:
        """Take an answer; None when it is a repeated one or nobody's."""
        for flying in self._flying:
            if flying.seq == message.command_seq:
                self._flying.remove(flying)
                self._progress_ns = now_ns
                if flying.sends == 1:  # Karn: a repeated frame's round trip is ambiguous
                    self._learn_rtt(now_ns - flying.sent_ns)
                return Replied(flying.token, message.status, message.detail, now_ns - flying.first_ns, flying.sends)
        return None

    def drop_all(self) -> list[Dropped]:
        """The session ended: report what is unanswered, oldest first, and forget it."""
        dropped = [Dropped(command.token) for command in (*self._flying, *self._waiting)]
        self._flying.clear()
        self._waiting.clear()
        return dropped

    def due_ns(self) -> int | None:
        """When the window goes again without an answer; None while nothing flies.

        One timer, begun anew by each answer and each repetition: what queues behind others is not lost.
        """
        if not self._flying:
            return None
        base = RTO_FIRST_NS if self._srtt_ns == 0 else max(RTO_MIN_NS, self._srtt_ns + 4 * self._rttvar_ns)
        base += sum(len(f.frame) for f in self._flying) * 1_000_000_000 // LINE_BYTES_S_MIN
        sends = self._flying[0].sends
        return self._progress_ns + min(RTO_MAX_NS, base << min(sends - 1, 1))  # nobody else is on this line: doubling is enough

    def _learn_rtt(self, sample_ns: int) -> None:
        """RFC 6298, with the line's own bounds."""
        if self._srtt_ns == 0:
            self._srtt_ns, self._rttvar_ns = sample_ns, sample_ns // 2
        else:
            self._rttvar_ns += (abs(sample_ns - self._srtt_ns) - self._rttvar_ns) // 4
            self._srtt_ns += (sample_ns - self._srtt_ns) // 8
