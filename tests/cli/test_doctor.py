"""`innervate doctor` on this machine and on ones that lack something."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import pytest

from innervate.runtime.ali.errors import DeviceError
from innervate.runtime.cli import doctor
from innervate.runtime.cli.doctor import Finding


def run(*words: str) -> int:
    """Run the verb as the command line does."""
    parser = argparse.ArgumentParser()
    doctor.add_parser(parser.add_subparsers())
    args = parser.parse_args(["doctor", *words])
    return int(args.run(args))


def only(monkeypatch: pytest.MonkeyPatch, *findings: Finding) -> None:
    """Let the doctor find exactly `findings`."""
    monkeypatch.setattr(doctor, "CHECKS", (lambda: list(findings),))


def test_every_finding_on_this_machine_is_whole() -> None:
    findings = doctor.examine()
    names = [finding.name for finding in findings]
    assert len(names) == len(set(names))
    for finding in findings:
        assert finding.state in ("ok", "missing", "optional")
        assert finding.found
        assert (finding.state == "ok") == (finding.mend == ""), finding
        assert "the check itself failed" not in finding.found, finding


def test_status_is_0_when_only_optional_things_lack(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    only(monkeypatch, Finding("python", "ok", "3.11"), Finding("camera", "optional", "none", "plug one in"))
    assert run() == 0
    assert capsys.readouterr().out.splitlines() == [
        "python  ok        3.11",
        "camera  optional  none",
        "                  -> plug one in",
        "",
        "the base works: 1 ok, 0 missing, 1 optional",
    ]


def test_status_is_1_when_the_base_lacks_something(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    only(monkeypatch, Finding("numpy", "missing", "cannot be imported", "pip install numpy"))
    assert run("--json") == 1
    assert json.loads(capsys.readouterr().out) == [
        {"name": "numpy", "state": "missing", "found": "cannot be imported", "mend": "pip install numpy"},
    ]


def test_a_check_that_raises_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def check_moon() -> list[Finding]:
        raise RuntimeError("eclipse")

    monkeypatch.setattr(doctor, "CHECKS", (check_moon,))
    (finding,) = doctor.examine()
    assert (finding.name, finding.state) == ("moon", "missing")
    assert "eclipse" in finding.found


def test_a_package_that_cannot_be_imported_is_missing_with_its_cause(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "broken_library.py").write_text("raise OSError('libfoo.so.1: cannot open shared object file')\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(doctor, "BASE", {"broken-library": "broken_library"})
    monkeypatch.setattr(doctor, "EXTRAS", {"audio": ("a real microphone", {"no-such-thing": "no_such_thing"})})
    library, extra = doctor.check_packages()
    assert library.state == "missing"
    assert "libfoo.so.1" in library.found
    assert library.mend.endswith("install --force-reinstall broken-library")
    assert extra.state == "optional"
    assert "innervate[audio]" in extra.mend


def test_telemetry_leaves_nothing_in_an_empty_home() -> None:
    (finding,) = doctor.check_telemetry()
    assert finding.state == "ok"


def test_telemetry_that_writes_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_TELEMETRY", "from pathlib import Path; Path.home().joinpath('deviceid').write_text('1')")
    (finding,) = doctor.check_telemetry()
    assert finding.state == "missing"
    assert "deviceid" in finding.found


def test_a_missing_and_a_corrupted_bundle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "_room", lambda name: tmp_path)
    (absent,) = doctor.check_bundle()
    assert absent.state == "missing"
    (tmp_path / "nano").mkdir()
    (tmp_path / "nano" / "bundle.toml").write_text("[bundle\n", encoding="utf-8")
    (corrupted,) = doctor.check_bundle()
    assert corrupted.state == "missing"
    assert "bundle.toml" in corrupted.found
    assert "make train" in corrupted.mend


def test_a_renderer_that_crashes_takes_only_its_own_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_RENDER", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    monkeypatch.setenv("MUJOCO_GL", "egl")
    (finding,) = doctor.check_renderer()
    assert finding.state == "optional"
    assert "egl: killed by signal 11" in finding.found


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open every device")
def test_groups_are_named_with_the_command_that_joins_them() -> None:
    for finding in doctor.check_permissions():
        assert finding.state == "ok" or finding.mend


def test_little_memory_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "MEMORY_MB_MIN", 10**9)
    memory, disk = doctor.check_memory()
    assert memory.state == "missing"
    assert memory.mend
    assert disk.name == "disk"


def test_doctor_imports_no_heavy_library() -> None:
    status, said = doctor._probe(
        "import sys, innervate.runtime.cli.doctor; print(sorted({'cv2', 'mujoco', 'torch', 'scipy', 'matplotlib', 'pyaudio'} & set(sys.modules)))"
    )
    assert (status, said) == (0, "[]"), sys.executable


def test_a_slow_adapter_is_named_with_its_cure(tmp_path: Path) -> None:
    dev, bus = tmp_path / "dev", tmp_path / "bus"
    (bus / "ttyUSB0").mkdir(parents=True)
    dev.mkdir()
    for name in ("ttyUSB0", "ttyACM0"):
        (dev / name).touch()
    timer = bus / "ttyUSB0" / "latency_timer"
    timer.write_text("16\n", encoding="ascii")
    acm, usb, *_ = doctor.check_link(dev, bus, lambda port: f"firmware of {port.name}")
    assert (acm.name, acm.state, acm.found) == ("port ttyACM0", "ok", "firmware of ttyACM0")
    assert usb.state == "optional" and "16 ms" in usb.found and usb.mend == f"echo 1 | sudo tee {timer}"
    timer.write_text("1\n", encoding="ascii")
    assert doctor.check_link(dev, bus, lambda port: "")[1].state == "ok"


def test_a_port_that_is_something_else_is_no_fault_of_the_machine(tmp_path: Path) -> None:
    (tmp_path / "ttyACM0").touch()

    def ask(port: Path) -> str:
        raise DeviceError(str(port), "no answer to hello in 1.5 s", "our firmware", "flash it")

    found = doctor.check_link(tmp_path, tmp_path, ask)[0]
    assert (found.state, found.found, found.mend) == ("optional", "no answer to hello in 1.5 s", "flash it")


def test_a_port_that_this_user_may_not_open_is_named_with_the_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ttyUSB0").touch()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    found = doctor.check_link(tmp_path, tmp_path, lambda port: "")[0]
    assert found.state == "optional" and "may not open it" in found.found and found.mend.startswith("sudo usermod -aG ")


def test_the_firmware_s_version_is_asked_for_through_the_link(tmp_path: Path) -> None:
    (tmp_path / "ttyACM0").touch()  # a file, no port: pyserial says so in its own words
    found = doctor.check_link(tmp_path, tmp_path)[0]
    assert found.state == "optional" and found.found and found.mend
