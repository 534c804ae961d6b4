"""Recorded sound of every make, and what is said about files that are none."""

from __future__ import annotations

import struct
import wave
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from innervate.boards.emulator.wav import FILE_BYTES_MAX, read_wav
from innervate.runtime.ali.errors import ScenarioError


def tone(rate_hz: int, seconds: float = 0.5) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * 440.0 * np.arange(int(rate_hz * seconds)) / rate_hz)


def riff(body: bytes, code: int = 1, channels: int = 1, rate_hz: int = 16000, bits: int = 16, extra: bytes = b"") -> bytes:
    frame = channels * bits // 8
    head = struct.pack("<HHIIHH", code, channels, rate_hz, rate_hz * frame, frame, bits) + extra
    chunks = b"fmt " + struct.pack("<I", len(head)) + head + b"LIST\x03\x00\x00\x00abc\x00"
    chunks += b"data" + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def read(folder: Path, raw: bytes) -> np.ndarray:
    file = folder / "a.wav"
    file.write_bytes(raw)
    return read_wav(file)


def check(pcm: np.ndarray, tolerance: float = 0.002) -> None:
    """The half second of 440 Hz came through, resampler's ends aside."""
    assert pcm.dtype == np.int16 and abs(len(pcm) - 8000) <= 1
    assert np.abs(pcm[200:7800] / 32768.0 - tone(16000)[200:7800]).max() < tolerance


def test_sixteen_bit_mono_is_untouched(tmp_path: Path) -> None:
    exact = np.arange(-300, 300, dtype="<i2")
    assert np.array_equal(read(tmp_path, riff(exact.tobytes())), exact)


def test_what_the_standard_library_writes(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes((tone(16000) * 32768).astype("<i2").tobytes())
    check(read_wav(tmp_path / "a.wav"))


@pytest.mark.parametrize("rate_hz", [8000, 11025, 22050, 44100, 48000, 96000])
def test_any_rate(tmp_path: Path, rate_hz: int) -> None:
    check(read(tmp_path, riff((tone(rate_hz) * 32768).astype("<i2").tobytes(), rate_hz=rate_hz)), 0.01)


def test_stereo_is_mixed(tmp_path: Path) -> None:
    both = np.stack([tone(16000) * 1.5, tone(16000) * 0.5], axis=1)
    check(read(tmp_path, riff((both * 32768).astype("<i2").tobytes(), channels=2)))


def test_eight_bit(tmp_path: Path) -> None:
    check(read(tmp_path, riff((tone(16000) * 128 + 128).astype(np.uint8).tobytes(), bits=8)), 0.01)


@pytest.mark.parametrize("extensible", [False, True])
def test_twenty_four_bit(tmp_path: Path, extensible: bool) -> None:
    wide = (tone(16000) * 2**31).astype("<i4").view(np.uint8).reshape(-1, 4)[:, 1:]
    extra = struct.pack("<HHIH14s", 22, 24, 0, 1, b"\x00" * 14) if extensible else b""
    check(read(tmp_path, riff(wide.tobytes(), code=0xFFFE if extensible else 1, bits=24, extra=extra)))


def test_thirty_two_bit_and_floats(tmp_path: Path) -> None:
    check(read(tmp_path, riff((tone(16000) * 2**31).astype("<i4").tobytes(), bits=32)))
    check(read(tmp_path, riff(tone(16000).astype("<f4").tobytes(), code=3, bits=32)))
    check(read(tmp_path, riff(tone(16000).astype("<f8").tobytes(), code=3, bits=64)))


def test_loud_floats_are_clipped_not_wrapped(tmp_path: Path) -> None:
    assert read(tmp_path, riff(np.array([4.0, -4.0], "<f4").tobytes(), code=3, bits=32)).tolist() == [32767, -32768]


def test_a_recording_cut_short_is_used_as_far_as_it_goes(tmp_path: Path) -> None:
    whole = riff((tone(16000) * 32768).astype("<i2").tobytes())
    assert len(read(tmp_path, whole[:-4001])) == 5999


WRONG = {
    "empty": (b"", "an empty file (0 bytes)"),
    "text": (b"look at the red cube, please", "not a WAV file"),
    "mp3": (b"ID3\x04" + bytes(100), "ffmpeg -i INPUT"),
    "tiny": (b"RIFF", "not a WAV file"),
    "no chunks": (b"RIFF\x04\x00\x00\x00WAVE", "there is no data chunk"),
    "no samples": (riff(b""), "not one frame"),
    "half a frame": (riff(b"\x01"), "not one frame"),
    "samples first": (b"RIFF\x10\x00\x00\x00WAVEdata\x02\x00\x00\x00ab", "before any format chunk"),
    "short format": (b"RIFF\x10\x00\x00\x00WAVEfmt \x02\x00\x00\x00ab", "a format chunk of 2 bytes"),
    "compressed": (riff(bytes(100), code=2, bits=4), "coding 0x0002 with 4 bits"),
    "no channels": (riff(bytes(100), channels=0), "0 channels"),
    "no rate": (riff(bytes(100), rate_hz=0), "at 0 Hz"),
    "not finite": (riff(np.array([np.nan], "<f4").tobytes(), code=3, bits=32), "not finite"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said(tmp_path: Path, case: str) -> None:
    raw, words = WRONG[case]
    with pytest.raises(ScenarioError) as caught:
        read(tmp_path, raw)
    message = str(caught.value)
    assert message.startswith(f"wav {tmp_path / 'a.wav'}") and words in message
    assert caught.value.expected and caught.value.next_step


def test_missing_folder_and_huge(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="no such file"):
        read_wav(tmp_path / "none.wav")
    with pytest.raises(ScenarioError, match="cannot be read"):
        read_wav(tmp_path)
    with (tmp_path / "huge.wav").open("wb") as file:
        file.truncate(FILE_BYTES_MAX + 1)  # sparse: takes no room
    with pytest.raises(ScenarioError, match="cut it into shorter"):
        read_wav(tmp_path / "huge.wav")


@given(st.binary(max_size=60), st.integers(0, 59), st.binary(max_size=4))
def test_any_bytes_are_read_or_refused_by_a_scenario_error(
    tmp_path_factory: pytest.TempPathFactory, body: bytes, at: int, patch: bytes
) -> None:
    """Invariant: no file makes the reader raise anything but ScenarioError."""
    whole = riff(body)
    file = tmp_path_factory.getbasetemp() / "any.wav"
    file.write_bytes(whole[:at] + patch + whole[at + len(patch) :])
    try:
        assert len(read_wav(file)) >= 1
    except ScenarioError:
        pass
