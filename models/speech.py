"""Training speech: tracks put together from a pool of utterances, as log mel with the labels of every tick.

Rooms, microphones, noise and loudness are applied to mel *power* instead of to samples, because there they are cheap: an
equaliser is a product per band, a room an exponential tail per band, noise a sum with a random cross term.  A track is
`TICKS` ticks of 80 ms with none, one or several utterances in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import gaussian_filter1d
from scipy.signal import lfilter

from .hearing import BANDS, FRAMES_PER_TICK
from .language import VERBS
from .revoice import PHONE_CLASSES
from .utterances import IGNORE, WORD_CLASSES, Floats, Pool, render_pool

__all__ = ["IGNORE", "WORD_CLASSES", "Pool", "Track", "Tracks", "make_track", "render_pool"]

TICKS = 80  # of a track: 6.4 s
COMMAND_SHARE = 0.6  # of the utterances in a track
OTHER = len(VERBS)  # the verb head's class of a sentence that just ended and was no command
WORD_DELAY_FRAMES = 16  # the word label looks 160 ms back, so that a causal encoder has heard the word
PHONE_DELAYS_FRAMES = (14, 10)
LABELS = ("verb", "colour", "shape", "word", "phone")


@dataclass
class Track:
    """One track: log mel [TICKS*8, BANDS] and the labels of its ticks."""

    mel: Floats
    verb: npt.NDArray[np.int64]  # [TICKS]: the intent that was just completed, 0 none, IGNORE where either is right
    colour: npt.NDArray[np.int64]
    shape: npt.NDArray[np.int64]
    word: npt.NDArray[np.int64]
    phone: npt.NDArray[np.int64]  # [TICKS, 2]: phonemes of PHONE_DELAYS_FRAMES before the end of each tick
    spoken: list[tuple[int, tuple[int, int, int]]]  # (frame of its end, intent ids) of every command in the track


def _curve(rng: np.random.Generator, span_db: float, points: int = 8) -> Floats:
    """A random smooth gain per band, as a natural logarithm of power."""
    knots = rng.uniform(-span_db, span_db, points) * (np.log(10) / 10)
    return np.interp(np.linspace(0, points - 1, BANDS), np.arange(points), knots).astype(np.float32)


_HATS = np.stack([np.interp(np.arange(BANDS), np.linspace(0, BANDS - 1, 7), row) for row in np.eye(7)], 1)  # [BANDS, 7]: between knots


@dataclass(frozen=True)
class _Bent:
    """An utterance by another speaker; the fields are those of `Pool`."""

    log_power: Floats
    word: npt.NDArray[np.int8]
    phone: npt.NDArray[np.int8]
    end: int


def _bent(rng: np.random.Generator, log_power: Floats, word: npt.NDArray[np.int8], phone: npt.NDArray[np.int8], end: int, strange: float) -> _Bent:
    """Another speaker: vocal tract, timing, sharpness and liveliness; formants move apart from one another, and phonemes too.

    `strange` scales all of it, 0 to 1.  Other sentences are bent less than commands: else a speaker of a kind that was never heard is taken
    for somebody who says something else.
    """
    kinds = np.maximum(phone, 0)
    # frequency: one factor for the tract, knots that move alone, and each phoneme in its own way
    knots = np.linspace(0, BANDS - 1, 7)
    tract = knots * strange * rng.uniform(-0.17, 0.2) + rng.normal(0, strange * rng.uniform(0, 1.3), 7)
    each = rng.normal(0, strange * rng.uniform(0, 1.0), (PHONE_CLASSES, 7))
    moved = gaussian_filter1d(each[kinds], 2.0, axis=0) + tract  # [F, 7], in bands
    spread = _HATS @ moved.T  # [BANDS, F]
    source = np.clip(np.arange(BANDS) + np.sort(spread.T + np.arange(BANDS), axis=1) - np.arange(BANDS), 0, BANDS - 1)
    low = np.minimum(source.astype(int), BANDS - 2)
    part = (source - low).astype(np.float32)
    bent = np.take_along_axis(log_power, low, 1) * (1 - part) + np.take_along_axis(log_power, low + 1, 1) * part
    # time: one factor for the speaker, one for each phoneme, and a pace that wanders
    pace = rng.uniform(0.83, 1.2) * np.exp(rng.normal(0, strange * rng.uniform(0, 0.3), len(bent) // 10 + 2))
    lasting = np.exp(gaussian_filter1d(rng.normal(0, strange * rng.uniform(0, 0.4), PHONE_CLASSES)[kinds], 1.0))
    steps = np.clip(np.interp(np.arange(len(bent)), np.arange(len(pace)) * 10, pace) * lasting, 0.4, 2.5)
    length = np.cumsum(1.0 / steps)  # where each old frame ends in new frames
    count = max(4, int(length[-1]))
    at = np.interp(np.arange(count), length, np.arange(len(bent)))
    first = np.minimum(at.astype(int), len(bent) - 2)
    rest = (at - first).astype(np.float32)[:, None]
    out = bent[first] * (1 - rest) + bent[first + 1] * rest
    if rng.random() < 0.55 * strange:  # harmonics or none, sharp formants or blurred
        out = gaussian_filter1d(out, rng.uniform(0.3, 1.6), axis=1)
    if rng.random() < 0.45 * strange:
        out = gaussian_filter1d(out, rng.uniform(0.3, 1.8), axis=0)
    mean = out.mean(0)
    out = mean + (out - mean) * (1.0 + strange * rng.uniform(-0.3, 0.3))
    coarse = rng.normal(0, strange * rng.uniform(0, 0.9), (count // 6 + 2, 11))
    field = np.stack([np.interp(np.arange(BANDS), np.arange(11) * 4, row) for row in coarse])
    when = np.arange(count) / 6
    i = when.astype(int)
    out = out + field[i] * (1 - (when - i))[:, None] + field[i + 1] * (when - i)[:, None]
    near = np.rint(at).astype(int)
    return _Bent(out.astype(np.float32), word[near], phone[near], min(count, int(length[min(end, len(length)) - 1]) + 1))


def _noise(rng: np.random.Generator, frames: int, pool: Pool) -> Floats:
    """Noise power [frames, BANDS] of mean one: coloured, fluctuating, or several people talking."""
    bins = np.linspace(1.0, 8.0, BANDS, dtype=np.float32)  # bins per band grow with frequency, so fluctuation falls
    power = rng.standard_gamma(bins, size=(frames, BANDS), dtype=np.float32) / bins
    power *= np.exp(_curve(rng, rng.uniform(2.0, 15.0)))
    kind = rng.random()
    if kind < 0.3:
        knots = rng.uniform(-8, 8, frames // 40 + 2) * (np.log(10) / 10)
        power *= np.exp(np.interp(np.arange(frames), np.arange(len(knots)) * 40, knots)).astype(np.float32)[:, None]
    elif kind < 0.5:
        for _ in range(int(rng.integers(3, 7))):
            voice = _noise_voice(rng, frames, pool)
            power += voice * (power.mean() * rng.uniform(1, 6) / (voice.mean() + 1e-9))
    elif kind < 0.65:  # knocks and clicks
        for at in rng.integers(0, frames, size=int(rng.integers(2, 12))):
            tail = np.exp(-np.arange(min(20, frames - at)) / rng.uniform(1, 6))[:, None]
            power[at : at + len(tail)] += (tail * np.exp(_curve(rng, 10.0)) * power.mean() * rng.uniform(5, 60)).astype(np.float32)
    return power / power.mean()


def _noise_voice(rng: np.random.Generator, frames: int, pool: Pool) -> Floats:
    out = np.zeros((frames, BANDS), np.float32)
    at = 0
    while at < frames:
        i = int(rng.integers(len(pool.end)))
        part = np.exp(pool.frames[pool.start[i] : pool.start[i + 1]].astype(np.float32))[: frames - at]
        out[at : at + len(part)] += part
        at += len(part) + int(rng.integers(0, 20))
    return out


def make_track(rng: np.random.Generator, pool: Pool, *, ticks: int = TICKS, snr_db: tuple[float, float] = (2.0, 50.0)) -> Track:
    """One track of `ticks` ticks with random utterances, room, microphone and noise."""
    frames = ticks * FRAMES_PER_TICK
    speech = np.zeros((frames, BANDS), np.float32)
    word, phone = np.zeros(frames, np.int64), np.zeros(frames, np.int64)
    spoken: list[tuple[int, tuple[int, int, int]]] = []
    talk: list[tuple[int, int]] = []
    commands, others = pool.commands, pool.others
    at = int(rng.integers(8, 220))
    while rng.random() < 0.95:
        group = commands if rng.random() < COMMAND_SHARE else others
        i = int(group[rng.integers(len(group))])
        span = slice(int(pool.start[i]), int(pool.start[i + 1]))
        strange = 1.0 if pool.intent[i, 0] else 0.5
        by = _bent(rng, pool.frames[span].astype(np.float32), pool.word[span], pool.phone[span], int(pool.end[i]), strange)
        end = by.end
        if at + end + 30 > frames:
            break
        log_power = by.log_power + _curve(rng, 4.0) + rng.uniform(-1.0, 1.0)
        length = min(len(log_power), frames - at)
        speech[at : at + length] += np.exp(log_power[:length])
        word[at : at + length] = by.word[:length]
        phone[at : at + length] = by.phone[:length]
        talk.append((at, at + end))
        spoken.append((at + end, tuple(int(v) for v in pool.intent[i])))  # type: ignore[arg-type]
        at += end + int(rng.integers(45, 160))
    mel = _room(rng, speech, talk, pool, snr_db)
    verb, colour, shape = _labels(ticks, talk, spoken)
    words = _delayed(word, WORD_DELAY_FRAMES)
    phones = np.stack([_delayed(phone, frames_ago) for frames_ago in PHONE_DELAYS_FRAMES], 1)
    return Track(mel, verb, colour, shape, words, phones, [s for s in spoken if s[1][0]])


def _delayed(frames: npt.NDArray[np.int64], by: int) -> npt.NDArray[np.int64]:
    """Per tick the label of the frame `by` before the tick's last one."""
    return np.concatenate([np.zeros(by, np.int64), frames])[: len(frames)][FRAMES_PER_TICK - 1 :: FRAMES_PER_TICK]


