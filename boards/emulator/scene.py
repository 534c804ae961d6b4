"""What stands in the world, objects, room and light, and how a seed dresses it.

Rules. The device's frame is MuJoCo's world frame: x ahead, y left, z up, the camera's pivot at the origin; pan is
positive to the left, tilt is positive upwards. One compiled model (`mjcf.py`) serves every scene: it holds `SLOTS` bodies
that take any shape, a papered room and `CLUTTER` pieces of furniture; `Dressing` is all that a seed decides about them.
Colours of the room and its furniture stay dull (saturation under 0.45, mid brightness or dark), so that a saturated or a
bright white patch is always an object.

Known weaknesses: objects float without stands, and cast no shadow (shadows cost three quarters of the frame rate).
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Shape = Literal["cube", "ball", "cylinder", "cone"]
Colour = Literal["red", "green", "blue", "yellow", "purple", "white"]
SHAPES: tuple[Shape, ...] = get_args(Shape)
COLOURS: tuple[Colour, ...] = get_args(Colour)

SLOTS = 12  # objects that one scene can hold
CLUTTER = 14  # pieces of furniture
PAPERS = 24  # wall textures
FOV_DEG = 60.0
PAN_LIMIT_DEG = 90.0
TILT_LIMIT_DEG = 30.0
DISTANCE_MIN_M = 0.2
DISTANCE_MAX_M = 3.0  # the walls stand at 5 m
CONE_SCALES = (0.88, 0.94, 1.0, 1.06, 1.12)  # a mesh cannot be rescaled at run time: one mesh a size

# hue in degrees, saturation and value: (centre or low, spread or high) of the shades that go by each name
_SHADES: dict[Colour, tuple[tuple[float, float], tuple[float, float], tuple[float, float]]] = {
    "red": ((357.0, 6.0), (0.85, 1.0), (0.70, 0.95)),
    "green": ((122.0, 14.0), (0.75, 1.0), (0.45, 0.75)),
    "blue": ((223.0, 9.0), (0.78, 1.0), (0.65, 0.95)),
    "yellow": ((53.0, 4.0), (0.85, 1.0), (0.85, 1.0)),
    "purple": ((284.0, 9.0), (0.62, 0.85), (0.48, 0.72)),
    "white": ((60.0, 180.0), (0.0, 0.04), (0.92, 1.0)),
}


@dataclass(frozen=True, slots=True)
class SceneObject:
    """One coloured object, placed in the device's frame around the camera's pivot.

    `pan_deg` is positive to the left, `tilt_deg` upwards; `distance_m` is from the pivot to the object's centre;
    `pan_rate_deg_s` moves it on a circle at constant rate.
    """

    shape: Shape
    colour: Colour
    pan_deg: float
    tilt_deg: float = 0.0
    distance_m: float = 0.8
    pan_rate_deg_s: float = 0.0

    def pan_at(self, t_s: float) -> float:
        """Pan of the centre in degrees at `t_s`, wrapped to [-180, 180)."""
        return (self.pan_deg + self.pan_rate_deg_s * t_s + 180.0) % 360.0 - 180.0


def direction(pan_deg: float, tilt_deg: float) -> NDArray[np.float64]:
    """Unit vector [3] in the device's frame for a pan and a tilt in degrees."""
    pan, tilt = math.radians(pan_deg), math.radians(tilt_deg)
    return np.array([math.cos(tilt) * math.cos(pan), math.cos(tilt) * math.sin(pan), math.sin(tilt)])


@dataclass(frozen=True, slots=True)
class Seen:
    """Ground truth about one object at one moment: where it is from the device, and from the camera's axis; degrees.

    `bearing_pan_deg` and `bearing_tilt_deg` are angles in the camera's own frame, left and up of its axis (so a pixel's
    column is 48 - 48 tan(bearing_pan) / tan(30 deg) in a frame of 96); `in_view` means that the centre is in the frame.
    """

    colour: Colour
    shape: Shape
    pan_deg: float
    tilt_deg: float
    distance_m: float
    bearing_pan_deg: float
    bearing_tilt_deg: float
    in_view: bool


