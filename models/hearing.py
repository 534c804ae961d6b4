"""The ear: 80 ms of samples in, one latent out, with a state that is carried from tick to tick.

Samples -> log mel (40 bands, 10 ms) -> minus a running mean per band (the room and the microphone) -> three causal strided
convolutions -> GRU -> latent.  Everything, spectrum included, is inside the exported graph, so that the plugin passes raw
samples and nothing between microphone and model is written by hand.  `Ear` works on whole tracks in training; `EarStep`
is the same maths for one tick with explicit states, and is what gets exported.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .checkpoint import autocast
from .language import COLOURS, SHAPES, VERBS

RATE_HZ = 16000
HOP = 160  # 10 ms
WINDOW = 400  # 25 ms
BANDS = 40
FRAMES_PER_TICK = 8
TICK_SAMPLES = HOP * FRAMES_PER_TICK
WIDTH = 384
_MEMORY_S = 2.5  # time constant of the running mean
_FORGET = math.exp(-0.08 / _MEMORY_S)
_FLOOR = 1e-8  # power of a band in silence, full scale 1


def _mel_matrix() -> Tensor:
    """[201, BANDS]: triangular filters from 60 to 7600 Hz on the mel scale of O'Shaughnessy (2595 log10(1 + f/700)), each of sum one."""
    def to_mel(hz: float) -> float:
        return 2595.0 * math.log10(1.0 + hz / 700.0)

    mels = torch.linspace(to_mel(60.0), to_mel(7600.0), BANDS + 2)
    edges = 700.0 * (10.0 ** (mels / 2595.0) - 1.0)
    hz = torch.arange(WINDOW // 2 + 1) * (RATE_HZ / WINDOW)
    rise = (hz[:, None] - edges[None, :-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[None, 2:] - hz[:, None]) / (edges[2:] - edges[1:-1])
    filters = torch.clamp(torch.minimum(rise, fall), min=0.0)
    nearest = torch.argmin((hz[:, None] - edges[None, 1:-1]).abs(), dim=0)
    filters[nearest, torch.arange(BANDS)] += 1e-3  # no low band stays empty at 40 Hz resolution
    return filters / filters.sum(0, keepdim=True)


def _fourier() -> Tensor:
    """[WINDOW, 402]: Hann window times cosine and sine, scaled so that white noise of variance v has power v in every bin."""
    n = torch.arange(WINDOW, dtype=torch.float64)
    window = 0.5 - 0.5 * torch.cos(2 * math.pi * n / WINDOW)
    angle = 2 * math.pi * n[:, None] * torch.arange(WINDOW // 2 + 1, dtype=torch.float64)[None] / WINDOW
    scale = window[:, None] / torch.sqrt((window**2).sum())
    return torch.cat([scale * torch.cos(angle), scale * torch.sin(angle)], 1).float()


_FOURIER, _MEL = _fourier(), _mel_matrix()


def mel_power(pcm: Tensor) -> Tensor:
    """Band power [F, BANDS] of samples [N] in [-1, 1]; frame i covers samples 160 i to 160 i + 400."""
    spectrum = pcm.unfold(-1, WINDOW, HOP) @ _FOURIER  # [F, 402]
    half = WINDOW // 2 + 1
    return (spectrum[..., :half] ** 2 + spectrum[..., half:] ** 2) @ _MEL


class Ear(nn.Module):
    """Log mel tracks [B, 8 N, BANDS] -> latents [B, N, WIDTH]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(BANDS + 1, 160, 5, stride=2)
        self.conv2 = nn.Conv1d(160, 224, 5, stride=2)
        self.conv3 = nn.Conv1d(224, 256, 3, stride=2)
        self.gru = nn.GRU(256, 320, batch_first=True)
        self.out = nn.Linear(320, WIDTH)

    def forward(self, mel: Tensor) -> Tensor:
        """The latents of whole tracks."""
        return self.out(self.states(mel))

    def states(self, mel: Tensor) -> Tensor:
        """What the GRU holds after every tick, [B, N, 320]; only the convolutions gain from bfloat16, and only in training."""
        with autocast(mel.device, self.training):
            x = normalise(mel).transpose(1, 2)  # [B, BANDS+1, 8N]
            x = F.relu(self.conv1(F.pad(x, (3, 0))))
            x = F.relu(self.conv2(F.pad(x, (3, 0))))
            x = F.relu(self.conv3(F.pad(x, (1, 0)))).transpose(1, 2)  # [B, N, 256]
        h: Tensor = self.gru(x.float())[0]
        return h


def normalise(mel: Tensor) -> Tensor:
    """Log mel [B, 8 N, BANDS] minus its running mean, and the absolute level as one more band: [B, 8 N, BANDS+1].

    The mean moves once a tick: m <- (f w m + x) / (f w + 1), w <- f w + 1, with w = 0 at the start.
    """
    batch, frames, _ = mel.shape
    ticks = mel.view(batch, frames // FRAMES_PER_TICK, FRAMES_PER_TICK, BANDS).mean(2)
    mean, weight = torch.zeros_like(ticks[:, 0]), 0.0
    means = []
    for t in range(ticks.shape[1]):
        kept = _FORGET * weight
        mean = (kept * mean + ticks[:, t]) / (kept + 1.0)
        weight = kept + 1.0
        means.append(mean)
    slow = torch.stack(means, 1).repeat_interleave(FRAMES_PER_TICK, 1)
    level = (mel.mean(2, keepdim=True) + 12.0) * 0.25
    return torch.cat([(mel - slow) * 0.5, level], 2)


class EarStep(nn.Module):
    """One tick of the ear: samples [1, 1280] and states -> latent [1, WIDTH] and next states; the exported form of `Ear`."""

    STATES: ClassVar[dict[str, tuple[int, ...]]] = {
        "pcm": (1, 240), "mean": (1, BANDS), "weight": (1, 1), "c1": (1, BANDS + 1, 3), "c2": (1, 160, 3), "c3": (1, 224, 1), "h": (1, 320),
    }

    fourier: Tensor
    mel: Tensor

    def __init__(self, ear: Ear) -> None:
        super().__init__()
        self.ear = ear
        self.register_buffer("fourier", _FOURIER)
        self.register_buffer("mel", _MEL)

    def forward(self, x: Tensor, pcm: Tensor, mean: Tensor, weight: Tensor, c1: Tensor, c2: Tensor, c3: Tensor, h: Tensor) -> tuple[Tensor, ...]:
        """Returns (y, next states in the order of STATES)."""
        ear = self.ear
        samples = torch.cat([pcm, x], 1)  # [1, 1520]
        blocks = [samples[:, i * HOP : i * HOP + WINDOW] for i in range(FRAMES_PER_TICK)]
        spectrum = torch.cat(blocks, 0) @ self.fourier  # [8, 402]
        half = WINDOW // 2 + 1
        power = (spectrum[:, :half] ** 2 + spectrum[:, half:] ** 2) @ self.mel  # [8, BANDS]
        log = torch.log(power + _FLOOR)
        kept = _FORGET * weight
        new_mean = (kept * mean + log.mean(0, keepdim=True)) / (kept + 1.0)
        level = (log.mean(1, keepdim=True) + 12.0) * 0.25
        a = torch.cat([(log - new_mean) * 0.5, level], 1).transpose(0, 1).unsqueeze(0)  # [1, 41, 8]
        a = torch.cat([c1, a], 2)
        b = torch.cat([c2, F.relu(ear.conv1(a))], 2)
        c = torch.cat([c3, F.relu(ear.conv2(b))], 2)
        d = F.relu(ear.conv3(c)).squeeze(2)  # [1, 256]
        weight_x, weight_h, bias_x, bias_h = ear.gru.all_weights[0]
        gates_x, gates_h = F.linear(d, weight_x, bias_x), F.linear(h, weight_h, bias_h)
        rx, zx, nx = gates_x.chunk(3, 1)
        rh, zh, nh = gates_h.chunk(3, 1)
        r, z = torch.sigmoid(rx + rh), torch.sigmoid(zx + zh)
        new_h = (1 - z) * torch.tanh(nx + r * nh) + z * h
        return ear.out(new_h), samples[:, -240:], new_mean, kept + 1.0, a[:, :, -3:], b[:, :, -3:], c[:, :, -1:], new_h


class EarHeads(nn.Module):
    """What grounds the ear, and is thrown away after: per tick the completed intent and the word of 160 ms ago."""

    def __init__(self, words: int) -> None:
        super().__init__()
        self.heads = nn.ModuleDict(
            {
                "verb": nn.Linear(WIDTH, len(VERBS) + 1),  # the last: a sentence that was no command
                "colour": nn.Linear(WIDTH, 1 + len(COLOURS)),
                "shape": nn.Linear(WIDTH, 1 + len(SHAPES)),
                "word": nn.Linear(WIDTH, words),
            }
        )

    def forward(self, latents: Tensor) -> dict[str, Tensor]:
        """Logits of each head for latents [..., WIDTH]."""
        return {name: head(latents) for name, head in self.heads.items()}
