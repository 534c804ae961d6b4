"""The host's session against the firmware's, in simulated time: lossy lines, restarts, mismatch; and against anything at all."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from innervate.firmware_bridge import wire
from innervate.firmware_bridge.line_faults import Faults
from innervate.firmware_bridge.message import LocalProtocolError
from innervate.firmware_bridge.messages import (
    MESSAGES,
    Arm,
    Cause,
    Ping,
    Port,
    Probe,
    Setpoint,
    Status,
    Stopped,
    Telemetry,
    Welcome,
)
from innervate.firmware_bridge.messages import State as Motion
from innervate.firmware_bridge.session import (
    TRANSITIONS,
    Connected,
    Disconnected,
    Event,
    Input,
    Received,
    Session,
    State,
)
from innervate.firmware_bridge.trials import delivered
from innervate.firmware_bridge.window import WINDOW, Dropped, Replied
from tests.firmware_bridge.build import build
from tests.firmware_bridge.mcu import LIMITS, Mcu

MS = 1_000_000


class Pair:
    """A session and a microcontroller joined by a faulty line; time goes in steps of half a millisecond."""

    def __init__(self, faults: Faults | None = None, session: Session | None = None) -> None:
        self.mcu = Mcu()
        self.session = session or Session()
        self.up = faults or Faults()
        self.down = Faults(**{k: getattr(self.up, k) for k in ("lose", "flip", "drop", "transpose", "duplicate", "seed")})
        self.now = 0
        self.events: list[Event] = []
        self.nonces = random.Random(5)
        self.session.open(1, 0)

    def step(self, ms: float = 0.5) -> list[Event]:
        data = self.session.data_to_send(self.now)
        if data:
            self.mcu.feed(self.up.apply(data))
        self.mcu.advance_ms(ms)
        self.now += round(ms * MS)
        got = self.session.receive(self.down.apply(self.mcu.take()), self.now)
        got += self.session.poll(self.now, self.nonces.randrange(1, 2**32))
        self.events += got
        return got

    def until(self, kind: type[Event], limit_ms: int = 5000) -> Event:
        for _ in range(limit_ms * 2):
            for event in self.step():
                if isinstance(event, kind):
                    return event
        raise AssertionError(f"no {kind.__name__} in {limit_ms} ms")

    def ask(self, message: object) -> Replied:
        token = self.session.command(message)  # type: ignore[arg-type]
        for _ in range(20_000):
            for event in self.step():
                if isinstance(event, Replied) and event.token == token:
                    return event
        raise AssertionError("no reply")

    def arm(self) -> None:
        welcome = self.session.welcome
        assert welcome is not None and self.ask(LIMITS).status is Status.OK
        while not any(isinstance(e, Received) and isinstance(e.message, Stopped) for e in self.events):
            self.step()
        stop = next(e.message for e in reversed(self.events) if isinstance(e, Received) and isinstance(e.message, Stopped))
        assert isinstance(stop, Stopped) and self.ask(Arm(welcome.boot_id, stop.stop_count)).status is Status.OK


def test_a_session_begins_and_carries_telemetry() -> None:
    pair = Pair()
    event = pair.until(Connected)
    assert isinstance(event, Connected) and event.matched and not event.rebooted
    for _ in range(2000):
        pair.step()
    assert 195 <= sum(isinstance(e, Received) and isinstance(e.message, Telemetry) for e in pair.events) <= 205
    assert pair.session.counters.gaps == 0


@pytest.mark.parametrize("lose", [0.01, 0.05, 0.10])
def test_commands_arrive_once_and_in_order_over_a_line_that_loses_bytes(lose: float) -> None:
    assert delivered(build("host") / "libfirmware.so", Faults(lose=lose), 200) == (200, 200)


@pytest.mark.parametrize(
    "faults",
    [Faults(flip=1e-3), Faults(drop=0.2), Faults(transpose=0.01), Faults(duplicate=0.3), Faults(0.02, 1e-3, 0.05, 0.005, 0.1)],
    ids=["flip", "drop", "transpose", "duplicate", "all"],
)
def test_commands_over_every_other_fault(faults: Faults) -> None:
    pair = Pair(faults)
    pair.until(Connected, 60_000)
    for index in range(100):
        assert pair.ask(Probe(index.to_bytes(16, "little"))).status is Status.OK
    assert int(pair.mcu.lib.host_expected()) == 100


def test_a_restart_in_mid_stream_ends_the_session_and_nothing_resumes() -> None:
    pair = Pair()
    pair.until(Connected)
    pair.arm()
    pair.session.stream(Setpoint(pair.mcu.ticks, pair.mcu.ticks + 50_000, 1.0, 0.0))
    pair.step()
    tokens = [pair.session.command(Probe(bytes(16))) for _ in range(3)]
    pair.mcu.lib.host_power_on(99)
    ended = pair.until(Disconnected)
    assert isinstance(ended, Disconnected) and "restarted" in ended.cause
    event = pair.until(Connected)
    assert isinstance(event, Connected) and event.rebooted
    assert [e.token for e in pair.events if isinstance(e, Dropped)] == tokens
    for _ in range(1000):
        pair.step()
    assert pair.mcu.state == Motion.UNCONFIGURED and pair.session.idle


def test_silence_ends_the_session_and_the_line_heals_by_itself() -> None:
    pair = Pair()
    pair.until(Connected)
    pair.down.keep = 0
    assert isinstance(pair.until(Disconnected), Disconnected)
    pair.down.keep = None
    assert isinstance(pair.until(Connected), Connected)
    assert pair.ask(Probe(bytes(16))).status is Status.OK


def test_a_foreign_schema_keeps_telemetry_refuses_motion_and_names_the_file() -> None:
    pair = Pair(session=Session(schema_hash=1234))
    event = pair.until(Connected)
    assert isinstance(event, Connected) and not event.matched and pair.session.state is State.LIMITED
    assert pair.ask(Probe(bytes(16))).status is Status.OK
    with pytest.raises(LocalProtocolError, match=r"host\.elf|\.img"):
        pair.session.command(LIMITS)
    with pytest.raises(LocalProtocolError, match=r"this program 0+4d2"):
        pair.session.stream(Setpoint(0, 0, 0.0, 0.0))
    pair.events.clear()
    for _ in range(100):
        pair.step()
    assert any(isinstance(e, Received) and isinstance(e.message, Telemetry) for e in pair.events)


def test_a_stop_overtakes_everything_and_is_repeated_until_seen() -> None:
    pair = Pair(Faults(lose=0.05, seed=4))
    pair.until(Connected, 60_000)
    pair.arm()
    for _ in range(30):
        pair.session.command(Probe(bytes(16)))
    pair.session.stream(Setpoint(0, 0, 1.0, 0.0))
    token = pair.session.stop(Cause.HOST_REQUEST, pair.now)
    first = wire.Reader().feed(pair.session.data_to_send(pair.now))
    assert first[0][0].NAME == "stop" and not any(isinstance(m, Setpoint) for m, _ in first)
    for _ in range(2000):
        for event in pair.step():
            if isinstance(event, Received) and isinstance(event.message, Stopped) and event.message.token == token:
                assert pair.mcu.state == Motion.STOPPED
                return
    raise AssertionError("no stop")


def test_at_most_a_window_is_under_way() -> None:
    pair = Pair()
    pair.until(Connected)
    for _ in range(50):
        pair.session.command(Probe(bytes(16)))
    assert len(wire.Reader().feed(pair.session.data_to_send(pair.now))) == WINDOW


def test_every_state_can_be_left_and_closed_ends() -> None:
    for state in State:
        assert any(left is state for left, _ in TRANSITIONS)
        if state is not State.CLOSED:
            assert TRANSITIONS[state, Input.CLOSE] is State.CLOSED


MESSAGE_BYTES = st.sampled_from(sorted(MESSAGES)).flatmap(
    lambda i: st.tuples(st.just(i), st.integers(0, 255), st.binary(min_size=MESSAGES[i].LAYOUT.size, max_size=MESSAGES[i].LAYOUT.size))
)


CALLS = st.sampled_from(["command", "stop", "stream", "welcome", "close"])


def _frame(kind_id: int, seq: int, payload: bytes) -> bytes:
    kind = MESSAGES[kind_id]
    body = bytes((kind_id, seq)) + payload
    return wire.cobs_encode(body + wire.crc(kind.SEED, kind.CRC_BYTES, body).to_bytes(kind.CRC_BYTES, "little")) + b"\0"


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=80), MESSAGE_BYTES, CALLS, st.integers(0, 3000))))
def test_a_session_survives_every_peer(steps: list[bytes | tuple[int, int, bytes] | str | int]) -> None:
    """Invariants: receive and poll never raise; each command ends at most once; at most WINDOW fly; bytes come out only while not closed."""
    session, now, nonce = Session(), 0, 7
    session.open(nonce, now)
    welcome = Welcome(1, Port.HOST, session.schema_hash, nonce, 5, 10**6)
    ended: list[int] = []
    for step in steps:
        events: list[Event] = []
        if isinstance(step, bytes):
            events = session.receive(step, now)
        elif isinstance(step, tuple):
            events = session.receive(_frame(*step), now)
        elif isinstance(step, int):
            now += step * MS
            events = session.poll(now, 9)
        elif step == "welcome":
            events = session.receive(wire.encode(welcome, 0), now)
        elif step == "close":
            events = session.close()
            assert session.data_to_send(now) == b""
            session.open(nonce, now)
        elif step == "stop":
            session.stop(Cause.HOST_REQUEST, now)
        elif session.state in (State.LIVE, State.LIMITED):
            if step == "command":
                session.command(Probe(bytes(16)))
            else:
                session.stream(Ping(1))
        ended += [e.token for e in events if isinstance(e, Replied | Dropped)]
        assert len(ended) == len(set(ended))
        session.data_to_send(now)
        assert session.flying <= WINDOW
        due = session.next_due_ns()
        assert due is None or due > now or session.state is not State.CLOSED
