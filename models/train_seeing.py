"""Train the eye on single frames drawn from all scenes: dense heads on the map, and heads that see only a latent."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .checkpoint import autocast, best_device, load_checkpoint, save_checkpoint, schedule
from .progress import Progress
from .scenes import NAMELESS, pixel, render_scenes, sight
from .seeing import CELL, GRID, SIZE, Eye, EyeHeads


@dataclass(frozen=True)
class SeeingConfig:
    """What a training run of the eye is made of."""

    frames: int = 60000
    steps: int = 4000
    batch: int = 96
    lr: float = 2e-3
    seed: int = 2


def augment(frames: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mirror half of the batch; vary white balance, contrast and brightness; add sensor noise. frames [B, 3, 96, 96] in [0, 1]."""
    batch = len(frames)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.empty(shape).uniform_(low, high, generator=generator)

    flip = torch.rand(batch, generator=generator) < 0.5
    frames = torch.where(flip[:, None, None, None], frames.flip(3), frames)
    mirrored = labels.view(batch, GRID, GRID, 5).flip(2).flatten(1, 2).clone()
    mirrored[:, :, 3] *= -1
    labels = torch.where(flip[:, None, None], mirrored, labels)
    frames = frames * uniform(0.93, 1.07, batch, 3, 1, 1) * uniform(0.8, 1.2, batch, 1, 1, 1)
    frames = frames + uniform(0.0, 0.04, batch, 1, 1, 1) * torch.randn(frames.shape, generator=generator)
    return frames.clamp(0, 1), labels


RECOLOURED_SHARE, BLOB_SHARE = 0.5, 0.4
_AXIS = 3.0**-0.5


