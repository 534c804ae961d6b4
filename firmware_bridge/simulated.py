"""The firmware's core as a library (firmware/ports/host): a microcontroller with simulated time, hundreds of times faster than a real one.

What it does not imitate: the rate of the lines (bytes arrive when they are fed), the time that code takes, and the devices, which are perfect but
for the faults that `lib.host_axis` and `lib.host_force` inject.
"""

from __future__ import annotations

import ctypes
import shutil
import tempfile
from pathlib import Path

from innervate.firmware_bridge import wire
from innervate.firmware_bridge.message import Message
from innervate.firmware_bridge.messages import PROTOCOL, SCHEMA_HASH, Arm, Configure, Hello, Reply, Safe, Status, Stopped, Welcome

TICK_HZ = 1_000_000
LIMITS = Configure(-90.0, 90.0, -45.0, 45.0, 120.0, 120.0, 100, Safe.HOLD, 0.0, 0, 0, 0)


class SimulatedMcu:
    """One microcontroller: its own copy of the library, so several may live in one process."""

    def __init__(self, library: Path, seed: int = 1, flash: bool = False) -> None:
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder, f"mcu{id(self)}.so")
            shutil.copy(library, copy)
            self.lib = ctypes.CDLL(str(copy))
        self.lib.host_flash_cut_after.argtypes = [ctypes.c_int64]
        self.lib.host_flash_operations.restype = ctypes.c_int64
        self.lib.host_now.restype = ctypes.c_uint32
        self.lib.host_flash_format(int(flash))
        self.reader = wire.Reader()
        self.seqs: dict[int, int] = {}
        self.slot = -1
        self.nonce = 0
        if not flash:
            self.slot = self.lib.host_power_on(seed)

    def power_on(self, seed: int = 1) -> int:
        """Cold start; return the slot that starts, -1 for none."""
        self.seqs.clear()
        self.nonce = 0
        self.reader = wire.Reader()
        self.slot = int(self.lib.host_power_on(seed))
        return self.slot

    @property
    def version(self) -> int:
        """Of the image that started last."""
        return ctypes.c_uint32.in_dll(self.lib, "host_version").value

    def feed(self, data: bytes, port: int = 0) -> None:
        """Bytes arrive on a line."""
        self.lib.host_feed(port, data, len(data))

    def take(self, port: int = 0) -> bytes:
        """Bytes that the firmware sent."""
        room = ctypes.create_string_buffer(4096)
        size = self.lib.host_take(port, room, 4096)
        return room.raw[:size]

    def advance_ms(self, ms: float) -> None:
        """Let time pass."""
        self.lib.host_advance(round(ms * 1000))

    @property
    def ticks(self) -> int:
        """The counter, TICK_HZ a second."""
        return int(self.lib.host_now())

    @property
    def state(self) -> int:
        """Enum state of the schema; -1 while nothing runs."""
        return int(self.lib.host_state())

    # --- a host without a session object, for tests of the firmware alone -------------------------------------------

    def send(self, message: Message, seq: int | None = None) -> None:
        """Send one frame with the next sequence number of its kind; commands share one."""
        key = 0 if message.DELIVERY == "command" else message.ID
        number = self.seqs.get(key, 0) if seq is None else seq
        if seq is None:
            self.seqs[key] = (number + 1) % 256
        self.feed(wire.encode(message, number))

    def messages(self) -> list[Message]:
        """What the firmware said since the last call."""
        return [m for m, _ in self.reader.feed(self.take())]

    def ask(self, message: Message) -> Reply:
        """Send a command; return its reply."""
        self.send(message)
        self.advance_ms(1)
        replies = [m for m in self.messages() if isinstance(m, Reply)]
        assert len(replies) == 1, replies
        return replies[0]

    def hello(self, nonce: int = 1, schema: int = SCHEMA_HASH) -> Welcome:
        """Open a session."""
        self.send(Hello(PROTOCOL, schema, nonce))
        if nonce != self.nonce:
            self.nonce = nonce
            self.seqs.pop(0, None)  # commands are counted anew
        self.advance_ms(1)
        return next(m for m in self.messages() if isinstance(m, Welcome) and m.nonce == nonce)

    def arm(self, limits: Configure = LIMITS) -> None:
        """Open a session, configure, arm; asserts that each is accepted."""
        boot = self.hello().boot_id
        assert self.ask(limits).status is Status.OK
        assert self.ask(Arm(boot, self.stop_count())).status is Status.OK

    def stop_count(self) -> int:
        """The count that `arm` must name."""
        return self.stopped().stop_count

    def stopped(self) -> Stopped:
        """The newest stop, as the firmware repeats it."""
        self.messages()
        self.advance_ms(120)
        return [m for m in self.messages() if isinstance(m, Stopped)][-1]
