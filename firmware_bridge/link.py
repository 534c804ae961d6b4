"""The link as the rest of the program sees it: one port, one session, one clock map, one thread.

    link = Link.open("/dev/serial/by-id/usb-...", clock)
    link.configure(Configure(...)); link.rearm()
    link.setpoint(pan_deg=10.0, tilt_deg=-5.0)
    link.telemetry        # newest Sample, stamped on the host's clock with a bound
    link.stop(Cause.HOST_REQUEST); link.close()

Rules
- The thread opens the port, and opens it again when it vanishes; it greets, pings, repeats. It never sends a setpoint, configures or arms: only the
  caller's own calls do, so nothing moves for a host whose control loop is dead.
- `setpoint` and `stop` write to the port in the caller's thread; no call waits unless its name has a `timeout_s`.
- After any interruption `info.session` is another number, and limits and arming are gone: the caller does both anew.
- `close` stops what is armed first.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import threading
import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from innervate.firmware_bridge.clock import ClockSync, Stamp
from innervate.firmware_bridge.message import LocalProtocolError, Message
from innervate.firmware_bridge.messages import (
    About,
    Arm,
    Cause,
    Configure,
    Dictionary,
    DictionaryData,
    Ping,
    Pong,
    Rest,
    Setpoint,
    Stats,
    Status,
    Stopped,
    Telemetry,
    Welcome,
)
from innervate.firmware_bridge.messages import (
    State as Motion,
)
from innervate.firmware_bridge.session import Connected, Counters, Disconnected, Dropped, Event, Received, Replied, Session, State
from innervate.firmware_bridge.transport import PortError, Transport
from innervate.firmware_bridge.words import explain
from innervate.runtime.ali.clock import Clock
from innervate.runtime.ali.errors import DeviceError

MS = 1_000_000
REOPEN_NS = 500 * MS
PING_FAST_NS = 50 * MS  # until the window has PINGS_FAST samples
PINGS_FAST = 8
PING_SLOW_NS = 1_500 * MS
PINGS_FLYING_MAX = 64
POLL_S_MAX = 0.2
VALID_FOR_NS = 100 * MS
NOISE_BYTES = 2000  # this much and no frame of ours: something else is on this port


class LinkError(DeviceError):
    """The link cannot do what was asked; says why and what to do."""


class UnsyncedError(LinkError):
    """The clocks are in doubt, for a moment: a step, or no ping answered yet. Nothing that carries a time can be sent."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One telemetry frame: `stamp` is when the firmware took it, `gap` how many were lost before it."""

    telemetry: Telemetry
    stamp: Stamp
    arrived_ns: int
    gap: int


@dataclass(frozen=True, slots=True)
class Info:
    """What is known of the link now. `fault` is the newest cause of an interruption, "" in a session."""

    url: str
    state: State
    welcome: Welcome | None
    about: About | None
    session: int
    fault: str
    clock: Stamp
    counters: Counters


