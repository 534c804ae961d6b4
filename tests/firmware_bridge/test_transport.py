"""A port that may not be opened, that goes away, that takes nothing: each a PortError with the next step."""

from __future__ import annotations

import errno
import os
import pty
import socket
import tty
from collections.abc import Iterator

import pytest
import serial

from innervate.firmware_bridge.transport import OUT_MAX, PortError, Transport


@pytest.fixture
def ends() -> Iterator[tuple[int, str]]:
    """Our end of a line, and the name of the other."""
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    yield ours, os.ttyname(theirs)
    for end in (ours, theirs):
        try:
            os.close(end)
        except OSError:
            pass


def test_a_port_that_belongs_to_a_group_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise serial.SerialException(errno.EACCES, "could not open port /dev/ttyNONE: Permission denied")

    monkeypatch.setattr(serial, "serial_for_url", refuse)
    with pytest.raises(PortError, match=r"not allowed to open it.*usermod -aG dialout"):
        Transport("/dev/ttyNONE").open()


def test_a_port_that_vanishes_says_so_and_may_be_opened_again(ends: tuple[int, str]) -> None:
    ours, name = ends
    port = Transport(name)
    port.open()
    os.write(ours, b"abc")
    port.wait(1.0)
    assert port.read() == b"abc"
    port.write(b"xyz")
    assert os.read(ours, 3) == b"xyz"
    os.close(ours)
    with pytest.raises(PortError, match=r"went away.*the link reconnects by itself"):
        for _ in range(3):
            port.wait(1.0)
            port.read()
            port.write(b"x")
    assert not port.is_open
    port.dispose()


def test_a_peer_that_takes_nothing_is_as_good_as_gone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = Transport(f"socket://127.0.0.1:{listener.getsockname()[1]}")
        port.open()
        peer, _ = listener.accept()
        with peer, pytest.raises(PortError, match="the port takes none"):
            for _ in range(10_000):
                port.write(bytes(OUT_MAX // 4))
        assert not port.is_open
        port.dispose()
