"""Speak a sentence into a WAV file, for scenarios that are heard where espeak-ng is not installed.

    python -m innervate.boards.emulator.record "look at the red cube" cube.wav --voice en-gb+f2
"""

from __future__ import annotations

import argparse
import sys
import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from innervate.boards.emulator.speech import OUT_HZ, speak
from innervate.runtime.ali.errors import InnervateError


def write_wav(path: Path, pcm: NDArray[np.int16], rate_hz: int = OUT_HZ) -> None:
    """Write int16 [N] mono samples."""
    with path.open("wb") as raw, wave.open(raw, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(pcm.astype("<i2").tobytes())


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="record", description="Speak a sentence into a mono 16 kHz WAV file.")
    parser.add_argument("text")
    parser.add_argument("wav", type=Path)
    parser.add_argument("--voice", default="en-gb", help="as `espeak-ng --voices=en` lists them, such as en-gb+f2")
    parser.add_argument("--rate", type=int, default=160, help="words a minute, 80 to 450")
    parser.add_argument("--pitch", type=int, default=50, help="0 to 99")
    chosen = parser.parse_args(arguments)
    try:
        pcm = speak(chosen.text, chosen.voice, rate_wpm=chosen.rate, pitch=chosen.pitch)
        write_wav(chosen.wav, pcm)
    except (InnervateError, OSError) as error:
        print(f"record: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
