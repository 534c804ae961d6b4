"""`innervate run` as a user types it: exit codes, messages, files, signals."""

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from innervate.runtime.cli import main

ROOT = Path(__file__).parents[2]
BOARD = """\
[board]
name = "bench"
variant = "fp32"
world = "{world}"
[component.mic]
plugin = "mic"
use = "virtual"
[component.pose]
plugin = "motor"
use = "virtual"
[component.motor]
plugin = "motor"
use = "virtual"
"""
STILL = "innervate.boards.emulator:make_still"
# Writes what the motor is told into a file that outlives the process.
SPY = """\
import os
from innervate.boards.emulator.still import StillWorld


class Spy(StillWorld):
    def drive(self, pan_deg, tilt_deg):
        self.tell(b"drive")
        super().drive(pan_deg, tilt_deg)

    def hold(self):
        self.tell(b"hold")
        super().hold()

    def tell(self, what):
        with open(os.environ["SPY"], "ab") as file:
            file.write(what + bytes([10]))

    def advance_to(self, t_ns):
        if t_ns > float(os.environ.get("BREAK_NS", "inf")):
            raise RuntimeError("the world broke")
        super().advance_to(t_ns)


def make(scenario, seed):
    return Spy.from_file(scenario, seed)
"""


class Desk:
    """A folder with a board, and the command's arguments."""

    def __init__(self, folder: Path, bundle: Path, world: str = STILL) -> None:
        self.folder = folder
        self.board = folder / "board.toml"
        self.board.write_text(BOARD.format(world=world))
        (folder / "spy.py").write_text(SPY)
        self.events = folder / "events.jsonl"
        self.arguments = ["run", "--board", str(self.board), "--bundle", str(bundle), "--events", str(self.events)]
        self.told = folder / "told"
        paths = [str(ROOT / ".links"), str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "SPY": str(self.told), "OMP_NUM_THREADS": "1"}

    def start(self, *more: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "innervate.runtime.cli", *self.arguments, *more]
        return subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.events.read_text().splitlines()]


@pytest.fixture
def desk(tmp_path: Path, driving_bundle: Path) -> Desk:
    return Desk(tmp_path, driving_bundle)


def test_a_headless_run_writes_its_events_and_one_line(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*desk.arguments, "--headless", "--duration", "0.8"]) == 0
    assert desk.lines()[-1]["event"] == "summary"
    assert capsys.readouterr().out.count("\n") == 1


def test_a_run_prints_a_timeline(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*desk.arguments, "--duration", "0.8"]) == 0
    out = capsys.readouterr().out
    assert "open   motor  [tick" in out
    assert "capture to setpoint p50" in out


def test_seed_and_scenario_reach_the_world(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    scenario = desk.folder / "s.toml"
    scenario.write_text('[run]\nduration_s = 0.4\n[[input]]\nt_s = 0.1\nkind = "text"\ntext = "look left"\n')
    assert main([*desk.arguments, "--scenario", str(scenario), "--seed", "5"]) == 0
    assert desk.lines()[-1]["ticks"] == 5
    assert 'typed  "look left"' in capsys.readouterr().out


def test_a_picture_is_drawn(desk: Desk) -> None:
    pytest.importorskip("matplotlib")
    picture = desk.folder / "out" / "picture.png"
    assert main([*desk.arguments, "--headless", "--duration", "0.8", "--picture", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_users_mistake_is_one_line_and_exit_2(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.board.write_text(desk.board.read_text().replace("variant", "varant"))
    assert main([*desk.arguments, "--duration", "1"]) == 2
    error = capsys.readouterr().err
    assert "did you mean 'variant'?" in error
    assert error.count("\n") == 1
    assert not desk.events.exists()


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        (["--scenario", "/nonexistent.toml"], 2, "/nonexistent.toml"),
        (["--variant", "fp31"], 3, "fp31"),
        (["--bundle", "/nonexistent"], 3, "bundle.toml"),
        (["--events", "/proc/nowhere/x.jsonl"], 1, "/proc/nowhere"),
        (["--board", "emulatr"], 2, "did you mean 'emulator'?"),
    ],
)
def test_what_cannot_run_says_why_and_leaves_nothing(desk: Desk, capsys: pytest.CaptureFixture[str], more: list[str], code: int, words: str) -> None:
    assert main([*desk.arguments, "--duration", "1", *more]) == code
    assert words in capsys.readouterr().err
    assert [path.name for path in desk.folder.glob("events*")] == []


def test_a_corrupted_bundle_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], driving_bundle: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in driving_bundle.rglob("*"):
        if path.is_file():
            target = copy / path.relative_to(driving_bundle)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    rows = copy / "rows.npz"
    whole = rows.read_bytes()
    rows.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert main([*Desk(tmp_path, copy).arguments, "--duration", "1"]) == 3
    assert "rows.npz: has SHA-256" in capsys.readouterr().err


def test_a_scenario_for_a_board_without_a_world_is_a_mistake(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.board.write_text(desk.board.read_text().replace(f'world = "{STILL}"\n', ""))
    assert main([*desk.arguments, "--scenario", "x.toml"]) == 2
    assert "no world to play it in" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["fly"], ["run", "--duration", "-1"], ["run", "--duration", "soon"], ["run", "--speed", "2"]])