def decouple(frames: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Tell colour and shape apart: shapes in colours that have no name, and colours on blobs that have none.

    Four pairs never have a name in training.  An eye that learns from the others alone learns which pairs there are: what is green and round
    must be a cube.  So half of the frames change their colours and keep the names of shapes only, and in some of the others random
    polygons in the colour of a thing that stands in the frame are named by their colour only.
    """
    frames, labels = frames.clone(), labels.clone()
    for i, draw in enumerate(torch.rand(len(frames), generator=generator).tolist()):
        if draw < RECOLOURED_SHARE:
            frames[i] = _recolour(frames[i], generator)
            labels[i, :, 1] = NAMELESS
        elif draw < RECOLOURED_SHARE + BLOB_SHARE:
            for _ in range(3):
                _add_blob(frames[i], labels[i], generator)
    return frames, labels


def _recolour(frame: Tensor, generator: torch.Generator) -> Tensor:
    """Turn all hues by one angle, or fade them towards white."""
    kind, amount = torch.rand(2, generator=generator).tolist()
    if kind < 0.35:
        return frame + (0.5 + 0.5 * amount) * (frame.amax(0, keepdim=True) - frame)
    angle = 2 * math.pi * amount
    cos, sin = math.cos(angle), math.sin(angle)
    axis = torch.full((3,), _AXIS)
    cross = torch.tensor([[0.0, -_AXIS, _AXIS], [_AXIS, 0.0, -_AXIS], [-_AXIS, _AXIS, 0.0]])
    turn = cos * torch.eye(3) + sin * cross + (1 - cos) * torch.outer(axis, axis)  # Rodrigues, about the grey axis
    return (turn @ frame.flatten(1)).view_as(frame).clamp(0, 1)


def _add_blob(frame: Tensor, labels: Tensor, generator: torch.Generator) -> None:
    """Paint a random polygon in the colour of a named thing of `frame` [3, 96, 96] and note it in `labels` [144, 5]; in place."""
    named = torch.nonzero((labels[:, 0] > 0) & (labels[:, 1] >= 0)).flatten()
    u = torch.rand(8, generator=generator).tolist()
    if len(named) == 0:
        return
    source = labels[named[int(u[0] * len(named))]]
    column, row = (int(min(max(v, 1.0), SIZE - 2.0)) for v in pixel(*(source[3:] * 30.0).tolist()))
    colour = frame[:, row - 1 : row + 2, column - 1 : column + 2].mean((1, 2))
    at = torch.tensor([u[1], u[2]]) * (SIZE - 16) + 8  # column, row
    x, y = int(at[0]) // CELL, int(at[1]) // CELL
    near = labels[:, 0].view(GRID, GRID)[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3]
    if bool((near != 0).any()):
        return
    sides = 3 + int(u[3] * 6)
    angles = (torch.arange(sides) + 0.6 * torch.rand(sides, generator=generator) + u[4] * sides) * (2 * math.pi / sides)
    reach = (3.0 + 5.0 * u[5]) * (0.7 + 0.6 * torch.rand(sides, generator=generator))
    grid = torch.arange(SIZE) + 0.5
    far = torch.cos(angles)[:, None, None] * (grid[None, None, :] - at[0]) + torch.sin(angles)[:, None, None] * (grid[None, :, None] - at[1])
    cover = (reach[:, None, None] - far).amin(0).clamp(0, 1)  # soft edges of a pixel
    shade = 1.0 + (u[6] - 0.5) * (far[0] / 10.0).clamp(-1, 1)
    frame += cover * (colour[:, None, None] * shade - frame)
    frame.clamp_(0, 1)
    pan, tilt = sight(float(at[0]), float(at[1]))
    labels[y * GRID + x] = torch.tensor([1.0, float(source[1]), NAMELESS, pan / 30.0, tilt / 30.0])


def eye_loss(eye: Eye, heads: EyeHeads, frames: Tensor, labels: Tensor) -> Tensor:
    """Saliency over the map; colour, shape and bearing from latents of the true cells and of the chosen ones."""
    features, saliency = eye.look(frames)
    thing = labels[:, :, 0]
    known = thing >= 0
    weight = known * torch.where(thing > 0, 8.0, 1.0)
    total = (F.binary_cross_entropy_with_logits(saliency, thing.clamp(min=0), reduction="none") * weight).sum() / weight.sum() * 3.0
    with torch.no_grad():
        chosen = eye.choose(saliency)
        true = torch.topk(thing + torch.rand_like(thing) * 0.5, chosen.shape[1], dim=1).indices
    cells = torch.cat([chosen, true], 1)  # [B, 12]
    read = heads(eye.glimpse(features, saliency, cells))
    target = torch.gather(labels, 1, cells.unsqueeze(2).expand(-1, -1, 5))
    is_thing, certain = target[..., 0] > 0, target[..., 0] >= 0
    total = total + F.binary_cross_entropy_with_logits(read["thing"][certain], target[..., 0][certain])
    for name, column in (("colour", 1), ("shape", 2)):
        named = is_thing & (target[..., column] >= 0)
        total = total + F.cross_entropy(read[name][named], target[..., column][named].long())
    return total + 3.0 * F.smooth_l1_loss(read["bearing"][is_thing], target[..., 3:][is_thing], beta=0.05)


def validate(eye: Eye, heads: EyeHeads, frames: Tensor, labels: Tensor) -> dict[str, float]:
    """Of the things in view: found, named rightly when found, bearing error in degrees; and things seen where there is none."""
    with torch.no_grad():
        features, saliency = eye.look(frames)
        cells = eye.choose(saliency)
        read = heads(eye.glimpse(features, saliency, cells))
    target = torch.gather(labels, 1, cells.unsqueeze(2).expand(-1, -1, 5))
    seen = read["thing"] > 0
    hit = seen & (target[..., 0] > 0)
    named = hit & (target[..., 1] >= 0)
    right_colour = read["colour"].argmax(-1) == target[..., 1]
    right_shape = read["shape"].argmax(-1) == target[..., 2]
    error = (read["bearing"] - target[..., 3:]).abs()[hit].mean() * 30.0
    return {
        "found": float(hit.sum() / (labels[:, :, 0] > 0).sum()),
        "colour": float(right_colour[named].float().mean()),
        "shape": float(right_shape[named].float().mean()),
        "bearing_deg": float(error),
        "ghosts": float((seen & (target[..., 0] == 0)).sum() / len(frames)),
    }


def train_seeing(folder: Path, config: SeeingConfig, threads: int = 2) -> Path:
    """Render, train with a checkpoint every 200 steps, and return the path of the result (`eye.pt`); resumes after a kill."""
    frames_path, labels_path = render_scenes(folder, config.frames, 10_000_000, processes=threads)
    torch.set_num_threads(threads)
    frames, labels = np.load(frames_path, mmap_mode="r"), torch.from_numpy(np.load(labels_path))
    held = min(1500, config.frames // 10)
    torch.manual_seed(config.seed)
    device = best_device()
    eye, heads = Eye().to(memory_format=torch.channels_last), EyeHeads()  # type: ignore[call-overload]
    both = nn.ModuleList([eye, heads]).to(device)
    optimiser = torch.optim.AdamW(both.parameters(), lr=config.lr, weight_decay=0.01, betas=(0.9, 0.98))
    state = folder / "eye.pt"
    first = load_checkpoint(state, both, optimiser)
    rng, generator = np.random.default_rng([config.seed, first]), torch.Generator().manual_seed(config.seed + first)
    val_frames = torch.from_numpy(np.array(frames[:held])).permute(0, 3, 1, 2).float() / 255.0
    began = time.monotonic()
    with Progress("eye", config.steps, first) as bar:
        for step in range(first, config.steps):
            for group in optimiser.param_groups:
                group["lr"] = schedule(step, config.steps, config.lr)
            index = np.sort(rng.choice(np.arange(held, config.frames), config.batch, replace=False))
            batch = torch.from_numpy(frames[index]).permute(0, 3, 1, 2).float() / 255.0
            batch, marks = augment(*decouple(batch, labels[index], generator), generator)
            with autocast(device):
                loss = eye_loss(eye, heads, batch.to(device, memory_format=torch.channels_last), marks.to(device))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(both.parameters(), 1.0)
            optimiser.step()
            bar.step(note=f"loss {loss.item():.3f}")
            if (step + 1) % 200 == 0 or step + 1 == config.steps:
                save_checkpoint(state, both, optimiser, step + 1)
                figures = validate(eye, heads, val_frames.to(device), labels[:held].to(device))
                shown = ", ".join(f"{k} {v:.3f}" for k, v in figures.items())
                print(f"eye step {step + 1}: {shown}, {time.monotonic() - began:.0f} s", flush=True)
    return state


def load_eye(folder: Path) -> tuple[Eye, EyeHeads]:
    """The trained eye and its heads."""
    eye, heads = Eye(), EyeHeads()
    load_checkpoint(folder / "eye.pt", nn.ModuleList([eye, heads]), None)
    return eye.eval(), heads.eval()
