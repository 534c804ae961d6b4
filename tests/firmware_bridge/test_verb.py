"""`innervate link` against the firmware's core on a TCP port."""

from __future__ import annotations

import argparse
import configparser
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from innervate.firmware_bridge import session, verb
from innervate.runtime.ali.errors import DeviceError
from innervate.runtime.cli import LENT, VERB_GROUP
from tests.firmware_bridge.mcu import Mcu
from tests.firmware_bridge.served import Served

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def served() -> Iterator[Served]:
    with Served(Mcu()) as made:
        yield made


def link(*words: str) -> int:
    parser = argparse.ArgumentParser()
    verb.add_parser(parser.add_subparsers(dest="verb", required=True))
    return verb.run(parser.parse_args(["link", *words]))


def test_the_verb_is_lent_to_the_command() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    assert "link" in LENT
    assert f"link = {verb.__name__}" in config["options.entry_points"][VERB_GROUP]


def test_help_has_examples_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        link("--help")
    out = capsys.readouterr().out
    assert "examples:" in out and "exit codes: 0 done" in out and "flash" in out


def test_info_tells_who_is_there(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    assert link("info", "--url", served.url) == 0
    out = capsys.readouterr().out
    assert "session   live" in out.lower() and "port HOST" in out
    assert "the firmware has just started" in out and "clock" in out


def test_monitor_prints_telemetry_as_json_lines(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    assert link("monitor", "--seconds", "0.3", "--url", served.url) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) > 3 and {"t_ns", "gap", "pan_deg", "force_n", "state"} <= set(lines[0])
    assert lines[0]["state"] == "UNCONFIGURED"


def test_stats_has_both_ends(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    assert link("stats", "--url", served.url) == 0
    out = capsys.readouterr().out
    assert "firmware  frames_good" in out and "host      sessions" in out


def test_stop_says_what_holds(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    assert link("stop", "--url", served.url) == 0
    assert "stopped: " in capsys.readouterr().out


def test_rearm_says_what_is_in_the_way(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    assert link("rearm", "--url", served.url) == 0
    assert "armed: nothing holds the stop" in capsys.readouterr().out
    with served.lock:
        served.mcu.lib.host_axis(1, 0, 2)
    assert link("rearm", "--url", served.url) == 1
    assert "servo 2 reports fault" in capsys.readouterr().err


def test_flash_without_a_flash_is_refused(served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from innervate.firmware_bridge.image import make
    from innervate.firmware_bridge.messages import Port

    path = tmp_path / "a.img"
    path.write_bytes(make(b"x" * 256, Port.HOST, 0, 2).to_bytes())
    assert link("flash", str(path), "--url", served.url) == 1
    assert "this port has no flash" in capsys.readouterr().err


def test_flash_names_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="cannot be read"):
        link("flash", str(tmp_path / "none.img"), "--url", "socket://127.0.0.1:1")


def test_the_port_is_chosen_when_there_is_no_choice() -> None:
    assert verb.only_port(["/dev/ttyACM0"]) == "/dev/ttyACM0"
    with pytest.raises(DeviceError, match="no serial port is plugged in"):
        verb.only_port([])
    with pytest.raises(DeviceError, match=r"several ports: a, b; .*--url"):
        verb.only_port(["a", "b"])


def test_list_names_what_is_plugged_in(capsys: pytest.CaptureFixture[str]) -> None:
    assert link("list") == 0
    said = capsys.readouterr()
    assert said.out or "no USB serial port" in said.err


def test_who_tells_version_and_schema(served: Served) -> None:
    assert verb.who(served.url).startswith("host firmware, version 1, build ")
    with pytest.raises(DeviceError, match="nobody listens"):
        verb.who("socket://127.0.0.1:1")


def test_who_refuses_another_schema_and_names_the_file(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session.Session.__init__, "__defaults__", (99, *(session.Session.__init__.__defaults__ or ())[1:]))
    with pytest.raises(verb.RefusedError, match=r"the firmware speaks schema .*build and load"):
        verb.who(served.url)
