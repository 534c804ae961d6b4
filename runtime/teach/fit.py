"""Training of a small network: Adam, early stopping, checkpoints.

Rules:
- The course of a training is a function of its data, its settings and its seed alone. A training that was interrupted and
  resumed from its checkpoint ends with the same bits as one that ran through.
- A checkpoint is written beside its name and renamed: it is the old one or the new one, never half of one. One that belongs
  to other data or settings is not used, which its fingerprint decides.
- The weights that count are those of the epoch with the lowest loss on the examples kept for checking.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from innervate.runtime.ali.errors import InnervateError
from innervate.runtime.teach.files import write_whole
from innervate.runtime.teach.layers import Floats, Net, cross_entropy, squared_error

Targets = npt.NDArray[np.int64] | npt.NDArray[np.float32]  # classes [N], or values [N, C]

NORM_MAX = 1.0e4  # of a step's gradient; beyond it something is broken, not merely steep
CLIP = 5.0  # longest gradient that a step follows


@dataclass(frozen=True, slots=True)
class Settings:
    """How a training goes. `patience`: epochs without a better check before it ends."""

    epochs_max: int = 60
    patience: int = 10
    batch: int = 128
    rate: float = 3e-3
    decay: float = 1e-3
    seed: int = 0
    checkpoint_every: int = 5


@dataclass(frozen=True, slots=True, eq=False)
class Data:
    """Inputs [N, T, C] float32, what they should give, and how much each counts [N]."""

    x: npt.NDArray[np.float32]
    targets: Targets
    weights: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Course:
    """How a training went: losses of the checks by epoch, and the epoch whose weights were kept."""

    losses: tuple[float, ...]
    best_epoch: int
    resumed_at: int


class Adam:
    """Adam with decoupled decay (Loshchilov and Hutter 2019) on arrays that are changed in place."""

    def __init__(self, weights: dict[str, Floats], rate: float, decay: float) -> None:
        self.rate, self.decay, self.count = rate, decay, 0
        self._weights = weights
        self.m = {name: np.zeros_like(array) for name, array in weights.items()}
        self.v = {name: np.zeros_like(array) for name, array in weights.items()}

    def step(self, grads: dict[str, Floats], scale: float = 1.0) -> None:
        """Follow `grads` once, with `scale` on the rate. Raises InnervateError when they explode."""
        norm = float(np.sqrt(sum(float((grad.astype(np.float64) ** 2).sum()) for grad in grads.values())))
        if not norm < NORM_MAX:  # also NaN
            step = "look for broken examples, or lower the rate"
            raise InnervateError("training", f"a gradient of length {norm:g}", f"less than {NORM_MAX:g}", step)
        self.count += 1
        clip = min(1.0, CLIP / max(norm, 1e-12))
        rate = self.rate * scale
        for name, array in self._weights.items():
            grad = grads[name] * clip
            self.m[name] += 0.1 * (grad - self.m[name])
            self.v[name] += 0.001 * (grad**2 - self.v[name])
            m = self.m[name] / (1.0 - 0.9**self.count)
            v = self.v[name] / (1.0 - 0.999**self.count)
            array -= (rate * (m / (np.sqrt(v) + 1e-8) + self.decay * array)).astype(array.dtype)


def loss_of(net: Net, data: Data) -> tuple[float, Floats]:
    """Loss of the network on `data`, and its gradient with respect to the output."""
    y = net.forward(data.x)
    if data.targets.ndim == 1:
        return cross_entropy(y, np.asarray(data.targets, np.int64), data.weights)
    return squared_error(y, np.asarray(data.targets, np.float32), data.weights)


def fit(
    net: Net, train: Data, check: Data, settings: Settings, checkpoint: Path | None = None, show: Callable[[int, int, str], None] | None = None
) -> Course:
    """Train `net` in place; return how it went. With `checkpoint`, an interrupted training goes on where it was.

    Raises InnervateError when a gradient explodes or the checkpoint cannot be written. The checkpoint is removed at the end.
    """
    weights = net.weights()
    adam = Adam(weights, settings.rate, settings.decay)
    state = _State(net, adam, _fingerprint(net, train, check, settings))
    if checkpoint is not None:
        state.load(checkpoint)
    resumed_at = state.epoch
    while state.epoch < settings.epochs_max and state.epoch - state.best_epoch < settings.patience:
        _epoch(net, adam, train, settings, state.epoch)
        state.checked(loss_of(net, check)[0])
        if show is not None:
            show(state.epoch, settings.epochs_max, f"loss {state.losses[-1]:.4f}")
        if checkpoint is not None and state.epoch % settings.checkpoint_every == 0:
            state.save(checkpoint)
    for name, array in weights.items():
        array[:] = state.best[name]
    if show is not None:
        show(settings.epochs_max, settings.epochs_max, f"loss {min(state.losses):.4f} at epoch {state.best_epoch}")
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    return Course(tuple(state.losses), state.best_epoch, resumed_at)


def _epoch(net: Net, adam: Adam, train: Data, settings: Settings, epoch: int) -> None:
    # Drawn from the epoch's number, so that a resumed training meets the same batches.
    order = np.random.default_rng([settings.seed, epoch]).permutation(len(train.x))
    scale = 0.5 * (1.0 + np.cos(np.pi * epoch / settings.epochs_max)) + 0.02
    for start in range(0, len(order), settings.batch):
        rows = order[start : start + settings.batch]
        batch = Data(train.x[rows], train.targets[rows], train.weights[rows])
        net.backward(loss_of(net, batch)[1])
        adam.step(net.grads(), float(scale))


def _fingerprint(net: Net, train: Data, check: Data, settings: Settings) -> str:
    digest = hashlib.sha256(json.dumps(asdict(settings), sort_keys=True).encode())
    for data in (train, check):
        for array in (data.x, data.targets, data.weights):
            digest.update(np.ascontiguousarray(array).tobytes())
    for name, weight in net.weights().items():
        digest.update(f"{name} {weight.shape}".encode())
        digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()


class _State:
    """What a checkpoint holds."""

    def __init__(self, net: Net, adam: Adam, fingerprint: str) -> None:
        self.epoch, self.best_epoch = 0, 0
        self.losses: list[float] = []
        self._weights, self._adam, self._fingerprint = net.weights(), adam, fingerprint
        self.best = {name: array.copy() for name, array in self._weights.items()}

    def checked(self, loss: float) -> None:
        self.epoch += 1
        if not self.losses or loss < min(self.losses):
            self.best_epoch = self.epoch
            self.best = {name: array.copy() for name, array in self._weights.items()}
        self.losses.append(loss)

    def save(self, path: Path) -> None:
        arrays: dict[str, Any] = {"fingerprint": np.array(self._fingerprint), "losses": np.array(self.losses)}
        arrays["counts"] = np.array([self.epoch, self.best_epoch, self._adam.count])
        for name in self._weights:
            arrays[f"now/{name}"], arrays[f"best/{name}"] = self._weights[name], self.best[name]
            arrays[f"m/{name}"], arrays[f"v/{name}"] = self._adam.m[name], self._adam.v[name]
        write_whole(path, lambda file: np.savez(file, **arrays))

    def load(self, path: Path) -> None:
        """Go on from `path` if it is of this very training."""
        try:
            with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                if str(file["fingerprint"]) != self._fingerprint:
                    return
                held = {name: file[name] for name in file.files}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):  # none, or one that another program left behind
            return
        self.losses = [float(loss) for loss in held["losses"]]
        self.epoch, self.best_epoch, self._adam.count = (int(count) for count in held["counts"])
        for name, array in self._weights.items():
            array[:], self.best[name] = held[f"now/{name}"], held[f"best/{name}"]
            self._adam.m[name][:], self._adam.v[name][:] = held[f"m/{name}"], held[f"v/{name}"]
