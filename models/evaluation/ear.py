"""The ear alone, voice by voice: `innervate eval --ear`.

The closed-loop rows say whether a command was carried out; this says whether it reached the latents at all. A linear read-out of verb, colour and
shape is fitted on the ear's latents for commands by the espeak-ng voices of training, and then asked about voices that it never met. What is
read is the mean latent from 0.2 to 0.44 s after the end of the sentence, which is when the backbone has to decide.
So the figure is what a linear reader could get out of the latents, whatever the backbone makes of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from innervate.boards.emulator.scenario import RATE_HZ
from innervate.models.evaluation import others
from innervate.models.evaluation.report import wilson
from innervate.models.evaluation.sound import HELD_OUT, LEVEL_DB, SNR_DB, audible, coloured, utter
from innervate.models.language import HELD_OUT as HELD_OUT_PAIRS
from innervate.models.language import TRAINED_PAIRS, VERBS, Intent, command
from innervate.models.progress import Progress
from innervate.models.voices import ACCENTS, HELD_OUT_VARIANTS, VARIANTS
from innervate.runtime.backbone.bundle import Bundle
from innervate.runtime.backbone.graph import Graph

FIT = 1200  # commands that the read-out is fitted on
NAMED, PLAIN = 12, 1  # sentences a voice is asked for each verb that names an object, and for each other: 32 in all
LEAD_S, AFTER_S = 1.0, 0.6  # of noise alone before and after a sentence
READ_S = (0.2, 0.44)  # after the sentence's end
DECAY = 1e-3  # of the read-out's weights, per example
STEPS, RATE = 400, 0.5  # of gradient descent on whitened latents: the loss has settled long before

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


def heard(rng: np.random.Generator, text: str, voice: str, tick: int) -> tuple[Floats, float]:
    """A sentence in noise: samples [ticks * tick] in [-1, 1], and the second at which it ends."""
    pcm = utter(rng, text, voice).astype(np.float32) / np.float32(32768)
    loud = np.repeat(audible((pcm * 32768).astype(np.int16)), RATE_HZ // 100)
    level = np.float32(10.0 ** (rng.uniform(*LEVEL_DB) / 20.0))
    start = round(LEAD_S * RATE_HZ) + int(rng.integers(tick))  # ends fall anywhere within a tick
    count = -(-(start + len(pcm) + round(AFTER_S * RATE_HZ)) // tick) * tick
    mix = coloured(rng, count) * level * np.float32(10.0 ** (-SNR_DB / 20.0))
    mix[start : start + len(pcm)] += pcm * (level / np.sqrt(np.square(pcm[: len(loud)][loud]).mean()))
    return np.clip(mix, -1.0, 1.0).astype(np.float32), (start + len(pcm)) / RATE_HZ


def read(graph: Graph, pcm: Floats, end_s: float) -> Floats:
    """The mean latent [D] while a decision is due."""
    tick = graph.x_shape[1]
    graph.reset()
    kept = []
    for k in range(len(pcm) // tick):
        latent = graph.run(pcm[None, k * tick : (k + 1) * tick])[0]
        if READ_S[0] <= (k + 1) * tick / RATE_HZ - end_s <= READ_S[1]:
            kept.append(latent.copy())
    return np.mean(kept, axis=0, dtype=np.float32)


class ReadOut:
    """Softmax regression on whitened latents, one for each of verb, colour and shape."""

    def __init__(self, latents: Floats, labels: Labels) -> None:
        """Fit on latents [N, D] and labels [N, 3]."""
        self._mean = latents.mean(0)
        centred = latents - self._mean
        values, axes = np.linalg.eigh(centred.T @ centred / len(centred))
        self._white = axes / np.sqrt(np.maximum(values, 1e-3 * values[-1]))
        x = self._prepared(latents)
        self._weights = [_softmax_regression(x, column) for column in labels.T]

    def intents(self, latents: Floats) -> Labels:
        """The labels [N, 3] read from latents [N, D]; colour and shape count as 0 where the verb names no object."""
        x = self._prepared(latents)
        found = np.stack([(x @ w).argmax(1) for w in self._weights], 1)
        found[~np.isin(found[:, 0], [VERBS.index("find"), VERBS.index("follow")]), 1:] = 0
        return found

    def _prepared(self, latents: Floats) -> Floats:
        x = (latents - self._mean) @ self._white
        return np.concatenate([x, np.ones((len(x), 1))], 1).astype(np.float32)


def _softmax_regression(x: Floats, labels: Labels) -> Floats:
    """Weights [D, classes] by gradient descent with momentum."""
    wanted = np.eye(int(labels.max()) + 1, dtype=np.float32)[labels]
    w = np.zeros((x.shape[1], wanted.shape[1]), np.float32)
    speed = np.zeros_like(w)
    for _ in range(STEPS):
        logits = x @ w
        p = np.exp(logits - logits.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        speed = 0.9 * speed - RATE * (x.T @ (p - wanted) / len(x) + DECAY * w)
        w += speed
    return w


@dataclass(frozen=True, slots=True)
class Heard:
    """How many of a voice's commands were read rightly."""

    voice: str
    right: int
    total: int


