"""Speech from text by espeak-ng: the voice of scenarios and the material of training.

Two ways, for two needs. :func:`speak` gives the same bytes for the same arguments, always: scenarios use it. It takes
about 30 ms. :class:`Synthesiser` renders in process in about a millisecond and reports at which sample each word begins,
which training needs as alignment; espeak-ng's flutter runs on from one of its sentences to the next, so that a sentence
said twice differs a little.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from innervate.boards.emulator import espeak
from innervate.boards.emulator.espeak import NATIVE_HZ
from innervate.runtime.ali.errors import DeviceError

OUT_HZ = 16000  # what the microphone plugin delivers
SPEAK_S_MAX = 30.0  # a sentence renders in milliseconds: more is a hang


@dataclass(frozen=True, slots=True)
class Word:
    """One word of an utterance: its characters in the text and the sample (at 16 kHz) at which it begins."""

    start: int
    length: int
    sample: int


@dataclass(frozen=True, slots=True)
class Phone:
    """One phoneme of an utterance: espeak-ng's name for it (``_`` begins a pause) and the sample (at 16 kHz) at which it begins."""

    name: str
    sample: int


@dataclass(frozen=True, slots=True)
class Utterance:
    """What espeak-ng rendered: int16 mono PCM [N] at 16 kHz, and its words and phonemes in order."""

    pcm: npt.NDArray[np.int16]
    words: tuple[Word, ...]
    phones: tuple[Phone, ...] = ()


class Synthesiser:
    """The espeak-ng library in this process: one at a time, not thread-safe.

    Raises DeviceError when the library is not on this machine.
    """

    def __init__(self) -> None:
        try:
            self._library = espeak.Library()
        except espeak.EspeakError as error:
            raise DeviceError("speech", error.came, error.expected, error.next_step) from error

    def say(
        self,
        text: str,
        voice: str = "en-gb",
        *,
        rate_wpm: int = 175,
        pitch: int = 50,
        pitch_range: int = 50,
        volume: int = 100,
    ) -> Utterance:
        """Render `text` with espeak-ng voice `voice` (for example ``en-gb+f2``).

        rate_wpm is 80..450 words a minute, pitch and pitch_range 0..99, volume 0..200.
        Raises DeviceError when espeak-ng does not know the voice.
        """
        try:
            native, marks = self._library.say(text, voice, rate_wpm, pitch, pitch_range, volume)
        except espeak.EspeakError as error:
            raise DeviceError("speech", error.came, error.expected, error.next_step) from error
        words = tuple(Word(start, length, round(sample * OUT_HZ / NATIVE_HZ)) for start, length, sample in marks)
        phones = tuple(Phone(name, round(sample * OUT_HZ / NATIVE_HZ)) for name, sample in self._library.phones)
        return Utterance(_resample(native), words, phones)

    def phonemes(self, text: str, voice: str = "en-gb") -> str:
        """How `voice` pronounces `text`; `say` takes it between [[ and ]] with a voice of any language: an accent."""
        try:
            return self._library.phonemes(text, voice)
        except espeak.EspeakError as error:
            raise DeviceError("speech", error.came, error.expected, error.next_step) from error


_shared: list[Synthesiser] = []  # not state of ours: the C library is a singleton


def synthesiser() -> Synthesiser:
    """The one synthesiser of this process, opened when first asked for (the library's state is global to it)."""
    if not _shared:
        _shared.append(Synthesiser())
    return _shared[0]


def speak(
    text: str,
    voice: str = "en-gb",
    *,
    rate_wpm: int = 175,
    pitch: int = 50,
    pitch_range: int = 50,
    volume: int = 100,
) -> npt.NDArray[np.int16]:
    """Render `text` to int16 mono PCM [N] at 16 kHz in a process of its own: the same bytes every time.

    Arguments as for `Synthesiser.say`. Raises DeviceError when espeak-ng is missing, does not know the voice, crashes
    or hangs.
    """
    request = {
        "text": text,
        "voice": voice,
        "rate_wpm": rate_wpm,
        "pitch": pitch,
        "pitch_range": pitch_range,
        "volume": volume,
    }
    # -I and -S: no site-packages, which the program does not need and which would take most of its time
    program = [sys.executable, "-I", "-S", str(Path(espeak.__file__)), json.dumps(request)]
    try:
        done = subprocess.run(program, stdin=subprocess.DEVNULL, capture_output=True, timeout=SPEAK_S_MAX, check=False)
    except subprocess.TimeoutExpired as error:
        raise DeviceError("speech", f"espeak-ng hung on {text!r}", "an answer", "choose another voice") from error
    if done.returncode == espeak.REFUSED:
        raise DeviceError("speech", *json.loads(done.stdout))
    if done.returncode != 0:
        cause = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        came = f"espeak-ng ended with status {done.returncode} on voice {voice!r} ({cause})"
        step = "choose another voice, or run: sudo apt-get install --reinstall espeak-ng espeak-ng-data"
        raise DeviceError("speech", came, "sound", step)
    return _resample(done.stdout)


def _resample(native: bytes) -> npt.NDArray[np.int16]:
    """22.05 kHz to 16 kHz, exactly 320/441."""
    samples = np.frombuffer(native, "<i2")
    if samples.size == 0:
        return samples.astype(np.int16)
    from scipy.signal import resample_poly

    out = resample_poly(samples.astype(np.float32), 320, 441)
    pcm: npt.NDArray[np.int16] = np.clip(np.rint(out), -32768, 32767).astype(np.int16)
    return pcm
