"""What all generated messages share: packing to bytes and back, with ranges and units.

Engineering values outside, raw integers on the wire: `raw = round(value / scale)`. Packing refuses what is out of range, NaN included;
unpacking gives what came and turns an unknown enum value into UNKNOWN, because the other end may be newer.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ClassVar, Literal, Self

from innervate.runtime.ali.errors import InnervateError

Delivery = Literal["command", "stream", "urgent"]


class LocalProtocolError(InnervateError, ValueError):
    """This end was asked to send what the protocol forbids; the link is as before."""


class RemoteProtocolError(InnervateError, ValueError):
    """The other end sent what the protocol forbids."""


@dataclass(frozen=True, slots=True)
class Spec:
    """One field: `low` and `high` are raw integers or None; `size` is the length of an array of bytes, else 0."""

    name: str
    scale: float
    low: int | None
    high: int | None
    enum: type[IntEnum] | None
    size: int


class Message:
    """Base of the generated messages; each one is a frozen dataclass with its layout as class attributes."""

    __slots__ = ()
    ID: ClassVar[int]
    NAME: ClassVar[str]
    DELIVERY: ClassVar[Delivery]
    CRC_BYTES: ClassVar[int]
    SEED: ClassVar[int]
    LAYOUT: ClassVar[struct.Struct]
    FIELDS: ClassVar[tuple[Spec, ...]]

    def pack(self) -> bytes:
        """Return the payload. Raises LocalProtocolError for a value out of range, with the field and the range."""
        raw: list[int | bytes] = []
        for spec in self.FIELDS:
            value = getattr(self, spec.name)
            if spec.size:
                if len(value) != spec.size:
                    raise LocalProtocolError(f"{self.NAME}.{spec.name}", f"{len(value)} bytes", f"{spec.size}")
                raw.append(bytes(value))
                continue
            if not math.isfinite(value):
                raise LocalProtocolError(f"{self.NAME}.{spec.name}", f"{value}", "a finite number")
            number = round(value) if spec.scale == 1.0 else round(value / spec.scale)  # no division: 64 bits do not fit a float
            if (spec.low is not None and number < spec.low) or (spec.high is not None and number > spec.high):
                low, high = (None if end is None else round(end * spec.scale, 6) for end in (spec.low, spec.high))
                raise LocalProtocolError(f"{self.NAME}.{spec.name}", f"{value!r}", f"{low} to {high}")
            raw.append(number)
        try:
            return self.LAYOUT.pack(*raw)
        except struct.error as error:
            raise LocalProtocolError(self.NAME, f"{self!r}: {error}", "values that fit their types") from error

    @classmethod
    def unpack(cls, payload: bytes) -> Self:
        """Return the message in `payload`. Raises RemoteProtocolError for a wrong length."""
        if len(payload) != cls.LAYOUT.size:
            raise RemoteProtocolError(cls.NAME, f"{len(payload)} bytes", f"{cls.LAYOUT.size}")
        values: list[Any] = []
        for spec, raw in zip(cls.FIELDS, cls.LAYOUT.unpack(payload), strict=True):
            if spec.size:
                values.append(raw)
            elif spec.enum is not None:
                values.append(spec.enum(raw) if raw in spec.enum.__members__.values() else spec.enum["UNKNOWN"])
            else:
                values.append(raw * spec.scale if spec.scale != 1.0 else raw)
        return cls(*values)
