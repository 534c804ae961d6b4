"""Train the ear on tracks: heads for intents, words and phonemes ground it; it learns no episode.

What is kept is a running mean of the weights over some hundred steps: single weights follow the last speakers they met.
"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .checkpoint import best_device, load_checkpoint, save_checkpoint, schedule
from .hearing import FRAMES_PER_TICK, WIDTH, Ear, EarHeads
from .progress import Progress
from .revoice import PHONE_CLASSES
from .speech import LABELS, OTHER, PHONE_DELAYS_FRAMES, Tracks, make_track
from .utterances import IGNORE, WORD_CLASSES, Pool, render_pool


@dataclass(frozen=True)
class HearingConfig:
    """What a training run of the ear is made of."""

    utterances: int = 40000
    steps: int = 4000
    batch: int = 96
    lr: float = 2.5e-3
    seed: int = 1
    workers: int = 1
    memory: float = 0.997  # of the running mean of the weights


class PhoneHead(nn.Module):
    """The phonemes of PHONE_DELAYS_FRAMES ago, from latents; outside `EarHeads` because nothing but training reads it."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(WIDTH, len(PHONE_DELAYS_FRAMES) * PHONE_CLASSES)

    def loss(self, latents: Tensor, phones: Tensor) -> Tensor:
        """Cross entropy of latents [B, T, WIDTH] against classes [B, T, delays]; pauses weigh a fifth."""
        logits, target = self.head(latents).view(-1, PHONE_CLASSES), phones.flatten()
        each = F.cross_entropy(logits, target, ignore_index=IGNORE, reduction="none", label_smoothing=0.05)
        scale = torch.where(target > 0, 1.0, 0.2) * (target != IGNORE)
        return (each * scale).sum() / scale.sum().clamp(min=1.0)


def ear_loss(logits: dict[str, Tensor], labels: dict[str, Tensor]) -> Tensor:
    """Cross entropy of the four heads; intents weigh more than words, and silence less than speech."""
    total = torch.zeros((), device=labels["verb"].device)
    for name, weight in (("verb", 1.0), ("colour", 0.7), ("shape", 0.7), ("word", 0.5)):
        flat, target = logits[name].flatten(0, 1), labels[name].flatten()
        each = F.cross_entropy(flat, target, ignore_index=IGNORE, reduction="none")
        scale = torch.where(target > 0, 3.0, 1.0) * (target != IGNORE)
        if name == "verb":
            scale = torch.where(target == OTHER, 1.5, scale)
        if name == "word":
            scale = torch.where(target == 1, 0.5, scale)  # "another word" must not swallow a strange speaker's
        total = total + weight * (each * scale).sum() / scale.sum()
    return total


def commands_heard(verb: np.ndarray, colour: np.ndarray, shape: np.ndarray, spoken: list[tuple[int, tuple[int, int, int]]]) -> tuple[int, int, int]:
    """(right, commands, false alarms) of one track from argmax per tick: a command counts as right when the first intent that is
    named between 0.1 s and 0.75 s after its end is its own; an intent named anywhere else is a false alarm."""
    tick_end = (np.arange(len(verb)) + 1) * FRAMES_PER_TICK
    verb = np.where(verb == OTHER, 0, verb)
    claimed = np.zeros(len(verb), bool)
    right = 0
    for end, ids in spoken:
        window = (tick_end >= end) & (tick_end < end + 80)
        claimed |= (tick_end >= end) & (tick_end < end + 100)
        named = np.flatnonzero(window & (verb > 0))
        right += bool(len(named)) and (int(verb[named[0]]), int(colour[named[0]]), int(shape[named[0]])) == ids
    alarms = (verb > 0) & ~claimed
    return right, len(spoken), int(np.sum(alarms[1:] & ~alarms[:-1]))