def _room(rng: np.random.Generator, speech: Floats, talk: list[tuple[int, int]], pool: Pool, snr_db: tuple[float, float]) -> Floats:
    frames = len(speech)
    if rng.random() < 0.5:
        rt60_s = rng.uniform(0.1, 0.7)
        decay = 10.0 ** (-6.0 * 0.010 / rt60_s)
        wet = rng.uniform(0.02, 0.5) * (1 - decay)
        tail = np.asarray(lfilter([0.0, wet], [1.0, -decay], speech, axis=0), np.float32)
        speech = speech + tail
    speech = speech * np.exp(_curve(rng, 12.0))
    if rng.random() < 0.5:  # darker or brighter as a whole: makes of voices differ most in this
        speech = speech * np.exp(np.linspace(0.0, rng.uniform(-20.0, 10.0) * (np.log(10) / 10), BANDS)).astype(np.float32)
    if rng.random() < 0.35:  # a narrow channel: telephone, old codec, 8 kHz voice
        speech[:, int(rng.integers(26, BANDS)) :] *= np.float32(10.0 ** -rng.uniform(1.5, 6.0))
    if rng.random() < 0.15:
        speech[:, : int(rng.integers(1, 7))] *= np.float32(10.0 ** -rng.uniform(1.0, 4.0))
    active = np.concatenate([speech[a:b] for a, b in talk]) if talk else np.full((1, BANDS), 1e-2, np.float32)
    speech = speech * (1e-4 / (active.mean() + 1e-12))  # mean band power of the talk
    snr = snr_db[0] + (snr_db[1] - snr_db[0]) * rng.random() ** 2  # noisy ones are the harder ones
    noise = _noise(rng, frames, pool) * (1e-4 * 10.0 ** (-snr / 10.0))
    cross = 2.0 * np.sqrt(speech * noise) * rng.uniform(-0.5, 0.5, size=speech.shape)
    power = np.maximum(speech + noise + cross, 0.0) * 10.0 ** (rng.uniform(-18, 12) / 10.0)
    power += 0.5 * rng.standard_exponential((2, *power.shape), dtype=np.float32).sum(0) * 10.0 ** rng.uniform(-10.0, -7.0)
    mel = np.log(power + 1e-8)
    if rng.random() < 0.3:
        band = int(rng.integers(BANDS - 5))
        mel[:, band : band + int(rng.integers(1, 5))] = mel.min()
    return mel.astype(np.float32)