def look_up(objects: Sequence[SceneObject], head_pan_deg: float, head_tilt_deg: float, t_s: float) -> list[Seen]:
    """Ground truth of all objects, in their order, for a head turned to `head_*` at `t_s`."""
    ahead = direction(head_pan_deg, head_tilt_deg)
    left = direction(head_pan_deg + 90.0, 0.0)
    up = np.cross(ahead, left)
    edge = math.tan(math.radians(FOV_DEG / 2.0))
    rows = []
    for item in objects:
        to = direction(item.pan_at(t_s), item.tilt_deg)
        x, y, z = float(to @ ahead), float(to @ left), float(to @ up)
        rows.append(
            Seen(
                colour=item.colour,
                shape=item.shape,
                pan_deg=item.pan_at(t_s),
                tilt_deg=item.tilt_deg,
                distance_m=item.distance_m,
                bearing_pan_deg=math.degrees(math.atan2(y, x)),
                bearing_tilt_deg=math.degrees(math.atan2(z, math.hypot(x, y))),
                in_view=x > 0.0 and abs(y) <= edge * x and abs(z) <= edge * x,
            )
        )
    return rows


@dataclass(frozen=True, slots=True)
class Light:
    """The light at one moment: ambient, sun and lamp on the head, RGB [3] each, and the sun's direction [3]."""

    ambient: NDArray[np.float64]
    sun: NDArray[np.float64]
    head: NDArray[np.float64]
    sun_dir: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Dressing:
    """Everything about a scene that a seed decides, drawn once by `dress`."""

    rgb: NDArray[np.float64]  # [n, 3] one shade an object
    scale: NDArray[np.float64]  # [n] size factor
    yaw_deg: NDArray[np.float64]  # [n] about the vertical, from the line of sight
    wallpaper: NDArray[np.int64]  # [6] which paper hangs on floor, ceiling and four walls
    paper_repeat: NDArray[np.float64]  # [PAPERS, 2] how often each paper repeats on a wall
    room_rgb: NDArray[np.float64]  # [6, 3] tint of floor, ceiling and four walls
    clutter_pos: NDArray[np.float64]  # [CLUTTER, 3]
    clutter_size: NDArray[np.float64]  # [CLUTTER, 3] half sizes
    clutter_yaw_deg: NDArray[np.float64]  # [CLUTTER]
    clutter_rgb: NDArray[np.float64]  # [CLUTTER, 3]
    sun_pan_deg: float
    sun_tilt_deg: float
    level: float  # brightness of the whole scene
    sun_share: float  # of the light that is not ambient
    warmth: float  # -1 cold .. 1 warm
    drift: NDArray[np.float64]  # [3, 2] period_s and phase of level, warmth and sun direction

    def light(self, t_s: float) -> Light:
        """The light at `t_s`: it drifts slowly in level, colour temperature and direction."""
        wave = np.sin(2.0 * math.pi * t_s / self.drift[:, 0] + self.drift[:, 1])
        level = self.level * (1.0 + 0.10 * wave[0])
        warm = self.warmth + 0.15 * wave[1]
        tint = level * np.array([1.0 + 0.09 * warm, 1.0, 1.0 - 0.11 * warm])
        return Light(
            ambient=0.46 * tint,
            sun=0.62 * self.sun_share * tint,
            head=0.62 * (1.0 - self.sun_share) * level * np.ones(3),
            sun_dir=-direction(self.sun_pan_deg + 12.0 * wave[2], self.sun_tilt_deg),
        )


def _dull(rng: np.random.Generator, n: int, low: float, high: float, saturation_max: float) -> NDArray[np.float64]:
    """Colours [n, 3] in grey and brown: value in [low, high], saturation up to `saturation_max`."""
    rows = []
    for hue, sat, val in zip(rng.uniform(15, 45, n), rng.uniform(0, 1, n), rng.uniform(low, high, n), strict=True):
        rows.append(colorsys.hsv_to_rgb(hue / 360.0, saturation_max * sat * sat, val))
    return np.array(rows)


