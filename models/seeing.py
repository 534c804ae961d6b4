"""The eye: one frame in, six latents out, each a glimpse at a place that the eye itself finds worth a look.

Convolutions turn 96x96 pixels into a 12x12 map (5 degrees a cell); a saliency head ranks the cells, local maxima win, and
the features of the six best, in order from left to right, become six latents.  Which cells are salient is learned.  Binding
is thus free: one latent holds what belongs to one thing, so that a backbone which knows "purple" and "cube" apart can
find a purple cube by adding two scores.  Heads that read only the latents ground them and are thrown away after.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .language import COLOURS, SHAPES

SIZE = 96
GRID = 12
CELL = SIZE // GRID
GLIMPSES = 6
WIDTH = 384
FOV_DEG = 60.0
FOCAL_PX = SIZE / 2 / math.tan(math.radians(FOV_DEG / 2))


class Eye(nn.Module):
    """Frames [B, 3, 96, 96] RGB in [0, 1] -> glimpses [B, 6, WIDTH]."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(3, 24, 5, stride=2, padding=2), nn.ReLU(),
            nn.Conv2d(24, 48, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(48, 64, 3, padding=1), nn.ReLU(),
            nn.Conv2d(64, 128, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(128, 128, 3, padding=1), nn.ReLU(),
            nn.Conv2d(128, 128, 3, padding=2, dilation=2), nn.ReLU(),
        )
        self.saliency = nn.Conv2d(128, 1, 1)
        self.out = nn.Linear(129, WIDTH)
        self.place = nn.Parameter(torch.randn(GRID * GRID, WIDTH) * 0.1)

    def look(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Feature map [B, 128, 12, 12] and saliency logits [B, 144]."""
        features = self.trunk(frames * 2.0 - 1.0)
        return features, self.saliency(features).flatten(1)

    def choose(self, saliency: Tensor) -> Tensor:
        """Cells [B, 6] of the six highest local maxima of [B, 144] logits, from left to right."""
        grid = saliency.view(-1, 1, GRID, GRID)
        peak = F.max_pool2d(grid, 3, stride=1, padding=1)
        ranked = (grid - 100.0 * (grid < peak).to(grid.dtype)).flatten(1)  # cells beside a better one come last
        best = torch.topk(ranked, GLIMPSES, dim=1).indices
        column = (best % GRID) * GRID + best // GRID
        ordered = torch.topk(column, GLIMPSES, dim=1, largest=False).values
        return (ordered % GRID) * GRID + ordered // GRID

    def forward(self, frames: Tensor) -> Tensor:
        """The six glimpses of each frame."""
        features, saliency = self.look(frames)
        return self.glimpse(features, saliency, self.choose(saliency))

    def glimpse(self, features: Tensor, saliency: Tensor, cells: Tensor) -> Tensor:
        """Latents [B, 6, WIDTH] of the map's cells [B, 6]."""
        flat = torch.cat([features.flatten(2), saliency.unsqueeze(1) * 0.25], 1).transpose(1, 2)  # [B, 144, 129]
        picked = torch.gather(flat, 1, cells.unsqueeze(2).expand(-1, -1, flat.shape[2]))
        return self.out(picked) + self.place[cells]


class EyeHeads(nn.Module):
    """Read a latent: is there a thing, its colour, its shape, its bearing (pan, tilt) / 30 degrees in the camera's frame."""

    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Linear(WIDTH, 1 + len(COLOURS) + len(SHAPES) + 2)

    def forward(self, latents: Tensor) -> dict[str, Tensor]:
        """Thing [...], colour [..., 6], shape [..., 4], bearing [..., 2] for latents [..., WIDTH]."""
        thing, colour, shape, bearing = self.read(latents).split([1, len(COLOURS), len(SHAPES), 2], -1)
        return {"thing": thing.squeeze(-1), "colour": colour, "shape": shape, "bearing": bearing}
