"""`.ci/setup` on machines that lack something: it says which command mends it, exits 1 and leaves nothing half-made.

The machine is played by a folder of small programs in front of PATH (no dpkg entry, no root, no sudo); the script is the real one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.tree import ROOT

PYTHON = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with no more than the script reads before it installs anything."""
    place = tmp_path / "checkout"
    (place / ".ci").mkdir(parents=True)
    for name in (".ci/setup", ".ci/house.py", "setup.cfg", "pyproject.toml", *(path.name for path in ROOT.glob("requirements-*.lock"))):
        (place / name).write_bytes((ROOT / name).read_bytes())
        (place / name).chmod(0o755)
    return place


def setup(checkout: Path, *profile: str, **programs: str) -> subprocess.CompletedProcess[str]:
    """Run the script with `programs`, name to shell body, in front of the system's own."""
    front = checkout.parent / "bin"
    front.mkdir(exist_ok=True)
    for name, body in programs.items():
        path = front / name.replace("_", "-")
        path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        path.chmod(0o755)
    environment = {**os.environ, "PATH": f"{front}:{os.environ['PATH']}", "PYTHON": os.environ.get("SETUP_PYTHON", str(PYTHON))}
    command = [str(checkout / ".ci" / "setup"), *profile]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


def test_unknown_profile_shows_usage(checkout: Path) -> None:
    done = setup(checkout, "everything")
    assert done.returncode == 2
    assert "run|device|mcu|bench|dev" in done.stderr


def test_old_python_is_refused_with_the_way_to_name_another(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SETUP_PYTHON", "old-python")
    done = setup(checkout, "run", old_python='[ "$1" = --version ] && echo "Python 3.9.2"; exit 1')
    assert done.returncode == 1
    assert "no Python 3.11 or later" in done.stderr
    assert "Python 3.9.2" in done.stderr
    assert "make PYTHON=" in done.stderr
    assert not (checkout / ".venv").exists()


def test_missing_system_packages_without_rights_give_the_one_line(checkout: Path) -> None:
    done = setup(checkout, "run", dpkg_query="exit 1", id="echo 1000", sudo="exit 1")
    assert done.returncode == 1
    line = done.stderr.strip().splitlines()[-1]
    assert "sudo apt-get install -y --no-install-recommends" in line
    assert "espeak-ng" in line
    assert "libosmesa6" in line
    assert not (checkout / ".venv").exists()


def test_the_emulated_microcontroller_needs_its_compiler_and_qemu_and_no_clang(checkout: Path) -> None:
    done = setup(checkout, "mcu", dpkg_query="exit 1", id="echo 1000", sudo="exit 1")
    assert done.returncode == 1
    line = done.stderr.strip().splitlines()[-1].split()
    assert {"gcc-arm-none-eabi", "libnewlib-arm-none-eabi", "qemu-system-arm", "espeak-ng", "libosmesa6"} <= set(line)
    assert not {"clang", "portaudio19-dev"} & set(line)


def test_missing_system_packages_are_installed_with_passwordless_sudo(checkout: Path) -> None:
    calls = checkout.parent / "calls"
    sudo = f'[ "$2" = true ] && exit 0; printf "%s\\n" "$*" >>{calls}; [ "$4" = update ]'
    done = setup(checkout, "run", dpkg_query="exit 1", id="echo 1000", sudo=sudo)
    assert done.returncode == 1, "the second try fails here too"
    install, update, again = calls.read_text(encoding="utf-8").splitlines()
    assert install.startswith("-n DEBIAN_FRONTEND=noninteractive apt-get install -y")
    assert update == "-n DEBIAN_FRONTEND=noninteractive apt-get update"
    assert again == install
    assert "sudo apt-get update && sudo apt-get install" in done.stderr


def test_second_call_does_nothing(checkout: Path) -> None:
    stamps = checkout / ".venv"
    stamps.mkdir()
    (checkout / ".links" / "innervate").mkdir(parents=True)

    def digest(*names: str) -> str:
        text = b"".join((checkout / name).read_bytes() for name in names)
        done = subprocess.run(["cksum"], input=text, capture_output=True, check=True)
        return f"{checkout.resolve()}:{done.stdout.decode().strip().replace(' ', '-')}\n"

    (stamps / ".stamp-run").write_text(digest("requirements-run.lock"), encoding="utf-8")
    (stamps / ".stamp-package").write_text(digest("setup.cfg", "pyproject.toml"), encoding="utf-8")
    done = setup(checkout, "run", dpkg_query="exit 1", id="echo 1000", sudo="exit 1")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    (checkout / "requirements-run.lock").write_text("# another\n", encoding="utf-8")
    assert setup(checkout, "run", dpkg_query="exit 1", id="echo 1000", sudo="exit 1").returncode == 1, "a new lock is noticed"
