"""Frames for the eye: random scenes from the emulator's studio with what stands in every cell of the eye's map."""

from __future__ import annotations

import math
import multiprocessing
from pathlib import Path

import numpy as np
import numpy.typing as npt

from innervate.boards.emulator.scene import SceneObject
from innervate.boards.emulator.studio import Studio

from .language import COLOURS, HELD_OUT, SHAPES, TRAINED_PAIRS
from .progress import Progress
from .seeing import CELL, FOCAL_PX, GRID, SIZE

HELD_OUT_SHARE = 0.12  # of the objects: they stand about as things without a name, so that they are not strange to the eye
NAMELESS = -1


def bearing(pan_deg: float, tilt_deg: float, head_pan_deg: float, head_tilt_deg: float) -> tuple[float, float]:
    """(pan, tilt) in degrees, in the frame of a camera that is panned, then tilted, of a direction in the device's frame."""
    a, e = math.radians(pan_deg - head_pan_deg), math.radians(tilt_deg)
    x, y, z = math.cos(e) * math.cos(a), math.cos(e) * math.sin(a), math.sin(e)
    t = math.radians(head_tilt_deg)
    x, z = x * math.cos(t) + z * math.sin(t), -x * math.sin(t) + z * math.cos(t)
    return math.degrees(math.atan2(y, x)), math.degrees(math.atan2(z, math.hypot(x, y)))


def pixel(pan_deg: float, tilt_deg: float) -> tuple[float, float]:
    """(column, row) of a bearing in the frame; outside [0, 96) when out of view. Behind the camera: (-1e9, -1e9)."""
    if abs(pan_deg) >= 89.0:
        return -1e9, -1e9
    x = math.tan(math.radians(pan_deg))
    z = math.tan(math.radians(tilt_deg)) * math.hypot(1.0, x)
    return SIZE / 2 - FOCAL_PX * x, SIZE / 2 - FOCAL_PX * z


def sight(column: float, row: float) -> tuple[float, float]:
    """(pan, tilt) in degrees of a place in the frame; what `pixel` undoes."""
    x, z = (SIZE / 2 - column) / FOCAL_PX, (SIZE / 2 - row) / FOCAL_PX
    return math.degrees(math.atan(x)), math.degrees(math.atan(z / math.hypot(1.0, x)))


def draw_pair(rng: np.random.Generator) -> tuple[str, str]:
    """Colour and shape of a thing that stands about."""
    if rng.random() < HELD_OUT_SHARE:
        return sorted(HELD_OUT)[int(rng.integers(len(HELD_OUT)))]
    return TRAINED_PAIRS[int(rng.integers(len(TRAINED_PAIRS)))]


def random_objects(rng: np.random.Generator, count: int, head: tuple[float, float], spread_deg: float) -> list[SceneObject]:
    """Up to `count` objects within `spread_deg` of where the head looks, seldom in front of one another."""
    objects: list[SceneObject] = []
    apart = 9.0 if rng.random() < 0.8 else 4.0
    for _ in range(count * 4):
        if len(objects) == count:
            break
        pan = head[0] + rng.uniform(-spread_deg, spread_deg)
        tilt = float(np.clip(head[1] + rng.uniform(-30, 30), -32, 32))
        if any(math.hypot(pan - o.pan_deg, tilt - o.tilt_deg) < apart for o in objects):
            continue
        colour, shape = draw_pair(rng)
        objects.append(SceneObject(shape, colour, float(pan), tilt, float(rng.uniform(0.5, 1.35))))  # type: ignore[arg-type]
    return objects


def cell_labels(objects: list[SceneObject], head: tuple[float, float], t_s: float = 0.0) -> npt.NDArray[np.float32]:
    """[144, 5]: thing (1, 0, or -1 where it is cut by the border), colour, shape (NAMELESS for held-out pairs), bearing / 30 degrees."""
    labels = np.zeros((GRID * GRID, 5), np.float32)
    labels[:, 1:3] = NAMELESS
    for item in sorted(objects, key=lambda o: -o.distance_m):
        pan, tilt = bearing(item.pan_at(t_s), item.tilt_deg, *head)
        column, row = pixel(pan, tilt)
        if not (-4 <= column < SIZE + 4 and -4 <= row < SIZE + 4):
            continue
        cell = min(GRID - 1, max(0, int(row // CELL))) * GRID + min(GRID - 1, max(0, int(column // CELL)))
        if not (0 <= column < SIZE and 0 <= row < SIZE):
            labels[cell, 0] = -1
            continue
        named = (item.colour, item.shape) not in HELD_OUT
        ids = (COLOURS.index(item.colour), SHAPES.index(item.shape)) if named else (NAMELESS, NAMELESS)
        labels[cell] = (1, *ids, pan / 30.0, tilt / 30.0)
    return labels


def draw_scene(seed: int, aimed: bool) -> tuple[tuple[float, float], list[SceneObject], int, float]:
    """Head, objects, studio seed and time of scene `seed`; an aimed one has an object near the middle of the frame."""
    rng = np.random.default_rng([seed, 0xE7E, int(aimed)])
    head = (float(rng.uniform(-90, 90)), float(rng.uniform(-25, 25)) * float(rng.random() < 0.7))
    objects = random_objects(rng, int(rng.integers(int(aimed), 7)), head, 38.0)
    if aimed and objects:
        target = objects[int(rng.integers(len(objects)))]
        spread = float(rng.choice([0.7, 2.0, 6.0]))
        pan, tilt = target.pan_deg + float(rng.normal(0, spread)), target.tilt_deg + float(rng.normal(0, spread))
        head = (float(np.clip(pan, -90, 90)), float(np.clip(tilt, -30, 30)))
    return head, objects, int(rng.integers(2**31)), float(rng.uniform(0, 20))


def _render_chunk(job: tuple[int, int, bool]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    first, count, aimed = job
    frames = np.empty((count, SIZE, SIZE, 3), np.uint8)
    labels = np.empty((count, GRID * GRID, 5), np.float32)
    with Studio(SIZE) as studio:
        for i in range(count):
            head, objects, seed, t_s = draw_scene(first + i, aimed)
            studio.arrange(objects, seed)
            frames[i] = studio.look(*head, t_s=t_s)
            labels[i] = cell_labels(objects, head)
    return frames, labels


def render_scenes(folder: Path, count: int, seed: int, *, aimed: bool = False, processes: int = 2) -> tuple[Path, Path]:
    """Render `count` frames of scenes `seed`, `seed` + 1, ...; returns the paths of frames [N, 96, 96, 3] uint8 and labels [N, 144, 5] float32."""
    paths = folder / f"scenes_{seed}_frames.npy", folder / f"scenes_{seed}_labels.npy"
    if paths[1].exists():
        return paths
    chunk = 500
    jobs = [(seed + i, min(chunk, count - i), aimed) for i in range(0, count, chunk)]
    frames = np.lib.format.open_memmap(paths[0], "w+", np.uint8, (count, SIZE, SIZE, 3))
    labels = np.empty((count, GRID * GRID, 5), np.float32)
    with multiprocessing.get_context("spawn").Pool(processes) as workers, Progress("scenes", len(jobs)) as bar:
        at = 0
        for part, marks in workers.imap(_render_chunk, jobs):
            frames[at : at + len(part)], labels[at : at + len(part)] = part, marks
            at += len(part)
            bar.step()
    frames.flush()
    np.save(paths[1], labels)
    return paths