class Link:
    """One microcontroller. All methods may be called from any thread."""

    def __init__(self, url: str, clock: Clock, transport: Transport | None = None, session: Session | None = None) -> None:
        self._clock = clock
        self._transport = transport or Transport(url)
        self._session = session or Session()
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._sync: ClockSync | None = None
        self._sync_boot = 0
        self._pings: dict[int, int] = {}
        self._ping_token = 0
        self._ping_due_ns = 0
        self._ping_ns = 0
        self._reopen_ns = 0
        self._fault = "not opened yet"
        self._limits: Configure | None = None
        self._answers: dict[int, Replied | Dropped] = {}
        self._wanted: set[int] = set()
        self._telemetry: Sample | None = None
        self._stopped: Stopped | None = None
        self._stats: Stats | None = None
        self._about: About | None = None
        self._dictionary: dict[int, DictionaryData] = {}
        self._history: deque[Sample] = deque(maxlen=1024)
        self._listeners: list[Callable[[Event], None]] = []
        self._ending = False
        self._thread = threading.Thread(target=self._run, name=f"link {url}", daemon=True)

    @classmethod
    def open(cls, url: str, clock: Clock, timeout_s: float = 3.0) -> Link:
        """Open `url` and wait for a session. Raises PortError or LinkError with the next step; the port is closed again then."""
        link = cls(url, clock)
        link.start(timeout_s)
        return link

    def start(self, timeout_s: float = 3.0) -> None:
        """What `open` does after making the link."""
        try:
            with self._lock:
                self._open_port()
            self._thread.start()
            self.wait_session(timeout_s)
        except DeviceError:
            self.close()
            raise

    def close(self) -> None:
        """Stop what is armed, end the session, close the port. A second call does nothing."""
        with self._lock:
            if self._ending:
                return
            if self._transport.is_open and self._motion() in (Motion.READY, Motion.MOVING):
                with contextlib.suppress(DeviceError, LocalProtocolError):
                    self.stop(Cause.HOST_EXIT)
                    self._changed.wait_for(lambda: self._motion() not in (Motion.READY, Motion.MOVING), 0.5)
            self._ending = True
            self._take(self._session.close(), 0)
            self._transport.wake()
        if self._thread.is_alive():
            self._thread.join()
        self._transport.dispose()

    # --- state -------------------------------------------------------------------------------------------------------

    @property
    def info(self) -> Info:
        """What is known now."""
        with self._lock:
            now = self._clock.now_ns()
            tick = self._sync.to_ticks(now) if self._sync else None
            clock = self._sync.to_host(tick) if self._sync and tick is not None else Stamp(now, None)
            return Info(self._transport.url, self._session.state, self._session.welcome, self._about, self._session.counters.sessions,
                        self._fault, clock, self._session.counters)  # fmt: skip

    @property
    def telemetry(self) -> Sample | None:
        """The newest telemetry of this session."""
        return self._telemetry

    @property
    def motion(self) -> Motion | None:
        """What the firmware does, by the newest telemetry; None without any."""
        return self._motion()

    @property
    def stopped(self) -> Stopped | None:
        """The newest stop of this session, with the firmware's stamps; it may be over (see telemetry.state)."""
        return self._stopped

    @property
    def stats(self) -> Stats | None:
        """The firmware's counters, a second old at most."""
        return self._stats

    def drain(self) -> list[Sample]:
        """Return and forget the telemetry since the last call, oldest first, the newest 1024 at most."""
        with self._lock:
            samples = list(self._history)
            self._history.clear()
            return samples

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Call `listener` with each session event from the link's thread; it must not wait."""
        with self._lock:
            self._listeners.append(listener)

    def to_ticks(self, t_ns: int) -> int:
        """Return the firmware's tick at host time `t_ns`. Raises UnsyncedError while the clocks are not synchronised."""
        with self._lock:
            tick = self._sync.to_ticks(t_ns) if self._sync else None
        if tick is None:
            raise UnsyncedError(self._transport.url, "the clocks are not synchronised", "an answered ping", "wait a moment; nothing moves meanwhile")
        return tick

    # --- what moves --------------------------------------------------------------------------------------------------

    def configure(self, limits: Configure, timeout_s: float = 2.0) -> None:
        """Give the firmware the board's limits. Raises LinkError when it refuses or does not answer."""
        self._must(self.request(limits, timeout_s), "configure")
        self._limits = limits

    def rearm(self, timeout_s: float = 2.0) -> None:
        """End the stop that the caller knows of. Raises LinkError when there is a newer one, or no limits yet."""
        with self._lock:
            if not self._changed.wait_for(lambda: self._stopped is not None or self._ending, timeout_s) or self._stopped is None:
                raise LinkError(self._transport.url, "no stop is known to re-arm from", "a `stopped` message", "wait for the session")
            welcome, count = self._session.welcome, self._stopped.stop_count
        assert welcome is not None  # there is no `stopped` without a session
        self._must(self.request(Arm(welcome.boot_id, count), timeout_s), "arm")
        armed = (Motion.READY, Motion.MOVING)
        self.wait(lambda: self._motion() in armed or (self._stopped is not None and self._stopped.stop_count != count), timeout_s)
        if self._motion() not in armed and self._stopped is not None:
            why = explain(self._stopped, self._limits)
            raise LinkError(self._transport.url, f"stopped again at once: {why}", "nothing wrong", "mend that, then re-arm")

    def setpoint(self, pan_deg: float, tilt_deg: float, execute_at_ns: int | None = None, valid_for_ns: int = VALID_FOR_NS) -> None:
        """Send one setpoint, to be executed at `execute_at_ns` (host clock; None: on arrival) and worthless `valid_for_ns` later.

        Raises LinkError when nothing would move: no session, stopped (with the cause in words), clocks not synchronised.
        """
        with self._lock:
            motion = self._motion()
            if motion in (Motion.UNCONFIGURED, Motion.STOPPED):
                why = explain(self._stopped, self._limits) if self._stopped else "stopped"
                raise LinkError(self._transport.url, f"stopped: {why}", "an armed controller", "re-arm (`innervate link rearm`)")
            at = self._clock.now_ns() if execute_at_ns is None else execute_at_ns
            self._stream(Setpoint(self.to_ticks(at), self.to_ticks(at + valid_for_ns), pan_deg, tilt_deg))

    def rest(self, timeout_s: float = 2.0) -> None:
        """End the motion: hold still, armed; the deadman sleeps until the next setpoint."""
        self._must(self.request(Rest(), timeout_s), "rest")

    def rest_soon(self) -> None:
        """As `rest`, without waiting for the answer: for a control loop. Repeated until answered; raises LinkError without a session."""
        with self._lock:
            try:
                self._session.command(Rest())
            except LocalProtocolError as error:
                raise LinkError(self._transport.url, str(error), "", self._fault) from error
            self._pump()

    def stop(self, cause: Cause = Cause.HOST_REQUEST) -> None:
        """Stop now, ahead of everything that waits; repeated by the thread until the firmware says so. Does not wait."""
        with self._lock:
            try:
                self._session.stop(cause, self._clock.now_ns())
            except LocalProtocolError as error:
                raise LinkError(self._transport.url, "no port to send a stop through", "", "the deadman stops what moves; cut the power") from error
            self._transport.discard_unsent()  # commands among it are sent again; the stop frame begins with a delimiter
            self._pump()

    # --- requests ----------------------------------------------------------------------------------------------------

    def send(self, message: Message) -> int:
        """Queue a command; return its token for `answer`. Raises LinkError without a session or on a mismatch."""
        with self._lock:
            try:
                token = self._session.command(message)
            except LocalProtocolError as error:
                raise LinkError(self._transport.url, str(error), "", self._fault) from error
            self._wanted.add(token)
            self._pump()
            return token

    def answer(self, token: int, timeout_s: float) -> Replied:
        """Return the reply to `send`. Raises LinkError when the session ends or time is up."""
        with self._lock:
            self._changed.wait_for(lambda: token in self._answers or self._ending, timeout_s)
            self._wanted.discard(token)
            got = self._answers.pop(token, None)
        if isinstance(got, Replied):
            return got
        came = "the session ended before the answer" if got else f"no answer in {timeout_s} s"
        raise LinkError(self._transport.url, came, "a reply", f"it may or may not have been done; {self._fault or 'check the cable'}")

    def request(self, message: Message, timeout_s: float = 2.0) -> Replied:
        """Send a command and wait for its reply."""
        return self.answer(self.send(message), timeout_s)

    def dictionary(self, timeout_s: float = 5.0) -> dict[str, Any]:
        """Fetch the schema that the firmware was built with. Raises LinkError when it does not come."""
        self.wait(lambda: self._about is not None, timeout_s)
        size = self._about.dictionary_size if self._about else 0
        step = len(DictionaryData.unpack(bytes(DictionaryData.LAYOUT.size)).data)
        for offset in range(0, size, step):
            for _ in range(20):  # its data is a stream and may be lost: ask again
                if offset in self._dictionary:
                    break
                self.request(Dictionary(offset), timeout_s)
                with contextlib.suppress(LinkError):
                    self.wait(lambda offset=offset: offset in self._dictionary, 0.2)  # type: ignore[misc]
        parts = [self._dictionary[o] for o in range(0, size, step) if o in self._dictionary]
        data = b"".join(p.data[: p.length] for p in parts)
        if not size or len(data) != size:
            raise LinkError(self._transport.url, f"{len(data)} of {size} bytes of the dictionary", "all of it", "ask again")
        decoded: dict[str, Any] = json.loads(zlib.decompress(data))
        return decoded

    def wait(self, condition: Callable[[], bool], timeout_s: float) -> None:
        """Wait until `condition` holds; it is looked at after each thing that happens. Raises LinkError when time is up."""
        with self._lock:
            if not self._changed.wait_for(lambda: condition() or self._ending, timeout_s) or not condition():
                raise LinkError(self._transport.url, f"waited {timeout_s} s in vain", "", self._fault or "see `innervate link monitor`")

    def wait_session(self, timeout_s: float = 3.0) -> None:
        """Wait for a session with synchronised clocks. Raises LinkError that says what is there instead."""
        done = (State.LIVE, State.LIMITED)
        try:
            self.wait(lambda: self._session.state in done and self._sync is not None and self._sync.synchronised, timeout_s)
        except LinkError as error:
            noise = self._session.reader.noise_bytes
            if noise > NOISE_BYTES and self._session.reader.good == 0:
                raise LinkError(self._transport.url, f"{noise} bytes came and no frame of ours", "our firmware",
                                "this is another device (a GPS?) or another rate; name the right port") from error  # fmt: skip
            raise LinkError(self._transport.url, f"no answer to hello in {timeout_s} s", "our firmware",
                            self._fault or "check power and cable, flash the firmware") from error  # fmt: skip

    # --- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._ending:
            with self._lock:
                now = self._clock.now_ns()
                try:
                    if not self._transport.is_open and now >= self._reopen_ns:
                        self._open_port()
                    self._ping(now)
                    self._pump()
                except PortError as error:
                    self._lost(error)
                timeout_s = self._timeout_s()
            try:
                self._transport.wait(timeout_s)
                data = self._transport.read()
            except PortError as error:
                with self._lock:
                    self._lost(error)
                continue
            with self._lock:
                if self._ending:
                    return
                now = self._clock.now_ns()
                events = self._session.receive(data, now) if data else []
                self._take(events + self._session.poll(now, self._nonce()), now)

    def _timeout_s(self) -> float:
        due = self._session.next_due_ns()
        dues = [d for d in (due, self._ping_due_ns) if d is not None] if self._transport.is_open else [self._reopen_ns]
        return min(POLL_S_MAX, max(0.0, (min(dues) - self._clock.now_ns()) / 1e9))

    @staticmethod
    def _nonce() -> int:
        return secrets.randbelow(0xFFFFFFFE) + 1

    def _open_port(self) -> None:
        now = self._clock.now_ns()
        self._reopen_ns = now + REOPEN_NS
        self._transport.open()
        self._fault = "no answer to hello yet"
        if self._session.state is State.CLOSED:
            self._session.open(self._nonce(), now)

    def _lost(self, error: PortError) -> None:
        self._transport.shut()
        self._reopen_ns = self._clock.now_ns() + REOPEN_NS
        self._take(self._session.close(), 0)
        self._forget(str(error))

    def _forget(self, fault: str) -> None:
        self._fault = fault
        self._limits = None
        self._telemetry = None
        self._stopped = None
        self._changed.notify_all()

    def _pump(self) -> None:
        """Send what is due. The caller holds the lock; a port that fails is left for the thread to find."""
        try:
            self._transport.write(self._session.data_to_send(self._clock.now_ns()))
        except PortError as error:
            self._lost(error)

    def _stream(self, message: Message) -> None:
        try:
            self._session.stream(message)
        except LocalProtocolError as error:
            raise LinkError(self._transport.url, str(error), "", self._fault) from error
        self._pump()

    def _ping(self, now: int) -> None:
        if self._session.state not in (State.LIVE, State.LIMITED) or now < self._ping_due_ns:
            return
        self._ping_token = (self._ping_token + 1) % (1 << 32)
        self._pings[self._ping_token] = self._clock.now_ns()
        while len(self._pings) > PINGS_FLYING_MAX:
            self._pings.pop(next(iter(self._pings)))
        young = self._sync is None or self._sync.pings < PINGS_FAST
        self._ping_ns = now
        self._ping_due_ns = now + (PING_FAST_NS if young else PING_SLOW_NS)
        self._session.stream(Ping(self._ping_token))

    def _take(self, events: list[Event], now: int) -> None:
        for event in events:
            if isinstance(event, Connected):
                self._connected(event, now)
            elif isinstance(event, Disconnected):
                self._forget(event.cause)
            elif isinstance(event, Replied | Dropped):
                if event.token in self._wanted:
                    self._answers[event.token] = event
            else:
                self._received(event, now)
            for listener in self._listeners:
                listener(event)
        if events:
            self._changed.notify_all()

    def _connected(self, event: Connected, now: int) -> None:
        boot = event.welcome.boot_id
        if self._sync is None or boot != self._sync_boot:
            self._sync, self._sync_boot = ClockSync(event.welcome.tick_hz), boot
            self._pings.clear()
        self._dictionary.clear()
        self._limits, self._telemetry, self._stopped, self._about = None, None, None, None
        self._ping_due_ns = now
        self._fault = "" if event.matched else f"{self._session.mismatch()}; {self._session.remedy()}"

    def _received(self, event: Received, now: int) -> None:
        message = event.message
        if isinstance(message, Telemetry) and self._sync is not None:
            self._telemetry = Sample(message, self._sync.to_host(message.t_ticks, now), now, event.gap)
            self._history.append(self._telemetry)
            if self._telemetry.stamp.bound_ns is None:  # a step or a doubt: ask at once, but no faster than PING_FAST_NS
                self._ping_due_ns = min(self._ping_due_ns, self._ping_ns + PING_FAST_NS)
        elif isinstance(message, Pong) and self._sync is not None:
            sent = self._pings.pop(message.token, None)
            if sent is not None:
                self._sync.add(message.received_ticks, sent, now)
        elif isinstance(message, Stopped):
            self._stopped = message
        elif isinstance(message, About):
            self._about = message
        elif isinstance(message, Stats):
            self._stats = message
        elif isinstance(message, DictionaryData) and message.length:
            self._dictionary[message.offset] = message

    def _motion(self) -> Motion | None:
        return self._telemetry.telemetry.state if self._telemetry else None

    def _must(self, reply: Replied, what: str) -> None:
        if reply.status is not Status.OK:
            known = self._stopped
            words = {
                Status.STATE: f"in state {reply.detail}",
                Status.RANGE: f"field {reply.detail} is out of range",
                Status.SCHEMA: self._fault,
                Status.BOOT: f"not the current stop; the newest is {reply.detail}" + (f" ({explain(known)})" if known else ""),
            }
            why = words.get(reply.status, reply.status.name.lower())
            raise LinkError(self._transport.url, f"{what} refused: {why}", "", "mend that, then try again")