def validate(ear: Ear, heads: EarHeads, pool: Pool, tracks: int = 200, seed: int = 99) -> dict[str, float]:
    """Accuracy on voices that were held out, 10 dB signal to noise."""
    rng = np.random.default_rng(seed)
    items = [make_track(rng, pool, snr_db=(10.0, 10.0)) for _ in range(tracks)]
    ear.eval()
    with torch.no_grad():
        out = heads(ear(torch.from_numpy(np.stack([t.mel for t in items])).to(next(ear.parameters()).device)))
    ear.train()
    verb, colour, shape = (out[name].argmax(-1).cpu().numpy() for name in ("verb", "colour", "shape"))
    counts = np.sum([commands_heard(verb[i], colour[i], shape[i], t.spoken) for i, t in enumerate(items)], axis=0)
    return {"right": counts[0] / counts[1], "commands": float(counts[1]), "false": counts[2] / (tracks * 6.4 / 600)}


def train_hearing(folder: Path, config: HearingConfig, threads: int = 2) -> Path:
    """Render, train with a checkpoint every 200 steps, and return the path of the result (`ear.pt`); resumes after a kill."""
    torch.set_num_threads(threads)
    pools = {}
    for name, count, validation in (("speech_train", config.utterances, False), ("speech_val", 2000, True)):
        pools[name] = folder / f"{name}.npz"
        if not pools[name].exists():
            render_pool(pools[name], count, 1_000_000 * (1 + validation), validation=validation, processes=threads)
    torch.manual_seed(config.seed)
    ear, heads, phones = Ear(), EarHeads(WORD_CLASSES), PhoneHead()
    device = best_device()
    both = nn.ModuleList([ear, heads])
    mean_ear, mean_heads = copy.deepcopy(ear), copy.deepcopy(heads)
    mean = nn.ModuleList([mean_ear, mean_heads]).requires_grad_(False)
    learning = nn.ModuleDict({"both": both, "phones": phones, "mean": mean}).to(device)
    optimiser = torch.optim.AdamW([p for p in learning.parameters() if p.requires_grad], lr=config.lr, weight_decay=0.01, betas=(0.9, 0.98))
    state, result = folder / "ear_training.pt", folder / "ear.pt"
    first = load_checkpoint(state, learning, optimiser)
    if first == 0 and result.exists():  # weights to go on from, by another recipe
        load_checkpoint(result, both, None)
        load_checkpoint(result, mean, None)
    held = Pool.load(pools["speech_val"])
    tracks = Tracks(pools["speech_train"], config.batch, config.seed + first)
    loader = iter(torch.utils.data.DataLoader(tracks, batch_size=None, num_workers=config.workers))
    began = time.monotonic()
    with Progress("ear", config.steps, first) as bar:
        for step in range(first, config.steps):
            for group in optimiser.param_groups:
                group["lr"] = schedule(step, config.steps, config.lr)
            mel, *targets = (part.to(device) for part in next(loader))
            labels = dict(zip(LABELS, targets, strict=True))
            latents = ear(mel)
            loss = ear_loss(heads(latents), labels) + 0.7 * phones.loss(latents, labels["phone"])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(learning.parameters(), 1.0)
            optimiser.step()
            with torch.no_grad():
                for kept, now in zip(mean.parameters(), both.parameters(), strict=True):
                    kept.lerp_(now, 1.0 - min(config.memory, (step + 1) / (step + 10)))
            bar.step(note=f"loss {loss.item():.3f}")
            if (step + 1) % 200 == 0 or step + 1 == config.steps:
                save_checkpoint(state, learning, optimiser, step + 1)
                save_checkpoint(result, mean, None, step + 1)
                figures = validate(mean_ear, mean_heads, held)
                print(
                    f"ear step {step + 1}: {figures['right']:.3f} of commands right at 10 dB, {figures['false']:.1f} false in 10 min, "
                    f"{time.monotonic() - began:.0f} s", flush=True,
                )
    return result


def load_ear(folder: Path) -> tuple[Ear, EarHeads]:
    """The trained ear and its heads."""
    ear, heads = Ear(), EarHeads(WORD_CLASSES)
    load_checkpoint(folder / "ear.pt", nn.ModuleList([ear, heads]), None)
    return ear.eval(), heads.eval()