def test_a_wrong_command_line_is_exit_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert "usage: innervate" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["plugins", "--help"], ["boards", "--help"], ["check", "--help"]])
def test_help_has_examples(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 0
    assert "examples:\n" in capsys.readouterr().out


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_leaves_the_motor_safe_and_the_events_whole(tmp_path: Path, driving_bundle: Path, number: signal.Signals, code: int) -> None:
    desk = Desk(tmp_path, driving_bundle, "spy:make")
    process = desk.start("--realtime")
    assert process.stdout is not None
    for line in process.stdout:  # blocks until the device says that the motor is open
        if b"open   motor" in line:
            break
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == code, err
    assert b"Traceback" not in out + err
    assert desk.told.read_text().splitlines()[-1] == "hold"
    assert "drive" in desk.told.read_text()
    assert [line["event"] for line in desk.lines()[-2:]] == ["stop", "summary"]
    assert desk.lines()[-2]["cause"] == f"ended by {number.name}"


def test_a_crash_leaves_the_motor_safe_and_exit_1(tmp_path: Path, driving_bundle: Path) -> None:
    desk = Desk(tmp_path, driving_bundle, "spy:make")
    desk.environment["BREAK_NS"] = "500000000"
    process = desk.start("--duration", "2")
    process.communicate(timeout=30)
    assert process.returncode == 1
    assert desk.told.read_text().splitlines()[-1] == "hold"
    assert [line["event"] for line in desk.lines()[-3:]] == ["fault", "stop", "summary"]


def test_a_full_disk_does_not_stop_the_device_but_is_told_in_the_end(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [word if word != str(desk.events) else "/dev/full" for word in desk.arguments]
    assert main([*arguments, "--duration", "0.8", "--headless"]) == 1
    out, err = capsys.readouterr()
    assert "10 ticks" in out
    assert "innervate run: /dev/full: cannot be written" in err


def test_a_killed_run_leaves_complete_lines_under_another_name(tmp_path: Path, driving_bundle: Path) -> None:
    desk = Desk(tmp_path, driving_bundle)
    process = desk.start("--realtime")
    assert process.stdout is not None
    for line in process.stdout:
        if b"open   motor" in line:
            break
    process.kill()
    process.communicate(timeout=30)
    assert not desk.events.exists()
    part = (tmp_path / "events.jsonl.part").read_text()
    assert part.endswith("\n")
    assert [json.loads(line) for line in part.splitlines()]


def test_a_reader_that_goes_away_does_not_stop_the_device(tmp_path: Path, driving_bundle: Path) -> None:
    desk = Desk(tmp_path, driving_bundle)
    process = desk.start("--duration", "4")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=30) == 0, err
    assert desk.lines()[-1]["ticks"] == 50


def test_on_a_terminal_there_is_a_status_line(tmp_path: Path, driving_bundle: Path) -> None:
    desk = Desk(tmp_path, driving_bundle)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "innervate.runtime.cli", *desk.arguments, "--duration", "0.8"]
    process = subprocess.Popen(command, env=desk.environment, stdout=theirs)
    os.close(theirs)
    seen = b""
    try:
        while chunk := os.read(ours, 4096):
            seen += chunk
    except OSError:  # how a pseudo-terminal says that the other end has closed
        pass
    os.close(ours)
    assert process.wait(timeout=30) == 0
    assert b"\rpan" not in seen
    assert b"felt" in seen
    assert b"\x1b[K" in seen
