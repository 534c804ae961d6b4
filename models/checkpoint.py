"""Checkpoints that a kill cannot halve: written beside, then renamed over."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn


def save_checkpoint(path: Path, model: nn.Module, optimiser: torch.optim.Optimizer | None, step: int) -> None:
    """Write model, optimiser and step to `path` atomically."""
    partial = path.with_suffix(".part")
    torch.save({"model": model.state_dict(), "optimiser": optimiser.state_dict() if optimiser else None, "step": step}, partial)
    partial.replace(path)


def load_checkpoint(path: Path, model: nn.Module, optimiser: torch.optim.Optimizer | None) -> int:
    """Load `path` into model and optimiser if it exists; the step to go on from, 0 when there is none."""
    if not path.exists():
        return 0
    stored = torch.load(path, map_location="cpu", weights_only=True)
    model.load_state_dict(stored["model"])
    if optimiser is not None and stored["optimiser"] is not None:
        optimiser.load_state_dict(stored["optimiser"])
    return int(stored["step"])
