"""Utterances: a pool of sentences said by espeak-ng, as mel power with the place of every word and phoneme.

Half of a pool for training is said by speakers that `revoice` draws, and a third of the rest with another language's
sounds. Rendering is done once; `speech` puts tracks together from a pool. Only espeak-ng goes in: synthesisers of other makes are for judging.
"""

from __future__ import annotations

import multiprocessing
import struct
import zipfile
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from innervate.boards.emulator.speech import Utterance, synthesiser

from .hearing import BANDS, HOP, MEL, mel_power
from .language import COLOURS, SHAPES, command, named, other, shuffled
from .progress import Progress
from .revoice import phone_class, revoice
from .voices import ACCENTS, FOREIGN, FOREIGN_SHARE, HELD_OUT_VARIANTS, REVOICED_SHARE, VARIANTS

Floats = npt.NDArray[np.float32]

WORDS = tuple(
    "look left right up down straight ahead at the find follow stop what do you see how hard am i squeezing "
    "red green blue yellow purple white cube ball cylinder cone".split()
)
WORD_CLASSES = len(WORDS) + 2  # 0 silence, 1 another word, then WORDS
IGNORE = -100


@dataclass(frozen=True)
class Pool:
    """Utterances as log mel power: `frames` [F, BANDS] float16, and per utterance its span, meaning, end, words and phonemes."""

    frames: npt.NDArray[np.float16]
    start: npt.NDArray[np.int64]  # [N+1]: frames of utterance i are start[i]:start[i+1]
    intent: npt.NDArray[np.int64]  # [N, 3]: verb, 0 for other sentences; colour and shape that are named last, 0 none
    end: npt.NDArray[np.int64]  # [N]: frame after the last audible one
    word: npt.NDArray[np.int8]  # [F]: class of the word spoken in each frame
    phone: npt.NDArray[np.int8]  # [F]: class of the phoneme (`revoice.phone_class`), IGNORE where it is not known

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
            arrays = {name: z[name] for name in ("start", "intent", "end", "word")}
            phone = z["phone"] if "phone" in z else np.full(len(arrays["word"]), IGNORE, np.int8)  # earlier pools kept none
        return Pool(frames=_mapped(path, "frames.npy"), phone=phone, **arrays)


def _mapped(path: Path, member: str) -> npt.NDArray[np.float16]:
    """An array of an uncompressed .npz, mapped into memory: a pool is larger than what a busy machine has left."""
    with zipfile.ZipFile(path) as file, path.open("rb") as raw:
        # numpy maps .npy files only
        begin = file.getinfo(member).header_offset
        raw.seek(begin + 26)  # of the local header: the lengths of name and extra field stand at 26 and 28
        name, extra = struct.unpack("<HH", raw.read(4))
        raw.seek(begin + 30 + name + extra)
        np.lib.format.read_magic(raw)
        shape, _, dtype = np.lib.format.read_array_header_1_0(raw)
        return np.memmap(path, dtype, "r", raw.tell(), shape)


@dataclass(frozen=True)
class _Rendered:
    """One utterance of a pool; the fields are those of `Pool`."""

    frames: npt.NDArray[np.float16]
    intent: tuple[int, int, int]
    end: int
    word: npt.NDArray[np.int8]
    phone: npt.NDArray[np.int8]


def _sentence(rng: np.random.Generator) -> tuple[str, tuple[int, int, int]]:
    """A sentence and what the intent heads should say of it; colours and shapes are heard in sentences of any kind."""
    draw = rng.random()
    if draw < 0.6:
        text, intent = command(rng)
        return text, intent.ids
    text = other(rng) if draw < 0.75 else shuffled(rng)
    colour, shape = named(text)
    return text, (0, 0 if colour is None else 1 + COLOURS.index(colour), 0 if shape is None else 1 + SHAPES.index(shape))


def _spans(starts: list[int], values: list[int], frames: int, rest: int) -> npt.NDArray[np.int8]:
    """values[i] from frame starts[i] on, `rest` before the first."""
    out = np.full(frames, rest, np.int8)
    for begin, value in zip(starts, values, strict=True):
        out[begin:] = value
    return out


