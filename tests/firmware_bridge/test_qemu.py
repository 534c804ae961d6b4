"""The ELF that would be flashed, in QEMU, over real sockets.

No claim about real time: durations are the firmware's own stamps, time-outs are seconds.
"""

from __future__ import annotations

import os
import pty
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from innervate.firmware_bridge import wire
from innervate.firmware_bridge.line_faults import Faults
from innervate.firmware_bridge.link import Link, LinkError
from innervate.firmware_bridge.messages import Cause, Port, Probe, Reset, Status
from innervate.firmware_bridge.messages import State as Motion
from innervate.firmware_bridge.qemu import Qemu
from innervate.firmware_bridge.session import Session, State
from innervate.firmware_bridge.transport import PortError, Transport
from innervate.firmware_bridge.words import explain
from innervate.runtime.loop.clock import RealClock
from tests.firmware_bridge.build import build
from tests.firmware_bridge.proxy import FaultProxy
from tests.firmware_bridge.rig import LIMITS, Rig

pytestmark = pytest.mark.slow
TIMEOUT_S = 10.0
TRIES = 20


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with Rig() as made:
        yield made


@pytest.fixture
def link(rig: Rig) -> Iterator[Link]:
    made = rig.open()
    yield made
    made.close()


def drive(rig: Rig, link: Link, pan_deg: float = 20.0, steps: int = 30) -> None:
    """Be in mid-motion: armed, setpoints flowing. A busy test machine keeps simulated servos from answering in time, which rightly stops the
    firmware: then arm again."""
    for _ in range(TRIES):
        try:
            rig.arm(link)
            for _ in range(steps):
                link.setpoint(pan_deg, 5.0)
                time.sleep(0.01)
            if link.telemetry is not None and link.telemetry.telemetry.state is Motion.MOVING:
                return
        except LinkError as error:
            if "servo" not in str(error) and "setpoint" not in str(error):
                raise
    raise AssertionError(f"never in motion: {link.stopped}")


def stopped_by(link: Link, cause: Cause) -> bool:
    return link.stopped is not None and link.stopped.cause is cause


def test_the_handshake_tells_who_is_there(link: Link) -> None:
    info = link.info
    assert info.state is State.LIVE and info.welcome is not None and info.welcome.port is Port.STM32F405
    assert 1e6 < info.welcome.tick_hz < 2e7
    assert set(link.dictionary()) == {"capabilities", "enums", "messages", "protocol"}
    link.wait(lambda: link.info.clock.bound_ns is not None, TIMEOUT_S)


def test_setpoints_move_the_servos(rig: Rig, link: Link) -> None:
    for _ in range(TRIES):
        drive(rig, link, 30.0, 100)
        if rig.axes.servos[0].position_deg > 5.0:
            break
    sample = link.telemetry
    assert sample is not None and sample.telemetry.pan_deg > 5.0


def test_the_deadman_stops_by_the_firmware_s_own_stamps(rig: Rig, link: Link) -> None:
    for _ in range(TRIES):
        drive(rig, link)
        link.wait(lambda: link.stopped is not None and link.telemetry is not None and link.telemetry.telemetry.state is Motion.STOPPED, TIMEOUT_S)
        if stopped_by(link, Cause.DEADMAN):
            break
    stop, welcome = link.stopped, link.info.welcome
    assert stop is not None and welcome is not None and stop.cause is Cause.DEADMAN
    starved_ms = (stop.t_stop_ticks - stop.t_food_ticks) % 2**32 * 1000 / welcome.tick_hz
    assert starved_ms > LIMITS.deadman_ms
    assert "no valid setpoint" in explain(stop, LIMITS)
    with pytest.raises(LinkError, match="re-arm"):
        link.setpoint(0.0, 0.0)


def test_a_stop_is_latched_until_re_armed(rig: Rig, link: Link) -> None:
    for _ in range(TRIES):
        drive(rig, link)
        link.stop(Cause.HOST_REQUEST)
        link.wait(lambda: link.telemetry is not None and link.telemetry.telemetry.state is Motion.STOPPED, TIMEOUT_S)
        if stopped_by(link, Cause.HOST_REQUEST):
            break
    assert stopped_by(link, Cause.HOST_REQUEST)
    with pytest.raises(LinkError, match="the host asked"):
        link.setpoint(0.0, 0.0)


