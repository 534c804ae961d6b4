"""Speakers that espeak-ng does not have: its phonemes and their times, sounded by a source and a filter of our own.

espeak-ng's hundred voices share one table of formants, one way from phoneme to phoneme and one rhythm, and an ear that has
heard nothing else takes these for the language. Here every utterance has another speaker: where the vowels lie, how long each kind of
phoneme lasts, how fast one glides into the next, how breathy and how dark the voice is, how loud the consonants are - all of
it drawn, far wider than people differ. Nothing is taken from recordings or from another synthesiser.

A phoneme is one or several stretches, each with four formants and the levels of voice, breath and friction. The tracks of
these are smoothed, and become power spectra: a cascade of resonances (Klatt, J. Acoust. Soc. Am. 67, 1980, section I) under a
falling source with or without harmonics. Means of the vowels: Hillenbrand et al., J. Acoust. Soc. Am. 97, 1995, table V (men);
of the consonants: Klatt 1980, table III, rounded. No samples are made: the ear sees powers of bands only, and phases would be lost in them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d

from innervate.boards.emulator.speech import OUT_HZ, Utterance

Floats = npt.NDArray[np.float32]

STEP_S = 0.005  # of the parameter tracks; spectra stand every second step
BINS_HZ = np.arange(201, dtype=np.float32) * 40.0
OFF = -80.0  # dB: nothing of it

_VOWELS: dict[str, tuple[tuple[float, float, float], ...]] = {  # F1, F2, F3 in Hz; diphthongs have two or three places
    "i": ((340, 2320, 3000),), "I": ((430, 2030, 2680),), "E": ((580, 1800, 2600),), "a": ((620, 1870, 2560),), "A": ((760, 1310, 2520),),
    "0": ((700, 1120, 2520),), "O": ((640, 980, 2540),), "U": ((470, 1120, 2430),), "u": ((370, 1050, 2300),), "V": ((620, 1220, 2550),),
    "@": ((520, 1400, 2500),), "3": ((480, 1370, 1720),), "@L": ((480, 900, 2650),), "e": ((470, 2090, 2690),), "o": ((500, 920, 2460),),
    "eI": ((500, 1980, 2640), (390, 2200, 2800)), "aI": ((740, 1320, 2500), (430, 2000, 2650)), "oU": ((530, 1050, 2400), (420, 900, 2350)),
    "aU": ((740, 1400, 2500), (460, 980, 2400)), "OI": ((590, 950, 2500), (430, 1980, 2600)), "A@": ((740, 1200, 2450), (500, 1320, 1750)),
    "O@": ((570, 930, 2450), (480, 1250, 1750)), "o@": ((540, 900, 2450), (470, 1250, 1750)), "e@": ((540, 1850, 2550), (480, 1400, 1800)),
    "i@": ((380, 2150, 2800), (480, 1400, 1850)), "U@": ((430, 1100, 2350), (480, 1350, 1800)), "VR": ((600, 1250, 2300), (480, 1370, 1750)),
    "IR": ((430, 1950, 2500), (470, 1450, 1800)),
}
_DRIFTS: dict[str, tuple[tuple[float, float, float], ...]] = {  # vowels that dialects of English move, and where to: F1, F2, F3 in Hz
    "u": ((370, 1750, 2300), (330, 850, 2300)), "U": ((450, 1500, 2400), (600, 1250, 2500)), "oU": ((530, 1450, 2400), (470, 830, 2400)),
    "O": ((740, 1180, 2540), (450, 780, 2500)), "0": ((780, 1320, 2520), (560, 900, 2500)), "a": ((780, 1550, 2500), (560, 2050, 2600)),
    "V": ((560, 1450, 2500), (740, 1350, 2500)), "I": ((480, 1750, 2550), (370, 2200, 2800)), "E": ((500, 2050, 2700), (680, 1750, 2550)),
    "@": ((560, 1600, 2550), (480, 1150, 2450)), "3": ((520, 1480, 2450), (460, 1300, 1600)), "aU": ((640, 1800, 2500), (700, 1150, 2500)),
    "A": ((660, 1080, 2520), (760, 1500, 2500)), "eI": ((570, 1800, 2550), (430, 2150, 2700)), "aI": ((680, 1150, 2500), (740, 1550, 2500)),
    "A@": ((700, 1500, 2450), (680, 1050, 2500)), "@L": ((550, 1050, 2500), (420, 750, 2500)), "i": ((400, 2050, 2750),),
}
_SCATTER = {True: (0.11, 0.08, 0.05), False: (0.14, 0.12, 0.07)}  # of vowels and of the rest, from speaker to speaker, as logarithms
_STOPS = {"p": "labial", "b": "labial", "t": "alveolar", "d": "alveolar", "k": "velar", "g": "velar", "tS": "palatal", "dZ": "palatal"}
_LOCI = {"labial": (340, 1050, 2250), "alveolar": (360, 1700, 2650), "velar": (320, 1950, 2500), "palatal": (310, 1850, 2800),
         "dental": (330, 1300, 2550), "lips": (340, 1100, 2150)}
_BURSTS = {"labial": (900.0, 1.2), "alveolar": (4200.0, 0.45), "velar": (2000.0, 0.4), "palatal": (3100.0, 0.35)}  # Hz, octaves
_FRICATIVES = {  # place, middle in Hz, width in octaves, level in dB
    "s": ("alveolar", 5800.0, 0.4, -7.0), "z": ("alveolar", 5800.0, 0.4, -13.0),
    "S": ("palatal", 3200.0, 0.45, -6.0), "Z": ("palatal", 3200.0, 0.45, -12.0),
    "f": ("lips", 4500.0, 1.6, -22.0), "v": ("lips", 4500.0, 1.6, -27.0), "T": ("dental", 5500.0, 1.2, -23.0), "D": ("dental", 5500.0, 1.2, -30.0),
}
_NASALS = {"m": "labial", "n": "alveolar", "N": "velar"}
_GLIDES = {"l": (360, 1020, 2700), "r": (350, 1080, 1480), "w": (310, 640, 2250), "j": (280, 2200, 2950)}
_VOICED = frozenset("b d g dZ z Z v D".split())
PHONES = (*_VOWELS, *_STOPS, *_FRICATIVES, *_NASALS, *_GLIDES, "h", "t#")
SILENT = 0  # the class of a pause; PHONES[i] is class i + 1
PHONE_CLASSES = len(PHONES) + 1
_ALIASES = {"r-": "r", "w#": "w", "t2": "t", "t[": "t", "?": "t", "aa": "a", "O2": "0", "i@3": "i@", "l#": "l", "x": "k"}


def phone_class(name: str) -> int:
    """The class of an espeak-ng phoneme of English: its base form (without length and variant marks) in PHONES, or SILENT."""
    name = _ALIASES.get(name, name)
    while name and name not in PHONES:
        name = name[:-1]
    return PHONES.index(name) + 1 if name else SILENT


@dataclass(frozen=True)
class _Stretch:
    share: float  # of the phoneme's time
    formants: tuple[float, float, float] | None  # Hz; None holds no opinion: the neighbours decide
    voice: float = OFF  # dB, as the next three
    breath: float = OFF
    friction: float = OFF
    murmur: float = OFF  # voice through closed lips: low frequencies only
    middle: float = 3000.0  # Hz, of the friction
    width: float = 0.5  # octaves
    nasal: float = 0.0  # 0 to 1


class _Speaker:
    """Everything that one utterance draws once."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self.tract = float(np.exp(rng.uniform(-0.12, 0.32)))  # factor on all formants: tall men to children
        self.each = np.exp(rng.normal(0, 0.04, 3))
        self.high_hz = self.tract * np.array([3500, 4400, 5400, 6500, 7500]) * np.exp(rng.normal(0, 0.05, 5))
        self.places: dict[str, npt.NDArray[np.float64]] = {}
        self.spread = rng.uniform(0.7, 1.2)  # of the vowels about their middle
        self.f0_hz = float(np.exp(rng.uniform(np.log(75), np.log(280))))
        self.f0_span = rng.uniform(0.0, 0.25)
        self.bandwidths = np.array([80, 100, 150, 220, 280, 350, 450, 550]) * np.exp(rng.normal(0.1, 0.35)) * np.exp(rng.normal(0, 0.2, 8))
        self.corner_hz = rng.uniform(100, 400)
        self.slope = rng.uniform(0.7, 1.3)
        self.dark_hz, self.dark = rng.uniform(800, 3500), rng.uniform(0, 1.2)
        self.breath = rng.uniform(-45, -14)  # dB beside the voice
        self.harmonics = rng.uniform(0, 1) if rng.random() < 0.7 else 0.0
        self.glide_s = rng.uniform(0.006, 0.035)
        self.reach_s, self.reach = rng.uniform(0.04, 0.10), rng.uniform(0.0, 0.55)  # how far off a neighbour colours a sound, and how much
        self.level_s = rng.uniform(0.003, 0.010)
        self.friction = rng.normal(-2, 5)
        self.burst = rng.normal(0, 4)
        self.tongue = float(np.exp(rng.normal(0, 0.12)))  # factor on the middles of friction
        self.flat = rng.uniform(-50, -22)  # friction far from its middle, dB
        self.nasal = rng.uniform(6, 22)  # dB lost above 500 Hz
        self.unsteady = rng.uniform(0.0, 0.06)  # of a phoneme from one time to the next, as a logarithm
        self.light = rng.random()  # of l
        self.sonorants = rng.normal(0, 2.5)  # dB
        self.bursts = np.exp(rng.normal(0, 0.3, 4)), rng.uniform(0.8, 2.2, 4)  # factors on middle and width, by place
        self.joins = rng.uniform(0.02, 0.10) if rng.random() < 0.35 else 0.0  # jumps in the middle of phonemes, as where diphones meet
        self.loudness = rng.uniform(0.5, 4.0)  # dB from phoneme to phoneme
        self.fall = rng.uniform(-2.0, 8.0)  # dB from the first phoneme to the last
        self.drift = rng.uniform(0.0, 0.05)  # of formants within phonemes, as a logarithm
        self.released = rng.uniform(0.0, 1.0)  # chance of a burst at the end of a word
        self.aspiration_s = rng.uniform(0.01, 0.06)
        self.paces = {kind: float(np.exp(rng.normal(0, 0.18))) for kind in ("vowel", "stop", "friction", "other", "pause")}
        self.pace = float(np.exp(rng.uniform(-0.45, 0.3)))
        self.stress = rng.uniform(0.9, 1.35)
        self.weak = rng.uniform(0.5, 1.05)
        self.wander = rng.uniform(0.05, 0.25)
        self.last = rng.uniform(0.8, 1.5)

    def place(self, name: str, index: int, formants: tuple[float, float, float]) -> tuple[float, float, float]:
        """This speaker's formants in place of the mean ones."""
        key = f"{name}{index}"
        middle = np.array([500.0, 1450.0, 2500.0])
        if key not in self.places:
            place = np.log(formants)
            if index == 0 and name in _DRIFTS and self._rng.random() < 0.6:
                ways = _DRIFTS[name]
                place = place + (np.log(ways[int(self._rng.integers(len(ways)))]) - place) * self._rng.random()
            self.places[key] = middle * np.exp(place - np.log(middle)) ** self.spread * np.exp(self._rng.normal(0, _SCATTER[name in _VOWELS]))
        moved = self.places[key] * np.exp(self._rng.normal(0, self.unsteady, 3)) * self.each * self.tract
        return float(moved[0]), float(moved[1]), float(moved[2])


