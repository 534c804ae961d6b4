"""The eye as a graph for one frame: convolutions in int8, and few nodes after them.

The same maths as `seeing.Eye`, rearranged:

- Cells are ranked column by column: the six best in order of their number then stand from left to right.
- Channels are innermost, which is how integer convolutions run. Each writes uint8 from zero on, so that a ReLU costs nothing.
- The first layer sees blocks of four columns as twelve channels and answers two columns at a time: gathering three bytes for
  each of 25 taps takes longer than the arithmetic.
- What ranks the cells and what writes the latents stays float32: the one decides, the other is small.

Quantisation: weights have a scale an output, activations the scale that loses least in the mean square on calibration frames. Rounding
shifts the mean of a channel; the bias takes that back, layer by layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from .graph_builder import GraphBuilder, Step, Weights8, quantise_symmetric
from .seeing import GLIMPSES, GRID, SIZE, WIDTH, Eye

Float = NDArray[np.float32]
PIXEL = Step(2.0 / 255.0, 128)  # of 2 x - 1 for a pixel x = q / 255, but for 1/255, which the bias takes
PIXEL_SHIFT = 2.0 * 128 / 255 - 1
BLOCK = 4  # columns that the first layer sees at once
CLIPS = np.linspace(0.3, 1.0, 36)  # shares of the largest activation that are tried as the end of the range
NOT_A_PEAK = 100.0  # as in Eye.choose


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """One convolution in integers, and the step of what it writes."""

    weights: Weights8
    out: Step
    stride: int
    pad: int
    dilation: int


def best_step(values: Tensor) -> Step:
    """The step of a uint8 for values from zero on that loses least in the mean square."""
    largest = max(float(values.max()), 1e-6)
    some = values.flatten()[:: max(1, values.numel() // 200_000)]

    def loss(share: float) -> float:
        scale = largest * share / 255
        return float(((some / scale).round().clamp(0, 255) * scale - some).square().mean())

    return Step(largest * min(CLIPS, key=loss) / 255)


def quantise_trunk(eye: Eye, frames: Tensor) -> list[Layer]:
    """The trunk in integers, calibrated on frames [N, 3, 96, 96] in [0, 1]."""
    exact, rounded, came = frames * 2 - 1, ((frames * 255).round() - PIXEL.zero) * PIXEL.scale, PIXEL
    layers: list[Layer] = []
    for conv in (part for part in eye.trunk if isinstance(part, nn.Conv2d)):
        stride, pad, dilation = int(conv.stride[0]), int(conv.padding[0]), int(conv.dilation[0])
        integers, scale = quantise_symmetric(conv.weight.detach().float().numpy(), axis=0)
        w = torch.from_numpy(integers.astype(np.float32) * scale[:, None, None, None])
        bias = conv.bias if conv.bias is not None else torch.zeros(len(w))
        wanted = conv(exact)
        summed = F.conv2d(rounded, w, bias, stride, pad, dilation)
        summed += (wanted - summed).mean((0, 2, 3), keepdim=True)
        bias = bias + (wanted - F.conv2d(rounded, w, bias, stride, pad, dilation)).mean((0, 2, 3))
        out = best_step(F.relu(wanted))
        weights = Weights8(integers, scale, np.rint(bias.detach().numpy() / (scale * np.float32(came.scale))).astype(np.int32))
        layers.append(Layer(weights, out, stride, pad, dilation))
        exact, rounded, came = F.relu(wanted), (summed / out.scale).round().clamp(0, 255) * out.scale, out
    return layers


def _first_in_blocks(layer: Layer) -> Weights8:
    """The first layer's kernel [O, 3, 5, 5] on blocks of columns: [BLOCK / 2 * O, BLOCK * 3, 5, 3]."""
    w = layer.weights.integers
    outputs, channels, kernel, _ = w.shape
    answers = BLOCK // layer.stride
    blocked = np.zeros((answers, outputs, BLOCK, channels, kernel, 3), np.int8)
    for answer in range(answers):
        for block in range(3):
            for column in range(BLOCK):
                tap = BLOCK * (block - 1) + column - layer.stride * answer + layer.pad
                if 0 <= tap < kernel:
                    blocked[answer, :, column, :, :, block] = w[:, :, :, tap]
    flat = blocked.reshape(answers * outputs, BLOCK * channels, kernel, 3)
    return Weights8(flat, np.tile(layer.weights.scale, answers), np.tile(layer.weights.bias, answers))