def _render_one(seed: int, validation: bool) -> _Rendered:
    rng = np.random.default_rng(seed)
    text, ids = _sentence(rng)
    tokens = text.split()
    classes = [WORDS.index(token) + 2 if token in WORDS else 1 for token in tokens]
    names = HELD_OUT_VARIANTS if validation else tuple(v for v in VARIANTS if v not in HELD_OUT_VARIANTS)
    accent, variant = ACCENTS[int(rng.integers(len(ACCENTS)))], names[int(rng.integers(len(names)))]
    manner = {"rate_wpm": int(rng.integers(105, 235)), "pitch": int(rng.integers(5, 95)), "pitch_range": int(rng.integers(10, 95))}
    spoken = text + ("", "", ".", "?", "!")[int(rng.integers(5))]
    said = synthesiser().say(spoken, f"{accent}+{variant}", **manner)
    if not validation and len(said.words) == len(tokens) and rng.random() < REVOICED_SHARE:
        return _revoiced(said, classes, ids, rng)
    foreign = False
    if rng.random() < FOREIGN_SHARE:
        language = FOREIGN[int(rng.integers(len(FOREIGN)))]
        strange = synthesiser().say(f"[[{synthesiser().phonemes(text, accent)}]]", f"{language}+{variant}", **manner)
        if len(strange.pcm) > 0.6 * len(said.pcm):  # a language that lacks some of the phonemes leaves them out
            said, foreign = strange, True
    pcm = said.pcm.astype(np.float32) / 32768.0
    pcm *= 0.1 / (np.sqrt(np.mean(pcm**2)) + 1e-6)
    power = mel_power(torch.from_numpy(np.concatenate([np.zeros(400 - HOP, np.float32), pcm, np.zeros(HOP, np.float32)]))).numpy()
    end = _audible_end(power)
    if len(said.words) == len(tokens):
        word = _spans([w.sample // HOP for w in said.words], classes, len(power), 0)
        word[end:] = 0
    else:
        word = np.full(len(power), IGNORE, np.int8)
    phone = np.full(len(power), IGNORE, np.int8)
    if not foreign:
        phone = _spans([p.sample // HOP for p in said.phones], [phone_class(p.name) for p in said.phones], len(power), 0)
    return _Rendered(np.log(power + 1e-10).astype(np.float16), ids, end, word, phone)


def _revoiced(said: Utterance, classes: list[int], ids: tuple[int, int, int], rng: np.random.Generator) -> _Rendered:
    by = revoice(said, rng)
    power = by.power @ MEL.numpy()
    power *= rng.gamma(6.0, 1.0 / 6.0, power.shape).astype(np.float32) ** np.float32(rng.uniform(0.0, 1.0))
    power *= 0.01 / (power.mean() + 1e-12)
    power += np.float32(1e-9)
    end = _audible_end(power)
    word = np.array([0, *classes], np.int8)[by.word + 1]
    return _Rendered(np.log(power + 1e-10).astype(np.float16), ids, end, word, by.phone)


def _audible_end(power: Floats) -> int:
    """The frame after the last one that is within 35 dB of the loudest."""
    loud = power.sum(1)
    return int(np.flatnonzero(loud > loud.max() * 3e-4)[-1]) + 1


def _render_chunk(job: tuple[int, int, bool]) -> list[_Rendered]:
    torch.set_num_threads(1)
    first, count, validation = job
    return [_render_one(first + i, validation) for i in range(count)]


def render_pool(path: Path, count: int, seed: int, *, validation: bool = False, processes: int = 2) -> None:
    """Render `count` utterances and write them to `path` (about 1.2 MB per hundred, 5 ms each and process).

    espeak-ng crashes on a few pairs of voice and phonemes; such a chunk is drawn anew from other seeds.
    """
    chunk, rows, broken = 100, list[_Rendered](), 0
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
    partial = path.with_suffix(".part.npz")
    small = {
        "start": np.concatenate([[0], np.cumsum([len(r.frames) for r in rows])]),
        "intent": np.array([r.intent for r in rows], np.int64),
        "end": np.array([r.end for r in rows], np.int64),
        "word": np.concatenate([r.word for r in rows]),
        "phone": np.concatenate([r.phone for r in rows]),
    }
    with zipfile.ZipFile(partial, "w") as file:  # np.savez, but for a second copy of the frames in memory
        for name, array in small.items():
            with file.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, array)
        with file.open("frames.npy", "w", force_zip64=True) as member:
            np.lib.format.write_array_header_1_0(member, {"descr": "<f2", "fortran_order": False, "shape": (int(small["start"][-1]), BANDS)})
            for row in rows:
                member.write(row.frames.astype("<f2").tobytes())
    partial.rename(path)
