"""The skin and the inner ear: force on the grip and pose of the head, each one latent a tick; and the muscle, latent to degrees."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH = 384
FORCE_WINDOW = 104  # 1.04 s at 100 Hz, oldest first
FORCE_HZ = 100
SAMPLES_PER_TICK = 8  # of force
POPULATION = 56  # cells, for 0 to 55 N
TUNING_N = 0.6  # standard deviation of a tuning curve
POSE_SCALE = (60.0, 20.0, 100.0, 100.0)  # typical pan_deg, tilt_deg, pan_deg_s, tilt_deg_s
DELTA_SCALE_DEG = 30.0


class ForceEncoder(nn.Module):
    """The last 1.04 s of force [B, 104] in newtons -> latent [B, WIDTH].

    The force now is told twice: as a number among the samples, and as a population code, one cell a newton with a Gaussian tuning curve,
    as skin does it. From a number alone, 50 answers one newton apart are hard to tell; from the code they are a table.
    """

    newtons: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(FORCE_WINDOW + 1, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, WIDTH))
        self.cells = nn.Linear(POPULATION, WIDTH)
        self.register_buffer("newtons", torch.arange(POPULATION).float())

    def forward(self, window: Tensor) -> Tensor:
        """One latent a window; the mean of the last 80 ms is given beside the samples because sensor noise hides it."""
        now = window[:, -8:].mean(1, keepdim=True)
        tuned = torch.exp(-0.5 * ((now - self.newtons) / TUNING_N) ** 2)
        return self.layers(torch.cat([window, now], 1) * 0.1) + self.cells(tuned)


class PoseEncoder(nn.Module):
    """Pose [B, 4]: pan_deg, tilt_deg, pan_deg_s, tilt_deg_s -> latent [B, WIDTH]."""

    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 128), nn.ReLU(), nn.Linear(128, WIDTH))
        self.straight = nn.Linear(4, WIDTH)
        self.register_buffer("scale", torch.tensor(POSE_SCALE))

    def forward(self, pose: Tensor) -> Tensor:
        """One latent a pose."""
        x = pose / self.scale
        return self.layers(x) + self.straight(x)


class MotorDecoder(nn.Module):
    """Output latent [B, WIDTH] -> (pan, tilt) [B, 2] degrees to turn from the pose at capture."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(WIDTH, 192)
        self.out = nn.Linear(192, 2)
        self.straight = nn.Linear(WIDTH, 2)

    def forward(self, latent: Tensor) -> Tensor:
        """Degrees to turn."""
        return (self.out(F.relu(self.hidden(latent))) + self.straight(latent)) * DELTA_SCALE_DEG