def _stretches(speaker: _Speaker, name: str, seconds: float, following: str, rng: np.random.Generator) -> list[_Stretch]:
    """What a phoneme of PHONES is made of when it lasts `seconds` and `following` ("" at the end of a word) comes next."""
    if name in _VOWELS:
        places = _VOWELS[name]
        parts = (1.0,) if len(places) == 1 else (0.5, 0.5) if rng.random() < 0.7 else (0.35, 0.65)
        pairs = enumerate(zip(parts, places, strict=True))
        return [_Stretch(part, speaker.place(name, i, place), voice=0.0, breath=speaker.breath) for i, (part, place) in pairs]
    if name in _GLIDES:
        glide: tuple[float, float, float] = _GLIDES[name]
        if name == "l":  # light or dark, before vowels mostly lighter
            lightness = speaker.light * (1.0 if following in _VOWELS else 0.3)
            glide = (460 - 110 * lightness, 900 + 500 * lightness, 2750.0)
        target = speaker.place(name, int(following in _VOWELS), glide)
        return [_Stretch(1.0, target, voice=rng.normal(-3, 2) + speaker.sonorants, breath=speaker.breath)]
    if name in _NASALS:
        return [_Stretch(1.0, speaker.place(name, 0, _LOCI[_NASALS[name]]), voice=rng.normal(-2, 2), nasal=1.0)]
    if name == "h":
        return [_Stretch(1.0, None, breath=rng.normal(-14, 4), voice=-15.0 if rng.random() < 0.3 else OFF)]
    if name == "t#":
        return [_Stretch(1.0, speaker.place("t", 0, _LOCI["alveolar"]), voice=rng.normal(-12, 3))]
    voiced = name in _VOICED
    if name in _FRICATIVES:
        place, middle, width, level = _FRICATIVES[name]
        murmur = rng.normal(-8, 4) if voiced and rng.random() < 0.8 else OFF
        return [_Stretch(1.0, speaker.place(place, 0, _LOCI[place]), voice=rng.normal(-12, 3) if voiced else OFF, murmur=murmur,
                         friction=level + speaker.friction + rng.normal(0, 2), middle=middle * speaker.tongue, width=width)]
    place = _STOPS[name]
    locus = speaker.place(place, 0, _LOCI[place])
    middle, width = _BURSTS[place]
    which = list(_BURSTS).index(place)
    middle, width = middle * speaker.bursts[0][which], width * speaker.bursts[1][which]
    if place == "velar" and following[:1] in ("u", "U", "o", "O", "0", "w"):
        middle *= 0.65
    closed = _Stretch(0.0, locus, murmur=rng.normal(-12, 5) if voiced and rng.random() < 0.8 else OFF)
    affricate = place == "palatal"
    level = (-6.0 if affricate else -16.0 if place == "labial" else -10.0) + speaker.burst + speaker.friction / 2 + rng.normal(0, 3)
    share = min(0.5, (0.07 if affricate else 0.015) / seconds)
    burst = _Stretch(share, locus, friction=level, breath=-25.0, middle=middle * speaker.tongue, width=width)
    if not following and rng.random() > speaker.released:
        return [_Stretch(1.0, locus, murmur=closed.murmur)]
    tail = []
    if not (voiced or affricate or following in ("s", "S")):
        tail = [_Stretch(min(0.4, speaker.aspiration_s / seconds), None, breath=rng.normal(-16, 4))]
    rest = 1.0 - burst.share - sum(part.share for part in tail)
    return [_Stretch(max(rest, 0.1), locus, murmur=closed.murmur), burst, *tail]


