"""Trials of the firmware and the protocol in simulated time: what the tests assert and `make bench-link` prints.

Each function says what it does and returns figures; the goals stand in bench.py and in the tests.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from pathlib import Path

from innervate.firmware_bridge import image as images
from innervate.firmware_bridge.clock import ClockSync
from innervate.firmware_bridge.line_faults import Faults
from innervate.firmware_bridge.messages import Arm, Cause, ImageBegin, ImageConfirm, ImageData, ImageEnd, Port, Probe, Reply, Setpoint, Status
from innervate.firmware_bridge.session import Connected, Session
from innervate.firmware_bridge.simulated import SimulatedMcu
from innervate.firmware_bridge.window import Replied

MS = 1_000_000
S = 1_000_000_000


def times_to_stop_ms(library: Path, runs: int) -> list[float]:
    """Kill the host in mid-motion, `runs` times, half of them with setpoints scheduled 90 ms ahead; return the firmware's own times from the last
    valid setpoint to the safe state."""
    mcu = SimulatedMcu(library)
    mcu.arm()
    boot = mcu.hello().boot_id
    times = []
    for run in range(runs):
        for step in range(1 + run % 7):
            at = mcu.ticks + 90_000 * (run % 2)
            mcu.send(Setpoint(at, at + 100_000, float(step), 0.0))
            mcu.advance_ms(3 + run % 11)
        mcu.advance_ms(140)
        stop = mcu.stopped()
        if stop.cause is not Cause.DEADMAN or mcu.ask(Arm(boot, stop.stop_count)).status is not Status.OK:
            times.append(math.inf)
            continue
        times.append((stop.t_stop_ticks - stop.t_food_ticks) % 2**32 / 1000)
    return times


def delivered(library: Path, faults: Faults, count: int) -> tuple[int, int]:
    """Send `count` acknowledged commands over a line with `faults` both ways; return how many were answered and how often one was carried out."""
    mcu, session = SimulatedMcu(library), Session()
    down = Faults(faults.lose, faults.flip, faults.drop, faults.transpose, faults.duplicate, None, faults.seed + 1)
    session.open(1, 0)
    now, answered, asked = 0, 0, False
    while answered < count and now < 3600 * S:
        mcu.feed(faults.apply(session.data_to_send(now)))
        mcu.advance_ms(0.5)
        now += MS // 2
        for event in session.receive(down.apply(mcu.take()), now):
            answered += isinstance(event, Replied) and event.status is Status.OK
            if isinstance(event, Connected) and not asked:
                asked = True
                for index in range(count):
                    session.command(Probe(index.to_bytes(16, "little")))
        session.poll(now, now + 1)
    return answered, int(mcu.lib.host_expected())


class Crystal:
    """A microcontroller's counter: `hz` is its true rate, which wanders by `wander_ppm` over ten minutes; `shift_s` makes it jump."""

    def __init__(self, hz: float, wander_ppm: float = 2.0) -> None:
        self.hz, self.wander_ppm, self.shift_s = hz, wander_ppm, 0.0

    def tick(self, t_ns: float) -> int:
        """Return the counter at the true time `t_ns`."""
        t = t_ns / S
        wander = self.wander_ppm * 1e-6 * 600 / (2 * math.pi) * (1 - math.cos(2 * math.pi * t / 600))
        return int((t + wander + self.shift_s) * self.hz) % 2**32


def _delay_ns(rng: random.Random) -> int:
    """One way over USB or a socket on a busy machine: 0.3 ms and a tail, one in twenty up to 30 ms."""
    return round(300_000 + rng.expovariate(1 / 150_000)) + (rng.randrange(30 * MS) if rng.random() < 0.05 else 0)


@dataclass(frozen=True, slots=True)
class ClockHour:
    """`wrong`: stamps whose truth lay outside their stated bound; not counted are the few between a step and the first byte that could show it."""

    checked: int
    wrong: int
    steps: int
    bounds_ns: list[int]


