"""What ear and eye made of all training tracks and frames, looked up by what is heard and shown."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from innervate.boards.emulator.scene import SceneObject

from .expert import UNNAMED, in_view
from .language import COLOURS, SHAPES, TRAINED_PAIRS
from .scenes import bearing

MIDDLE_DEG = 3.0
COUNTED = 4  # things in a frame that is asked about, at the most


@dataclass(frozen=True)
class FrameBank:
    """Frames that the eye has seen: features before its last layer, and the scene behind each."""

    features: npt.NDArray[np.float16]  # [N, 6, 129]
    cells: npt.NDArray[np.int16]  # [N, 6]
    heads: npt.NDArray[np.float32]  # [N, 2] pan, tilt
    objects: list[list[SceneObject]]
    by_pair: dict[tuple[str, str], npt.NDArray[np.int64]]  # trained pair -> frames with it in view
    centred: dict[tuple[str, str], npt.NDArray[np.int64]]  # ... within a few degrees of the middle
    beside: dict[tuple[str, str], npt.NDArray[np.int64]]  # ... with it in view and something else in the middle
    loose: dict[str, npt.NDArray[np.int64]]  # colour or shape -> frames with something in view that has this name and lacks the other
    countable: list[npt.NDArray[np.int64]]  # by how many things: frames fit for "what do you see": nothing cut by the border, no held-out pair

    @staticmethod
    def index(
        features: npt.NDArray[np.float16], cells: npt.NDArray[np.int16], heads: npt.NDArray[np.float32], objects: list[list[SceneObject]]
    ) -> FrameBank:
        """Build the look-ups of a bank."""
        tables: list[dict[tuple[str, str], list[int]]] = [{p: [] for p in TRAINED_PAIRS} for _ in range(3)]
        by_pair, centred, beside = tables
        countable: list[list[int]] = [[] for _ in range(1 + COUNTED)]
        loose: dict[str, list[int]] = {name: [] for name in (*COLOURS, *SHAPES)}
        for i, things in enumerate(objects):
            head = (float(heads[i, 0]), float(heads[i, 1]))
            seen = [o for o in things if in_view(o, head)]
            middle = [o for o in seen if math.hypot(o.pan_deg - head[0], o.tilt_deg - head[1]) < MIDDLE_DEG]
            for o in seen:
                pair = (o.colour, o.shape)
                if pair in by_pair:
                    by_pair[pair].append(i)
                    if o in middle:
                        centred[pair].append(i)
                    elif middle and all((m.colour, m.shape) != pair for m in middle):
                        beside[pair].append(i)
            for name in {n for o in seen for n in (o.colour, o.shape) if UNNAMED in (o.colour, o.shape)} - {UNNAMED}:
                loose[name].append(i)
            sure = [o for o in things if in_view(o, head, margin_px=4.0)]
            near = [o for o in things if in_view(o, head, margin_px=-8.0)]
            apart = all(math.hypot(a.pan_deg - b.pan_deg, a.tilt_deg - b.tilt_deg) > 7.0 for k, a in enumerate(near) for b in near[:k])
            named = all((o.colour, o.shape) in by_pair for o in near)
            if len(sure) == len(near) <= COUNTED and apart and named:
                countable[len(near)].append(i)
        first, second, third = ({pair: np.array(rows, np.int64) for pair, rows in table.items()} for table in tables)
        fourth = {name: np.array(rows, np.int64) for name, rows in loose.items()}
        return FrameBank(features, cells, heads, objects, first, second, third, fourth, [np.array(rows, np.int64) for rows in countable])

    def seen(self, i: int) -> list[tuple[str, str]]:
        """Colour and shape of what is in view in frame `i`, from left to right."""
        head = (float(self.heads[i, 0]), float(self.heads[i, 1]))
        things = [(bearing(o.pan_deg, o.tilt_deg, *head)[0], o) for o in self.objects[i] if in_view(o, head)]
        return [(o.colour, o.shape) for _, o in sorted(things, key=lambda row: -row[0])]


@dataclass(frozen=True)
class TrackBank:
    """Sound that the ear has heard: its state [N, TICKS, 320] before the last layer, and the commands in it."""

    states: npt.NDArray[np.float16]
    spoken: list[list[tuple[int, tuple[int, int, int]]]]  # per track: (frame of its end, intent ids)


def bank_paths(folder: Path) -> tuple[Path, Path]:
    """Where the encoded frames and tracks are kept."""
    return folder / "frames_bank.npz", folder / "tracks_bank.npz"
