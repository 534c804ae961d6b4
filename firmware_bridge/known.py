"""What is known of the firmware from what it said in this session: newest telemetry, stop, counters, and the dictionary as it comes in parts.

A session's end forgets all of it: nobody steers by what another session said.
"""

from __future__ import annotations

import json
import zlib
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from innervate.firmware_bridge.clock import Stamp
from innervate.firmware_bridge.message import Message
from innervate.firmware_bridge.messages import About, DictionaryData, State, Stats, Stopped, Telemetry

HISTORY_MAX = 1024  # 5 s of telemetry for whoever drains it
PART = len(DictionaryData.unpack(bytes(DictionaryData.LAYOUT.size)).data)


@dataclass(frozen=True, slots=True)
class Sample:
    """One telemetry frame: `stamp` is when the firmware took it, `gap` how many were lost before it."""

    telemetry: Telemetry
    stamp: Stamp
    arrived_ns: int
    gap: int


@dataclass(slots=True)
class Known:
    """See the module. `stopped` may be over (see telemetry.state); `stats` is a second old at most."""

    telemetry: Sample | None = None
    stopped: Stopped | None = None
    stats: Stats | None = None
    about: About | None = None
    history: deque[Sample] = field(default_factory=lambda: deque(maxlen=HISTORY_MAX))
    _parts: dict[int, DictionaryData] = field(default_factory=dict)

    @property
    def motion(self) -> State | None:
        """What the firmware does, by the newest telemetry; None without any."""
        return self.telemetry.telemetry.state if self.telemetry else None

    def forget(self) -> None:
        """The session is over. What was not drained yet stays: it did happen."""
        self.telemetry = self.stopped = self.stats = self.about = None
        self._parts.clear()

    def sampled(self, sample: Sample) -> None:
        """Take telemetry."""
        self.telemetry = sample
        self.history.append(sample)

    def hear(self, message: Message) -> None:
        """Take any other message."""
        if isinstance(message, Stopped):
            self.stopped = message
        elif isinstance(message, About):
            self.about = message
        elif isinstance(message, Stats):
            self.stats = message
        elif isinstance(message, DictionaryData) and message.length:
            self._parts[message.offset] = message

    def drain(self) -> list[Sample]:
        """Return and forget the telemetry since the last call, oldest first, the newest HISTORY_MAX at most."""
        samples = list(self.history)
        self.history.clear()
        return samples

    # --- the dictionary ----------------------------------------------------------------------------------------------

    @property
    def offsets(self) -> range:
        """Where its parts begin; empty before `about` has come."""
        return range(0, self.about.dictionary_size if self.about else 0, PART)

    def has_part(self, offset: int) -> bool:
        """Whether the part at `offset` has come."""
        return offset in self._parts

    def dictionary(self) -> dict[str, Any] | None:
        """Return the schema that the firmware was built with; None while parts of it are missing."""
        data = b"".join(part.data[: part.length] for offset in self.offsets if (part := self._parts.get(offset)) is not None)
        if self.about is None or not data or len(data) != self.about.dictionary_size:
            return None
        decoded: dict[str, Any] = json.loads(zlib.decompress(data))
        return decoded