def _trunk(g: GraphBuilder, layers: list[Layer]) -> str:
    """Pixels to features [144, 128] uint8, cells row by row."""
    g.input("x", 1, 3, SIZE, SIZE)
    pixels = g.node("QuantizeLinear", ["x", g.constant("grey", np.float32(1 / 255)), g.constant("black", np.uint8(0), np.uint8)], "pixels")
    inner = g.node("Transpose", [pixels], "inner", perm=[0, 2, 3, 1])  # [1, rows, columns, 3]
    seen = g.reshape(inner, "blocks", 1, SIZE, SIZE // BLOCK, 3 * BLOCK)
    first, came = layers[0], PIXEL
    pads = [first.pad, 1, first.pad, 1]
    seen = g.conv8(seen, (came, first.out), _first_in_blocks(first), "conv1", strides=[2, 1], pads=pads, kernel_shape=[5, 3])
    seen = g.reshape(seen, "conv1.columns", 1, SIZE // 2, SIZE // 2, len(first.weights.scale))
    came = first.out
    for k, layer in enumerate(layers[1:], start=2):
        steps = {"strides": [layer.stride] * 2, "pads": [layer.pad] * 4, "dilations": [layer.dilation] * 2}
        steps["kernel_shape"] = list(layer.weights.integers.shape[2:])
        seen, came = g.conv8(seen, (came, layer.out), layer.weights, f"conv{k}", **steps), layer.out
    return g.reshape(seen, "cells", GRID * GRID, len(layers[-1].weights.scale))


def _choose(g: GraphBuilder, saliency: str) -> str:
    """The six best local maxima of [144, 1], as cells counted column by column, in that order."""
    grid = g.reshape(saliency, "grid", 1, 1, GRID, GRID)
    best = g.node("MaxPool", [grid], "best", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    below = g.node("Sign", [g.node("Sub", [grid, best], "gap")], "below")  # -1 beside a better one
    ranked = g.node("Add", [grid, g.node("Mul", [below, g.constant("not_a_peak", np.float32(NOT_A_PEAK))], "penalty")], "ranked")
    turned = g.node("Transpose", [ranked], "turned", perm=[0, 1, 3, 2])
    count = g.constant("count", [GLIMPSES], np.int64)
    cells = g.top(g.reshape(turned, "ranks", GRID * GRID), count, "chosen")[1]
    return g.top(cells, count, "ordered", largest=0)[0]


def export_eye(eye: Eye, path: Path, frames: NDArray[np.uint8]) -> None:
    """Write the eye as a component graph, calibrated on frames [N, 96, 96, 3] RGB."""
    with torch.no_grad():
        layers = quantise_trunk(eye, torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255)
    g = GraphBuilder("eye")
    state = {name: value.detach().float().numpy() for name, value in eye.state_dict().items()}
    cells = _trunk(g, layers)
    step = layers[-1].out
    scale, zero = g.constant("features.scale", np.float32(step.scale)), g.constant("features.zero", np.uint8(step.zero), np.uint8)
    features = g.node("DequantizeLinear", [cells, scale, zero], "features")  # [144, 128]
    ranking = [g.constant("saliency.w", state["saliency.weight"].reshape(1, -1).T), g.constant("saliency.bias", state["saliency.bias"])]
    saliency = g.node("Gemm", [features, *ranking], "saliency")
    columns = np.arange(GRID * GRID).reshape(GRID, GRID).T.flatten()  # cells column by column, counted row by row
    ordered = _choose(g, saliency)
    chosen = g.node("Gather", [g.constant("columns", columns, np.int64), ordered], "cells.chosen", axis=0)
    parts = [g.node("Gather", [value, chosen], f"{value}.chosen", axis=0) for value in (features, saliency)]
    seen = g.node("Concat", parts, "seen", axis=1)  # [6, 129]
    w = state["out.weight"].T.copy()
    w[-1] *= 0.25  # as in Eye.glimpse
    place = state["place"].reshape(GRID, GRID, WIDTH).transpose(1, 0, 2).reshape(GRID * GRID, WIDTH) + state["out.bias"]
    where = g.node("Gather", [g.constant("place", place), ordered], "where", axis=0)
    g.node("Gemm", [seen, g.constant("out", w), where], g.output("y", GLIMPSES, WIDTH))
    g.save(path)
