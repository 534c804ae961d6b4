"""Small networks with their own forward and backward passes in numpy.

A network is a list of layers on arrays [B, T, C] float32 (batch, time, channels). Each layer keeps what its backward pass needs
from the newest forward pass, so one network serves one training at a time. `backward` adds to nothing: gradients are those of
the newest pass. tests/teach checks every layer against finite differences in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]  # float32 in use, float64 in the tests of the gradients


class Layer(Protocol):
    """One step of a network. `weights` and `grads` have the same keys; both are empty where nothing is trained."""

    weights: dict[str, Floats]
    grads: dict[str, Floats]

    def forward(self, x: Floats) -> Floats:
        """Return the layer's output [B, T', C'] for `x` [B, T, C]."""
        ...

    def backward(self, dy: Floats) -> Floats:
        """Set `grads` and return the gradient with respect to the newest `x`, given that of its output."""
        ...


class Linear:
    """y = x W + b at every instant, [B, T, C] -> [B, T, C']. He's start: the variance of a ReLU's input stays near 1."""

    def __init__(self, channels_in: int, channels_out: int, rng: np.random.Generator) -> None:
        spread = np.sqrt(2.0 / channels_in)
        weight = rng.standard_normal((channels_in, channels_out)) * spread
        self.weights: dict[str, Floats] = {"w": weight.astype(np.float32), "b": np.zeros(channels_out, np.float32)}
        self.grads: dict[str, Floats] = {}
        self._x: Floats = np.zeros((1, 1, channels_in), np.float32)

    def forward(self, x: Floats) -> Floats:
        """Return x W + b."""
        self._x = x
        return x @ self.weights["w"] + self.weights["b"]  # [B, T, C']

    def backward(self, dy: Floats) -> Floats:
        """Gradients of W, b and x."""
        flat_x, flat_dy = self._x.reshape(-1, self._x.shape[-1]), dy.reshape(-1, dy.shape[-1])
        self.grads = {"w": flat_x.T @ flat_dy, "b": flat_dy.sum(0)}
        return dy @ self.weights["w"].T


class Conv:
    """A convolution over time without padding: y[t] = sum over k of x[t + k] W[k] + b, [B, T, C] -> [B, T - K + 1, C']."""

    def __init__(self, channels_in: int, channels_out: int, length: int, rng: np.random.Generator) -> None:
        spread = np.sqrt(2.0 / (channels_in * length))
        weight = rng.standard_normal((length, channels_in, channels_out)) * spread
        self.weights: dict[str, Floats] = {"w": weight.astype(np.float32), "b": np.zeros(channels_out, np.float32)}
        self.grads: dict[str, Floats] = {}
        self._x: Floats = np.zeros((1, length, channels_in), np.float32)

    def forward(self, x: Floats) -> Floats:
        """Return the convolution; T must be at least K."""
        self._x, w = x, self.weights["w"]
        steps = x.shape[1] - len(w) + 1
        y: Floats = self.weights["b"] + x[:, :steps] @ w[0]
        for k in range(1, len(w)):
            y = y + x[:, k : k + steps] @ w[k]
        return y  # [B, T - K + 1, C']

    def backward(self, dy: Floats) -> Floats:
        """Gradients of W, b and x."""
        w, steps = self.weights["w"], dy.shape[1]
        dw, dx = np.zeros_like(w), np.zeros_like(self._x)
        flat_dy = dy.reshape(-1, dy.shape[-1])
        for k in range(len(w)):
            seen = self._x[:, k : k + steps]
            dw[k] = seen.reshape(-1, seen.shape[-1]).T @ flat_dy
            dx[:, k : k + steps] += dy @ w[k].T
        self.grads = {"w": dw, "b": flat_dy.sum(0)}
        return dx