def test_a_reset_in_mid_stream_resumes_nothing(rig: Rig, link: Link) -> None:
    drive(rig, link)
    before = link.info
    assert before.welcome is not None
    link.send(Reset(before.welcome.boot_id))
    link.wait(lambda: link.info.session > before.session and link.info.state is State.LIVE, TIMEOUT_S)
    after = link.info
    assert after.welcome is not None and after.welcome.boot_id != before.welcome.boot_id
    link.wait(lambda: link.telemetry is not None, TIMEOUT_S)
    assert link.telemetry is not None and link.telemetry.telemetry.state is Motion.UNCONFIGURED


def test_a_foreign_schema_keeps_telemetry_and_names_the_file(rig: Rig) -> None:
    other = Link(rig.qemu.url, rig.clock, session=Session(schema_hash=99))
    other.start(TIMEOUT_S)
    try:
        other.wait(lambda: other.telemetry is not None, TIMEOUT_S)
        assert other.info.state is State.LIMITED
        with pytest.raises(LinkError, match=r"update-[ab]\.img"):
            other.configure(LIMITS)
        assert other.request(Probe(bytes(16)), TIMEOUT_S).status is Status.OK
    finally:
        other.close()


HOST = """
import sys, time
from innervate.firmware_bridge.link import Link
from innervate.runtime.loop.clock import RealClock
sys.path.insert(0, {root!r})
from tests.firmware_bridge.rig import LIMITS, arm
link = Link.open({url!r}, RealClock(), 10.0)
arm(link)
print("moving", flush=True)
while True:
    try:
        link.setpoint(10.0, 5.0)
    except Exception:
        arm(link)
    time.sleep(0.01)
"""


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL], ids=["stopped", "killed"])
def test_a_host_that_dies_in_mid_motion(rig: Rig, how: signal.Signals) -> None:
    root = str(Path(__file__).resolve().parents[2])
    code = HOST.format(root=root, url=rig.qemu.url)
    host = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": f"{root}/.links"})
    try:
        assert host.stdout is not None and host.stdout.readline() == "moving\n"
        time.sleep(0.3)
        host.send_signal(how)
        time.sleep(1.0)
    finally:
        host.kill()
        host.communicate()
    link = rig.open()
    link.wait(lambda: link.stopped is not None and link.info.welcome is not None, TIMEOUT_S)
    stop, welcome = link.stopped, link.info.welcome
    assert stop is not None and welcome is not None
    assert stop.cause in (Cause.DEADMAN, Cause.MOTOR)  # never still moving
    if stop.cause is Cause.DEADMAN:
        assert (stop.t_stop_ticks - stop.t_food_ticks) % 2**32 / welcome.tick_hz > LIMITS.deadman_ms / 1000
    link.close()


FAULTS = {
    "drop": Faults(drop=0.02),
    "byte loss 1 %": Faults(lose=0.01),
    "byte loss 5 %": Faults(lose=0.05),
    "byte loss 10 %": Faults(lose=0.10),
    "bit flips": Faults(flip=1e-3),
    "transpose": Faults(transpose=0.01),
    "duplicate": Faults(duplicate=0.1),
}


@pytest.mark.parametrize("name", FAULTS)
def test_commands_through_a_bad_line(rig: Rig, name: str) -> None:
    down = Faults(**{k: getattr(FAULTS[name], k) for k in ("lose", "flip", "drop", "transpose", "duplicate")}, seed=2)
    with FaultProxy(("127.0.0.1", rig.qemu.ports[0]), FAULTS[name], down) as proxy:
        link = rig.open(proxy.url, 40.0)
        tokens = [link.send(Probe(i.to_bytes(16, "little"))) for i in range(5 if "10" in name else 40)]
        assert all(link.answer(t, 60.0).status is Status.OK for t in tokens)
        link.close()


def test_a_slow_line(rig: Rig) -> None:
    with FaultProxy(("127.0.0.1", rig.qemu.ports[0]), Faults(), Faults(), rate_bytes_s=12_000.0) as proxy:
        link = rig.open(proxy.url)
        assert all(link.request(Probe(bytes(16)), TIMEOUT_S).status is Status.OK for _ in range(20))
        link.close()


def test_a_pulled_plug_reconnects_without_a_restart(rig: Rig) -> None:
    with FaultProxy(("127.0.0.1", rig.qemu.ports[0]), Faults(), Faults()) as proxy:
        link = rig.open(proxy.url)
        session = link.info.session
        for _ in range(2):
            proxy.cut()
            link.wait(lambda: link.info.state is not State.LIVE, TIMEOUT_S)
            link.wait(lambda: link.info.state is State.LIVE, TIMEOUT_S)
        assert link.info.session == session + 2
        assert link.request(Probe(bytes(16)), TIMEOUT_S).status is Status.OK
        link.close()


