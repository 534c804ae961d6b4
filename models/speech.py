"""Training speech: a pool of espeak-ng utterances as mel power, and tracks put together from it.

Rendering is done once (`render_pool`); rooms, microphones, noise and loudness are then applied to mel *power* instead of to
samples, because there they are cheap: an equaliser is a product per band, a room an exponential tail per band, noise a sum
with a random cross term.  A track is `TICKS` ticks of 80 ms with none, one or several utterances in it and the labels of
every tick.  Only espeak-ng voices go in; other synthesisers are for judging.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import gaussian_filter1d
from scipy.signal import lfilter

from innervate.boards.emulator.speech import synthesiser

from .hearing import BANDS, FRAMES_PER_TICK, HOP, mel_power
from .language import VERBS, command, other
from .progress import Progress
from .voices import ACCENTS, FOREIGN, FOREIGN_SHARE, HELD_OUT_VARIANTS, VARIANTS

Floats = npt.NDArray[np.float32]

TICKS = 80  # of a track: 6.4 s
COMMAND_SHARE = 0.8  # of the utterances in a track
OTHER = len(VERBS)  # the verb head's class of a sentence that just ended and was no command
WORDS = tuple(
    "look left right up down straight ahead at the find follow stop what do you see how hard am i squeezing "
    "red green blue yellow purple white cube ball cylinder cone".split()
)
WORD_CLASSES = len(WORDS) + 2  # 0 silence, 1 another word, then WORDS
WORD_DELAY_FRAMES = 16  # the word label looks 160 ms back, so that a causal encoder has heard the word
IGNORE = -100


@dataclass(frozen=True)
class Pool:
    """Utterances as log mel power: `frames` [F, BANDS] float16, and per utterance its span, meaning, end and words."""

    frames: npt.NDArray[np.float16]
    start: npt.NDArray[np.int64]  # [N+1]: frames of utterance i are start[i]:start[i+1]
    intent: npt.NDArray[np.int64]  # [N, 3]: verb, colour, shape; verb 0 for other sentences
    end: npt.NDArray[np.int64]  # [N]: frame after the last audible one
    word: npt.NDArray[np.int8]  # [F]: class of the word spoken in each frame

    @property
    def commands(self) -> npt.NDArray[np.intp]:
        """Utterances that are commands."""
        return np.flatnonzero(self.intent[:, 0] > 0)

    @property
    def others(self) -> npt.NDArray[np.intp]:
        """Utterances that are not."""
        return np.flatnonzero(self.intent[:, 0] == 0)

    @staticmethod
    def load(path: Path) -> Pool:
        """Read what `render_pool` wrote."""
        with np.load(path) as z:
            return Pool(**{name: z[name] for name in ("frames", "start", "intent", "end", "word")})


def _render_one(seed: int, validation: bool) -> tuple[npt.NDArray[np.float16], tuple[int, int, int], int, npt.NDArray[np.int8]]:
    rng = np.random.default_rng(seed)
    if rng.random() < 0.66:
        text, intent = command(rng)
        ids = intent.ids
    else:
        text, ids = other(rng), (0, 0, 0)
    names = HELD_OUT_VARIANTS if validation else tuple(v for v in VARIANTS if v not in HELD_OUT_VARIANTS)
    accent, variant = ACCENTS[int(rng.integers(len(ACCENTS)))], names[int(rng.integers(len(names)))]
    manner = {"rate_wpm": int(rng.integers(105, 235)), "pitch": int(rng.integers(5, 95)), "pitch_range": int(rng.integers(10, 95))}
    spoken = text + ("", "", ".", "?", "!")[int(rng.integers(5))]
    said = synthesiser().say(spoken, f"{accent}+{variant}", **manner)
    if rng.random() < FOREIGN_SHARE:
        language = FOREIGN[int(rng.integers(len(FOREIGN)))]
        strange = synthesiser().say(f"[[{synthesiser().phonemes(text, accent)}]]", f"{language}+{variant}", **manner)
        if len(strange.pcm) > 0.6 * len(said.pcm):  # a language that lacks some of the phonemes leaves them out
            said = strange
    pcm = said.pcm.astype(np.float32) / 32768.0
    pcm *= 0.1 / (np.sqrt(np.mean(pcm**2)) + 1e-6)
    power = mel_power(torch.from_numpy(np.concatenate([np.zeros(400 - HOP, np.float32), pcm, np.zeros(HOP, np.float32)])))
    frames = torch.log(power + 1e-10).numpy()  # [F, BANDS]
    loud = power.sum(1).numpy()
    audible = np.flatnonzero(loud > loud.max() * 3e-4)
    end = int(audible[-1]) + 1
    word = np.zeros(len(frames), np.int8)
    starts = [w.sample // HOP for w in said.words] + [end]
    tokens = text.split()
    for token, begin, stop in zip(tokens, starts, starts[1:], strict=False):
        word[begin:stop] = WORDS.index(token) + 2 if token in WORDS else 1
    if len(said.words) != len(tokens):
        word[:] = IGNORE
    return frames.astype(np.float16), ids, end, word


def _render_chunk(job: tuple[int, int, bool]) -> list[tuple[npt.NDArray[np.float16], tuple[int, int, int], int, npt.NDArray[np.int8]]]:
    torch.set_num_threads(1)
    first, count, validation = job
    return [_render_one(first + i, validation) for i in range(count)]


def render_pool(path: Path, count: int, seed: int, *, validation: bool = False, processes: int = 2) -> None:
    """Render `count` utterances and write them to `path` (about 1.2 MB per hundred, 4 ms each and process).

    espeak-ng crashes on a few pairs of voice and phonemes; such a chunk is drawn anew from other seeds.
    """
    chunk, rows, broken = 100, [], 0
    waiting = [(seed + i, min(chunk, count - i), validation) for i in range(0, count, chunk)]
    with Progress(f"speech {path.stem}", len(waiting)) as bar:
        while waiting:
            again = []
            with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as workers:
                for job, part in [(job, workers.submit(_render_chunk, job)) for job in waiting]:
                    try:
                        rows += part.result()
                        bar.step()
                    except BrokenProcessPool:  # this job or one that ran beside it
                        again.append(job)
            if again:  # the first of them is the likeliest culprit
                broken += 1
                again[0] = (seed + 10_000_000 + broken * chunk, again[0][1], validation)
            waiting = again
    lengths = [len(r[0]) for r in rows]
    partial = path.with_suffix(".part.npz")
    np.savez(
        partial,
        frames=np.concatenate([r[0] for r in rows]),
        start=np.concatenate([[0], np.cumsum(lengths)]),
        intent=np.array([r[1] for r in rows], np.int64),
        end=np.array([r[2] for r in rows], np.int64),
        word=np.concatenate([r[3] for r in rows]),
    )
    partial.rename(path)


@dataclass
class Track:
    """One track: log mel [TICKS*8, BANDS] and the labels of its ticks."""

    mel: Floats
    verb: npt.NDArray[np.int64]  # [TICKS]: the intent that was just completed, 0 none, IGNORE where either is right
    colour: npt.NDArray[np.int64]
    shape: npt.NDArray[np.int64]
    word: npt.NDArray[np.int64]
    spoken: list[tuple[int, tuple[int, int, int]]]  # (frame of its end, intent ids) of every command in the track


def _curve(rng: np.random.Generator, span_db: float, points: int = 8) -> Floats:
    """A random smooth gain per band, as a natural logarithm of power."""
    knots = rng.uniform(-span_db, span_db, points) * (np.log(10) / 10)
    return np.interp(np.linspace(0, points - 1, BANDS), np.arange(points), knots).astype(np.float32)


def _bent(
    rng: np.random.Generator, log_power: Floats, word: npt.NDArray[np.int8], end: int, strange: float
) -> tuple[Floats, npt.NDArray[np.int8], int]:
    """Another speaker: vocal tract, timing, sharpness and liveliness; formants move apart from one another, and syllables too.

    `strange` scales all of it, 0 to 1.  Other sentences are bent less than commands: else a speaker of a kind that was never heard is taken
    for somebody who says something else.
    """
    # frequency: one factor for the tract, and knots that move alone
    knots = np.linspace(0, BANDS - 1, 7)
    moved = knots * (1.0 + strange * rng.uniform(-0.17, 0.2)) + rng.normal(0, strange * rng.uniform(0, 1.3), 7)
    source = np.clip(np.interp(np.arange(BANDS), knots, np.maximum.accumulate(moved)), 0, BANDS - 1)
    low = np.minimum(source.astype(int), BANDS - 2)
    part = (source - low).astype(np.float32)
    bent = log_power[:, low] * (1 - part) + log_power[:, low + 1] * part
    # time: one factor for the speaker, and a pace that wanders
    pace = rng.uniform(0.83, 1.2) * np.exp(rng.normal(0, strange * rng.uniform(0, 0.35), len(bent) // 10 + 2))
    steps = np.interp(np.arange(len(bent)), np.arange(len(pace)) * 10, pace)
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
    return out.astype(np.float32), word[np.rint(at).astype(int)], min(count, int(length[min(end, len(length)) - 1]) + 1)


def _noise(rng: np.random.Generator, frames: int, pool: Pool) -> Floats:
    """Noise power [frames, BANDS] of mean one: coloured, fluctuating, or several people talking."""
    bins = np.linspace(1.0, 8.0, BANDS)  # bins per band grow with frequency, so fluctuation falls
    power = rng.gamma(bins, 1.0 / bins, size=(frames, BANDS)).astype(np.float32)
    power *= np.exp(_curve(rng, 15.0))
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


def make_track(rng: np.random.Generator, pool: Pool, *, ticks: int = TICKS, snr_db: tuple[float, float] = (3.0, 50.0)) -> Track:
    """One track of `ticks` ticks with random utterances, room, microphone and noise."""
    frames = ticks * FRAMES_PER_TICK
    speech = np.zeros((frames, BANDS), np.float32)
    word = np.zeros(frames, np.int64)
    spoken: list[tuple[int, tuple[int, int, int]]] = []
    talk: list[tuple[int, int]] = []
    commands, others = pool.commands, pool.others
    at = int(rng.integers(8, 220))
    while rng.random() < 0.95:
        group = commands if rng.random() < COMMAND_SHARE else others
        i = int(group[rng.integers(len(group))])
        span = slice(int(pool.start[i]), int(pool.start[i + 1]))
        strange = 1.0 if pool.intent[i, 0] else 0.5
        log_power, words, end = _bent(rng, pool.frames[span].astype(np.float32), pool.word[span], int(pool.end[i]), strange)
        if at + end + 30 > frames:
            break
        log_power = log_power + _curve(rng, 4.0) + rng.uniform(-1.0, 1.0)
        length = min(len(log_power), frames - at)
        speech[at : at + length] += np.exp(log_power[:length])
        word[at : at + length] = words[:length]
        talk.append((at, at + end))
        spoken.append((at + end, tuple(int(v) for v in pool.intent[i])))  # type: ignore[arg-type]
        at += end + int(rng.integers(45, 160))
    mel = _room(rng, speech, talk, pool, snr_db)
    verb, colour, shape = _labels(ticks, talk, spoken)
    delayed = np.concatenate([np.zeros(WORD_DELAY_FRAMES, np.int64), word])[: frames]
    return Track(mel, verb, colour, shape, delayed[FRAMES_PER_TICK - 1 :: FRAMES_PER_TICK], [s for s in spoken if s[1][0]])


def _room(rng: np.random.Generator, speech: Floats, talk: list[tuple[int, int]], pool: Pool, snr_db: tuple[float, float]) -> Floats:
    frames = len(speech)
    if rng.random() < 0.5:
        rt60_s = rng.uniform(0.1, 0.7)
        decay = 10.0 ** (-6.0 * 0.010 / rt60_s)
        wet = rng.uniform(0.02, 0.5) * (1 - decay)
        tail = np.asarray(lfilter([0.0, wet], [1.0, -decay], speech, axis=0), np.float32)
        speech = speech + tail
    speech = speech * np.exp(_curve(rng, 12.0))
    if rng.random() < 0.35:  # a narrow channel: telephone, old codec, 8 kHz voice
        speech[:, int(rng.integers(26, BANDS)) :] *= np.float32(10.0 ** -rng.uniform(1.5, 6.0))
    if rng.random() < 0.15:
        speech[:, : int(rng.integers(1, 7))] *= np.float32(10.0 ** -rng.uniform(1.0, 4.0))
    active = np.concatenate([speech[a:b] for a, b in talk]) if talk else np.full((1, BANDS), 1e-2, np.float32)
    speech = speech * (1e-4 / (active.mean() + 1e-12))  # mean band power of the talk
    snr = snr_db[0] + (snr_db[1] - snr_db[0]) * rng.random() ** 1.5  # noisy ones are the harder ones
    noise = _noise(rng, frames, pool) * (1e-4 * 10.0 ** (-snr / 10.0))
    cross = 2.0 * np.sqrt(speech * noise) * rng.uniform(-0.5, 0.5, size=speech.shape)
    power = np.maximum(speech + noise + cross, 0.0) * 10.0 ** (rng.uniform(-18, 12) / 10.0)
    power += rng.gamma(2.0, 0.5, size=power.shape) * 10.0 ** rng.uniform(-10.0, -7.0)
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
        for target, value in ((verb, ids[0] or OTHER), (colour, ids[1]), (shape, ids[2])):
            target[window] = value
            target[edge & ~window] = IGNORE
    return verb, colour, shape


class Tracks(torch.utils.data.IterableDataset[tuple[torch.Tensor, ...]]):
    """Endless batches of tracks: mel [B, F, BANDS] float32 and labels verb, colour, shape, word [B, TICKS] int64."""

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
                *(torch.from_numpy(np.stack([getattr(t, name) for t in tracks])) for name in ("verb", "colour", "shape", "word")),
            )

