"""The ear as a graph for one tick: 80 ms of samples and states in, one latent and next states out.

The same maths as `hearing.mel_power` and `hearing.Ear` on a whole track, rearranged for few nodes and few bytes:

- A periodic Hann window and a cosine are even around the middle of the frame, a sine is odd. So a frame is folded first (sum and difference of
  its mirrored samples), and the transform is half as large. Bins that no mel band reads are left out.
- Power and mel are one product: ``[re | im] ** 2 @ [mel ; mel]``.
- Everything runs frame by frame, ``[frames, channels]``. A convolution is a Gather of rows and a product, and the state of a layer is the whole input
  of the tick before, so that nothing is sliced.
- Products with large weights are int8 (DynamicQuantizeMatMul): a tick finds the weights outside the processor's nearest cache, and a
  quarter of the bytes takes a quarter of the time. Spectrum, level and the first layer stay float32.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .graph_builder import GraphBuilder
from .hearing import BANDS, FLOOR, FORGET, FOURIER, FRAMES_PER_TICK, HOP, LEVEL_CENTRE, LEVEL_SCALE, MEL, MEL_SCALE, TICK_SAMPLES, WIDTH, WINDOW, Ear

Float = NDArray[np.float32]
KEPT = WINDOW - HOP - 1  # samples of the tick before that the first frame needs
LENGTH = KEPT + TICK_SAMPLES + 1
BLOCK = 40  # divides hop and half a window
HIDDEN = 320


def folded_spectrum() -> tuple[Float, Float, Float]:
    """Cosines and sines over folded frames, each [200, bins], and the mel matrix [2 bins, BANDS] for their squares.

    Row n - 1 belongs to samples n and 400 - n; sample 0 has weight 0 in the window and 200 is its own mirror image.
    """
    half, bins = WINDOW // 2, WINDOW // 2 + 1
    fourier, mel = FOURIER.numpy(), MEL.numpy()
    heard = np.flatnonzero(mel.sum(1) > 0)
    cosine, sine = fourier[1 : half + 1, :bins][:, heard].copy(), fourier[1 : half + 1, bins:][:, heard]
    cosine[-1] *= 0.5  # it is added to itself
    return cosine, sine, np.concatenate([mel[heard], mel[heard]])


def _spectrum(g: GraphBuilder) -> str:
    """Log mel of the tick, [8, BANDS]."""
    ears = [g.input("state_pcm", 1, KEPT), g.input("x", 1, TICK_SAMPLES), g.constant("nothing", [[0.0]])]
    heard = g.node("Concat", ears, "heard", axis=1)  # [1, LENGTH]; sample 0 of the first frame has weight 0 and is left out
    g.slice("x", TICK_SAMPLES - KEPT, TICK_SAMPLES, g.output("next_pcm", 1, KEPT))
    # sample n + 1 of a frame lies at its start + n in `heard`; its mirror image 399 - n is at -(start) + n in `mirrored`
    mirrored = g.slice(heard, LENGTH - 2, WINDOW // 2 - 2, "mirrored", step=-1)
    rising = _halves(g, heard, LENGTH, 0, HOP, "rising")
    falling = _halves(g, mirrored, LENGTH - WINDOW // 2, LENGTH - WINDOW, -HOP, "falling")
    cosine, sine, mel = folded_spectrum()
    real = g.node("MatMul", [g.node("Add", [rising, falling], "even"), g.constant("cosine", cosine)], "real")
    imaginary = g.node("MatMul", [g.node("Sub", [rising, falling], "odd"), g.constant("sine", sine)], "imaginary")
    both = g.node("Concat", [real, imaginary], "spectrum", axis=1)  # [8, 2 bins]
    power = g.node("Mul", [both, both], "power")
    banded = g.node("Gemm", [power, g.constant("mel", mel), g.constant("floor", np.full(BANDS, FLOOR))], "bands")
    return g.node("Log", [banded], "log")


def _halves(g: GraphBuilder, samples: str, length: int, first: int, hop: int, name: str) -> str:
    """Half a frame from each start, [8, 200]; moved in blocks, for a Gather copies one index at a time."""
    blocks = g.reshape(samples, f"{name}.blocks", length // BLOCK, BLOCK)
    at = (first + hop * np.arange(FRAMES_PER_TICK)[:, None]) // BLOCK + np.arange(WINDOW // 2 // BLOCK)[None]
    picked = g.node("Gather", [blocks, g.constant(f"{name}.at", at, np.int64)], f"{name}.picked", axis=0)
    return g.reshape(picked, name, FRAMES_PER_TICK, WINDOW // 2)


def _normalise(g: GraphBuilder, log: str) -> str:
    """Minus the running mean, and the level as one more band: [8, BANDS + 1], the bands in units of ``1 / MEL_SCALE``."""
    one = g.constant("one", [[1.0]])
    weight = g.node("Mul", [g.input("state_weight", 1, 1), g.constant("forget", [[FORGET]])], "weight.kept")
    g.node("Add", [weight, one], g.output("next_weight", 1, 1))
    kept = g.node("Mul", [g.input("state_mean", 1, BANDS), weight], "mean.kept")
    averaging = g.constant("averaging", np.full((1, FRAMES_PER_TICK), 1 / FRAMES_PER_TICK))
    total = g.node("Gemm", [averaging, log, kept], "mean.total")
    mean = g.node("Div", [total, "next_weight"], g.output("next_mean", 1, BANDS))
    # level = (mean of the bands + centre) * scale, as a last column of the product
    columns = np.concatenate([np.eye(BANDS), np.full((BANDS, 1), LEVEL_SCALE / BANDS)], 1)
    shift = g.node("Concat", [mean, g.constant("level", [[-LEVEL_CENTRE * LEVEL_SCALE]])], "shift", axis=1)
    return g.node("Gemm", [log, g.constant("columns", columns), shift], g.output("next_c1", FRAMES_PER_TICK, BANDS + 1), beta=-1.0)


def _convolve(g: GraphBuilder, frames: str, name: str, size: tuple[int, int], w: Float, bias: Float, *, int8: bool) -> str:
    """Causal convolution with stride 2: frames [N, C] of this tick, and of the one before, to [N / 2, outputs]."""
    count, channels = size
    outputs, _, kernel = w.shape
    both = g.node("Concat", [g.input(f"state_{name}", count, channels), frames], f"{name}.both", axis=0)
    first = 2 * count - (count + kernel - 2)  # the last window ends with the newest frame
    at = first + 2 * np.arange(count // 2)[:, None] + np.arange(kernel)[None]
    windows = g.node("Gather", [both, g.constant(f"{name}.at", at, np.int64)], f"{name}.windows", axis=0)
    rows = g.reshape(windows, f"{name}.rows", count // 2, kernel * channels)
    flat = np.ascontiguousarray(w.transpose(2, 1, 0)).reshape(kernel * channels, outputs)
    return g.dense(rows, flat, bias, f"{name}.sum", int8=int8)


def _remember(g: GraphBuilder, seen: str, ear: Ear, *, int8: bool) -> str:
    """The GRU's step, [1, 320]; gates in torch's order: reset, update, new."""
    wx, wh, bx, bh = (t.detach().float().numpy() for t in ear.gru.all_weights[0])
    old = g.input("state_h", 1, HIDDEN)
    sizes = [2 * HIDDEN, HIDDEN]
    gates_x, new_x = g.split(g.dense(seen, wx.T.copy(), bx, "from_x", int8=int8), ["gates_x", "new_x"], sizes)
    gates_h, new_h = g.split(g.dense(old, wh.T.copy(), bh, "from_h", int8=int8), ["gates_h", "new_h"], sizes)
    gates = g.node("Sigmoid", [g.node("Add", [gates_x, gates_h], "gates.sum")], "gates")
    reset, update = g.split(gates, ["reset", "update"], [HIDDEN, HIDDEN])
    new = g.node("Tanh", [g.node("Add", [new_x, g.node("Mul", [reset, new_h], "new.gated")], "new.sum")], "new")
    change = g.node("Mul", [update, g.node("Sub", [old, new], "gap")], "change")
    return g.node("Add", [new, change], g.output("next_h", 1, HIDDEN))


def export_ear(ear: Ear, path: Path, *, int8: bool = True) -> None:
    """Write one tick of the ear as a component graph.

    :param int8: large products in int8; without it the graph gives what torch gives, to rounding.
    """
    g = GraphBuilder("ear")
    state = {name: value.detach().float().numpy() for name, value in ear.state_dict().items()}
    frames = _normalise(g, _spectrum(g))
    first = state["conv1.weight"].copy()
    first[:, :BANDS] *= MEL_SCALE
    for k, name in enumerate(("c1", "c2", "c3"), start=1):
        w = first if k == 1 else state[f"conv{k}.weight"]
        count = FRAMES_PER_TICK >> (k - 1)
        summed = _convolve(g, frames, name, (count, w.shape[1]), w, state[f"conv{k}.bias"], int8=int8 and k > 1)
        following = "seen" if k == 3 else g.output(f"next_c{k + 1}", count // 2, len(w))
        frames = g.node("Relu", [summed], following)
    hidden = _remember(g, frames, ear, int8=int8)
    out = g.output("y", 1, WIDTH)
    g.dense(hidden, state["out.weight"].T.copy(), state["out.bias"], out, int8=int8)
    g.save(path)
