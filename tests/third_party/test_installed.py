"""The two applications, each installed from its own wheel into a fresh environment, in the life of a device in real time."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from innervate.runtime.loop.events import Fault, Open
from innervate.runtime.serve.client import connect
from tests.serve.parts import TOKEN, WAIT_S, Served, opening_rows

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the programs of both distributions, in an environment that holds them and, by path alone, what they need."""
    place = tmp_path_factory.mktemp("apps")
    run(sys.executable, "-m", "venv", "--without-pip", place / "venv", cwd=place)
    python = place / "venv" / "bin" / "python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=place).strip())
    (site / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n{ROOT / '.links'}\n", encoding="utf-8")
    for name in ("imu", "led_ring"):
        source = place / name
        source.mkdir()
        for file in (HERE / name).iterdir():
            if file.is_file():
                (source / file.name).write_bytes(file.read_bytes())
        offline = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet")
        run(sys.executable, "-m", "pip", "wheel", *offline, "--wheel-dir", place, source, cwd=place)
    wheels = sorted(place.glob("*.whl"))
    assert len(wheels) == 2
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", *wheels, cwd=place)
    return python.parent


@pytest.fixture
def driving(tmp_path: Path, driving_bundle: Path) -> Iterator[Served]:
    served = Served(tmp_path, driving_bundle)
    yield served
    served.close()


def start(program: Path, served: Served, what: str, state: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "INNERVATE_TOKEN": TOKEN, "XDG_STATE_HOME": str(state), "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONPATH", None)
    return subprocess.Popen([program, what, served.address], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def lines_until(process: subprocess.Popen[str], last: str) -> list[str]:
    """Read what the program prints up to a line."""
    found: list[str] = []
    assert process.stdout is not None
    for line in process.stdout:
        found.append(line.strip())
        if found[-1] == last:
            return found
    raise AssertionError(found)


def test_they_are_small() -> None:
    sizes = {path.name: len(path.read_text().splitlines()) for path in HERE.glob("*/innervate_*.py")}
    assert len(sizes) == 2
    assert max(sizes.values()) < 100, sizes


def test_an_imu_gives_the_device_a_sense_of_motion(programs: Path, driving: Served, tmp_path: Path) -> None:
    process = start(programs / "innervate-imu", driving, "twin:left,tap,shake", tmp_path)
    try:
        said = lines_until(process, "felt: shake")
        assert said == ["known of gestures that it has not felt before: 100.0%", "felt: left", "felt: tap", "felt: shake"]
        assert "acme/imu" in {sense.name for sense in driving.device.tick.senses}
        with connect(driving.address, token=TOKEN) as client:
            recent, typed = client.recent(), client.rows(b"stop\n")
            deadline = time.monotonic() + WAIT_S
            while not any(np.array_equal(recent[i : i + 5], typed) for i in range(len(recent))):
                assert time.monotonic() < deadline
                time.sleep(0.6)  # its budget: two looks a second
                recent = client.recent()
    finally:
        process.kill()
        process.communicate()
    driving.log.wait(lambda events: any(isinstance(event, Fault) and event.source == "acme/imu" for event in events))


def test_a_ring_shows_the_colour_that_the_model_means(programs: Path, driving: Served, driving_bundle: Path, tmp_path: Path) -> None:
    """What it would learn from a model that has learnt to listen is given to it here: the small model only opens things."""
    with connect(driving.address, token=TOKEN) as client:
        exact_id, width = client.facts.exact_id, client.facts.width
    decoder = np.zeros((width + 1, 6), np.float32)
    decoder[-1, 4] = 1.0
    (tmp_path / "innervate-led-ring").mkdir()
    np.savez(tmp_path / "innervate-led-ring" / f"{exact_id[:16]}.npz", side=opening_rows(driving_bundle), decoder=decoder, shares=[1.0, 0.0, 1.0])
    process = start(programs / "innervate-led-ring", driving, "twin", tmp_path)
    try:
        assert lines_until(process, "ring: purple") == ["ready", "ring: purple"]
        assert "acme/ring" in {event.component for event in driving.log.of(Open) if isinstance(event, Open)}
    finally:
        process.kill()
        process.communicate()
