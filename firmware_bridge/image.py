"""Firmware images: the header that says what they are, and the signature that says whose.

    python -m innervate.firmware_bridge.image stamp ELF --target stm32f405 --slot 0 --version 3 [--objcopy arm-none-eabi-objcopy]
    python -m innervate.firmware_bridge.image pack CODE OUT --target stm32f405 --slot 1 --version 3 [--key PRIVATE]
    python -m innervate.firmware_bridge.image show IMAGE
    python -m innervate.firmware_bridge.image key FOLDER

Layout (firmware/core/image.h, which checks it): header 64 bytes, Ed25519 signature of the header 64 bytes, zeros to 512, code. The header holds
CRC-32 and SHA-256 of the code, so the signature covers all of it. Signing needs the `cryptography` package; the rest is the standard library.

The development key is known to everybody (firmware/keys/key.h says so); `key` makes a pair for a product.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import struct
import subprocess
import sys
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from innervate.firmware_bridge.messages import Port
from innervate.runtime.ali.errors import InnervateError

MAGIC = b"INVF\x01"
HEADER = struct.Struct("<5sBBxIII32s12x")
SIGNATURE = 64
CODE_AT = 512
ANY_SLOT = 255
DEVELOPMENT_SEED = hashlib.sha256(b"innervate development key").digest()


class ImageError(InnervateError, ValueError):
    """A file that is not a firmware image, or not a whole one."""


@dataclass(frozen=True, slots=True)
class Image:
    """What the header says; `code` is the rest of the file."""

    target: Port
    slot: int
    version: int
    code: bytes
    signature: bytes

    def header(self) -> bytes:
        """Return the 64 signed bytes."""
        return HEADER.pack(MAGIC, self.target, self.slot, self.version, len(self.code), zlib.crc32(self.code), hashlib.sha256(self.code).digest())

    def to_bytes(self) -> bytes:
        """Return the file."""
        return (self.header() + self.signature).ljust(CODE_AT, b"\0") + self.code


def sign(header: bytes, seed: bytes = DEVELOPMENT_SEED) -> bytes:
    """Return the Ed25519 signature of `header` by the private key `seed` (32 bytes). Raises ImageError without `cryptography`."""
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    except ImportError as error:
        raise ImageError("firmware image", "signing needs the package cryptography", "", "pip install 'innervate[firmware]'") from error
    return Ed25519PrivateKey.from_private_bytes(seed).sign(header)


def make(code: bytes, target: Port, slot: int, version: int, seed: bytes | None = DEVELOPMENT_SEED) -> Image:
    """Return an image of `code`, signed with `seed`; None leaves the signature zero, which a factory image may and an update may not."""
    bare = Image(target, slot, version, code, bytes(SIGNATURE))
    return bare if seed is None else Image(target, slot, version, code, sign(bare.header(), seed))


def parse(data: bytes, name: str = "image") -> Image:
    """Return the image in `data`. Raises ImageError with what is wrong; the signature is the firmware's to check."""
    if len(data) <= CODE_AT or data[:5] != MAGIC:
        raise ImageError(name, f"{len(data)} bytes beginning {data[:5]!r}", f"{MAGIC!r}", "give a file made by `image pack`")
    _, target, slot, version, size, crc, sha = HEADER.unpack_from(data)
    code = data[CODE_AT:]
    if len(code) != size:
        raise ImageError(name, f"{len(code)} bytes of code", f"{size}", "the file is cut or has something behind it; copy it again")
    if zlib.crc32(code) != crc or hashlib.sha256(code).digest() != sha:
        raise ImageError(name, "code that is not what the header says", "", "the file is damaged; copy it again")
    try:
        port = Port(target)
    except ValueError as error:
        raise ImageError(name, f"target {target}", ", ".join(f"{p.value} {p.name.lower()}" for p in Port)) from error
    return Image(port, slot, version, code, data[HEADER.size : HEADER.size + SIGNATURE])


def stamp(elf: Path, target: Port, slot: int, version: int, objcopy: str) -> None:
    """Write the header of the code that `elf` holds into its section .image_header."""
    with tempfile.TemporaryDirectory() as folder:
        code, header = Path(folder, "code"), Path(folder, "header")
        keep = ["-O", "binary", "--remove-section=.loader", "--remove-section=.image_header"]
        subprocess.run([objcopy, *keep, str(elf), str(code)], check=True)
        header.write_bytes(make(code.read_bytes(), target, slot, version, None).to_bytes()[:CODE_AT])
        subprocess.run([objcopy, f"--update-section=.image_header={header}", str(elf)], check=True)


def new_key(folder: Path) -> None:
    """Write a fresh pair to `folder`: key.h for the firmware's build, private.key (32 bytes, readable by its owner alone)."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    folder.mkdir(parents=True, exist_ok=True)
    key = Ed25519PrivateKey.generate()
    body = ", ".join(f"0x{b:02x}" for b in key.public_key().public_bytes_raw())
    secret = folder / "private.key"
    with os.fdopen(os.open(secret, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(key.private_bytes_raw())
    text = f"#ifndef INNERVATE_KEY_H\n#define INNERVATE_KEY_H\n\n#define BUILD_KEY {{ {body} }}\n\n#endif\n"
    (folder / "key.h").write_text(text, encoding="ascii")


def main(argv: list[str] | None = None) -> int:
    """Run one verb; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in ("stamp", "pack"):
        sub = verbs.add_parser(verb)
        sub.add_argument("source", type=Path)
        if verb == "pack":
            sub.add_argument("out", type=Path)
            sub.add_argument("--key", type=Path, help="private.key of `image key`; the development key without it")
        else:
            sub.add_argument("--objcopy", default="arm-none-eabi-objcopy")
        sub.add_argument("--target", choices=[p.name.lower() for p in Port], required=True)
        sub.add_argument("--slot", type=int, choices=[0, 1, ANY_SLOT], default=ANY_SLOT)
        sub.add_argument("--version", type=int, required=True)
    verbs.add_parser("show").add_argument("source", type=Path)
    verbs.add_parser("key").add_argument("folder", type=Path)
    args = parser.parse_args(argv)
    try:
        if args.verb == "stamp":
            stamp(args.source, Port[args.target.upper()], args.slot, args.version, args.objcopy)
        elif args.verb == "pack":
            seed = args.key.read_bytes() if args.key else DEVELOPMENT_SEED
            args.out.write_bytes(make(args.source.read_bytes(), Port[args.target.upper()], args.slot, args.version, seed).to_bytes())
        elif args.verb == "show":
            image = parse(args.source.read_bytes(), str(args.source))
            print(f"{image.target.name.lower()} slot {image.slot} version {image.version} code {len(image.code)} bytes")
        else:
            new_key(args.folder)
    except (InnervateError, OSError, subprocess.CalledProcessError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
