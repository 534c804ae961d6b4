"""What is said to the device and the noise around it, mixed at the microphone at a known ratio.

Speech is measured by its RMS over the frames that are audible, noise by its RMS; the ratio of the two is the signal to noise ratio.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from innervate.boards.emulator.scenario import RATE_HZ, Input, TextInput
from innervate.boards.emulator.speech import synthesiser
from innervate.models.evaluation import others
from innervate.models.voices import ACCENTS, HELD_OUT_VARIANTS

SNR_DB = 10.0
HELD_OUT, OTHER_MAKES = "held-out", "other makes"  # groups of voices
LEVEL_DB = (-30.0, -16.0)  # of speech, below full scale
FRAME = RATE_HZ // 100  # samples in which loudness is measured
AUDIBLE = 3e-4  # of the loudest frame's power: -35 dB, as in training
RUMBLE_HZ = 60.0  # noise has no power below: microphones have none

Floats = npt.NDArray[np.float32]
Pcm = npt.NDArray[np.int16]


def audible(pcm: Pcm) -> npt.NDArray[np.bool_]:
    """Return for each whole frame of 10 ms of `pcm` [N] whether it can be heard, [N // 160]."""
    frames = pcm[: len(pcm) // FRAME * FRAME].astype(np.float64).reshape(-1, FRAME)
    power = (frames**2).mean(1)
    loud: npt.NDArray[np.bool_] = power > power.max(initial=1.0) * AUDIBLE
    return loud


def trimmed(pcm: Pcm) -> Pcm:
    """Return `pcm` from its first to its last audible frame. Raises ValueError when nothing can be heard."""
    heard = np.flatnonzero(audible(pcm))
    if not len(heard):
        raise ValueError(f"speech: {len(pcm)} samples without a sound; expected an utterance; try another voice")
    return pcm[heard[0] * FRAME : (heard[-1] + 1) * FRAME]


def voice_name(rng: np.random.Generator, group: str) -> str:
    """Draw a voice of `group`, HELD_OUT or OTHER_MAKES."""
    if group == OTHER_MAKES:
        return str(rng.choice(others.voices()))
    return f"{ACCENTS[int(rng.integers(len(ACCENTS)))]}+{HELD_OUT_VARIANTS[int(rng.integers(len(HELD_OUT_VARIANTS)))]}"


def utter(rng: np.random.Generator, text: str, voice: str) -> Pcm:
    """Say `text`, trimmed to what can be heard: int16 [N] at 16 kHz."""
    if ":" in voice:
        return trimmed(others.say(text, voice))
    manner = {"rate_wpm": int(rng.integers(120, 215)), "pitch": int(rng.integers(10, 90)), "pitch_range": int(rng.integers(20, 90))}
    return trimmed(synthesiser().say(text, voice, **manner).pcm)


def coloured(rng: np.random.Generator, count: int) -> Floats:
    """Noise [count] of RMS 1 whose power falls with frequency as 1 / f^a, a from 0 (white) to 2 (brown), with one broad hump or dip."""
    freq = np.fft.rfftfreq(count, 1.0 / RATE_HZ)
    amplitude = np.maximum(freq, RUMBLE_HZ) ** (-rng.uniform(0.0, 2.0) / 2)
    amplitude[freq < RUMBLE_HZ] = 0.0
    centre = np.exp(rng.uniform(np.log(200.0), np.log(5000.0)))
    amplitude *= np.exp(rng.uniform(-1.2, 1.2) * np.exp(-(np.log(np.maximum(freq, 1.0) / centre) ** 2)))
    phases = np.exp(2j * np.pi * rng.random(len(freq)))
    noise = np.fft.irfft(amplitude * phases, count)
    return (noise / np.sqrt((noise**2).mean())).astype(np.float32)


@dataclass
class Script:
    """What happens to the ears and the keyboard in one case; `track` mixes it. Speech has one level and one voice in a case."""

    rng: np.random.Generator
    group: str
    said: list[tuple[float, str]] = field(default_factory=list)  # (t_s, what)
    typed: list[Input] = field(default_factory=list)
    _clips: list[tuple[int, Floats]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.voice = voice_name(self.rng, self.group)
        self.level = 32768.0 * 10.0 ** (self.rng.uniform(*LEVEL_DB) / 20.0)  # RMS of speech in units of int16

    def ask(self, text: str, t_s: float, by: str) -> float:
        """Say or type (`by` "voice" or "keys") `text` from `t_s` on; return when it is finished."""
        if by == "keys":
            self.said.append((t_s, f"[typed] {text}"))
            self.typed.append(TextInput(t_s, text))
            return t_s
        self.said.append((t_s, f"[{self.voice}] {text}"))
        pcm = utter(self.rng, text, self.voice)
        heard = np.repeat(audible(pcm), FRAME)
        rms = float(np.sqrt((pcm[: len(heard)][heard].astype(np.float64) ** 2).mean()))
        start = round(t_s * RATE_HZ)
        self._clips.append((start, pcm.astype(np.float32) * np.float32(self.level / rms)))
        return (start + len(pcm)) / RATE_HZ

    def track(self, duration_s: float, snr_db: float | None = SNR_DB) -> Pcm:
        """Mix all that is said with noise `snr_db` below it (None: no noise): int16 [N]."""
        count = round(duration_s * RATE_HZ)
        mix = np.zeros(count, np.float32)
        if snr_db is not None:
            mix += coloured(self.rng, count) * np.float32(self.level * 10.0 ** (-snr_db / 20.0))
        for start, clip in self._clips:
            part = clip[: max(0, count - start)]
            mix[start : start + len(part)] += part
        return np.clip(np.rint(mix), -32768, 32767).astype(np.int16)
