"""What every simulated device offers to the line it hangs on. No I/O and no clock of its own: time is injected.

`feed` gives it bytes that arrived at `t_ns`; `take` gives back what it has sent by `t_ns`. Time never goes back. Answers start after the
device's own delay, so `due_ns` tells when it is worth asking again.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

from innervate.boards.emulator.devices.faults import LineFaults

KEPT_BYTES_MAX = 4096  # unanswered input and untaken output are bounded by this: a peer that only talks cannot fill memory


GAP_NS = 15_000_000  # far more than a master pauses inside a question, less than it waits before it asks again


class Device(Protocol):
    """A device on a serial line. Half a question is forgotten when nothing follows within `gap_ns`."""

    gap_ns: int

    def feed(self, data: bytes, t_ns: int) -> None:
        """Bytes that arrived at `t_ns`."""

    def take(self, t_ns: int) -> bytes:
        """Everything sent up to `t_ns` and not taken yet, oldest first."""

    def due_ns(self) -> int | None:
        """When the oldest untaken byte leaves; None when there is none."""


class Outbox:
    """Answers that wait for their time, in order of that time; among equals the first put goes first."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._size = 0

    def put(self, t_ns: int, data: bytes) -> None:
        """Let `data` leave at `t_ns`; dropped whole when too much waits already."""
        if self._size + len(data) > KEPT_BYTES_MAX or not data:
            return
        self._size += len(data)
        at = len(self._waiting)
        while at and self._waiting[at - 1][0] > t_ns:
            at -= 1
        self._waiting.insert(at, (t_ns, data))

    def take(self, t_ns: int) -> bytes:
        """What leaves up to `t_ns`."""
        parts = []
        while self._waiting and self._waiting[0][0] <= t_ns:
            parts.append(self._waiting.popleft()[1])
        self._size -= sum(map(len, parts))
        return b"".join(parts)

    def due_ns(self) -> int | None:
        """When the oldest answer leaves."""
        return self._waiting[0][0] if self._waiting else None

    def clear(self) -> None:
        """Forget everything that waits: the device lost its power."""
        self._waiting.clear()
        self._size = 0


def garbled(answer: bytes, faults: LineFaults, tail: int) -> bytes:
    """Apply the faults that change an answer whose checksum is its last `tail` bytes.

    A wrong address is the caller's to apply, under a checksum that is right for it: else it would be one more corrupt answer.
    """
    if faults.corrupt:
        at = len(answer) - tail
        answer = answer[:at] + bytes([answer[at] ^ 0x10]) + answer[at + 1 :]
    return faults.garbage + answer[: max(0, len(answer) - faults.cut)]