@dataclass(frozen=True)
class Revoiced:
    """An utterance by a drawn speaker: power of the spectrum's bins [F, 201], and per frame of 10 ms the index of its word (-1 pause)
    and the class of its phoneme."""

    power: Floats
    word: npt.NDArray[np.int64]
    phone: npt.NDArray[np.int8]


def _timeline(said: Utterance, speaker: _Speaker, rng: np.random.Generator) -> tuple[list[tuple[_Stretch, int]], list[int], list[int]]:
    """Stretches with their steps, and per step the word and the phoneme."""
    phones = list(said.phones)
    starts = [word.sample for word in said.words]
    stretches: list[tuple[_Stretch, int]] = []
    words: list[int] = []
    classes: list[int] = []
    ends = [phone.sample for phone in phones[1:]] + [len(said.pcm)]
    lasting = [max(end - phone.sample, 0) / OUT_HZ for phone, end in zip(phones, ends, strict=True)]
    for i in range(1, len(phones)):  # espeak-ng times "all" as one sound and calls its l nothing
        if lasting[i] == 0.0 and phone_class(phones[i].name) != SILENT and lasting[i - 1] > 0.08:
            lasting[i] = lasting[i - 1] * rng.uniform(0.25, 0.5)
            lasting[i - 1] -= lasting[i]
    owner = [int(np.searchsorted(starts, phone.sample, side="right")) - 1 for phone in phones]
    for i, phone in enumerate(phones):
        kind = phone_class(phone.name)
        if kind == SILENT:
            seconds = lasting[i] * speaker.paces["pause"] * speaker.pace
            if i + 1 == len(phones) or seconds < 0.01:
                continue
            steps = min(round(seconds / STEP_S), 60)
            stretches.append((_Stretch(1.0, None), steps))
            words += [-1] * steps
            classes += [SILENT] * steps
            continue
        name = PHONES[kind - 1]
        group = "vowel" if name in _VOWELS else "stop" if name in _STOPS else "friction" if name in _FRICATIVES else "other"
        factor = speaker.pace * speaker.paces[group] * np.exp(rng.normal(0, speaker.wander))
        if group == "vowel":
            factor *= speaker.weak if phone.name in ("@", "@2", "I2", "a#") else speaker.stress
        if owner[i] == len(starts) - 1:
            factor *= speaker.last
        seconds = float(np.clip(max(lasting[i], 0.03) * factor, 0.02, 0.5))
        inside = i + 1 < len(phones) and owner[i + 1] == owner[i]
        following = PHONES[max(phone_class(phones[i + 1].name), 1) - 1] if inside else ""
        for part in _stretches(speaker, name, seconds, following, rng):
            steps = max(1, round(seconds * part.share / STEP_S))
            stretches.append((part, steps))
            words += [owner[i]] * steps
            classes += [kind] * steps
    return stretches, words, classes


