"""The espeak-ng library by ctypes, and one sentence as a program: standard library alone, so that it starts in 20 ms.

espeak-ng keeps static state (the flutter of its voices runs on from one sentence to the next, and it can be neither reset
nor unloaded), so the same sentence differs from call to call. What has to be reproducible is therefore rendered by this
file run as a program, one process a sentence:

    python espeak.py '{"text": "look left", "voice": "en-gb+f2", ...}'  > native PCM, 16 bit mono at 22.05 kHz
"""

from __future__ import annotations

import ctypes
import ctypes.util
import difflib
import json
import sys
from pathlib import Path

NATIVE_HZ = 22050  # what espeak-ng 1.51 renders; checked against espeak_Initialize
_SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS: espeak_Synth returns when the callback has seen everything
_UTF8 = 1
_PHONEMES = 0x100  # text between [[ and ]] is phonemes, as the espeak-ng program has it
_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4
_EVENT_END, _EVENT_WORD, _EVENT_PHONEME = 0, 1, 7
_PHONEME_EVENTS = 1  # espeakINITIALIZE_PHONEME_EVENTS: reports phonemes too, changes no sound
REFUSED = 3  # exit status of the program when it wrote what is wrong as JSON
# espeak-ng 1.51's program resolves "en-gb" by language when no voice has that name; the library call does not.
_ALIASES = {"en-gb": "gmw/en", "en": "gmw/en"}


class EspeakError(Exception):
    """What is wrong: `came`, `expected` and `next_step`, for the caller to say in its own name."""

    def __init__(self, came: str, expected: str, next_step: str) -> None:
        super().__init__(came, expected, next_step)
        self.came, self.expected, self.next_step = came, expected, next_step


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


class Library:
    """The library, opened; one for a process, not thread-safe. Raises EspeakError when this machine lacks it."""

    def __init__(self) -> None:
        name = ctypes.util.find_library("espeak-ng") or "libespeak-ng.so.1"
        try:
            lib = self._lib = ctypes.CDLL(name)
        except OSError as error:
            came = f"no espeak-ng library ({error})"
            raise EspeakError(came, "libespeak-ng.so.1", "run: sudo apt-get install espeak-ng") from error
        lib.espeak_Initialize.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_int]
        lib.espeak_SetSynthCallback.argtypes = [_Callback]
        lib.espeak_SetVoiceByName.argtypes = [ctypes.c_char_p]
        lib.espeak_SetParameter.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int]
        lib.espeak_Synth.argtypes = [
            ctypes.c_char_p,
            ctypes.c_size_t,
            ctypes.c_uint,
            ctypes.c_int,
            ctypes.c_uint,
            ctypes.c_uint,
            ctypes.c_void_p,
            ctypes.c_void_p,
        ]
        lib.espeak_TextToPhonemes.argtypes = [ctypes.POINTER(ctypes.c_char_p), ctypes.c_int, ctypes.c_int]
        lib.espeak_TextToPhonemes.restype = ctypes.c_char_p
        rate = lib.espeak_Initialize(_SYNCHRONOUS, 500, None, _PHONEME_EVENTS)
        if rate != NATIVE_HZ:
            step = "run: sudo apt-get install --reinstall espeak-ng espeak-ng-data"
            raise EspeakError(f"espeak_Initialize gave {rate}", f"a sample rate of {NATIVE_HZ} Hz", step)
        place = ctypes.c_char_p()
        lib.espeak_Info.argtypes, lib.espeak_Info.restype = [ctypes.POINTER(ctypes.c_char_p)], ctypes.c_char_p
        lib.espeak_Info(ctypes.byref(place))
        self._data = Path((place.value or b"").decode(errors="replace"))  # its folder of voices
        self._pcm = bytearray()
        self._words: list[tuple[int, int, int]] = []
        self.phones: list[tuple[str, int]] = []  # of the last `say`: each phoneme's name and first sample
        self._callback = _Callback(self._collect)  # kept: ctypes does not hold a reference for C
        lib.espeak_SetSynthCallback(self._callback)

    def _collect(self, wav: ctypes._Pointer[ctypes.c_short], count: int, events: ctypes._Pointer[_Event]) -> int:
        if bool(wav) and count > 0:  # a null pointer is false
            self._pcm += ctypes.string_at(wav, 2 * count)
        index = 0
        while events[index].type != _EVENT_END:
            event = events[index]
            if event.type == _EVENT_WORD:
                self._words.append((event.text_position - 1, event.length, event.sample))
            elif event.type == _EVENT_PHONEME:
                self.phones.append((event.id.decode(errors="replace"), event.sample))
            index += 1
        return 0

    def phonemes(self, text: str, voice: str) -> str:
        """How `voice` pronounces `text`, in espeak-ng's phoneme names; say "[[...]]" of it with another voice for an accent."""
        self._choose(voice)
        rest, clauses = ctypes.c_char_p(text.encode()), []
        while rest.value:
            clauses.append(self._lib.espeak_TextToPhonemes(ctypes.byref(rest), _UTF8, 0).decode())
        return " ".join(clauses).strip()

    def say(
        self, text: str, voice: str, rate_wpm: int, pitch: int, pitch_range: int, volume: int
    ) -> tuple[bytes, list[tuple[int, int, int]]]:
        """Render `text`: native 16 bit PCM, and per word its first character, its length and its first sample.

        rate_wpm is 80..450 words a minute, pitch and pitch_range 0..99, volume 0..200.
        Raises EspeakError for a voice that espeak-ng does not know.
        """
        self._choose(voice)
        for parameter, value in ((_RATE, rate_wpm), (_VOLUME, volume), (_PITCH, pitch), (_RANGE, pitch_range)):
            self._lib.espeak_SetParameter(parameter, value, 0)
        self._pcm, self._words, self.phones = bytearray(), [], []
        data = text.encode()
        self._lib.espeak_Synth(data, len(data) + 1, 0, 0, 0, _UTF8 | _PHONEMES, None, None)
        return bytes(self._pcm), self._words

    def _choose(self, voice: str) -> None:
        base, plus, variant = voice.partition("+")
        self._check_variant(voice, variant)
        if self._lib.espeak_SetVoiceByName((_ALIASES.get(base.lower(), base) + plus + variant).encode()) != 0:
            step = "choose one of them, with a variant if you like, such as en-gb+f2"
            raise EspeakError(
                f"espeak-ng does not know the voice {voice!r}", "a voice of `espeak-ng --voices=en`", step
            )


    def _check_variant(self, voice: str, variant: str) -> None:
        """Refuse a variant that espeak-ng would silently leave out. Numbers choose among those of one sex."""
        folder = self._data / "voices" / "!v"
        if variant and not variant.isdigit() and folder.is_dir() and not (folder / variant).is_file():
            known = sorted(file.name for file in folder.iterdir())
            near = difflib.get_close_matches(variant, known, n=1, cutoff=0.5)
            step = f"did you mean +{near[0]}?" if near else "choose one of them, such as en-gb+f2"
            raise EspeakError(f"no variant {variant!r} of a voice ({voice!r})", f"a file of {folder}", step)


def _main() -> int:
    try:
        pcm, _ = Library().say(**json.loads(sys.argv[1]))
    except EspeakError as error:
        sys.stdout.write(json.dumps(error.args))
        return REFUSED
    sys.stdout.buffer.write(pcm)
    return 0


if __name__ == "__main__":
    sys.exit(_main())
