"""The ear: 80 ms of samples in, one latent out, with a state that is carried from tick to tick.

Samples -> log mel (40 bands, 10 ms) -> minus a running mean per band (the room and the microphone) -> three causal strided
convolutions -> GRU -> latent.  Everything, spectrum included, is inside the exported graph, so that the plugin passes raw
samples and nothing between microphone and model is written by hand.  `Ear` works on whole tracks in training; the same maths
for one tick, with explicit states, is written as a graph by `export_hearing`.
"""

from __future__ import annotations

import math

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
FORGET = math.exp(-0.08 / _MEMORY_S)
FLOOR = 1e-8  # power of a band in silence, full scale 1
MEL_SCALE, LEVEL_CENTRE, LEVEL_SCALE = 0.5, 12.0, 0.25  # bring log mel minus its mean, and the level, near unit variance


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


FOURIER, MEL = _fourier(), _mel_matrix()


def mel_power(pcm: Tensor) -> Tensor:
    """Band power [F, BANDS] of samples [N] in [-1, 1]; frame i covers samples 160 i to 160 i + 400."""
    spectrum = pcm.unfold(-1, WINDOW, HOP) @ FOURIER  # [F, 402]
    half = WINDOW // 2 + 1
    return (spectrum[..., :half] ** 2 + spectrum[..., half:] ** 2) @ MEL


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
        kept = FORGET * weight
        mean = (kept * mean + ticks[:, t]) / (kept + 1.0)
        weight = kept + 1.0
        means.append(mean)
    slow = torch.stack(means, 1).repeat_interleave(FRAMES_PER_TICK, 1)
    level = (mel.mean(2, keepdim=True) + LEVEL_CENTRE) * LEVEL_SCALE
    return torch.cat([(mel - slow) * MEL_SCALE, level], 2)


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
