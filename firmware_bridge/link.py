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
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from innervate.firmware_bridge.clock import Stamp
from innervate.firmware_bridge.known import Known, Sample
from innervate.firmware_bridge.message import LocalProtocolError, Message
from innervate.firmware_bridge.messages import (
    About,
    Arm,
    Cause,
    Configure,
    Dictionary,
    Pong,
    Rest,
    Setpoint,
    Stats,
    Status,
    Stopped,
    Telemetry,
    Welcome,
)
from innervate.firmware_bridge.messages import State as Motion
from innervate.firmware_bridge.pings import Pings
from innervate.firmware_bridge.session import Connected, Counters, Disconnected, Event, Received, Session, State
from innervate.firmware_bridge.transport import PortError, Transport
from innervate.firmware_bridge.window import Dropped, Replied
from innervate.firmware_bridge.words import explain, refused
from innervate.runtime.ali.clock import Clock
from innervate.runtime.ali.errors import DeviceError

MS = 1_000_000
REOPEN_NS = 500 * MS
POLL_S_MAX = 0.2
VALID_FOR_NS = 100 * MS
DICTIONARY_TRIES = 20  # for each part
NOISE_BYTES = 2000  # this much and no frame of ours: something else is on this port


class LinkError(DeviceError):
    """The link cannot do what was asked; says why and what to do."""


class UnsyncedError(LinkError):
    """The clocks are in doubt, for a moment: a step, or no ping answered yet. Nothing that carries a time can be sent."""


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
        self._pings = Pings()
        self._reopen_ns = 0
        self._fault = "not opened yet"
        self._limits: Configure | None = None
        self._answers: dict[int, Replied | Dropped] = {}
        self._wanted: set[int] = set()
        self._known = Known()
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
            if self._transport.is_open and self._known.motion in (Motion.READY, Motion.MOVING):
                with contextlib.suppress(DeviceError, LocalProtocolError):
                    self.stop(Cause.HOST_EXIT)
                    self._changed.wait_for(lambda: self._known.motion not in (Motion.READY, Motion.MOVING), 0.5)
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
            clock = self._pings.now(self._clock.now_ns())
            return Info(self._transport.url, self._session.state, self._session.welcome, self._known.about, self._session.counters.sessions,
                        self._fault, clock, self._session.counters)  # fmt: skip

    @property
    def telemetry(self) -> Sample | None:
        """The newest telemetry of this session."""
        return self._known.telemetry

    @property
    def motion(self) -> Motion | None:
        """What the firmware does, by the newest telemetry; None without any."""
        return self._known.motion

    @property
    def stopped(self) -> Stopped | None:
        """The newest stop of this session, with the firmware's stamps; it may be over (see telemetry.state)."""
        return self._known.stopped

    @property
    def stats(self) -> Stats | None:
        """The firmware's counters, a second old at most."""
        return self._known.stats

    def drain(self) -> list[Sample]:
        """Return and forget the telemetry since the last call, oldest first, the newest 1024 at most."""
        with self._lock:
            return self._known.drain()

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Call `listener` with each session event from the link's thread; it must not wait."""
        with self._lock:
            self._listeners.append(listener)

    def to_ticks(self, t_ns: int) -> int:
        """Return the firmware's tick at host time `t_ns`. Raises UnsyncedError while the clocks are not synchronised."""
        with self._lock:
            tick = self._pings.to_ticks(t_ns)
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
            if not self._changed.wait_for(lambda: self._known.stopped is not None or self._ending, timeout_s) or self._known.stopped is None:
                raise LinkError(self._transport.url, "no stop is known to re-arm from", "a `stopped` message", "wait for the session")
            welcome, count = self._session.welcome, self._known.stopped.stop_count
        assert welcome is not None  # there is no `stopped` without a session
        self._must(self.request(Arm(welcome.boot_id, count), timeout_s), "arm")
        armed = (Motion.READY, Motion.MOVING)
        self.wait(lambda: self._known.motion in armed or (self._known.stopped is not None and self._known.stopped.stop_count != count), timeout_s)
        if self._known.motion not in armed and self._known.stopped is not None:
            why = explain(self._known.stopped, self._limits)
            raise LinkError(self._transport.url, f"stopped again at once: {why}", "nothing wrong", "mend that, then re-arm")

    def setpoint(self, pan_deg: float, tilt_deg: float, execute_at_ns: int | None = None, valid_for_ns: int = VALID_FOR_NS) -> None:
        """Send one setpoint, to be executed at `execute_at_ns` (host clock; None: on arrival) and worthless `valid_for_ns` later.

        Raises LinkError when nothing would move: no session, stopped (with the cause in words), clocks not synchronised.
        """
        with self._lock:
            motion = self._known.motion
            if motion in (Motion.UNCONFIGURED, Motion.STOPPED):
                why = explain(self._known.stopped, self._limits) if self._known.stopped else "stopped"
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
        known = self._known
        self.wait(lambda: known.about is not None, timeout_s)
        for offset in known.offsets:
            for _ in range(DICTIONARY_TRIES):  # its data is a stream and may be lost: ask again
                if known.has_part(offset):
                    break
                self.request(Dictionary(offset), timeout_s)
                with contextlib.suppress(LinkError):
                    self.wait(lambda offset=offset: known.has_part(offset), 0.2)  # type: ignore[misc]
        with self._lock:
            decoded = known.dictionary()
        if decoded is None:
            raise LinkError(self._transport.url, "parts of the dictionary are missing", "all of it", "ask again")
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
            self.wait(lambda: self._session.state in done and self._pings.sync is not None and self._pings.sync.synchronised, timeout_s)
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
                    self._ping()
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
        dues = [d for d in (due, self._pings.due_ns) if d is not None] if self._transport.is_open else [self._reopen_ns]
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
        self._known.forget()
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

    def _ping(self) -> None:
        if self._session.state in (State.LIVE, State.LIMITED) and (ping := self._pings.ask(self._clock.now_ns())) is not None:
            self._session.stream(ping)

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
        self._pings.connected(event.welcome.boot_id, event.welcome.tick_hz, now)
        self._limits = None
        self._known.forget()
        self._fault = "" if event.matched else f"{self._session.mismatch()}; {self._session.remedy()}"

    def _received(self, event: Received, now: int) -> None:
        message = event.message
        if isinstance(message, Telemetry):
            stamp = self._pings.stamp(message.t_ticks, now)
            if stamp is not None:
                self._known.sampled(Sample(message, stamp, now, event.gap))
        elif isinstance(message, Pong):
            self._pings.hear(message, now)
        else:
            self._known.hear(message)

    def _must(self, reply: Replied, what: str) -> None:
        if reply.status is not Status.OK:
            why = refused(reply.status, reply.detail, self._known.stopped, self._fault)
            raise LinkError(self._transport.url, f"{what} refused: {why}", "", "mend that, then try again")
