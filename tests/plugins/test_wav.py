"""WAV files of every kind that a person may bring, and the resampler behind them."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from innervate.plugins.mic.resample import Resampler
from innervate.plugins.mic.wav import read_wav
from innervate.runtime.ali.errors import DeviceError

RATE = 16_000


def wav_bytes(data: bytes, *, rate: int = RATE, channels: int = 1, bits: int = 16, tag: int = 1, extensible: bool = False) -> bytes:
    frame = channels * bits // 8
    form = struct.pack("<HHIIHH", 0xFFFE if extensible else tag, channels, rate, rate * frame, frame, bits)
    if extensible:
        form += struct.pack("<HHI", 22, bits, 0) + struct.pack("<H", tag) + bytes.fromhex("000000001000800000aa00389b71")
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form
    body += b"LIST" + struct.pack("<I", 3) + b"abc\0"  # an odd chunk, padded
    body += b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def tone(rate: int, hz: float = 440.0, seconds: float = 0.5) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hz * np.arange(round(rate * seconds)) / rate)


def write(path: Path, blob: bytes) -> Path:
    path.write_bytes(blob)
    return path


ENCODINGS: dict[str, tuple[int, int, Callable[[np.ndarray], bytes], int]] = {
    "8 bit": (8, 1, lambda x: (x * 127 + 128).round().astype(np.uint8).tobytes(), 300),
    "16 bit": (16, 1, lambda x: (x * 32767).round().astype("<i2").tobytes(), 2),
    "24 bit": (24, 1, lambda x: (x * (2**23 - 1)).round().astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes(), 2),
    "32 bit": (32, 1, lambda x: (x * (2**31 - 1)).round().astype("<i4").tobytes(), 2),
    "float": (32, 3, lambda x: x.astype("<f4").tobytes(), 2),
    "double": (64, 3, lambda x: x.astype("<f8").tobytes(), 2),
}


@pytest.mark.parametrize("extensible", [False, True])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_is_heard_alike(tmp_path: Path, encoding: str, extensible: bool) -> None:
    bits, tag, encode, tolerance = ENCODINGS[encoding]
    path = write(tmp_path / "a.wav", wav_bytes(encode(tone(RATE)), bits=bits, tag=tag, extensible=extensible))
    heard = read_wav(path, RATE)
    assert heard.dtype == np.int16 and np.abs(heard - tone(RATE) * 32768).max() <= tolerance


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000])
def test_every_rate_is_heard_at_its_pitch_and_length(tmp_path: Path, rate: int) -> None:
    path = write(tmp_path / "a.wav", wav_bytes((tone(rate) * 32767).astype("<i2").tobytes(), rate=rate))
    heard = read_wav(path, RATE)
    assert abs(len(heard) - 8_000) <= 1
    middle = slice(200, -200)  # the tone begins and ends abruptly
    assert np.abs(heard - tone(RATE)[: len(heard)] * 32768)[middle].max() < 4


def test_stereo_is_averaged(tmp_path: Path) -> None:
    both = np.stack([np.full(100, 1000), np.full(100, 3000)], axis=1).astype("<i2")
    assert set(read_wav(write(tmp_path / "a.wav", wav_bytes(both.tobytes(), channels=2)), RATE)) == {2000}


def test_loud_floats_clip_and_broken_ones_are_silent(tmp_path: Path) -> None:
    data = np.array([2.0, -2.0, np.nan], "<f4").tobytes()
    assert read_wav(write(tmp_path / "a.wav", wav_bytes(data, bits=32, tag=3)), RATE).tolist() == [32767, -32768, 0]


def test_no_samples_and_half_samples(tmp_path: Path) -> None:
    assert read_wav(write(tmp_path / "a.wav", wav_bytes(b"")), RATE).shape == (0,)
    assert read_wav(write(tmp_path / "b.wav", wav_bytes(b"", rate=8_000)), RATE).shape == (0,)
    assert read_wav(write(tmp_path / "c.wav", wav_bytes(b"\x01\x00\x02")), RATE).tolist() == [1]


def test_a_recording_that_was_cut_off(tmp_path: Path) -> None:
    whole = wav_bytes(np.arange(100, dtype="<i2").tobytes())
    assert read_wav(write(tmp_path / "a.wav", whole[:-100]), RATE).tolist() == list(range(50))


@pytest.mark.parametrize(
    ("blob", "cause"),
    [
        (b"", "an empty file"),
        (b"OggS and more to come", "a file that starts with b'OggS and mor'"),
        (wav_bytes(b"")[:36], "no format chunk|no sound data"),
        (wav_bytes(b"")[:16], "no format chunk"),
        (wav_bytes(b"", tag=6, bits=8), "format tag 6 with 8 bits"),
        (wav_bytes(b"", bits=12), "format tag 1 with 12 bits|12 bits|bytes a frame"),
        (wav_bytes(b"", channels=0), "a header with 0 channels"),
        (wav_bytes(b"", rate=0), "0 Hz"),
    ],
)
def test_what_is_no_wav_is_refused_with_the_way_out(tmp_path: Path, blob: bytes, cause: str) -> None:
    path = write(tmp_path / "a.wav", blob)
    with pytest.raises(DeviceError, match=rf"mic: {path} has .*({cause}).*; expected a PCM WAV; ffmpeg -i "):
        read_wav(path, RATE)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="No such file or directory; expected a WAV file; check the path"):
        read_wav(tmp_path / "none.wav", RATE)


@settings(max_examples=40, deadline=None)
@given(blob=st.binary(max_size=80), head=st.sampled_from([b"", b"RIFF\0\0\0\0WAVE", wav_bytes(b"")[:38]]))
def test_any_bytes_are_heard_or_refused(tmp_path_factory: pytest.TempPathFactory, head: bytes, blob: bytes) -> None:
    """Invariant: whatever the file holds, read_wav returns int16 [N] or raises DeviceError."""
    path = tmp_path_factory.getbasetemp() / "any.wav"
    path.write_bytes(head + blob)
    try:
        heard = read_wav(path, RATE)
    except DeviceError:
        return
    assert heard.dtype == np.int16 and heard.ndim == 1


@settings(max_examples=30, deadline=None)
@given(rate=st.sampled_from([8_000, 11_025, 44_100, 48_000]), cuts=st.lists(st.integers(0, 2000), max_size=6))
def test_blocks_do_not_show_in_the_resampled_sound(rate: int, cuts: list[int]) -> None:
    """Invariant: however the input is cut into blocks, the output is the same."""
    sound = np.random.default_rng(1).standard_normal(2000).astype(np.float32)
    whole = Resampler(rate, RATE).push(sound)
    parted = Resampler(rate, RATE)
    parts = [parted.push(part) for part in np.split(sound, sorted(cuts))]
    assert np.allclose(np.concatenate(parts), whole, atol=1e-6)  # numpy sums in an order that depends on alignment


def test_what_the_new_rate_cannot_carry_is_silenced() -> None:
    resampler = Resampler(48_000, RATE)
    above = resampler.push(tone(48_000, hz=9_000.0).astype(np.float32))
    assert np.abs(above[200:]).max() < 1e-4


def test_reset_forgets_the_past() -> None:
    resampler = Resampler(48_000, RATE)
    sound = tone(48_000).astype(np.float32)
    first = resampler.push(sound)
    resampler.reset()
    assert np.array_equal(resampler.push(sound), first)


def test_a_rate_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="positive rates"):
        Resampler(0, RATE)
