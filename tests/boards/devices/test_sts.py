"""The simulated servos: published examples, registers, faults, and garbage on the wire."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from innervate.boards.emulator.devices.plants import ServoAxes
from innervate.boards.emulator.devices.sts import BOOT_NS, BROADCAST, HEADER, TABLE, Instruction, Reg, StsBus, StsServo, head, packet
from innervate.boards.emulator.devices.wire import GAP_NS, KEPT_BYTES_MAX

VECTORS = tomllib.loads(Path(__file__).with_name("vectors.toml").read_text(encoding="utf-8"))
EXAMPLES = {vector["name"]: (bytes.fromhex(vector["question"]), bytes.fromhex(vector["answer"])) for vector in VECTORS["servo"]}
SECOND = 1_000_000_000
PING_1 = packet(1, Instruction.PING)
ALIVE_1 = packet(1, 0)


def ask(bus: StsBus, question: bytes, t_ns: int = 0) -> bytes:
    """What the bus says within a tenth of a second."""
    bus.feed(question, t_ns)
    return bus.take(t_ns + SECOND // 10)


@pytest.mark.parametrize("name", EXAMPLES)
def test_published_examples(name: str) -> None:
    question, answer = EXAMPLES[name]
    plant = ServoAxes()
    bus = head(plant)
    if "1304" in name:
        plant.servos[0].position_deg = (1304 - 2048) * 360 / 4096
    if "sync read" in name:
        plant.servos[1].position_deg = -360 / 4096
        for ident, (decivolts, celsius) in {1: (121, 30), 2: (119, 35)}.items():
            bus.servos[ident].voltage_dv, bus.servos[ident].temperature_c = decivolts, celsius
    assert ask(bus, question) == answer
    if "1000 steps/s" in name:
        for ident in (1, 2) if "sync" in name else (1,):
            assert (bus.servos[ident].word(Reg.GOAL), bus.servos[ident].word(Reg.SPEED)) == (2048, 1000)


def test_the_examples_are_what_packet_builds() -> None:
    for question, answer in EXAMPLES.values():
        assert packet(question[2], question[4], question[5:-1]) == question
        while answer:
            whole = answer[3] + 4
            assert packet(answer[2], answer[4], answer[5 : whole - 1]) == answer[:whole]
            answer = answer[whole:]


def test_a_goal_moves_the_axis_and_torque_off_stops_it() -> None:
    plant = ServoAxes()
    bus = head(plant)
    ask(bus, packet(1, Instruction.WRITE, bytes([Reg.TORQUE, 1, 170]) + (2048 + 512).to_bytes(2, "little")))
    assert plant.state(0, SECOND // 5)[1] == pytest.approx(150.0)
    ask(bus, packet(1, Instruction.WRITE, bytes([Reg.TORQUE, 0])), SECOND // 5)
    angle, rate = plant.state(0, SECOND)
    assert 20.0 < angle < 44.0
    assert rate == 0.0
    assert plant.state(1, SECOND) == (0.0, 0.0)


def test_positions_and_speeds_are_told_as_steps() -> None:
    plant = ServoAxes()
    bus = head(plant)
    plant.drive(0, -45.0, 0)
    answer = ask(bus, packet(1, Instruction.READ, bytes([Reg.POSITION, 4])), SECOND // 5)
    speed = int.from_bytes(answer[7:9], "little")
    assert speed & 0x8000
    assert speed & 0x7FFF == round(150 * 4096 / 360)
    answer = ask(bus, packet(1, Instruction.READ, bytes([Reg.POSITION, 2])), SECOND)
    assert int.from_bytes(answer[5:7], "little") == 2048 - 512


def test_what_may_not_be_written_stays() -> None:
    bus = head(ServoAxes())
    table = bus.servos[1].table
    before = bytes(table)
    for at in (Reg.MODEL, Reg.ID, Reg.ANGLE_MAX, Reg.MODE, Reg.POSITION, Reg.STATUS, TABLE - 1):
        assert ask(bus, packet(1, Instruction.WRITE, bytes([at, 7]))) == ALIVE_1
    assert bytes(table) == before
    ask(bus, packet(1, Instruction.WRITE, bytes([Reg.LOCK, 0])))
    ask(bus, packet(1, Instruction.WRITE, bytes([Reg.MODE, 1])))
    assert table[Reg.MODE] == 1


@pytest.mark.parametrize(
    "question",
    [
        packet(3, Instruction.PING),
        packet(1, Instruction.READ, bytes([TABLE - 1, 2])),
        packet(1, Instruction.READ, bytes([0, 0])),
        packet(1, Instruction.READ, bytes([255, 255])),
        packet(1, Instruction.READ, bytes([1])),
        packet(1, Instruction.WRITE),
        packet(1, 0x77, bytes(3)),
        packet(BROADCAST, Instruction.SYNC_WRITE, bytes([Reg.TORQUE, 1])),
        packet(BROADCAST, Instruction.SYNC_WRITE, bytes([Reg.TORQUE, 200, 1, 1])),
        packet(BROADCAST, Instruction.SYNC_READ, bytes([Reg.POSITION, 2])),
        packet(BROADCAST, Instruction.PING),
        PING_1[:-1] + b"\x00",
    ],
)
def test_questions_that_have_no_answer(question: bytes) -> None:
    bus = head(ServoAxes())
    before = [bytes(servo.table) for servo in bus.servos.values()]
    assert ask(bus, question) == b""
    assert [bytes(servo.table) for servo in bus.servos.values()] == before
    assert ask(bus, PING_1, SECOND) == ALIVE_1


def test_sync_read_skips_who_is_not_there() -> None:
    bus = head(ServoAxes())
    answer = ask(bus, packet(BROADCAST, Instruction.SYNC_READ, bytes([Reg.MODEL, 2, 2, 9, 1])))
    assert answer == packet(2, 0, bytes([9, 3])) + packet(1, 0, bytes([9, 3]))


def test_answers_take_their_time_one_after_another() -> None:
    bus = head(ServoAxes())
    bus.servos[1].table[Reg.RETURN_DELAY] = 100  # 200 microseconds
    bus.feed(packet(BROADCAST, Instruction.SYNC_READ, bytes([Reg.MODEL, 2, 1, 2])), SECOND)
    assert bus.take(SECOND) == b""
    first = bus.due_ns()
    assert first == SECOND + 200_000 + 30_000 + 80_000
    assert bus.take(first - 1) == b""
    assert len(bus.take(first)) == 8
    second = bus.due_ns()
    assert second == first + 30_000 + 80_000
    assert len(bus.take(second)) == 8
    assert bus.due_ns() is None


def test_a_bus_with_echo_says_everything_again() -> None:
    bus = head(ServoAxes(), echo=True)
    assert ask(bus, PING_1) == PING_1 + ALIVE_1


def test_half_a_packet_is_forgotten_after_a_while() -> None:
    bus = head(ServoAxes())
    assert ask(bus, PING_1[:4]) == b""
    assert ask(bus, PING_1[4:], GAP_NS + 1) == b""
    assert ask(bus, PING_1, 2 * SECOND) == ALIVE_1
    assert ask(bus, PING_1[:4], 3 * SECOND) == b""
    assert ask(bus, PING_1[4:], 3 * SECOND + GAP_NS) == ALIVE_1


def test_power() -> None:
    plant = ServoAxes()
    bus = head(plant)
    ask(bus, packet(1, Instruction.WRITE, bytes([Reg.GOAL, 0, 9])))
    assert bus.servos[1].table[Reg.TORQUE] == 1, "writing a goal switches the torque on"
    bus.feed(PING_1, SECOND)
    bus.power(False, SECOND)
    assert not bus.powered
    assert bus.take(2 * SECOND) == b""
    assert ask(bus, PING_1, 2 * SECOND) == b""
    bus.power(True, 3 * SECOND)
    assert ask(bus, PING_1, 3 * SECOND + BOOT_NS - 1) == b""
    assert ask(bus, PING_1, 3 * SECOND + BOOT_NS) == ALIVE_1
    assert bus.servos[1].table[Reg.TORQUE] == 0
    assert bus.servos[1].word(Reg.GOAL) == 0


def test_a_servo_whose_torque_a_goal_does_not_switch_on() -> None:
    plant = ServoAxes()
    servo = StsServo(1, 0, plant, goal_enables_torque=False)
    bus = StsBus([servo])
    ask(bus, packet(1, Instruction.WRITE, bytes([Reg.GOAL, 0, 9])))
    assert plant.state(0, SECOND)[0] == 0.0
    ask(bus, packet(1, Instruction.WRITE, bytes([Reg.TORQUE, 1])), SECOND)
    assert plant.state(0, 2 * SECOND)[0] == pytest.approx((0x900 - 2048) * 360 / 4096)


@pytest.mark.parametrize(("ident", "axis"), [(254, 0), (-1, 0), (1, 2)])
def test_servos_that_cannot_be(ident: int, axis: int) -> None:
    with pytest.raises(ValueError, match="expected an id"):
        StsServo(ident, axis, ServoAxes())


def test_line_faults() -> None:
    bus = head(ServoAxes())
    faults = bus.servos[1].faults
    faults.corrupt = True
    assert ask(bus, PING_1) == ALIVE_1[:-1] + bytes([ALIVE_1[-1] ^ 0x10])
    faults.corrupt, faults.wrong_id = False, 6
    assert ask(bus, PING_1) == packet(7, 0)
    faults.wrong_id, faults.cut, faults.garbage = 0, 2, b"xyz"
    assert ask(bus, PING_1) == b"xyz" + ALIVE_1[:-2]
    faults.cut, faults.garbage, faults.late_ns = 0, b"", SECOND
    assert ask(bus, PING_1, SECOND) == b""
    assert bus.take(3 * SECOND) == ALIVE_1
    faults.late_ns, faults.silent = 0, True
    assert ask(bus, PING_1, 4 * SECOND) == b""
    assert ask(bus, packet(2, Instruction.PING), 5 * SECOND) == packet(2, 0)


@pytest.mark.parametrize(("name", "bits"), [("low_voltage", 1), ("broken_sensor", 2), ("hot", 4), ("overload", 32)])
def test_reported_faults(name: str, bits: int) -> None:
    bus = head(ServoAxes())
    setattr(bus.servos[1].faults, name, True)
    assert ask(bus, PING_1) == packet(1, bits)
    assert ask(bus, packet(1, Instruction.READ, bytes([Reg.STATUS, 1])))[5] == bits


@given(st.lists(st.tuples(st.binary(max_size=300), st.integers(0, 2 * GAP_NS)), max_size=12))
@settings(max_examples=150, deadline=None)
def test_garbage_raises_nothing_and_is_forgotten(noise: list[tuple[bytes, int]]) -> None:
    """Whatever comes: no exception, bounded memory, and after a silence a question is answered."""
    bus = head(ServoAxes())
    t_ns = 0
    for data, gap_ns in noise:
        t_ns += gap_ns
        bus.feed(data, t_ns)
    assert len(bus.take(t_ns + SECOND)) <= KEPT_BYTES_MAX
    bus.servos[1].table[Reg.ID : Reg.MODE] = bytes(Reg.MODE - Reg.ID)  # by luck the noise may have written to it
    assert ask(bus, PING_1, t_ns + 2 * SECOND)[2:3] == b"\x01"


@given(st.binary(max_size=30).filter(lambda noise: HEADER not in noise and noise[-1:] != b"\xff"), st.integers(1, 8))
@settings(deadline=None)
def test_noise_without_a_header_does_not_hide_a_question(noise: bytes, cut: int) -> None:
    bus = head(ServoAxes())
    said = noise + PING_1
    bus.feed(said[:cut], 0)
    assert ask(bus, said[cut:], 1000) == ALIVE_1
