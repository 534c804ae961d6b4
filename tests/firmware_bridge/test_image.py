"""Updates: the firmware's own cryptography against references, refusals, rollback, and the power going at any moment."""

from __future__ import annotations

import ctypes
import hashlib
import random
import zlib
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from innervate.firmware_bridge import image as images
from innervate.firmware_bridge.messages import Image, ImageConfirm, Port, Reset, Status
from innervate.firmware_bridge.simulated import SimulatedMcu
from innervate.firmware_bridge.trials import CODE, factory_board, power_cuts
from innervate.firmware_bridge.trials import send_image as send
from tests.firmware_bridge.build import build

# RFC 8032, 7.1: secret key, message, signature
RFC8032 = [
    ("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60", "",
     "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"),
    ("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb", "72",
     "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"),
]  # fmt: skip


@pytest.fixture(scope="module")
def c() -> ctypes.CDLL:
    lib = ctypes.CDLL(str(build("host") / "libfirmware.so"))
    lib.ed25519_verify.restype = ctypes.c_bool
    return lib


NOTHING = ctypes.CFUNCTYPE(None)(lambda: None)


def c_verify(lib: ctypes.CDLL, key: bytes, message: bytes, signature: bytes) -> bool:
    return bool(lib.ed25519_verify(signature, message, ctypes.c_size_t(len(message)), key, NOTHING))


@pytest.mark.parametrize("size", [0, 1, 55, 56, 63, 64, 65, 111, 112, 127, 128, 129, 1000])
def test_sha_is_hashlib_s(size: int, c: ctypes.CDLL) -> None:
    data = random.Random(size).randbytes(size)
    state, out = ctypes.create_string_buffer(256), ctypes.create_string_buffer(64)
    c.sha256_init(state)
    for at in range(0, size, 7):
        c.sha256_feed(state, data[at : at + 7], ctypes.c_size_t(len(data[at : at + 7])))
    c.sha256_done(state, out)
    assert out.raw[:32] == hashlib.sha256(data).digest()
    c.sha512(data, ctypes.c_size_t(size), out)
    assert out.raw == hashlib.sha512(data).digest()


@pytest.mark.parametrize(("secret", "message", "signature"), RFC8032)
def test_ed25519_of_the_rfc(secret: str, message: str, signature: str, c: ctypes.CDLL) -> None:
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(secret)).public_key().public_bytes_raw()
    assert c_verify(c, key, bytes.fromhex(message), bytes.fromhex(signature))


def test_ed25519_takes_what_is_right_and_nothing_else(c: ctypes.CDLL) -> None:
    rng = random.Random(5)
    order = 2**252 + 27742317777372353535851937790883648493
    for _ in range(12):
        private = Ed25519PrivateKey.from_private_bytes(rng.randbytes(32))
        key, message = private.public_key().public_bytes_raw(), rng.randbytes(rng.randrange(100))
        good = private.sign(message)
        assert c_verify(c, key, message, good)
        for _ in range(4):
            bad = bytearray(good)
            bad[rng.randrange(64)] ^= 1 << rng.randrange(8)
            assert not c_verify(c, key, message, bytes(bad))
        assert not c_verify(c, key, message + b"x", good)
        other = int.from_bytes(good[32:], "little") + order  # the same signature, malleated
        assert not c_verify(c, key, message, good[:32] + other.to_bytes(32, "little"))


# --- the update ------------------------------------------------------------------------------------------------------


def board() -> SimulatedMcu:
    return factory_board(build("host") / "libfirmware.so")


NEW = images.make(CODE, Port.HOST, images.ANY_SLOT, 2)


def test_an_update_starts_and_stays_when_confirmed() -> None:
    mcu = board()
    boot_id = mcu.hello().boot_id
    assert send(mcu, NEW.to_bytes()) == (Status.OK, 0)
    assert mcu.ask(Reset(boot_id)).status is Status.OK
    mcu.advance_ms(100)
    mcu.seqs.clear()
    welcome = mcu.hello(2)
    assert mcu.version == 2 and welcome.boot_id != boot_id
    assert mcu.ask(ImageConfirm(welcome.boot_id)).status is Status.OK
    for _ in range(3):
        assert mcu.power_on() == 1 and mcu.version == 2


