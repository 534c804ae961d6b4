"""The sense of motion for an Innervate device: what shakes, taps and tilts it becomes latents of its model.

    innervate-imu /sys/bus/iio/devices/iio:device0    an accelerometer
    innervate-imu twin:left,tap,shake                 its twin: these gestures, one after the other

Its encoder is fitted at the start: acceleration to gesture by regression, gesture to the latents of a line that the model understands.
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from innervate.runtime.serve.application import Application
from innervate.runtime.serve.client import Client, connect

Floats = npt.NDArray[np.float64]
MEANS = {"shake": "stop", "tap": "what do you see", "left": "look left", "right": "look right", "back": "look up"}
TILTS = {"left": (1, 1.0), "right": (1, -1.0), "back": (0, 1.0)}  # where gravity goes: axis, sign
RATE_HZ, LENGTH, BEFORE, CHUNK = 100, 80, 10, 8  # samples: a second, of a gesture, of it before it stirs, read at once
UPRIGHT, STIR_G, EXAMPLES = np.array([0.0, 0.0, 1.0]), 0.25, 30  # at rest; further from it something happens; of each gesture to learn from


def imitate(gesture: str, draws: np.random.Generator) -> Floats:
    """One gesture as the twin feels it, with rest around it: acceleration in g, [3 LENGTH, 3]. Not imitated: two things at once."""
    t = np.arange(3 * LENGTH) / RATE_HZ - draws.uniform(1.0, 1.2)  # seconds since it began
    g, force, during = np.tile(UPRIGHT, (len(t), 1)), draws.uniform(0.8, 2.0), (t > 0) & (t < 0.7)
    if gesture == "shake":
        g[:, 0] += force * np.sin(2 * np.pi * draws.uniform(3.5, 6.5) * t) * during
    elif gesture == "tap":
        g[:, 2] += 2 * force * np.exp(-60.0 * np.clip(t, 0, 1)) * np.cos(2 * np.pi * 25.0 * t) * during
    else:  # gravity wanders to another axis and stays there
        angle = np.radians(draws.uniform(35, 60)) / (1 + np.exp(-(t - 0.2) * draws.uniform(15, 30)))
        g[:, TILTS[gesture][0]], g[:, 2] = TILTS[gesture][1] * np.sin(angle), np.cos(angle)
    return np.asarray(g + 0.03 * draws.standard_normal(g.shape))


def window(felt: Floats) -> Floats | None:
    """Return the gesture in what was felt [N, 3], [LENGTH, 3]; None while the whole of it is not there."""
    stirred = np.flatnonzero(np.abs(felt - UPRIGHT).max(1) > STIR_G)
    part = felt[max(0, int(stirred[0]) - BEFORE) :][:LENGTH] if len(stirred) else felt[:0]
    return part if len(part) == LENGTH else None


def features(g: Floats) -> Floats:
    """What tells gestures apart: where gravity ends, how strong and how quick the rest is, [16]."""
    quick, end = np.abs(np.diff(g, axis=0)).max(0), g[-16:].mean(0)
    return np.concatenate([3 * end, 3 * np.abs(end), *(np.log(part + 0.02) for part in (g.std(0), quick, g[40:].std(0))), [1.0]])


class Motion(Application):
    """Pushes the latents of a gesture when it has been felt."""

    name, gives = "acme/imu", True

    def __init__(self, client: Client, samples: Iterator[Floats]) -> None:
        draws = np.random.default_rng(0)
        felt = [(imitate(name, draws), i) for _ in range(2 * EXAMPLES) for i, name in enumerate(MEANS)]
        cut = [(features(part), i) for g, i in felt if (part := window(g)) is not None]
        known, right, half = np.array([x for x, _ in cut]), np.array([i for _, i in cut]), len(cut) // 2
        self._fit = np.linalg.lstsq(known[:half], np.eye(len(MEANS))[right[:half]])[0]
        print(f"known of gestures that it has not felt before: {np.mean((known[half:] @ self._fit).argmax(1) == right[half:]):.1%}", flush=True)
        self._latents = [client.rows(line.encode() + b"\n") for line in MEANS.values()]
        self._samples, self._felt, self._still = samples, np.zeros((0, 3)), False
        super().__init__(client)

    def idle(self) -> None:
        """Read the sensor, and see whether the whole of a gesture has been felt since it was still and upright."""
        chunk = np.array([next(self._samples) for _ in range(CHUNK)])
        self._felt = np.concatenate([self._felt[-LENGTH - BEFORE :], chunk]) if self._still else chunk
        self._still = self._still or bool(np.abs(chunk - UPRIGHT).max() < STIR_G)
        if self._still and (g := window(self._felt)) is not None:
            gesture, self._still = int((features(g) @ self._fit).argmax()), False
            print(f"felt: {list(MEANS)[gesture]}", flush=True)
            self.push(self._latents[gesture])


def twin(gestures: list[str]) -> Iterator[Floats]:
    """The gestures one after the other, what was tilted put upright again; then rest."""
    felt = [(imitate(name, np.random.default_rng(i)), name in TILTS) for i, name in enumerate(gestures)]
    yield from np.concatenate([*(part for g, tilted in felt for part in [g, g[::-1]][: 1 + tilted]), np.tile(UPRIGHT, (10**6, 1))])


def sensor(folder: Path) -> Iterator[Floats]:
    """An accelerometer of Linux's industrial I/O bus, RATE_HZ times a second."""
    scale = float((folder / "in_accel_scale").read_text()) / 9.81
    while True:
        time.sleep(1 / RATE_HZ)
        yield scale * np.array([float((folder / f"in_accel_{axis}_raw").read_text()) for axis in "xyz"])


def main() -> None:
    """`innervate-imu SENSOR [ADDRESS]`."""
    folder, _, gestures = sys.argv[1].partition("twin:")
    with connect(sys.argv[2] if len(sys.argv) > 2 else None) as client:
        Motion(client, sensor(Path(folder)) if folder else twin(gestures.split(","))).run(idle_s=0.0 if folder else CHUNK / RATE_HZ)
