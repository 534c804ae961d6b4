"""Writes what follows from `schema.toml`: the C header, the dictionary in C, the Python types.

    python -m innervate.firmware_bridge.generate           write the files
    python -m innervate.firmware_bridge.generate --check   exit 1 when one is stale, and name it
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from innervate.firmware_bridge.schema import Field, Message, Schema, load

ROOM = Path(__file__).parent
HEADER = ROOM / "firmware" / "core" / "generated" / "messages.h"
DICTIONARY = ROOM / "firmware" / "core" / "generated" / "dictionary.h"
PYTHON = ROOM / "messages.py"
MADE = "Made from schema.toml by `python -m innervate.firmware_bridge.generate`; edit the schema, not this file."
STRUCT = {"u8": "B", "u16": "H", "u32": "I", "u64": "Q", "i8": "b", "i16": "h", "i32": "i"}


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _ctype(field: Field) -> str:
    return "uint8_t" if field.is_bytes else ("uint" if field.type[0] == "u" else "int") + field.type[1:] + "_t"


# --- C --------------------------------------------------------------------------------------------------------------

C_HELPERS = """\
static inline void msg_put(uint8_t *at, uint64_t value, unsigned bytes) {
    for (unsigned i = 0; i < bytes; i++) at[i] = (uint8_t)(value >> (8u * i));
}
static inline uint64_t msg_get(const uint8_t *at, unsigned bytes) {
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++) value |= (uint64_t)at[i] << (8u * i);
    return value;
}
"""


def _c_message(message: Message) -> list[str]:
    name = message.name
    lines = [f"/* {message.doc} */", f"struct msg_{name} {{"]
    for f in message.fields:
        unit = f"  /* {f.scale:g} of {f.name} */" if f.scale != 1.0 else ""
        lines.append(f"    {_ctype(f)} {f.raw}{f'[{f.count}]' if f.is_bytes else ''};{unit}")
    if not message.fields:
        lines.append("    uint8_t nothing; /* C has no empty struct; not on the wire */")
    lines += ["};", f"static inline void msg_{name}_pack(const struct msg_{name} *m, uint8_t *p) {{"]
    at = 0
    for f in message.fields:
        if f.is_bytes:
            lines.append(f"    memcpy(p + {at}, m->{f.raw}, {f.count});")
        else:
            lines.append(f"    msg_put(p + {at}, (uint64_t)m->{f.raw}, {f.size});")
        at += f.size
    lines += ["    (void)m; (void)p;" if not message.fields else "", "}"]
    lines.append(f"static inline void msg_{name}_unpack(struct msg_{name} *m, const uint8_t *p) {{")
    at = 0
    for f in message.fields:
        if f.is_bytes:
            lines.append(f"    memcpy(m->{f.raw}, p + {at}, {f.count});")
        else:
            lines.append(f"    m->{f.raw} = ({_ctype(f)})msg_get(p + {at}, {f.size});")
        at += f.size
    lines += ["    m->nothing = 0; (void)p;" if not message.fields else "", "}"]
    lines.append(f"/* Index of the first field outside its range, or -1. */\nstatic inline int msg_{name}_check(const struct msg_{name} *m) {{")
    for i, f in enumerate(message.fields):
        bounds = []
        if f.low is not None and not (f.low == 0 and f.type[0] == "u"):
            bounds.append(f"m->{f.raw} < {f.low}")
        if f.high is not None:
            bounds.append(f"m->{f.raw} > {f.high}")
        if bounds:
            lines.append(f"    if ({' || '.join(bounds)}) return {i};")
    lines += ["    (void)m;", "    return -1;", "}", ""]
    return [line for line in lines if line != ""] + [""]


def header(schema: Schema) -> str:
    """Return the text of messages.h."""
    lines = [f"/* {MADE} */", "#ifndef INNERVATE_MESSAGES_H", "#define INNERVATE_MESSAGES_H", ""]
    lines += ["#include <stdint.h>", "#include <string.h>", ""]
    lines += [f"#define MSG_PROTOCOL {schema.protocol}u", f"#define MSG_SCHEMA_HASH 0x{schema.hash:016x}ull"]
    lines.append(f"#define MSG_PAYLOAD_MAX {max(m.payload for m in schema.messages)}u")
    incoming = [m.payload for m in schema.messages if m.id < 0x80]
    lines += [f"#define MSG_PAYLOAD_MAX_IN {max(incoming)}u", ""]
    for enum, values in schema.enums.items():
        body = ", ".join(f"{enum.upper()}_{key.upper()} = {value}" for key, value in values.items())
        lines.append(f"enum {enum} {{ {body} }};")
    body = ", ".join(f"CAPABILITY_{key.upper()} = 1 << {bit}" for key, bit in schema.capabilities.items())
    lines += [f"enum capability {{ {body} }};", ""]
    body = ",\n".join(f"    MSG_{m.name.upper()} = 0x{m.id:02x}" for m in schema.messages)
    lines += ["enum msg_id {", body, "};", "enum msg_class { CLASS_COMMAND, CLASS_STREAM, CLASS_URGENT };", ""]
    lines += ["struct msg_info { uint8_t id; uint8_t payload; uint8_t delivery; uint8_t crc_bytes; uint32_t seed; };"]
    lines += ["#ifdef MSG_WITH_TABLE /* wire.c alone */", "static const struct msg_info MSG_INFO[] = {"]
    for m in schema.messages:
        lines.append(f"    {{ 0x{m.id:02x}, {m.payload}, CLASS_{m.delivery.upper()}, {m.crc // 8}, 0x{m.seed:08x}u }}, /* {m.name} */")
    lines += ["};", "#endif", f"#define MSG_COUNT {len(schema.messages)}u", "", C_HELPERS]
    for m in schema.messages:
        lines += _c_message(m)
    lines += ["#endif", ""]
    return "\n".join(lines)


def dictionary(schema: Schema) -> str:
    """Return the text of dictionary.h: the compressed JSON as an array."""
    data = schema.dictionary()
    rows = [", ".join(f"0x{b:02x}" for b in data[i : i + 24]) for i in range(0, len(data), 24)]
    body = ",\n    ".join(rows)
    return f"/* {MADE} */\n#define DICTIONARY_SIZE {len(data)}u\nstatic const unsigned char DICTIONARY[DICTIONARY_SIZE] = {{\n    {body}\n}};\n"


# --- Python ---------------------------------------------------------------------------------------------------------


def _py_type(f: Field) -> str:
    if f.is_bytes:
        return "bytes"
    if f.enum:
        return _camel(f.enum)
    return "float" if f.scale != 1.0 else "int"


def _py_message(m: Message) -> list[str]:
    lines = ["@dataclass(frozen=True, slots=True)", f"class {_camel(m.name)}(Message):", f'    """{m.doc[0].upper()}{m.doc[1:]}."""', ""]
    lines += [f"    ID: ClassVar[int] = 0x{m.id:02X}", f'    NAME: ClassVar[str] = "{m.name}"']
    lines += [f'    DELIVERY: ClassVar[Delivery] = "{m.delivery}"', f"    CRC_BYTES: ClassVar[int] = {m.crc // 8}"]
    lines.append(f"    SEED: ClassVar[int] = 0x{m.seed:08X}")
    form = "<" + "".join(f"{f.count}s" if f.is_bytes else STRUCT[f.type] for f in m.fields)
    lines.append(f'    LAYOUT: ClassVar[struct.Struct] = struct.Struct("{form}")')
    if m.fields:
        lines.append("    FIELDS: ClassVar[tuple[Spec, ...]] = (")
        for f in m.fields:
            enum = _camel(f.enum) if f.enum else "None"
            size = f.count if f.is_bytes else 0
            lines.append(f'        Spec("{f.name}", {f.scale!r}, {f.low}, {f.high}, {enum}, {size}),')
        lines.append("    )")
        lines.append("")
        lines += [f"    {f.name}: {_py_type(f)}" for f in m.fields]
    else:
        lines.append("    FIELDS: ClassVar[tuple[Spec, ...]] = ()")
    return [*lines, "", ""]


def python(schema: Schema) -> str:
    """Return the text of messages.py."""
    lines = [f'"""The messages of the link. {MADE}"""', "", "from __future__ import annotations", ""]
    lines += ["import struct", "from dataclasses import dataclass", "from enum import IntEnum, IntFlag", "from typing import ClassVar", ""]
    lines += ["from innervate.firmware_bridge.message import Delivery, Message, Spec", ""]
    lines += [f"PROTOCOL = {schema.protocol}", f"SCHEMA_HASH = 0x{schema.hash:016X}", "", ""]
    for enum, values in schema.enums.items():
        lines += [f"class {_camel(enum)}(IntEnum):", f'    """`{enum}` of the schema; UNKNOWN is what an end of another version said."""', ""]
        lines += [f"    {key.upper()} = {value}" for key, value in values.items()] + ["    UNKNOWN = 255", "", ""]
    lines += ["class Capability(IntFlag):", '    """Bits of `about.capabilities`."""', ""]
    lines += [f"    {key.upper()} = {1 << bit}" for key, bit in schema.capabilities.items()] + ["", ""]
    for m in schema.messages:
        lines += _py_message(m)
    lines.append("MESSAGES: dict[int, type[Message]] = {")
    lines += [f"    0x{m.id:02X}: {_camel(m.name)}," for m in schema.messages] + ["}", ""]
    return "\n".join(lines)


def outputs(schema: Schema) -> dict[Path, str]:
    """Return every generated file with its text."""
    return {HEADER: header(schema), DICTIONARY: dictionary(schema), PYTHON: python(schema)}


def main(argv: list[str] | None = None) -> int:
    """Write or check; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a file is stale")
    args = parser.parse_args(argv)
    stale = [(p, t) for p, t in outputs(load()).items() if not p.exists() or p.read_text(encoding="utf-8") != t]
    for path, text in stale:
        if not args.check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        print(f"{path.relative_to(ROOM)}: {'stale; run python -m innervate.firmware_bridge.generate' if args.check else 'written'}")
    return 1 if stale and args.check else 0


if __name__ == "__main__":
    sys.exit(main())
