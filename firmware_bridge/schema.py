"""Reads `schema.toml`: the messages of the link, checked whole, with what follows from them (lengths, seeds, the hash).

The hash is over the canonical JSON of the whole schema (names, ids, types, scales, ranges, enums), so any change that could make the two
ends disagree changes it. Prose (`doc`) is left out. The CRC seed of a message is over that message alone: an end with an older schema still
understands every message that did not change, so telemetry, stop and update work across versions while actuation is refused.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from innervate.runtime.ali.errors import InnervateError, nearest

PATH = Path(__file__).with_name("schema.toml")
PAYLOAD_MAX = 140  # with id, seq, CRC-32 a frame stays below 254 bytes, so COBS adds exactly one byte and lengths are fixed on the wire
DICTIONARY_LEVEL = 9
TYPES = {"u8": 1, "u16": 2, "u32": 4, "u64": 8, "i8": 1, "i16": 2, "i32": 4}

Delivery = Literal["command", "stream", "urgent"]


class SchemaError(InnervateError, ValueError):
    """A schema that cannot be used; names the message and the field."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field: `name` in engineering units, `raw` the C name, `scale` between the two; `low`/`high` are raw integers."""

    name: str
    type: str
    raw: str
    scale: float
    low: int | None
    high: int | None
    enum: str

    @property
    def size(self) -> int:
        """Bytes on the wire."""
        return self.count if self.is_bytes else TYPES[self.type]

    @property
    def is_bytes(self) -> bool:
        """Whether this is an array of bytes."""
        return self.type.startswith("bytes[")

    @property
    def count(self) -> int:
        """Length of the array of bytes."""
        return int(self.type[6:-1])


@dataclass(frozen=True, slots=True)
class Message:
    """One message; `payload` is its length in bytes, `seed` where its CRC starts."""

    name: str
    id: int
    delivery: Delivery
    crc: int
    doc: str
    fields: tuple[Field, ...]

    @property
    def payload(self) -> int:
        """Bytes of all fields."""
        return sum(f.size for f in self.fields)

    @property
    def seed(self) -> int:
        """First register value of the CRC: a hash of what the bytes mean."""
        shape = [self.name, self.id, [[f.name, f.type, f.scale] for f in self.fields]]
        digest = hashlib.sha256(json.dumps(shape, separators=(",", ":")).encode()).digest()
        return int.from_bytes(digest[: self.crc // 8], "little")


@dataclass(frozen=True, slots=True)
class Schema:
    """The whole link: `messages` in id order."""

    protocol: int
    messages: tuple[Message, ...]
    enums: dict[str, dict[str, int]]
    capabilities: dict[str, int]

    def canonical(self) -> bytes:
        """Return the JSON that the hash and the dictionary are made of."""
        body = {
            "protocol": self.protocol,
            "enums": self.enums,
            "capabilities": self.capabilities,
            "messages": {
                m.name: {
                    "id": m.id,
                    "class": m.delivery,
                    "crc": m.crc,
                    "fields": [[f.name, f.type, f.scale, f.low, f.high, f.enum] for f in m.fields],
                }
                for m in self.messages
            },
        }
        return json.dumps(body, sort_keys=True, separators=(",", ":")).encode()

    @property
    def hash(self) -> int:
        """64 bits that name this schema."""
        return int.from_bytes(hashlib.sha256(self.canonical()).digest()[:8], "little")

    def dictionary(self) -> bytes:
        """Return what the firmware carries: the canonical JSON, compressed."""
        return zlib.compress(self.canonical(), DICTIONARY_LEVEL)


def _field(who: str, raw: dict[str, Any], enums: dict[str, dict[str, int]]) -> Field:
    known = {"name", "type", "scale", "raw", "min", "max", "enum"}
    for key in raw:
        if key not in known:
            raise SchemaError(who, f"unknown key {key!r}", "", nearest(key, known))
    kind = raw["type"]
    if kind not in TYPES and not (kind.startswith("bytes[") and kind.endswith("]") and kind[6:-1].isdigit()):
        raise SchemaError(who, f"type {kind!r}", f"one of {', '.join(TYPES)} or bytes[N]")
    enum = raw.get("enum", "")
    if enum and enum not in enums:
        raise SchemaError(who, f"enum {enum!r}", "a table of [enums]", nearest(enum, enums))
    scale = float(raw.get("scale", 1.0))
    if scale != 1.0 and "raw" not in raw:
        raise SchemaError(who, "a scale without `raw`", "the C name of the integer")
    low, high = (round(raw[k] / scale) if k in raw else None for k in ("min", "max"))
    if enum:
        low, high = min(enums[enum].values()), max(enums[enum].values())
    return Field(raw["name"], kind, raw.get("raw", raw["name"]), scale, low, high, enum)


def parse(text: str) -> Schema:
    """Return the schema in `text` (TOML). Raises SchemaError with the place."""
    top = tomllib.loads(text)
    enums: dict[str, dict[str, int]] = top["enums"]
    messages = []
    for name, raw in top["messages"].items():
        fields = tuple(_field(f"schema.toml: {name}.{f.get('name')}", f, enums) for f in raw["fields"])
        if raw["class"] not in ("command", "stream", "urgent") or raw["crc"] not in (16, 32):
            raise SchemaError(f"schema.toml: {name}", f"class {raw['class']!r}, crc {raw['crc']!r}", "command, stream or urgent; 16 or 32")
        message = Message(name, raw["id"], raw["class"], raw["crc"], raw["doc"], fields)
        if message.payload > PAYLOAD_MAX:
            raise SchemaError(f"schema.toml: {name}", f"{message.payload} bytes", f"at most {PAYLOAD_MAX}", "send it in pieces")
        messages.append(message)
    ids = [m.id for m in messages]
    if len(set(ids)) != len(ids) or not all(0 < i < 256 for i in ids):
        raise SchemaError("schema.toml", "ids that repeat or do not fit a byte", "one id of 1..255 for each message")
    return Schema(top["protocol"], tuple(sorted(messages, key=lambda m: m.id)), enums, top["capabilities"])


def load(path: Path = PATH) -> Schema:
    """Return the schema of the file `path`."""
    return parse(path.read_text(encoding="utf-8"))
