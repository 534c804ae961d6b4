"""Train the backbone on sequences, ear and eye frozen but for their last layers."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.multiprocessing.spawn import start_processes

from innervate.boards.emulator.scene import SceneObject

from .banks import FrameBank, TrackBank, bank_paths
from .checkpoint import autocast, best_device, load_checkpoint, save_checkpoint, schedule
from .expert import UNNAMED
from .language import COLOURS, SHAPES
from .policy import Policy
from .progress import Progress
from .scenes import draw_scene, render_scenes
from .seeing import Eye
from .sequences import FRAME, SOUND, Sequences
from .speech import Pool, make_track
from .train_hearing import load_ear
from .train_seeing import decouple, load_eye


@dataclass(frozen=True)
class BackboneTraining:
    """What a training run of the backbone is made of."""

    scenes: int = 60000
    aimed: int = 24000
    loose: int = 12000  # scenes whose colours, or blobs whose shapes, have no name
    tracks: int = 8000
    steps: int = 6000
    ticks: int = 640  # of all sequences of a process's batch
    compile: bool = True
    lr: float = 2e-3
    seed: int = 3


SCENES_SEED, AIMED_SEED = 10_000_000, 20_000_000


def build_frame_bank(folder: Path, config: BackboneTraining, threads: int) -> FrameBank:
    """Run the eye over all scenes; kept on disk."""
    path = bank_paths(folder)[0]
    sets = [(config.scenes, SCENES_SEED, False), (config.aimed, AIMED_SEED, True)]
    if not path.exists():
        eye, _ = load_eye(folder)
        eye = eye.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        torch.set_num_threads(threads)
        parts = []
        for count, seed, aimed in sets:
            frames = np.load(render_scenes(folder, count, seed, aimed=aimed, processes=threads)[0], mmap_mode="r")
            with Progress("frames seen", count) as bar:
                for i in range(0, count, 250):
                    parts.append(_see(eye, torch.from_numpy(np.array(frames[i : i + 250])).permute(0, 3, 1, 2).float() / 255.0))
                    bar.step(250)
        frames, labels = (np.load(p, mmap_mode="r") for p in render_scenes(folder, config.scenes, SCENES_SEED, processes=threads))
        generator, objects = torch.Generator().manual_seed(config.seed), []
        with Progress("frames taken apart", config.loose) as bar:
            for i in range(0, config.loose, 250):
                x = torch.from_numpy(np.array(frames[i : i + 250])).permute(0, 3, 1, 2).float() / 255.0
                x, marks = decouple(x, torch.from_numpy(np.array(labels[i : i + 250])), generator)
                parts.append(_see(eye, x))
                objects += [named_objects(marked) for marked in marks.numpy()]
                bar.step(250)
        counts = np.array([len(rows) for rows in objects])
        np.savez(
            path.with_suffix(".part.npz"), features=np.concatenate([p[0] for p in parts]), cells=np.concatenate([p[1] for p in parts]),
            loose=np.concatenate(objects), counts=counts,
        )
        path.with_suffix(".part.npz").rename(path)
    drawn = [draw_scene(seed + i, aimed) for count, seed, aimed in sets for i in range(count)]
    with np.load(path) as z:
        loose = [[_loose_object(row) for row in rows] for rows in np.split(z["loose"], np.cumsum(z["counts"])[:-1])]
        heads = np.array([d[0] for d in drawn] + [(0.0, 0.0)] * len(loose), np.float32)
        return FrameBank.index(z["features"], z["cells"], heads, [d[1] for d in drawn] + loose)


def _see(eye: Eye, frames: Tensor) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.int16]]:
    """The eye's features before its last layer [B, 6, 129] and its cells [B, 6] for frames [B, 3, 96, 96]."""
    with torch.no_grad():
        seen, saliency = eye.look(frames)
        chosen = eye.choose(saliency)
        flat = torch.cat([seen.flatten(2), saliency.unsqueeze(1) * 0.25], 1).transpose(1, 2)
        picked = torch.gather(flat, 1, chosen.unsqueeze(2).expand(-1, -1, flat.shape[2]))
    return picked.half().numpy(), chosen.short().numpy()


