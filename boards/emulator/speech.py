"""Speech from text by espeak-ng, in process: the voice of scenarios and the material of training.

The library is bound by ctypes rather than run as a program: an utterance takes about a millisecond, and the library
reports at which sample each word begins, which training needs as alignment.  espeak-ng keeps one global voice state, so a
process has one :class:`Synthesiser` at a time and it is not thread-safe.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from innervate.runtime.ali.errors import DeviceError

NATIVE_HZ = 22050  # what espeak-ng 1.51 renders; checked against espeak_Initialize
OUT_HZ = 16000  # what the microphone plugin delivers
_SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS: espeak_Synth returns when the callback has seen everything
_UTF8 = 1
_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4
_EVENT_END, _EVENT_WORD = 0, 1
# espeak-ng 1.51's program resolves "en-gb" by language when no voice has that name; the library call does not.
_ALIASES = {"en-gb": "gmw/en", "en": "gmw/en"}


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@dataclass(frozen=True, slots=True)
class Word:
    """One word of an utterance: its characters in the text and the sample (at 16 kHz) at which it begins."""

    start: int
    length: int
    sample: int


@dataclass(frozen=True, slots=True)
class Utterance:
    """What espeak-ng rendered: int16 mono PCM [N] at 16 kHz and its words in order."""

    pcm: npt.NDArray[np.int16]
    words: tuple[Word, ...]


class Synthesiser:
    """The espeak-ng library, opened once for a process.

    Raises DeviceError when the library is not on this machine.
    """

    def __init__(self) -> None:
        name = ctypes.util.find_library("espeak-ng") or "libespeak-ng.so.1"
        try:
            self._lib = ctypes.CDLL(name)
        except OSError as error:
            raise DeviceError(
                who="speech", came=f"no espeak-ng library ({error})", expected="libespeak-ng.so.1",
                next_step="run: sudo apt-get install espeak-ng",
            ) from error
        lib = self._lib
        lib.espeak_Initialize.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_int]
        lib.espeak_SetSynthCallback.argtypes = [_Callback]
        lib.espeak_SetVoiceByName.argtypes = [ctypes.c_char_p]
        lib.espeak_SetParameter.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int]
        lib.espeak_Synth.argtypes = [
            ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint, ctypes.c_uint,
            ctypes.c_void_p, ctypes.c_void_p,
        ]
        rate = lib.espeak_Initialize(_SYNCHRONOUS, 500, None, 0)
        if rate != NATIVE_HZ:
            raise DeviceError(
                who="speech", came=f"espeak_Initialize gave {rate}", expected=f"a sample rate of {NATIVE_HZ} Hz",
                next_step="run: sudo apt-get install --reinstall espeak-ng espeak-ng-data",
            )
        self._blocks: list[npt.NDArray[np.int16]] = []
        self._words: list[tuple[int, int, int]] = []
        self._callback = _Callback(self._collect)  # kept: ctypes does not hold a reference for C
        lib.espeak_SetSynthCallback(self._callback)

    def _collect(self, wav: ctypes._Pointer[ctypes.c_short], count: int, events: ctypes._Pointer[_Event]) -> int:
        if bool(wav) and count > 0:  # a null pointer is false
            self._blocks.append(np.ctypeslib.as_array(wav, shape=(count,)).copy())
        index = 0
        while events[index].type != _EVENT_END:
            event = events[index]
            if event.type == _EVENT_WORD:
                self._words.append((event.text_position - 1, event.length, event.sample))
            index += 1
        return 0

    def say(
        self, text: str, voice: str = "en-gb", *, rate_wpm: int = 175, pitch: int = 50, pitch_range: int = 50, volume: int = 100
    ) -> Utterance:
        """Render `text` with espeak-ng voice `voice` (for example ``en-gb+f2``).

        rate_wpm is 80..450 words a minute, pitch and pitch_range 0..99, volume 0..200.
        Raises DeviceError when espeak-ng does not know the voice.
        """
        lib = self._lib
        base, plus, variant = voice.partition("+")
        if lib.espeak_SetVoiceByName((_ALIASES.get(base.lower(), base) + plus + variant).encode()) != 0:
            raise DeviceError(
                who="speech", came=f"espeak-ng does not know the voice {voice!r}", expected="a voice of `espeak-ng --voices=en`",
                next_step="choose one of them, with a variant if you like, such as en-gb+f2",
            )
        for parameter, value in ((_RATE, rate_wpm), (_VOLUME, volume), (_PITCH, pitch), (_RANGE, pitch_range)):
            lib.espeak_SetParameter(parameter, value, 0)
        self._blocks, self._words = [], []
        data = text.encode()
        lib.espeak_Synth(data, len(data) + 1, 0, 0, 0, _UTF8, None, None)
        native = np.concatenate(self._blocks) if self._blocks else np.zeros(0, np.int16)
        words = tuple(Word(start, length, round(sample * OUT_HZ / NATIVE_HZ)) for start, length, sample in self._words)
        return Utterance(_resample(native), words)


_shared: list[Synthesiser] = []  # not state of ours: the C library is a singleton


def synthesiser() -> Synthesiser:
    """The one synthesiser of this process, opened when first asked for (the library's state is global to the process)."""
    if not _shared:
        _shared.append(Synthesiser())
    return _shared[0]


def _resample(native: npt.NDArray[np.int16]) -> npt.NDArray[np.int16]:
    """22.05 kHz to 16 kHz, exactly 320/441."""
    if native.size == 0:
        return native
    from scipy.signal import resample_poly

    out = resample_poly(native.astype(np.float32), 320, 441)
    pcm: npt.NDArray[np.int16] = np.clip(np.rint(out), -32768, 32767).astype(np.int16)
    return pcm