def clock_hour(told_ppm: float = 0.0, seconds: int = 3600) -> ClockHour:
    """Run the clock map against a crystal whose rate was told wrong by `told_ppm`, with load, ten wraps of 32 bits and three steps."""
    rng = random.Random(11)
    true_hz = 11_904_761.9
    crystal = Crystal(true_hz)
    sync = ClockSync(round(true_hz * (1 + told_ppm * 1e-6)))
    steps = {600 * S: 3.0, 1500 * S: -0.4, 2400 * S: 120.0}  # the emulator or the host slept
    bounds: list[int] = []
    wrong, hidden, now, due = 0, 0, 0, 0
    while now < seconds * S:
        now += 50 * MS
        for at in [t for t in steps if t <= now]:
            crystal.shift_s += steps.pop(at)
            hidden = 60
        before = sync.steps
        if now >= due:
            there = now + _delay_ns(rng)
            back = there + _delay_ns(rng)
            sync.add(crystal.tick(there), now, back)
            due = now + (50 * MS if sync.pings < 8 else 1500 * MS)
            now = back
        taken = now
        now = taken + _delay_ns(rng)
        stamp = sync.to_host(crystal.tick(taken), now)
        if sync.steps > before:
            hidden = 0
        if stamp.bound_ns is None:
            continue
        bounds.append(stamp.bound_ns)
        wrong += hidden == 0 and abs(stamp.t_ns - taken) > stamp.bound_ns + 100  # a tick is 84 ns long
        hidden = max(0, hidden - 1)
    return ClockHour(len(bounds), wrong, sync.steps, bounds)


# --- updates ---------------------------------------------------------------------------------------------------------

CODE = random.Random(1).randbytes(1500)


def factory_board(library: Path) -> SimulatedMcu:
    """A board as the factory leaves it: version 1 in slot A, no journal; switched on."""
    mcu = SimulatedMcu(library, flash=True)
    raw = images.make(CODE[:900], Port.HOST, images.ANY_SLOT, 1, None).to_bytes()
    mcu.lib.host_flash_write(0, 0, raw, len(raw))
    mcu.power_on()
    return mcu


def send_image(mcu: SimulatedMcu, raw: bytes) -> tuple[Status, int] | None:
    """Send an image; return the first refusal or the last answer with its detail; None when the power went."""
    pieces = [ImageData(at, len(raw[at : at + 128]), raw[at : at + 128].ljust(128, b"\0")) for at in range(0, len(raw), 128)]
    for message in (ImageBegin(len(raw)), *pieces, ImageEnd()):
        mcu.send(message)
        mcu.advance_ms(1)
        if mcu.lib.host_flash_was_cut():
            return None
        reply = next(m for m in mcu.messages() if isinstance(m, Reply))
        if reply.status is not Status.OK:
            return reply.status, reply.detail
    return Status.OK, 0


def _update(mcu: SimulatedMcu, raw: bytes) -> None:
    """A whole update, as far as the power lasts: send, restart, confirm."""
    mcu.hello()
    if send_image(mcu, raw) is not None and mcu.power_on() == 1:
        mcu.send(ImageConfirm(mcu.hello().boot_id))
        mcu.advance_ms(1)


def power_cuts(library: Path, moments: int | None) -> list[int]:
    """Cut the power at `moments` random moments of an update, or at each one (None); return the version that then starts, -1 for none.

    A moment is one word written or 64 bytes erased, half done.
    """
    new = images.make(CODE, Port.HOST, images.ANY_SLOT, 2).to_bytes()
    mcu = factory_board(library)
    begin = int(mcu.lib.host_flash_operations())
    _update(mcu, new)
    total = int(mcu.lib.host_flash_operations()) - begin
    rng = random.Random(8)
    started = []
    for cut in range(total) if moments is None else [rng.randrange(total) for _ in range(moments)]:
        mcu = factory_board(library)
        mcu.lib.host_flash_cut_after(cut)
        _update(mcu, new)
        mcu.lib.host_flash_cut_after(-1)
        version = -1 if mcu.power_on() < 0 else mcu.version
        started.append(version if mcu.power_on() >= 0 else -1)  # and once more: what started is still there
    return started