def named_objects(labels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Rows (colour, shape, pan_deg, tilt_deg) [N, 4] of the things in a frame's labels [144, 5], colour and shape as indices or NAMELESS."""
    rows = labels[labels[:, 0] > 0][:, 1:].copy()
    rows[:, 2:] *= 30.0
    return rows


def _loose_object(row: npt.NDArray[np.float32]) -> SceneObject:
    colour = UNNAMED if row[0] < 0 else COLOURS[int(row[0])]
    shape = UNNAMED if row[1] < 0 else SHAPES[int(row[1])]
    return SceneObject(shape, colour, float(row[2]), float(row[3]))  # type: ignore[arg-type]


def build_track_bank(folder: Path, config: BackboneTraining, threads: int) -> TrackBank:
    """Run the ear over random tracks; kept on disk."""
    path = bank_paths(folder)[1]
    if not path.exists():
        torch.set_num_threads(threads)
        ear, _ = load_ear(folder)
        pool, rng = Pool.load(folder / "speech_train.npz"), np.random.default_rng(config.seed)
        states, spoken = [], []
        with torch.no_grad(), Progress("tracks heard", config.tracks) as bar:
            for _ in range(0, config.tracks, 50):
                tracks = [make_track(rng, pool) for _ in range(50)]
                states.append(ear.states(torch.from_numpy(np.stack([t.mel for t in tracks]))).half().numpy())
                spoken += [np.array([(end, *ids) for end, ids in t.spoken], np.int32).reshape(-1, 4) for t in tracks]
                bar.step(50)
        counts = np.array([len(s) for s in spoken])
        np.savez(path.with_suffix(".part.npz"), states=np.concatenate(states), spoken=np.concatenate(spoken), counts=counts)
        path.with_suffix(".part.npz").rename(path)
    with np.load(path) as z:
        rows = np.split(z["spoken"], np.cumsum(z["counts"])[:-1])
        return TrackBank(z["states"], [[(int(r[0]), (int(r[1]), int(r[2]), int(r[3]))) for r in part] for part in rows])


def sensed(batches: Iterator[dict[str, Tensor]], frames: FrameBank, tracks: TrackBank) -> Iterator[dict[str, Tensor]]:
    """Add what ear and eye made of every sound and frame position: sound [n, 320], sight [m, 129], cells [m]."""
    features = torch.from_numpy(frames.features).flatten(0, 1)
    cells = torch.from_numpy(frames.cells).flatten().long()
    states = torch.from_numpy(tracks.states)
    for batch in batches:
        kind, source = batch["kind"], batch["source"]
        heard = kind == SOUND
        batch["sound"] = states[batch["track"][:, None].expand_as(kind)[heard], (batch["first"][:, None] + source)[heard]].float()
        batch["sight"] = features[source[kind == FRAME]].float()
        batch["cells"] = cells[source[kind == FRAME]]
        yield batch


def start_policy(folder: Path) -> Policy:
    """A new policy whose ear and eye end in the layers that grounding trained."""
    policy = Policy()
    ear, _ = load_ear(folder)
    eye, _ = load_eye(folder)
    policy.ear_out.load_state_dict(ear.out.state_dict())
    policy.eye_out.load_state_dict(eye.out.state_dict())
    with torch.no_grad():
        policy.eye_place.copy_(eye.place)
    return policy


def train_backbone(folder: Path, config: BackboneTraining, threads: int = 3) -> Path:
    """Train with a checkpoint every 100 steps and return the path of the result (`policy.pt`); resumes after a kill.

    On a processor every thread is a process with a batch of its own, and gradients are averaged: the small products of a
    3.8M backbone gain little from threads that share one.  On a GPU one process does it all.
    """
    build_frame_bank(folder, config, threads)
    build_track_bank(folder, config, threads)
    workers = 1 if torch.cuda.is_available() else max(1, threads)
    if workers == 1:
        _train(0, 1, folder, config, None)
    else:
        with tempfile.TemporaryDirectory() as place:
            start_processes(_train, args=(workers, folder, config, Path(place) / "meeting"), nprocs=workers)
    return folder / "policy.pt"


class Optimiser:
    """Muon for the backbone's matrices, AdamW for all else; learns in fewer steps than AdamW alone."""

    def __init__(self, policy: Policy, lr: float) -> None:
        matrices = [p for p in policy.nano.backbone.parameters() if p.ndim == 2]
        mine = {id(p) for p in matrices}
        others = [p for p in policy.parameters() if id(p) not in mine]
        self.parts: tuple[torch.optim.Optimizer, ...] = (
            torch.optim.Muon(matrices, lr=lr, weight_decay=0.02, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, lr=lr, weight_decay=0.02, betas=(0.9, 0.98)),
        )

    def set_rate(self, lr: float) -> None:
        """Learn at `lr` from now on."""
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = lr

    def step(self) -> None:
        """Follow the gradients."""
        for part in self.parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        for part, stored in zip(self.parts, state["parts"], strict=True):
            part.load_state_dict(stored)


def _train(rank: int, workers: int, folder: Path, config: BackboneTraining, meeting: Path | None) -> None:
    torch.set_num_threads(1)
    if meeting is not None:
        torch.distributed.init_process_group("gloo", init_method=meeting.as_uri(), rank=rank, world_size=workers)
    frames, tracks = build_frame_bank(folder, config, 1), build_track_bank(folder, config, 1)
    torch.manual_seed(config.seed)
    device, state = best_device(), folder / "policy.pt"
    policy = start_policy(folder).to(device)
    optimiser = Optimiser(policy, config.lr)
    if config.compile:  # fusing the norms and rotations halves a step on a processor, and takes half a minute to prepare
        policy.nano.backbone.forward = torch.compile(policy.nano.backbone.forward, dynamic=True)  # type: ignore[method-assign]
    first = load_checkpoint(state, policy, optimiser)
    batches = sensed(iter(Sequences(frames, tracks, config.ticks, config.seed + 1000 * first, rank)), frames, tracks)
    began, mean = time.monotonic(), dict[str, float]()
    with Progress("backbone", config.steps, first) if rank == 0 else nullcontext() as bar:
        for step in range(first, config.steps):
            optimiser.set_rate(schedule(step, config.steps, config.lr))
            batch = {name: part.to(device) for name, part in next(batches).items()}
            with autocast(device):
                loss, figures = policy.loss(batch)
            policy.zero_grad(set_to_none=False)
            loss.backward()
            _average(policy, workers)
            nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
            optimiser.step()
            if bar is None:
                continue
            mean = {k: 0.95 * mean.get(k, v) + 0.05 * v for k, v in figures.items()}
            bar.step(note=f"loss {loss.item():.3f}")
            if (step + 1) % 100 == 0 or step + 1 == config.steps:
                save_checkpoint(state, policy, optimiser, step + 1)
                shown = " ".join(f"{k} {v:.3f}" for k, v in mean.items())
                print(f"backbone step {step + 1}: {shown}, {time.monotonic() - began:.0f} s", flush=True)
    if meeting is not None:
        torch.distributed.destroy_process_group()


def _average(policy: Policy, workers: int) -> None:
    """Replace every gradient by its mean over all processes."""
    if workers == 1:
        return
    gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in policy.parameters()]
    flat = torch.cat([g.flatten() for g in gradients])
    torch.distributed.all_reduce(flat)
    flat /= workers
    at = 0
    for p, g in zip(policy.parameters(), gradients, strict=True):
        p.grad = flat[at : at + g.numel()].view_as(g)
        at += g.numel()
