"""Small random bundles: the shape of ``nano`` in miniature, weights of a sensible scale, exported by the real exporter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from innervate.models.backbone import BackboneConfig, Nano
from innervate.models.export import write_bundle
from innervate.models.export_component import export_component
from innervate.runtime.backbone.engine import Engine

Floats = npt.NDArray[np.float32]

SMALL = BackboneConfig(width=128, layers=2, heads=2, ffn=256, context=64)
ONE_LAYER = BackboneConfig(width=128, layers=1, heads=2, ffn=256, context=64)
# relative L2 error of the hidden states against torch that each variant may have, on random weights
ERROR_MAX = {"fp32": 1e-3, "nb8": 0.02, "dq8": 0.04}


class Ear(nn.Module):
    """A stateful step: a tail of past samples and a recurrent state."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 8, 10, stride=5)
        self.cell = nn.GRUCell(8, 16)
        self.out = nn.Linear(16, SMALL.width)

    def forward(self, x: Tensor, tail: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        wave = torch.cat([tail, x], 1)
        features = torch.relu(self.conv(wave[:, None])).mean(-1)
        hidden = self.cell(features, hidden)
        return self.out(hidden), wave[:, -20:], hidden


class Eye(nn.Module):
    """A stateless picture encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.ReLU(), nn.Conv2d(8, 16, 4, 4))
        self.out = nn.Linear(16, SMALL.width)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.out(self.body(x).mean(-1).mean(-1))
        return y


EAR_X, EAR_STATES = torch.zeros(1, 160), {"tail": torch.zeros(1, 20), "hidden": torch.zeros(1, 16)}


def make_nano(config: BackboneConfig = SMALL, seed: int = 0) -> Nano:
    torch.manual_seed(seed)
    return Nano(config).eval()


def make_bundle(folder: Path, nano: Nano, components: dict[str, Path] | None = None) -> Path:
    return write_bundle(folder, nano, components or {}, {"figure": 1.5}, rates_hz={"mic": 12.5})


def make_ear(path: Path) -> Ear:
    torch.manual_seed(1)
    ear = Ear().eval()
    export_component(ear, path, torch.randn(1, 160), EAR_STATES)
    return ear


def inputs(rows: int, width: int = SMALL.width, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).standard_normal((rows, width), dtype=np.float32)


def torch_hidden(nano: Nano, x: Floats) -> Floats:
    with torch.no_grad():
        h: Floats = nano(torch.from_numpy(x)[None])[0].numpy()
    return h


def append_all(engine: Engine, x: Floats, parts: list[int] | None = None) -> Floats:
    """Append in passes of ``parts`` rows, over and over; all hidden states."""
    found: list[Floats] = []
    parts = parts or [engine.rows_max]
    at = 0
    while at < len(x):
        rows = min(parts[len(found) % len(parts)], len(x) - at)
        found.append(engine.append(x[at : at + rows]).copy())
        at += rows
    return np.concatenate(found)


def relative_error(found: Floats, right: Floats) -> float:
    return float(np.linalg.norm(found - right) / np.linalg.norm(right))
