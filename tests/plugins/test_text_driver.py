"""Keyboard and terminal on real pipes, FIFOs and pseudo-terminals."""

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from innervate.plugins.text.driver import BYTES_MAX, Keyboard, Terminal
from innervate.runtime.ali.component import Sample
from innervate.runtime.ali.conformance import check_sink
from innervate.runtime.ali.errors import DeviceError
from innervate.runtime.loop.clock import RealClock
from tests.plugins.parts import context

WAIT_S = 5.0  # for bytes that have been written


def keyboard(**options: Any) -> Keyboard:
    return Keyboard(context("text", "text_in", RealClock(), **options))


def text(sample: Sample | None) -> bytes:
    assert sample is not None
    return sample.data.tobytes()


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Standard input is a pipe; gives the end to write to."""
    source, sink = os.pipe()
    with os.fdopen(source, "r") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield sink


def test_typed_bytes_come_once_and_nothing_is_waited_for(typed: int) -> None:
    keys = keyboard()
    keys.open()
    assert keys.read(0.0) is None
    os.write(typed, b"look left\n")
    assert text(keys.read(WAIT_S)) == b"look left\n"
    assert keys.read(0.0) is None
    keys.close()
    os.close(typed)


def test_a_pasted_page_comes_in_pieces(typed: int) -> None:
    keys = keyboard()
    keys.open()
    os.write(typed, bytes(range(256)) * 2)
    assert [len(text(keys.read(WAIT_S))) for _ in range(2)] == [BYTES_MAX, BYTES_MAX]
    keys.close()
    os.close(typed)


def test_the_end_of_the_input_is_no_fault(typed: int) -> None:
    keys = keyboard()
    keys.open()
    os.write(typed, b"stop")
    os.close(typed)
    assert text(keys.read(WAIT_S)) == b"stop"
    assert [keys.read(0.0) for _ in range(3)] == [None] * 3
    keys.close()


@pytest.mark.parametrize("stdin", [None, io.StringIO("")])
def test_a_program_without_a_keyboard_is_no_fault(monkeypatch: pytest.MonkeyPatch, stdin: object) -> None:
    monkeypatch.setattr(sys, "stdin", stdin)
    keys = keyboard()
    keys.open()
    assert keys.read(0.0) is None
    keys.close()


def test_a_terminal_hands_over_whole_lines() -> None:
    master, slave = os.openpty()
    keys = keyboard(path=os.ttyname(slave))
    keys.open()
    os.write(master, b"look u")
    assert keys.read(0.0) is None
    os.write(master, b"p\r")
    assert text(keys.read(WAIT_S)) == b"look up\n"
    keys.close()
    os.close(master)
    os.close(slave)


BACKGROUND = """
import os, pty, signal, sys
pid, terminal = pty.fork()
if pid:  # the person: types a line and waits for the shell to end
    os.read(terminal, 1)
    os.write(terminal, b"look left\\n")
    os.read(terminal, 100)
    os.waitpid(pid, 0)
    sys.exit()
from innervate.plugins.text.driver import Keyboard
from innervate.runtime.ali.component import Context
from innervate.runtime.loop.clock import RealClock
report, child = os.dup(int(sys.argv[1])), os.fork()
if not child:  # the program in the background of its shell
    os.setpgid(0, 0)
    keys = Keyboard(Context("text_in", RealClock(), {"path": ""}))
    keys.open()
    os.write(1, b"!")
    os.write(report, b"nothing" if keys.read(0.2) is None else b"typed")
    os._exit(0)
_, status = os.waitpid(child, os.WUNTRACED)
if os.WIFSTOPPED(status):
    os.write(report, b"stopped")
    os.kill(child, signal.SIGKILL)
os._exit(0)
"""


def test_a_program_in_the_background_is_not_stopped_by_typing() -> None:
    source, sink = os.pipe()
    links = str(Path(__file__).parents[2] / ".links")
    subprocess.run([sys.executable, "-c", BACKGROUND, str(sink)], pass_fds=[sink], env={"PYTHONPATH": links}, timeout=30, check=True)
    os.close(sink)
    assert os.read(source, 100) == b"nothing"
    os.close(source)


def test_a_fifo_outlives_those_who_write(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "said")
    keys = keyboard(path=str(tmp_path / "said"))
    keys.open()
    for words in (b"stop\n", b"look right\n"):
        with open(tmp_path / "said", "wb") as writer:
            writer.write(words)
        assert text(keys.read(WAIT_S)) == words
        assert keys.read(0.0) is None
    keys.close()


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"text_in: .*none: .*No such file.*; expected a FIFO or a serial device; correct its option path"):
        keyboard(path=str(tmp_path / "none")).open()


def terminal() -> Terminal:
    return Terminal(context("text", "text_out", RealClock()))


def test_the_terminal_prints_as_it_comes(capsys: pytest.CaptureFixture[str]) -> None:
    out = terminal()
    out.open()
    for byte in "12 °C\t\n".encode():
        out.write(bytes([byte]))
    out.close()
    assert capsys.readouterr().out == "12 °C\t\n"


def test_a_model_cannot_move_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    out = terminal()
    out.open()
    out.write(b"\x1b[2Ja\x07\xff\n")
    out.close()
    assert capsys.readouterr().out == "\ufffd[2Ja\ufffd\ufffd\n"


def test_the_published_checks_hold(capsys: pytest.CaptureFixture[str]) -> None:
    check_sink(terminal).require()
    assert "12 °" in capsys.readouterr().out
