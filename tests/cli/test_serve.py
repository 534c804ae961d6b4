"""`innervate serve` as a user types it: what it prints, how it ends, what it refuses."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from innervate.runtime.serve.client import connect
from tests.serve.parts import BOARD

ROOT = Path(__file__).parents[2]


def environment_of(place: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "INNERVATE_TOKEN"}
    return {**kept, "PYTHONPATH": str(ROOT / ".links"), "XDG_STATE_HOME": str(place / "state"), "XDG_RUNTIME_DIR": str(place), "OMP_NUM_THREADS": "1"}


@contextmanager
def serving(place: Path, bundle: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """Run the verb until its doors are open; give the process and its addresses."""
    (place / "board.toml").write_text(BOARD)
    words = ["serve", "--board", str(place / "board.toml"), "--bundle", str(bundle), "--headless"]
    words += ["--ws", "127.0.0.1:0", "--http", "127.0.0.1:0", *options]
    process = subprocess.Popen(
        [sys.executable, "-m", "innervate.runtime.cli", *words], env=environment_of(place), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    addresses: list[str] = []
    try:
        while len(addresses) < 3 and (line := process.stdout.readline()):
            assert line.startswith("serving at "), line
            addresses.append(line.removeprefix("serving at ").strip())
        yield process, addresses
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder with a path short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="innervate-") as folder:
        yield Path(folder)


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_three_doors_and_an_end_in_good_order(place: Path, speaking_bundle: Path, number: signal.Signals, code: int) -> None:
    with serving(place, speaking_bundle) as (process, addresses):
        assert [address.split(":")[0] for address in addresses] == ["unix", "ws", "http"]
        assert addresses[0] == f"unix:{place}/innervate/serve.sock"
        for address in addresses[:2]:
            with connect(address, token_file=place / "state" / "innervate" / "token") as client:
                assert client.say("hello").text == "hi"
        (worker,) = children(process.pid)
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
        assert process.returncode == code, err
        assert err == f"token: {place}/state/innervate/token\n"
        assert "ticks" in out
        assert gone(worker)
        assert not (place / "innervate" / "serve.sock").exists()


def test_the_serving_process_does_not_outlive_a_device_that_is_killed(place: Path, quiet_bundle: Path) -> None:
    with serving(place, quiet_bundle) as (process, addresses):
        (worker,) = children(process.pid)
        with connect(addresses[0], token_file=place / "state" / "innervate" / "token") as client:
            process.kill()
            process.wait(20)
            with pytest.raises(Exception, match=r"ended the connection|closed the connection|broke the connection"):
                for _ in range(10_000):
                    client.ping()
        for _ in range(10_000):
            if gone(worker):
                break
            os.sched_yield()
        assert gone(worker)


def test_the_backbone_alone(place: Path, quiet_bundle: Path) -> None:
    with serving(place, quiet_bundle, "--no-device") as (process, addresses):
        with connect(addresses[1], token_file=place / "state" / "innervate" / "token") as client:
            assert client.rows(b"hi").shape == (2, 64)
            assert not client.facts.device
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
        assert process.returncode == 130, err


def verb(place: Path, bundle: Path, *options: str) -> subprocess.CompletedProcess[str]:
    (place / "board.toml").write_text(BOARD)
    words = ["serve", "--board", str(place / "board.toml"), "--bundle", str(bundle), "--ws", "off", "--http", "off", *options]
    command = [sys.executable, "-m", "innervate.runtime.cli", *words]
    return subprocess.run(command, env=environment_of(place), capture_output=True, text=True, timeout=60, check=False)


def test_a_port_that_is_taken_ends_it_before_anything_moves(place: Path, quiet_bundle: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = verb(place, quiet_bundle, "--http", f"127.0.0.1:{taken.getsockname()[1]}")
    assert done.returncode == 1
    assert "cannot be opened (Address already in use); expected a free port; stop what listens there, or name another with --http" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--ws", "8765"), 1, "--ws: '8765'; expected HOST:PORT such as 127.0.0.1:8765, or off"),
        (("--http", "127.0.0.1:99999"), 1, "expected HOST:PORT"),
        (("--requests-s", "0"), 2, "expected a number, 1 or more"),
        (("--bundle", "/nowhere"), 3, "/nowhere/bundle.toml: no such file"),
    ],
)
def test_mistakes(place: Path, quiet_bundle: Path, options: tuple[str, ...], code: int, message: str) -> None:
    done = verb(place, quiet_bundle, *options)
    assert (done.returncode, message in done.stderr) == (code, True), done.stderr


def test_a_token_that_others_can_read_is_refused(place: Path, quiet_bundle: Path) -> None:
    (place / "token").write_text("x" * 30)
    (place / "token").chmod(0o644)
    done = verb(place, quiet_bundle, "--token-file", str(place / "token"))
    assert done.returncode == 1
    assert "has mode 0644; expected 0600" in done.stderr


def test_nothing_listens_unless_asked(place: Path, quiet_bundle: Path) -> None:
    """`innervate run` opens no socket, and what it needs of serving it does not even import."""
    (place / "board.toml").write_text(BOARD)
    code = (
        "import socket, sys\n"
        "def no(self, *a): raise AssertionError('listens')\n"
        "socket.socket.listen = no\n"
        "from innervate.runtime.cli import main\n"
        f"assert main(['run', '--board', {str(place / 'board.toml')!r}, '--bundle', {str(quiet_bundle)!r}, '--duration', '0.4', '--headless']) == 0\n"
        "assert not [name for name in sys.modules if name.startswith(('innervate.runtime.serve', 'websockets', 'http.server', 'asyncio'))]\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / ".links")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
