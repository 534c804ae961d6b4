"""Writes tests/vectors/link.json, which the tests hold against the Python and the C: `python -m tests.firmware_bridge.vectors`."""

from __future__ import annotations

import json
import random
from pathlib import Path

from innervate.firmware_bridge import wire
from innervate.firmware_bridge.messages import MESSAGES

PATH = Path(__file__).resolve().parents[1] / "vectors" / "link.json"


def vectors() -> dict[str, list[dict[str, str | int]]]:
    """Return all vectors: three whole frames of each message, and frames that must be refused."""
    rng = random.Random(3)
    good: list[dict[str, str | int]] = []
    bad: list[dict[str, str | int]] = []
    for kind in MESSAGES.values():
        size = kind.LAYOUT.size
        for name, payload in (("zeros", bytes(size)), ("ones", b"\xff" * size), ("random", rng.randbytes(size))):
            seq = rng.randrange(256)
            body = bytes((kind.ID, seq)) + payload
            check = wire.crc(kind.SEED, kind.CRC_BYTES, body).to_bytes(kind.CRC_BYTES, "little")
            frame = wire.cobs_encode(body + check)
            good.append({"what": f"{kind.NAME} {name}", "id": kind.ID, "seq": seq, "payload": payload.hex(), "frame": frame.hex() + "00"})
        wrong_seed = wire.crc(kind.SEED ^ 1, kind.CRC_BYTES, body).to_bytes(kind.CRC_BYTES, "little")
        bad.append({"what": f"{kind.NAME} with another seed", "frame": wire.cobs_encode(body + wrong_seed).hex() + "00"})
        bad.append({"what": f"{kind.NAME} cut by a byte", "frame": frame[:-1].hex() + "00"})
        bad.append({"what": f"{kind.NAME} and a byte more", "frame": wire.cobs_encode(body + check + b"\1").hex() + "00"})
    bad += [
        {"what": "unknown id", "frame": wire.cobs_encode(b"\x7f\0\1\2\3\4").hex() + "00"},
        {"what": "three bytes", "frame": "0401020300"},
        {"what": "a block that runs past the end", "frame": "0901020300"},
        {"what": "longer than any frame", "frame": "01" * 161 + "00"},
    ]
    cobs: list[dict[str, str | int]] = [
        {"what": "Cheshire and Baker, 1999", "plain": "4500002c4c79000040064f37", "coded": "0245" + "0104" + "2c4c7901" + "0540064f37"},
        {"what": "a zero", "plain": "00", "coded": "0101"},
        {"what": "nothing", "plain": "", "coded": "01"},
        {"what": "no zero", "plain": "01020304", "coded": "0501020304"},
    ]
    crc: list[dict[str, str | int]] = [
        {"what": "CRC-16/CCITT-FALSE check value", "bytes": 2, "start": 0xFFFF, "data": b"123456789".hex(), "crc": 0x29B1},
        {"what": "CRC-32/ISO-HDLC check value", "bytes": 4, "start": 0xFFFFFFFF, "data": b"123456789".hex(), "crc": 0xCBF43926},
    ]
    return {"crc": crc, "cobs": cobs, "good": good, "bad": bad}


def main() -> None:
    """Write the file."""
    PATH.parent.mkdir(parents=True, exist_ok=True)
    PATH.write_text(json.dumps(vectors(), indent=1) + "\n", encoding="ascii")
    print(PATH)


if __name__ == "__main__":
    main()
