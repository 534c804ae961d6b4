"""WAV files as the microphone hears them: any rate, any channel count, mono 16 kHz int16 out."""

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from innervate.plugins.mic.resample import resample
from innervate.runtime.ali.errors import DeviceError

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE  # format tags of the RIFF/WAVE specification
SECONDS_MAX = 3600  # an hour of 16 kHz int16 is 115 MB; a longer file is a mistake


def read_wav(path: Path, rate_hz: int) -> NDArray[np.int16]:
    """Read a WAV file and return int16 [N], mono, at `rate_hz`; channels are averaged, rates resampled.

    Understands 8, 16, 24 and 32-bit integers and 32 and 64-bit floats, plain and extensible headers, and a last chunk
    that ends early. A file with no samples gives an empty array.
    Raises `DeviceError` for a file that is missing, is not a WAV, or is of another encoding.
    """
    try:
        blob = path.read_bytes()
    except OSError as err:
        raise DeviceError("mic", f"{path} cannot be read: {err.strerror}", "a WAV file", "check the path") from err
    form, data = _chunks(blob, path)
    tag, channels, rate_in, _, frame_bytes, bits = struct.unpack_from("<HHIIHH", form)
    if tag == EXTENSIBLE and len(form) >= 26:
        tag = struct.unpack_from("<H", form, 24)[0]
    if not channels or not rate_in or frame_bytes != channels * ((bits + 7) // 8):
        raise _refused(path, f"a header with {channels} channels, {rate_in} Hz, {frame_bytes} bytes a frame")
    if len(data) > SECONDS_MAX * rate_in * frame_bytes:
        raise _refused(path, f"more than {SECONDS_MAX} s of audio")
    sound = _samples(data[: len(data) // frame_bytes * frame_bytes], tag, bits, path)
    mono = sound.reshape(-1, channels).mean(axis=1, dtype=np.float32)
    if rate_in != rate_hz:
        mono = resample(mono, rate_in, rate_hz)
    return np.asarray(np.clip(np.round(mono * 32768.0), -32768, 32767), np.int16)


def _chunks(blob: bytes, path: Path) -> tuple[bytes, bytes]:
    """Find the `fmt ` and `data` chunks of a RIFF/WAVE file."""
    if len(blob) < 12 or blob[:4] != b"RIFF" or blob[8:12] != b"WAVE":
        raise _refused(path, f"a file that starts with {blob[:12]!r}" if blob else "an empty file")
    form: bytes | None = None
    at = 12
    while at + 8 <= len(blob):
        name, size = struct.unpack_from("<4sI", blob, at)
        body = blob[at + 8 : at + 8 + size]
        if name == b"fmt " and len(body) >= 16:
            form = body
        elif name == b"data" and form is not None:
            return form, body
        at += 8 + size + size % 2  # chunks are padded to even sizes
    raise _refused(path, "no sound data" if form else "no format chunk")


def _samples(data: bytes, tag: int, bits: int, path: Path) -> NDArray[np.float32]:
    """Decode interleaved samples to float32 in [-1, 1]."""
    if tag == PCM and bits == 8:  # unsigned, by the specification
        return (np.frombuffer(data, np.uint8).astype(np.float32) - 128.0) / 128.0
    if tag == PCM and bits == 24:
        wide = np.zeros((len(data) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        return wide.view("<i4")[:, 0].astype(np.float32) / 2.0**31
    if tag == PCM and bits in (16, 32):
        return np.frombuffer(data, f"<i{bits // 8}").astype(np.float32) / np.float32(2.0 ** (bits - 1))
    if tag == FLOAT and bits in (32, 64):
        return np.nan_to_num(np.frombuffer(data, f"<f{bits // 8}").astype(np.float32))
    raise _refused(path, f"format tag {tag} with {bits} bits a sample")


def _refused(path: Path, came: str) -> DeviceError:
    return DeviceError("mic", f"{path} has {came}", "a PCM WAV", f"ffmpeg -i {path} -sample_fmt s16 fixed.wav")