def wallpaper(index: int) -> NDArray[np.uint8]:
    """Paper `index` as a grey texture [32, 32, 3]: a gradient, a pattern of panels and soft noise.

    The papers are fixed: a new upload costs as much as a frame, so scenes choose, tint and repeat them instead.
    """
    rng = np.random.default_rng([index, 0x0A9E])
    y, x = np.mgrid[0:32, 0:32] / 32.0
    image = 0.80 + 0.2 * rng.uniform(-1, 1) * (y - 0.5) + 0.2 * rng.uniform(-1, 1) * (x - 0.5)
    image += 0.05 * np.sign(np.sin(2 * math.pi * (rng.integers(0, 6) * x + rng.integers(0, 6) * y) + 0.1))
    for _ in range(int(rng.integers(0, 7))):
        left, top = rng.integers(0, 26, 2)
        wide, high = rng.integers(2, 14, 2)
        image[top : top + high, left : left + wide] += rng.uniform(-0.22, 0.12)
    image += rng.normal(0, 0.03, (32, 32))
    tone = 1.0 + rng.uniform(-0.03, 0.03, 3)
    rgb: NDArray[np.uint8] = np.clip(255.0 * image[..., None] * tone, 0, 255).astype(np.uint8)
    return rgb


def _shade(rng: np.random.Generator, colour: Colour) -> tuple[float, float, float]:
    (hue, spread), (sat_low, sat_high), (val_low, val_high) = _SHADES[colour]
    h = (hue + rng.uniform(-spread, spread)) % 360.0
    return colorsys.hsv_to_rgb(h / 360.0, rng.uniform(sat_low, sat_high), rng.uniform(val_low, val_high))


def dress(objects: tuple[SceneObject, ...], seed: int) -> Dressing:
    """Draw shades, sizes, room, furniture and light for a scene; the same seed gives the same dressing."""
    room = np.random.default_rng([seed & 0xFFFFFFFF, 0x0B0E])
    things = np.random.default_rng([seed & 0xFFFFFFFF, 0x0B1E])
    n = len(objects)
    pan = room.uniform(-180, 180, CLUTTER)
    away = room.uniform(3.7, 4.7, CLUTTER)
    clutter_pos = np.stack(
        [away * np.cos(np.radians(pan)), away * np.sin(np.radians(pan)), room.uniform(-2.4, 1.6, CLUTTER)], axis=1
    )
    return Dressing(
        rgb=np.array([_shade(things, o.colour) for o in objects]).reshape(n, 3),
        scale=things.uniform(CONE_SCALES[0], CONE_SCALES[-1], n),
        # a cube shows two faces from any of these angles: face on it would look like a cylinder
        yaw_deg=things.choice([-1.0, 1.0], n) * things.uniform(25.0, 45.0, n),
        wallpaper=room.integers(0, PAPERS, 6),
        paper_repeat=room.uniform(0.6, 3.0, (PAPERS, 2)),
        room_rgb=_dull(room, 6, 0.28, 0.62, 0.30),
        clutter_pos=clutter_pos,
        clutter_size=room.uniform([0.1, 0.1, 0.15], [0.6, 0.6, 1.1], (CLUTTER, 3)),
        clutter_yaw_deg=room.uniform(-90, 90, CLUTTER),
        clutter_rgb=_dull(room, CLUTTER, 0.08, 0.36, 0.42),
        sun_pan_deg=float(room.uniform(-180, 180)),
        sun_tilt_deg=float(room.uniform(25, 80)),
        level=float(room.uniform(0.85, 1.15)),
        sun_share=float(room.uniform(0.3, 0.8)),
        warmth=float(room.uniform(-1, 1)),
        drift=np.stack([room.uniform(5.0, 25.0, 3), room.uniform(0, 2 * math.pi, 3)], axis=1),
    )