def revoice(said: Utterance, rng: np.random.Generator) -> Revoiced:
    """Say what `said` says as somebody else; `said.phones` must be there (English voices)."""
    speaker = _Speaker(rng)
    stretches, words, classes = _timeline(said, speaker, rng)
    steps = np.array([count for _, count in stretches])
    parts = [part for part, _ in stretches]
    at = np.repeat(np.arange(len(parts)), steps)
    places = np.cumsum(steps) - steps / 2
    known = np.array([part.formants is not None for part in parts])
    if not known.any():
        known[:] = True
    rows = np.array([part.formants or (500.0, 1500.0, 2500.0) for part in parts])
    filled = np.stack([np.interp(places, places[known], rows[known, k]) for k in range(3)], 1)
    track = np.log(filled)[at]
    track += speaker.reach * (gaussian_filter1d(track, speaker.reach_s / STEP_S, axis=0, mode="nearest") - track)
    if speaker.joins:
        inside = (np.arange(len(at)) - (places - steps / 2)[at]) / steps[at]  # 0 to 1 within each stretch
        jumps = rng.normal(0, speaker.joins, (len(parts) + 1, 3))
        track = gaussian_filter1d(track, speaker.glide_s / STEP_S, axis=0, mode="nearest") + jumps[at + (inside > 0.5)]
        formants = gaussian_filter1d(track, 0.8, axis=0, mode="nearest")[::2]
    else:
        formants = gaussian_filter1d(track, speaker.glide_s / STEP_S, axis=0, mode="nearest")[::2]
    wander = rng.normal(0, speaker.drift, (len(formants) // 5 + 2, 3))
    formants = formants + np.stack([np.interp(np.arange(len(formants)), np.arange(len(wander)) * 5, wander[:, k]) for k in range(3)], 1)
    gains = rng.normal(0, speaker.loudness, len(parts)) - speaker.fall * places / places[-1]

    def level(name: str) -> npt.NDArray[np.float64]:
        db = (np.array([getattr(part, name) for part in parts]) + gains)[at]
        return np.asarray(gaussian_filter1d(10.0 ** (db / 10.0), max(speaker.level_s / STEP_S, 0.8), mode="constant")[::2])

    def smooth(name: str) -> npt.NDArray[np.float64]:
        return np.asarray(gaussian_filter1d(np.array([getattr(part, name) for part in parts])[at], 1.0, mode="nearest")[::2])

    frames = len(formants)
    hz = BINS_HZ[None]
    centres = np.concatenate([np.exp(formants), np.broadcast_to(speaker.high_hz, (frames, 5))], 1).astype(np.float32)
    tract = np.ones((frames, len(BINS_HZ)), np.float32)
    for k in range(8):
        f, half = centres[:, k, None], np.float32(speaker.bandwidths[k] / 2) ** 2
        tract *= (f * f + half) ** 2 / (((hz - f) ** 2 + half) * ((hz + f) ** 2 + half))
    source = (1.0 + (hz / speaker.corner_hz) ** 2) ** -speaker.slope * (1.0 + (hz / speaker.dark_hz) ** 2) ** -speaker.dark
    source = source * (hz > 50)
    voiced = tract * source * (1.0 - smooth("nasal")[:, None] * (1.0 - 10.0 ** (-speaker.nasal / 10.0)) * (hz > 500))
    loud = level("voice")
    total = voiced.sum(1)
    voiced /= np.median(total[loud > 0.3]) if (loud > 0.3).any() else total.max()
    closed = source * (1.0 + (hz / 350.0) ** 4) ** -1.0
    breath = tract * (hz / 2000.0) ** 0.5
    breath /= np.median(breath.sum(1))
    octaves = np.log2(np.maximum(hz, 20.0) / np.maximum(smooth("middle"), 100.0)[:, None])
    hiss = np.exp(-0.5 * (octaves / smooth("width")[:, None]) ** 2) + 10.0 ** (speaker.flat / 10.0)
    hiss /= hiss.sum(1, keepdims=True)
    tone = voiced * loud[:, None] + closed / closed.sum() * level("murmur")[:, None]
    if speaker.harmonics:
        knots = rng.normal(0, speaker.f0_span, frames // 15 + 3) - np.linspace(0, speaker.f0_span, frames // 15 + 3)
        f0 = speaker.f0_hz * np.exp(np.interp(np.arange(frames), np.arange(len(knots)) * 15, knots))[:, None]
        off = (hz - f0 * np.maximum(np.rint(hz / f0), 1.0)) / 40.0  # in bins of the window: its main lobe is two wide
        comb = np.where(np.abs(off) < 2.0, np.cos(np.pi * off / 4.0) ** 4, 0.0) + 1e-3
        comb *= f0 / 40.0 / 1.5
        tone = tone * (1.0 + speaker.harmonics * (comb - 1.0))
    power = tone + breath * level("breath")[:, None] + hiss * level("friction")[:, None]
    word = np.array(words)[::2][:frames]
    return Revoiced(power.astype(np.float32), word, np.array(classes, np.int8)[::2][:frames])