def training_voice(rng: np.random.Generator) -> str:
    """An espeak-ng voice of training."""
    known = [variant for variant in VARIANTS if variant not in HELD_OUT_VARIANTS]
    return f"{ACCENTS[int(rng.integers(len(ACCENTS)))]}+{known[int(rng.integers(len(known)))]}"


def sentences(rng: np.random.Generator, named: int = NAMED, plain: int = PLAIN) -> list[tuple[str, Intent]]:
    """The commands that a voice is asked to say, held-out pairs among them."""
    pairs = (*TRAINED_PAIRS, *sorted(HELD_OUT_PAIRS))
    counts = {verb: named if verb in ("find", "follow") else plain for verb in VERBS[1:]}
    return [command(rng, pairs=pairs, verb=verb) for verb, count in counts.items() for _ in range(count)]


def fitted(graph: Graph, seed: int, count: int = FIT) -> ReadOut:
    """Fit the read-out on `count` commands; each verb and each pair is as frequent as any other."""
    rng = np.random.default_rng([seed, 1])
    latents: list[Floats] = []
    labels: list[tuple[int, int, int]] = []
    with Progress("read-out", count) as bar:
        while len(latents) < count:
            for text, intent in sentences(rng, named=8, plain=4)[: count - len(latents)]:
                latents.append(read(graph, *heard(rng, text, training_voice(rng), graph.x_shape[1])))
                labels.append(intent.ids)
                bar.step()
    return ReadOut(np.stack(latents), np.array(labels))


def judge(graph: Graph, reader: ReadOut, voice: str, seed: int, named: int = NAMED, plain: int = PLAIN) -> Heard:
    """Ask one voice for its commands; "+variant" stands for that variant in any accent."""
    rng = np.random.default_rng([seed, 2])  # the same sentences for every voice
    asked = sentences(rng, named, plain)
    latents = []
    for text, _ in asked:
        name = f"{ACCENTS[int(rng.integers(len(ACCENTS)))]}{voice}" if voice.startswith("+") else voice
        latents.append(read(graph, *heard(rng, text, name, graph.x_shape[1])))
    wanted = np.array([intent.ids for _, intent in asked])
    right = (reader.intents(np.stack(latents)) == wanted).all(1)
    return Heard(voice, int(right.sum()), len(asked))


def voices_of(groups: Sequence[str]) -> dict[str, list[str]]:
    """The voices of each group. Raises DeviceError, with the line that mends it, when other makes are asked for and none is installed."""
    return {group: [f"+{variant}" for variant in HELD_OUT_VARIANTS] if group == HELD_OUT else others.voices() for group in groups}


def report(bundle: Bundle, groups: Sequence[str], seed: int, fit: int = FIT) -> None:
    """Print the table."""
    named = voices_of(groups)
    graph = bundle.component("mic", "encoder")
    reader = fitted(graph, seed, fit)
    for group, voices in named.items():
        print(f"\near alone, voices: {group}; {SNR_DB:g} dB, read-out fitted on {fit} commands by espeak-ng voices of training")
        found = []
        for voice in voices:
            found.append(judge(graph, reader, voice, seed))
            print(_line(found[-1]), flush=True)
        print(_line(Heard("all", sum(f.right for f in found), sum(f.total for f in found))))


def _line(found: Heard) -> str:
    low, high = wilson(found.right, found.total)
    share = f"{100 * found.right / found.total:.0f} %"
    return f"  {found.voice:<24}{found.right:>5}/{found.total:<5}{share:>6}   95 %: {100 * low:.0f}..{100 * high:.0f}"
