"""Reading recorded sound: any WAV of plain samples to mono int16 at 16 kHz.

The standard library's `wave` knows neither float samples nor (before Python 3.12) the extensible header that 24 bit
recorders write, so the RIFF chunks are read here. Everything that is wrong with a file is a ScenarioError that names it.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from innervate.runtime.ali.errors import ScenarioError

RATE_HZ = 16_000
FILE_BYTES_MAX = 256 << 20  # 45 minutes of 48 kHz stereo: more is a mistake, and would be held in memory
_PCM, _FLOAT, _EXTENSIBLE = 0x0001, 0x0003, 0xFFFE


@dataclass(frozen=True, slots=True)
class _Format:
    code: int
    channels: int
    rate_hz: int
    bits: int


def _bad(path: Path, came: str, expected: str, next_step: str = "record or convert it again") -> ScenarioError:
    return ScenarioError(who=f"wav {path}", came=came, expected=expected, next_step=next_step)


def read_wav(path: Path) -> NDArray[np.int16]:
    """Read a WAV file: int16 [N] mono at 16 kHz, N >= 1.

    Takes PCM of 8, 16, 24 or 32 bits and float of 32 or 64 bits, any rate from 1 to 384 kHz, any number of channels
    (mixed by their mean). Raises ScenarioError for a file that is missing, empty, no WAV, of another coding, or
    without a single frame.
    """
    try:
        size = path.stat().st_size
        if size > FILE_BYTES_MAX:
            raise _bad(path, f"{size} bytes", f"at most {FILE_BYTES_MAX}", "cut it into shorter recordings")
        raw = path.read_bytes()
    except FileNotFoundError:
        raise _bad(path, "no such file", "a WAV file", "check the path: it is relative to the scenario file") from None
    except OSError as cause:
        raise _bad(path, f"cannot be read ({cause.strerror})", "a readable WAV file", "check its permissions") from cause
    if not raw:
        raise _bad(path, "an empty file (0 bytes)", "a WAV file")
    if len(raw) < 12 or raw[:4] not in (b"RIFF", b"RF64") or raw[8:12] != b"WAVE":
        raise _bad(
            path,
            f"not a WAV file (it begins with {raw[:12]!r})",
            "a RIFF/WAVE file",
            "convert it, for example with: ffmpeg -i INPUT -ar 16000 -ac 1 OUTPUT.wav",
        )
    layout, body = _chunks(path, raw)
    samples = _decode(path, layout, body)
    mono = samples.reshape(-1, layout.channels).mean(axis=1)
    return _to_rate(mono, layout.rate_hz)


def _chunks(path: Path, raw: bytes) -> tuple[_Format, bytes]:
    """Find the format and the sample bytes; a data chunk that is cut short is used as far as it goes."""
    layout: _Format | None = None
    at = 12
    while at + 8 <= len(raw):
        name, size = raw[at : at + 4], struct.unpack_from("<I", raw, at + 4)[0]
        body = raw[at + 8 : at + 8 + size]
        if name == b"fmt ":
            if len(body) < 16:
                raise _bad(path, f"a format chunk of {len(body)} bytes", "at least 16")
            code, channels, rate_hz, _, _, bits = struct.unpack_from("<HHIIHH", body)
            if code == _EXTENSIBLE and len(body) >= 26:
                code = struct.unpack_from("<H", body, 24)[0]  # the real coding is in the sub-format
            layout = _Format(code, channels, rate_hz, bits)
        elif name == b"data":
            if layout is None:
                raise _bad(path, "samples before any format chunk", "a format chunk first")
            return layout, body
        at += 8 + size + (size & 1)
    raise _bad(path, "no samples: there is no data chunk", "a format chunk and a data chunk")


def _decode(path: Path, layout: _Format, body: bytes) -> NDArray[np.float64]:
    """Samples of all channels, interleaved, in [-1, 1]."""
    if layout.channels < 1 or not 1_000 <= layout.rate_hz <= 384_000:
        raise _bad(path, f"{layout.channels} channels at {layout.rate_hz} Hz", "1 or more at 1000 to 384000 Hz")
    known = {_PCM: (8, 16, 24, 32), _FLOAT: (32, 64)}
    if layout.bits not in known.get(layout.code, ()):
        raise _bad(
            path,
            f"coding {layout.code:#06x} with {layout.bits} bits",
            "PCM of 8, 16, 24 or 32 bits or float of 32 or 64 bits",
            "convert it, for example with: ffmpeg -i INPUT -c:a pcm_s16le OUTPUT.wav",
        )
    frame = layout.channels * layout.bits // 8
    body = body[: len(body) // frame * frame]
    if not body:
        raise _bad(path, "no samples: its data chunk holds not one frame", "at least one frame")
    if layout.code == _FLOAT:
        values = np.frombuffer(body, f"<f{layout.bits // 8}").astype(np.float64)
        if not np.isfinite(values).all():
            raise _bad(path, "samples that are not finite", "numbers in [-1, 1]")
        return values
    if layout.bits == 8:  # the one width that WAV stores unsigned
        return (np.frombuffer(body, np.uint8).astype(np.float64) - 128.0) / 128.0
    if layout.bits == 24:
        wide = np.zeros((len(body) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(body, np.uint8).reshape(-1, 3)
        return wide.view("<i4")[:, 0].astype(np.float64) / 2.0**31
    return np.frombuffer(body, f"<i{layout.bits // 8}").astype(np.float64) / 2.0 ** (layout.bits - 1)


def _to_rate(mono: NDArray[np.float64], rate_hz: int) -> NDArray[np.int16]:
    if rate_hz != RATE_HZ:
        from scipy.signal import resample_poly

        shared = math.gcd(rate_hz, RATE_HZ)
        mono = resample_poly(mono, RATE_HZ // shared, rate_hz // shared)
    pcm: NDArray[np.int16] = np.clip(np.rint(mono * 32768.0), -32768, 32767).astype(np.int16)
    return pcm