class Relu:
    """max(x, 0)."""

    def __init__(self) -> None:
        self.weights: dict[str, Floats] = {}
        self.grads: dict[str, Floats] = {}
        self._on: npt.NDArray[np.bool_] = np.zeros(1, np.bool_)

    def forward(self, x: Floats) -> Floats:
        """Return x where it is positive, else 0."""
        self._on = x > 0
        return x * self._on

    def backward(self, dy: Floats) -> Floats:
        """Pass on the gradient where x was positive."""
        return dy * self._on


class Flatten:
    """All instants side by side, [B, T, C] -> [B, 1, T C]."""

    def __init__(self) -> None:
        self.weights: dict[str, Floats] = {}
        self.grads: dict[str, Floats] = {}
        self._shape: tuple[int, ...] = ()

    def forward(self, x: Floats) -> Floats:
        """Return x in one row."""
        self._shape = x.shape
        return x.reshape(len(x), 1, -1)

    def backward(self, dy: Floats) -> Floats:
        """Return the gradient in the shape of x."""
        return dy.reshape(self._shape)


class Net:
    """Layers one after the other."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = list(layers)

    def forward(self, x: Floats) -> Floats:
        """Return the output of the last layer."""
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def backward(self, dy: Floats) -> Floats:
        """Set every layer's gradients; return that of the input."""
        for layer in reversed(self.layers):
            dy = layer.backward(dy)
        return dy

    def weights(self) -> dict[str, Floats]:
        """The live arrays by name, "0.w", "0.b", ...: what an optimiser changes in place and a checkpoint keeps."""
        return {f"{i}.{name}": array for i, layer in enumerate(self.layers) for name, array in layer.weights.items()}

    def grads(self) -> dict[str, Floats]:
        """The gradients of the newest pass under the same names."""
        return {f"{i}.{name}": array for i, layer in enumerate(self.layers) for name, array in layer.grads.items()}


Shape = Literal["linear", "two-layer", "conv"]
CONV_LENGTH = 5  # instants that a kernel sees: 0.4 s of ticks


def make_net(shape: Shape, window: int, channels_in: int, outputs: int, rng: np.random.Generator, hidden: int = 32) -> Net:
    """Build a network from `window` instants of `channels_in` to `outputs` numbers, [B, window, channels_in] -> [B, 1, outputs].

    "linear": one matrix. "two-layer": `hidden` ReLUs between. "conv": `hidden` ReLUs on kernels of CONV_LENGTH instants, then two layers.
    """
    flat = window * channels_in
    if shape == "linear":
        return Net([Flatten(), Linear(flat, outputs, rng)])
    if shape == "two-layer":
        return Net([Flatten(), Linear(flat, hidden, rng), Relu(), Linear(hidden, outputs, rng)])
    length = min(CONV_LENGTH, window)
    left = (window - length + 1) * hidden
    return Net([Conv(channels_in, hidden, length, rng), Relu(), Flatten(), Linear(left, hidden, rng), Relu(), Linear(hidden, outputs, rng)])


def softmax(z: Floats) -> Floats:
    """Probabilities along the last axis."""
    shifted = np.exp(z - z.max(-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(-1, keepdims=True))


def cross_entropy(z: Floats, classes: npt.NDArray[np.int64], weights: Floats) -> tuple[float, Floats]:
    """Weighted mean of -log p(class) over scores `z` [B, 1, C], and its gradient with respect to `z`."""
    p = softmax(z)
    total = max(float(weights.sum()), 1e-12)
    rows = np.arange(len(z))
    loss = float(-(weights * np.log(np.maximum(p[rows, 0, classes], 1e-12))).sum() / total)
    dz = p.copy()
    dz[rows, 0, classes] -= 1.0
    return loss, dz * (weights / total)[:, None, None]


def squared_error(y: Floats, targets: Floats, weights: Floats) -> tuple[float, Floats]:
    """Weighted mean of squared differences of `y` [B, 1, C] from `targets` [B, C], and its gradient with respect to `y`."""
    total = max(float(weights.sum()), 1e-12) * y.shape[-1]
    apart = y[:, 0] - targets
    loss = float((weights[:, None] * apart**2).sum() / total)
    return loss, (2.0 * apart * weights[:, None] / total)[:, None]
