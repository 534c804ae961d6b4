"""The device's side, turn by turn on a virtual clock: the test is the serving process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from innervate.runtime.ali.latents import Latents
from innervate.runtime.loop.events import Close, Fault, Open, Text
from innervate.runtime.serve import guests, outlet, port, wire
from innervate.runtime.serve.wire import Floats, Kind, ServeError, raw
from tests.bundles import WIDTH
from tests.serve.parts import Hand, opening_rows

TICK_S = 0.08


@pytest.fixture
def hand(tmp_path: Path, driving_bundle: Path) -> Iterator[Hand]:
    with closing(Hand(tmp_path, driving_bundle)) as hand:
        yield hand


def latents(rows: int = 1) -> Floats:
    return np.full((rows, WIDTH), 0.5, np.float32)


def faults(hand: Hand) -> list[tuple[str, str]]:
    return [(event.source, event.cause) for event in hand.log.of(Fault) if isinstance(event, Fault)]


def test_what_is_pushed_is_heard_in_the_next_turn_and_typed_lines_come_last(hand: Hand) -> None:
    heard: list[list[str]] = []
    listen = hand.device.tick.listen

    def spy(packets: Sequence[Latents]) -> Floats:
        heard.append([packet.source for packet in packets])
        return listen(packets)

    hand.device.tick.listen = spy  # type: ignore[method-assign]

    def push() -> None:
        hand.send(Kind.PUSH, 0, {"name": "acme/imu", "age_ms": 100.0}, raw(latents(3)))
        hand.send(Kind.SAY, 9, {"text": "hello", "wait_s": 1.0})

    hand.play({1: lambda: hand.register("acme/imu", "upstream"), 2: push}, 4)
    assert heard == [["pose"], ["acme/imu", "pose", "typed"], ["pose"], ["pose"]], "by time of capture, then the order of the board"
    assert faults(hand) == []


def test_a_registered_application_is_opened_called_and_let_go(hand: Hand, driving_bundle: Path) -> None:
    rows = raw(opening_rows(driving_bundle))
    hand.play({1: lambda: hand.register("acme/ring", "downstream", 1, rows), 4: lambda: hand.send(Kind.LEAVE, 0, {"name": "acme/ring"})}, 5)
    frames = [frame for frame in hand.frames() if frame.kind != Kind.EVENT]
    assert [(frame.kind, frame.meta.get("seq")) for frame in frames] == [
        (Kind.DONE, None),
        (Kind.OPENED, None),
        (Kind.LATENT, 1),
        (Kind.LATENT, 2),
        (Kind.LATENT, 3),
        (Kind.CLOSED, None),
    ]
    assert frames[0].meta == {"start": 259, "end": 260, "t_ns": 80_000_000}
    assert frames[2].floats(WIDTH).shape == (1, WIDTH)
    assert frames[-1].meta["cause"] == "the application took its leave"
    assert {event.component for event in hand.log.of(Open) if isinstance(event, Open)} == {"acme/ring", "motor"}
    assert next(event.component for event in hand.log.of(Close) if isinstance(event, Close)) == "acme/ring"
    assert hand.vocabulary.components == ()
    assert hand.device.router.attached == ("motor",)
    assert faults(hand) == []


def test_one_that_does_not_take_its_latents_is_cut_off(hand: Hand, driving_bundle: Path) -> None:
    hand.play({1: lambda: hand.register("acme/ring", "downstream", 1, raw(opening_rows(driving_bundle)))}, guests.LATENTS_OWED + 3)
    cause = f"hangs: {guests.LATENTS_OWED} latents sent, none of them taken"
    assert faults(hand) == [("acme/ring", f"acme/ring: {cause}")]
    (gone,) = [frame for frame in hand.frames() if frame.kind == Kind.GONE]
    assert gone.meta == {"name": "acme/ring", "cause": cause}
    assert hand.device.ticks == guests.LATENTS_OWED + 3, "the device goes on"


def test_one_that_takes_its_latents_stays(hand: Hand, driving_bundle: Path) -> None:
    steps = {n: partial(hand.send, Kind.TAKEN, 0, {"name": "acme/ring", "seq": n - 1}) for n in range(2, 40)}
    steps[1] = partial(hand.register, "acme/ring", "downstream", 1, raw(opening_rows(driving_bundle)))
    hand.play(steps, 39)
    assert faults(hand) == []


def test_one_that_has_finished_is_closed_and_the_model_is_told(hand: Hand, driving_bundle: Path) -> None:
    rows = raw(opening_rows(driving_bundle))
    fed: list[Floats] = []
    append = hand.device.backbone.append

    def spy(x: Floats, *, pin: str | None = None) -> Floats:
        fed.append(x.copy())
        return append(x, pin=pin)

    hand.device.backbone.append = spy  # type: ignore[method-assign]
    hand.play({1: lambda: hand.register("acme/ring", "downstream", 1, rows), 3: lambda: hand.send(Kind.FINISH, 0, {"name": "acme/ring"})}, 3)
    kinds = [frame.kind for frame in hand.frames() if frame.kind not in (Kind.EVENT, Kind.DONE)]
    assert kinds == [Kind.OPENED, Kind.LATENT, Kind.LATENT, Kind.CLOSED]
    assert np.array_equal(fed[-1][0], opening_rows(driving_bundle)[1]), "its end token"
    assert faults(hand) == []


def test_one_that_dies_is_a_fault_and_may_come_back_after_its_pause(hand: Hand) -> None:
    def die() -> None:
        hand.send(Kind.LEAVE, 0, {"name": "acme/ring", "cause": "its process has gone"})
        hand.register(id=2)

    hand.play({1: hand.register, 2: die, 9: lambda: hand.register(id=3)}, 9)
    answers = {frame.id: frame for frame in hand.frames() if frame.id}
    assert answers[1].kind == Kind.DONE
    assert answers[2].meta["came"] == "has failed 1 times"
    assert answers[3].kind == Kind.DONE, "half a second later"
    assert faults(hand) == [("acme/ring", "acme/ring: its process has gone")]


def test_one_that_keeps_dying_stays_down(hand: Hand) -> None:
    def live_and_die(id: int) -> None:
        hand.register(id=id)
        hand.send(Kind.LEAVE, 0, {"name": "acme/ring", "cause": "oh"})

    turns = [1]
    for pause in (0.5, 1, 2, 4, 8, 16):
        turns.append(turns[-1] + round(pause / TICK_S) + 1)
    hand.play({turn: partial(live_and_die, turn) for turn in turns}, turns[-1])
    last = hand.answer(turns[-1])
    assert last.meta["next_step"] == "correct the cause and restart the device"
    assert faults(hand)[-1][1].startswith("stays down after 5 restarts")


def test_silence_of_one_that_promised_a_rate_is_a_fault(hand: Hand) -> None:
    hand.play({1: lambda: hand.register("acme/imu", "upstream", rate_hz=12.5)}, 70)
    assert faults(hand) == [("acme/imu", "acme/imu: gave nothing for 1 s; expected its declared rate; it is restarted")]


def test_a_flood_fills_neither_the_queue_nor_the_context(hand: Hand) -> None:
    rows: list[int] = []
    listen = hand.device.tick.listen

    def spy(packets: Sequence[Latents]) -> Floats:
        rows.append(sum(len(packet.data) for packet in packets if packet.source == "acme/imu"))
        return listen(packets)

    hand.device.tick.listen = spy  # type: ignore[method-assign]

    def flood() -> None:
        for _ in range(200):
            hand.send(Kind.PUSH, 0, {"name": "acme/imu"}, raw(latents(4)))

    hand.play({1: lambda: hand.register("acme/imu", "upstream"), 2: flood}, 7)
    assert rows == [0, *[guests.LATENTS_TURN_MAX] * (guests.PACKETS_MAX * 4 // guests.LATENTS_TURN_MAX), 0, 0]
    assert hand.device.dropped["acme/imu"] == 200 - guests.PACKETS_MAX


@pytest.mark.parametrize(
    ("meta", "came"),
    [
        ({"name": "ring", "kind": "both"}, "a name without a namespace"),
        ({"name": "acme/ring", "kind": "sideways"}, "kind 'sideways'"),
        ({"name": "acme/ring", "kind": "upstream", "rate_hz": 1e9}, "rate_hz 1000000000.0"),
        ({"name": "acme/ring ", "kind": "upstream"}, "component name 'acme/ring '"),
    ],
)
def test_registrations_that_are_refused(hand: Hand, meta: dict[str, object], came: str) -> None:
    hand.play({1: lambda: hand.send(Kind.REGISTER, 1, meta)}, 2)
    answer = hand.answer(1)
    assert answer.kind == Kind.ERROR
    assert came in str(wire.error_of(answer.meta))
    assert hand.vocabulary.components == ()


def test_applications_are_bounded(hand: Hand) -> None:
    def many() -> None:
        for n in range(port.GUESTS_MAX + 1):
            hand.register(f"acme/one{n}", "upstream", n + 1)
        hand.register("acme/one0", "upstream", 99)

    hand.play({1: many}, 1)
    kinds = {frame.id: frame for frame in hand.frames() if frame.id}
    assert kinds[port.GUESTS_MAX].kind == Kind.DONE
    assert kinds[port.GUESTS_MAX + 1].meta["came"] == f"{port.GUESTS_MAX} applications are connected"
    assert kinds[99].meta["came"] == "is connected already"


def test_a_line_is_answered_by_what_the_device_does(hand: Hand) -> None:
    hand.play({2: lambda: hand.send(Kind.SAY, 5, {"text": "go", "wait_s": 3.0})}, 20)
    told = hand.answer(5)
    assert told.kind == Kind.DONE
    assert told.meta == {"text": "", "opened": ["motor"], "closed": [], "ticks": 10, "timed_out": False}


def test_a_line_is_answered_by_what_the_device_says(tmp_path: Path, speaking_bundle: Path) -> None:
    with closing(Hand(tmp_path, speaking_bundle)) as hand:

        def ask() -> None:
            hand.send(Kind.SAY, 5, {"text": "one", "wait_s": 3.0})
            hand.send(Kind.SAY, 6, {"text": "two", "wait_s": 3.0})

        hand.play({2: ask}, 5)
        answers = {frame.id: frame.meta for frame in hand.frames() if frame.id}
    assert answers[5] == answers[6] == {"text": "hi", "opened": [], "closed": [], "ticks": 1, "timed_out": False}


def test_a_line_without_an_answer_ends_with_its_wait_and_too_many_lines_are_refused(tmp_path: Path, quiet_bundle: Path) -> None:
    with closing(Hand(tmp_path, quiet_bundle)) as hand:

        def ask() -> None:
            for n in range(port.LINES_MAX + 1):
                hand.send(Kind.SAY, n + 1, {"text": "hello", "wait_s": 0.4})

        hand.play({1: ask}, 12)
        answers = {frame.id: frame for frame in hand.frames() if frame.id}
    assert answers[1].meta == {"text": "", "opened": [], "closed": [], "ticks": 5, "timed_out": True}
    assert answers[2].meta["timed_out"]
    assert answers[port.LINES_MAX + 1].meta["code"] == "busy"


def test_an_application_speaks_through_the_device(hand: Hand) -> None:
    hand.play({1: hand.register, 2: lambda: hand.send(Kind.TELL, 7, {"name": "acme/ring", "text": "the ring is red"})}, 3)
    assert hand.answer(7).kind == Kind.DONE
    assert [event.text for event in hand.log.of(Text) if isinstance(event, Text)] == ["the ring is red"]


def test_the_serving_process_dies_and_is_started_again(hand: Hand, driving_bundle: Path) -> None:
    hand.play(
        {1: lambda: hand.register("acme/ring", "both", 1, raw(opening_rows(driving_bundle))), 3: lambda: hand.theirs.close(), 12: hand.register}, 14
    )
    assert hand.starts == 2
    ((source, cause),) = faults(hand)
    assert (source, cause.startswith("serve: the serving process")) == ("serve", True)
    assert cause.endswith("the device goes on without it")
    assert hand.answer(1).kind == Kind.DONE, "and the application is back"
    assert hand.device.ticks == 14


def test_a_serving_process_that_cannot_be_started_is_given_up(hand: Hand) -> None:
    def die() -> None:
        hand.refuses = ServeError("request", "serve", "no memory")
        hand.theirs.close()

    hand.play({1: die}, 500)
    assert hand.starts == 6
    assert faults(hand)[-1][1].startswith("stays down after 5 restarts")


def test_a_serving_process_that_does_not_read_never_holds_a_turn(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlet, "WAITING_MAX", 10_000)
    hand.deaf = True
    hand.play({}, 2000)
    assert "the serving process does not read" in faults(hand)[0][1]
    assert hand.device.ticks == 2000


def test_bytes_that_are_no_frames_end_the_serving_process(hand: Hand) -> None:
    hand.play({2: lambda: hand.theirs.sendall(b"x" * 64)}, 4)
    assert "began with the bytes 78 78" in faults(hand)[0][1]


def test_a_peer_s_mistake_is_answered(hand: Hand) -> None:
    hand.play({1: lambda: hand.send(Kind.SAY, 3, {"text": "x", "wait_s": "long"})}, 1)
    assert hand.answer(3).kind == Kind.ERROR
