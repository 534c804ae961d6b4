"""The plugin guide: its code is the example's code, and the example installs, keeps the contract and runs."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "light"
GUIDE = (ROOT / "docs" / "plugin_guide.md").read_text()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, built as a wheel would be and installed into a folder of its own."""
    target = tmp_path_factory.mktemp("site")
    source = tmp_path_factory.mktemp("source")  # a copy: building leaves files beside the sources
    for path in EXAMPLE.rglob("*"):
        if path.suffix in (".py", ".toml"):
            copy = source / path.relative_to(EXAMPLE)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    offline = ["--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", "--quiet", *offline, "--target", str(target), str(source)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return target


def innervate(*words: object, site: Path | None) -> subprocess.CompletedProcess[str]:
    paths = [str(ROOT / ".links"), *([str(site)] if site else [])]
    command = [sys.executable, "-m", "innervate.runtime.cli", *map(str, words)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def test_the_guide_shows_the_files_as_they_are() -> None:
    shown = re.findall(r"`([\w./]+)`:\n\n```\w+\n(.*?)```", GUIDE, re.DOTALL)
    assert [name for name, _ in shown] == [
        "innervate_light/plugin.toml",
        "innervate_light/driver.py",
        "innervate_light/virtual.py",
        "innervate_light/latent.py",
        "test_light.py",
        "pyproject.toml",
        "board.toml",
    ]
    for name, text in shown:
        assert (EXAMPLE / name).read_text() == text, f"docs/plugin_guide.md shows an old {name}"


def test_what_the_guide_names_is_there() -> None:
    for name in re.findall(r"`((?:runtime|plugins)/[\w./]+)`", GUIDE):
        assert (ROOT / name).exists(), name


def test_it_is_listed_and_keeps_the_contract(installed: Path, quiet_bundle: Path) -> None:
    listed = innervate("plugins", site=installed)
    assert listed.returncode == 0 and "light 0.1.0  an ambient light sensor" in listed.stdout, listed
    checked = innervate("check", "light", "--bundle", quiet_bundle, site=installed)
    assert checked.returncode == 0 and "every rule holds" in checked.stdout, checked
    assert "begins anew after reset" in checked.stdout  # the encoder was checked too


def test_it_runs_on_its_board(installed: Path, quiet_bundle: Path, tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    board = EXAMPLE / "board.toml"
    ran = innervate("run", "--board", board, "--duration", 6, "--bundle", quiet_bundle, "--headless", "--events", events, site=installed)
    assert ran.returncode == 0, ran
    seen = [json.loads(line) for line in events.read_text().splitlines()]
    assert not [event for event in seen if event["event"] == "fault"]
    assert seen[-1]["event"] == "summary" and seen[-1]["ticks"] == 75


def test_without_it_the_message_says_so(quiet_bundle: Path) -> None:
    checked = innervate("check", "light", "--bundle", quiet_bundle, site=None)
    assert checked.returncode != 0 and "plugin light: is not installed" in checked.stderr, checked
    assert "Traceback" not in checked.stderr


def test_its_own_tests_pass(installed: Path) -> None:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / ".links"), str(installed)])}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(EXAMPLE / "test_light.py")]
    run = subprocess.run(command, env=env, capture_output=True, text=True, check=False, cwd=ROOT)
    assert run.returncode == 0 and "3 passed" in run.stdout, run.stdout
