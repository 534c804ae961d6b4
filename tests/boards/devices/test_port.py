"""The socket that joins a simulated device to an emulated UART, over loopback."""

from __future__ import annotations

import socket
import time

import pytest

from innervate.boards.emulator.devices.modbus import LoadCell, frame
from innervate.boards.emulator.devices.plants import ServoAxes
from innervate.boards.emulator.devices.port import EARLY_NS, DevicePort
from innervate.boards.emulator.devices.sts import Instruction, Reg, head, packet

PING, ALIVE = packet(1, Instruction.PING), packet(1, 0)
PATIENCE_S = 10.0


def call(address: tuple[str, int]) -> socket.socket:
    return socket.create_connection(address, timeout=PATIENCE_S)


def ask(peer: socket.socket, question: bytes, count: int) -> bytes:
    peer.sendall(question)
    answer = b""
    while len(answer) < count:
        data = peer.recv(count - len(answer))
        assert data, "the port closed"
        answer += data
    return answer


def test_it_listens_and_waits_for_the_next_peer() -> None:
    with DevicePort(head(ServoAxes())) as port:
        for _ in range(3):
            with call(port.address) as peer:
                assert ask(peer, PING, 6) == ALIVE
                for byte in packet(1, Instruction.READ, bytes([Reg.MODEL, 2])):
                    peer.sendall(bytes([byte]))
                assert ask(peer, b"", 8) == packet(1, 0, bytes([9, 3]))


def test_it_calls_until_there_is_an_answer_and_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()[:2]
    cell = LoadCell(lambda: 1.0)
    question = frame(1, bytes([4, 0, 0, 0, 2]))
    with DevicePort(cell, connect=address):
        with socket.create_server(address) as listener:
            listener.settimeout(PATIENCE_S)
            for _ in range(2):
                peer = listener.accept()[0]
                with peer:
                    peer.settimeout(PATIENCE_S)
                    assert ask(peer, question, 9) == frame(1, bytes([4, 4, 0, 0, 0, 100]))


def test_a_late_answer_leaves_without_another_question() -> None:
    bus = head(ServoAxes())
    bus.servos[1].faults.late_ns = 50_000_000
    with DevicePort(bus) as port, call(port.address) as peer:
        before = time.monotonic()
        assert ask(peer, PING, 6) == ALIVE
        assert time.monotonic() - before >= 0.05 - EARLY_NS * 1e-9


class Failing:
    gap_ns = 0

    def feed(self, data: bytes, t_ns: int) -> None:
        raise RuntimeError("short circuit")

    def take(self, t_ns: int) -> bytes:
        return b""

    def due_ns(self) -> int | None:
        return None


def test_an_error_of_the_device_reaches_whoever_closes_the_port() -> None:
    port = DevicePort(Failing())
    with call(port.address) as peer:
        peer.sendall(b"x")
        assert peer.recv(1) == b""
    with pytest.raises(RuntimeError, match="short circuit"):
        port.close()
    port.close()


def test_an_address_in_use_is_an_error_at_once() -> None:
    with DevicePort(head(ServoAxes())) as port, pytest.raises(OSError):
        DevicePort(head(ServoAxes()), listen=port.address)


def test_closing_is_prompt_with_a_peer_that_says_nothing() -> None:
    port = DevicePort(head(ServoAxes()))
    with call(port.address):
        port.close()
