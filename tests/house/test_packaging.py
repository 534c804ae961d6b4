"""What is built from the tree can be installed on another machine: archive, wheel, fresh environment, every room imported."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.house.tree import copy_to, files, load_house

house = load_house()
# Files of the rooms that people read in a checkout and no program opens.
NOT_SHIPPED = {".md"}


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command that must succeed; return what it printed."""
    done = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from the source archive of a clean copy, so that what the archive forgets, the wheel lacks."""
    place = tmp_path_factory.mktemp("build")
    copy = copy_to(place / "copy")
    build = "import sys, setuptools.build_meta as backend; print(getattr(backend, sys.argv[1])(sys.argv[2]))"
    archive = run(sys.executable, "-c", build, "build_sdist", place, cwd=copy).splitlines()[-1]
    with tarfile.open(place / archive) as tar:
        tar.extractall(place / "unpacked", filter="data")
    (source,) = (place / "unpacked").iterdir()
    return place / run(sys.executable, "-c", build, "build_wheel", place, cwd=source).splitlines()[-1]


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a fresh environment that holds the wheel and, by path alone, the dependencies installed here."""
    place = tmp_path_factory.mktemp("fresh")
    run(sys.executable, "-m", "venv", "--without-pip", place / "venv", cwd=place)
    python = place / "venv" / "bin" / "python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=place).strip())
    # Paths named in a .pth are searched, their own .pth files are not read: an editable install there stays out.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", "--ignore-installed", wheel, cwd=place)
    return python


def test_wheel_holds_every_package_and_every_data_file(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        shipped = {name for name in archive.namelist() if name.startswith("innervate/")}
    expected = {f"innervate/{name}" for name in map(str, files()) if Path(name).parts[0] in house.ROOMS and Path(name).suffix not in NOT_SHIPPED}
    assert sorted(expected - shipped) == []
    assert {name for name in shipped if "tests" in Path(name).parts} == set()


def test_every_room_is_imported_from_the_installed_wheel(installed: Path, tmp_path: Path) -> None:
    packages = house.tree_packages(house.ROOT)
    code = "import importlib, sys; [print(importlib.import_module(name).__file__) for name in sys.argv[1:]]"
    places = run(installed, "-I", "-c", code, *packages, cwd=tmp_path).splitlines()
    assert len(places) == len(packages)
    assert [place for place in places if not Path(place).is_relative_to(installed.parents[1])] == []


@pytest.mark.parametrize("room", house.ROOMS)
def test_no_room_is_importable_without_its_family_name(installed: Path, room: str, tmp_path: Path) -> None:
    done = subprocess.run([installed, "-I", "-c", f"import {room}"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"No module named '{room}'" in done.stderr


def test_metadata_tells_a_stranger_what_to_install(installed: Path, tmp_path: Path) -> None:
    code = """
import importlib.metadata as m
d = m.distribution('innervate')
print(d.metadata['Requires-Python'], d.metadata['License-Expression'])
print(sorted(d.metadata.get_all('Provides-Extra')))
print([(e.name, e.value) for e in d.entry_points if e.group == 'console_scripts'])
"""
    assert run(installed, "-I", "-c", code, cwd=tmp_path).splitlines() == [
        ">=3.11 Apache-2.0",
        "['audio', 'bench', 'dev', 'emulator', 'link', 'serve', 'train']",
        "[('innervate', 'innervate.runtime.cli:main')]",
    ]