def _labels(ticks: int, talk: list[tuple[int, int]], spoken: list[tuple[int, tuple[int, int, int]]]) -> tuple[npt.NDArray[np.int64], ...]:
    """The intent heads' labels: an intent is due from 0.2 s (a stop from 0.14 s) after the last sound until 0.7 s."""
    verb, colour, shape = (np.zeros(ticks, np.int64) for _ in range(3))
    tick_end = (np.arange(ticks) + 1) * FRAMES_PER_TICK
    for index, (end, ids) in enumerate(spoken):
        due = 14 if VERBS[ids[0]] == "stop" else 20
        following = talk[index + 1][0] if index + 1 < len(talk) else 10**9
        window = (tick_end >= end + due) & (tick_end < end + 70) & (tick_end < following + 8)
        edge = ((tick_end >= end - 6) & (tick_end < end + due)) | ((tick_end >= end + 70) & (tick_end < end + 90))
        missing = 0 if ids[0] else IGNORE  # or every strange voice says nothing: it is heard as another sentence
        for target, value in ((verb, ids[0] or OTHER), (colour, ids[1] or missing), (shape, ids[2] or missing)):
            target[window] = value
            target[edge & ~window] = IGNORE
    return verb, colour, shape


class Tracks(torch.utils.data.IterableDataset[tuple[torch.Tensor, ...]]):
    """Endless batches of tracks: mel [B, F, BANDS] float32 and labels verb, colour, shape, word [B, TICKS] and phone
    [B, TICKS, 2], int64."""

    def __init__(self, pool_path: Path, batch: int, seed: int) -> None:
        self._path, self._batch, self._seed = pool_path, batch, seed

    def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        torch.set_num_threads(1)
        worker = torch.utils.data.get_worker_info()
        rng = np.random.default_rng([self._seed, worker.id if worker else 0])
        pool = Pool.load(self._path)
        while True:
            tracks = [make_track(rng, pool) for _ in range(self._batch)]
            yield (
                torch.from_numpy(np.stack([t.mel for t in tracks])),
                *(torch.from_numpy(np.stack([getattr(t, name) for t in tracks])) for name in LABELS),
            )

