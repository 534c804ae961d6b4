"""Voices by synthesisers of other makes than espeak-ng: they never go into training, so they show what it carries over to."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from innervate.boards.emulator.wav import read_wav
from innervate.runtime.ali.errors import DeviceError

RENDER_S_MAX = 60.0  # of a subprocess for one sentence


@dataclass(frozen=True, slots=True)
class Make:
    """A synthesiser that runs as a program: what to call, which Debian package brings it, its voices."""

    program: str
    package: str
    voices: tuple[str, ...]
    command: Callable[[str, Path], Sequence[str]]  # (voice, out) -> words; the sentence comes by standard input


def _flite(voice: str, out: Path) -> Sequence[str]:
    return ["flite", "-voice", voice, "-f", "/dev/stdin", "-o", str(out)]


def _festival(voice: str, out: Path) -> Sequence[str]:
    return ["text2wave", "-eval", f"(voice_{voice})", "-o", str(out)]


MAKES = {
    "flite": Make("flite", "flite", ("kal", "awb", "rms", "slt"), _flite),
    "festival": Make("text2wave", "festival festvox-kallpc16k", ("kal_diphone",), _festival),
}


def voices() -> list[str]:
    """Return the voices of the makes installed here, as "make:voice". Raises DeviceError when there is none."""
    found = [f"{name}:{voice}" for name, make in MAKES.items() if shutil.which(make.program) for voice in make.voices]
    if not found:
        packages = " ".join(make.package for make in MAKES.values())
        expected = "one of " + ", ".join(MAKES)
        raise DeviceError("voices of other makes", "no synthesiser but espeak-ng here", expected, f"sudo apt-get install {packages}")
    return found


def say(text: str, voice: str) -> npt.NDArray[np.int16]:
    """Render `text` by `voice` ("make:voice"): int16 [N] mono at 16 kHz. Raises DeviceError when the program is missing or fails."""
    name, _, variant = voice.partition(":")
    make = MAKES[name]
    if shutil.which(make.program) is None:
        raise DeviceError(f"voice {voice}", f"no program {make.program}", "it installed", f"sudo apt-get install {make.package}")
    with tempfile.TemporaryDirectory(prefix="innervate-voice-") as folder:
        out = Path(folder) / "said.wav"
        done = subprocess.run(make.command(variant, out), input=text.encode() + b"\n", capture_output=True, timeout=RENDER_S_MAX, check=False)
        if done.returncode != 0 or not out.exists():
            came = f"{make.program} ended with {done.returncode} ({done.stderr.decode(errors='replace').strip()[:200]})"
            raise DeviceError(f"voice {voice}", came, "a WAV file", f"try it by hand: {make.program}")
        return read_wav(out)