def test_an_update_that_is_not_confirmed_rolls_back() -> None:
    mcu = board()
    mcu.hello()
    send(mcu, NEW.to_bytes())
    assert mcu.power_on() == 1
    assert mcu.power_on() == 0 and mcu.version == 1
    assert mcu.power_on() == 0


def test_an_unconfirmed_image_may_not_overwrite_the_way_back() -> None:
    mcu = board()
    mcu.hello()
    send(mcu, NEW.to_bytes())
    assert mcu.power_on() == 1
    mcu.hello()
    assert send(mcu, images.make(CODE, Port.HOST, images.ANY_SLOT, 3).to_bytes()) == (Status.IMAGE, Image.ORDER)
    assert mcu.power_on() == 0


def _damaged(**changes: object) -> bytes:
    return replace(NEW, **changes).to_bytes()  # type: ignore[arg-type]


REFUSED = {
    "unsigned": (images.make(CODE, Port.HOST, 255, 2, None).to_bytes(), Image.SIGNATURE),
    "another key": (images.make(CODE, Port.HOST, 255, 2, bytes(32)).to_bytes(), Image.SIGNATURE),
    "header changed after signing": (_damaged(version=9), Image.SIGNATURE),
    "older": (images.make(CODE, Port.HOST, 255, 0).to_bytes(), Image.OLDER),
    "the same version": (images.make(CODE, Port.HOST, 255, 1).to_bytes(), Image.OLDER),
    "foreign": (images.make(CODE, Port.STM32F405, 255, 2).to_bytes(), Image.TARGET),
    "for the slot that runs": (images.make(CODE, Port.HOST, 0, 2).to_bytes(), Image.TARGET),
    "truncated": (NEW.to_bytes()[:-1], Image.SIZE),
    "something behind it": (NEW.to_bytes() + b"x", Image.SIZE),
    "code changed": (NEW.to_bytes()[:-1] + bytes([NEW.to_bytes()[-1] ^ 1]), Image.CRC),
    "no image": (b"\x7fELF" + bytes(2000), Image.MAGIC),
    "too large": (bytes(16385), Image.SIZE),
    "too small": (bytes(64), Image.SIZE),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str) -> None:
    raw, why = REFUSED[name]
    mcu = board()
    mcu.hello()
    assert send(mcu, raw) == (Status.IMAGE, why)
    assert mcu.power_on() == 0 and mcu.version == 1


def test_a_collision_of_the_crc_is_caught_by_the_sha() -> None:
    code = bytearray(CODE)
    forged = images.HEADER.pack(images.MAGIC, Port.HOST, 255, 2, len(code), zlib.crc32(code), hashlib.sha256(b"other").digest())
    raw = (forged + images.sign(forged)).ljust(images.CODE_AT, b"\0") + bytes(code)
    mcu = board()
    mcu.hello()
    assert send(mcu, raw) == (Status.IMAGE, Image.SHA)


def test_the_power_goes_at_every_moment_of_an_update() -> None:
    """Old or new starts, never neither; more than the hundred random moments that were asked for."""
    started = power_cuts(build("host") / "libfirmware.so", None)
    assert len(started) > 400 and set(started) == {1, 2}


def test_after_a_cut_the_next_update_works() -> None:
    for cut in range(5, 500, 45):
        mcu = board()
        mcu.lib.host_flash_cut_after(cut)
        mcu.hello()
        assert send(mcu, NEW.to_bytes()) is None
        mcu.lib.host_flash_cut_after(-1)
        assert mcu.power_on() == 0
        mcu.hello()
        assert send(mcu, NEW.to_bytes()) == (Status.OK, 0)
        assert mcu.power_on() == 1 and mcu.version == 2


def test_forty_updates_go_through_both_journal_pages() -> None:
    mcu = board()
    for number in range(2, 42):
        mcu.hello()
        assert send(mcu, images.make(CODE, Port.HOST, 255, number).to_bytes()) == (Status.OK, 0)
        assert mcu.power_on() == number % 2 ^ 1 and mcu.version == number
        assert mcu.ask(ImageConfirm(mcu.hello().boot_id)).status is Status.OK


def test_a_file_is_read_back_and_damage_is_named() -> None:
    assert images.parse(NEW.to_bytes()).code == CODE
    with pytest.raises(images.ImageError, match="damaged"):
        images.parse(NEW.to_bytes()[:-1] + b"\0")
    with pytest.raises(images.ImageError, match="cut"):
        images.parse(NEW.to_bytes()[:-1])