def test_a_line_that_goes_silent_is_said_so_and_heals(rig: Rig) -> None:
    with FaultProxy(("127.0.0.1", rig.qemu.ports[0]), Faults(), Faults()) as proxy:
        link = rig.open(proxy.url)
        proxy.down.keep = 100
        link.wait(lambda: link.info.state is State.GREETING, TIMEOUT_S)
        assert "no valid frame" in link.info.fault
        proxy.down.keep = None
        link.wait(lambda: link.info.state is State.LIVE, TIMEOUT_S)
        link.close()


def test_garbage_on_the_line_changes_nothing(rig: Rig, link: Link) -> None:
    drive(rig, link)
    with link._lock:
        link._transport.write(os.urandom(3000) + bytes(50) + b"\x01\x00" * 50)
    assert link.request(Probe(bytes(16)), TIMEOUT_S).status is Status.OK


def test_nobody_listens() -> None:
    with pytest.raises(PortError, match="start the emulator first"):
        Link.open("socket://127.0.0.1:1", RealClock(), 1.0)


def test_no_such_port() -> None:
    with pytest.raises(PortError, match="plug the board in"):
        Link.open("/dev/ttyNONE", RealClock(), 1.0)


def test_a_gps_is_not_our_firmware() -> None:
    ours, theirs = pty.openpty()
    ending = threading.Event()

    def gps() -> None:
        while not ending.is_set():
            os.write(ours, b"$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47\r\n")
            ending.wait(0.01)

    thread = threading.Thread(target=gps, daemon=True)
    thread.start()
    try:
        with pytest.raises(LinkError, match="another device"):
            Link.open(os.ttyname(theirs), RealClock(), 2.0)
        first = Transport(os.ttyname(theirs))
        first.open()
        with pytest.raises(PortError, match="another program has it open"):
            Transport(os.ttyname(theirs)).open()
        first.dispose()
    finally:
        ending.set()
        thread.join()
        os.close(ours)
        os.close(theirs)


def journal(slot: int) -> bytes:
    """A page whose one record says: keep this slot (firmware/core/boot.h)."""
    body = bytes((0x42, 0x4A, 1, slot)) + (7).to_bytes(4, "little") + bytes(4)
    return body + wire.crc(0xFFFFFFFF, 4, body).to_bytes(4, "little")


@pytest.mark.parametrize(("slot", "damaged", "runs"), [(1, False, 1), (0, False, 0), (1, True, 0)])
def test_the_loader_starts_the_slot_that_the_journal_names(tmp_path: Path, slot: int, damaged: bool, runs: int) -> None:
    """The flash as an update would have left it: a signed image in slot B, a journal. A damaged image is not started."""
    image = bytearray((build("update") / "update-b.img").read_bytes())
    image[-1] ^= damaged
    (tmp_path / "b.img").write_bytes(image)
    (tmp_path / "journal").write_bytes(journal(slot))
    contents = {0x08040000: tmp_path / "b.img", 0x08004000: tmp_path / "journal"}
    with Qemu(build("stm32f405") / "stm32f405.elf", flash=contents) as qemu:
        link = Link.open(qemu.url, RealClock(), TIMEOUT_S)
        try:
            link.wait(lambda: link.info.about is not None, TIMEOUT_S)
            about = link.info.about
            assert about is not None and about.slot == runs
        finally:
            link.close()


def test_the_watchdog_of_the_mps2_truly_resets() -> None:
    with Qemu(build("mps2_an385") / "mps2_an385.elf", "mps2-an385") as qemu:
        link = Link.open(qemu.url, RealClock(), TIMEOUT_S)
        try:
            before = link.info
            assert before.welcome is not None and before.welcome.port is Port.MPS2_AN385
            with socket.create_connection(("127.0.0.1", qemu.ports[2])) as force_line:
                force_line.sendall(b"HANG")  # this port's own back door: the main loop hangs
                link.wait(lambda: link.info.session > before.session and link.info.state is State.LIVE, TIMEOUT_S)
            link.wait(lambda: link.stopped is not None, TIMEOUT_S)
            assert stopped_by(link, Cause.WATCHDOG)
        finally:
            link.close()
