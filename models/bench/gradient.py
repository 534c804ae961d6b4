"""Figures of the Gradient API: how right, how fast, how large.

Times are medians on one thread, all in one process and in turns: `vjp` against a forward pass of the engine with float activations (the variant
fp32), against one of the variant that a device takes, and against forward and backward in torch on the same shape, eager, for the inputs'
gradient alone and with the weights'.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from innervate.models.bench.teach import Row, at_most
from innervate.runtime.backbone.bench import medians_us
from innervate.runtime.backbone.bundle import Bundle
from innervate.runtime.backbone.engine import Engine
from innervate.runtime.backbone.gradient import Gradient
from innervate.runtime.backbone.gradient_check import EXACT_MAX, LENGTHS, RUNS_MAX, check_gradient

OVER_FORWARD_MAX, OVER_TORCH_MAX = 2.2, 0.6
REPEATS, ROUNDS = 25, 5
Floats = npt.NDArray[np.float32]

_MEMORY = """\
import sys, numpy as np
from innervate.runtime.backbone.bundle import Bundle
from innervate.runtime.backbone.gradient import Gradient
def rss_mb():
    pages = int(open("/proc/self/statm").read().split()[1])
    return pages * 4096 / 1e6
bundle = Bundle.open(sys.argv[1])
from innervate.runtime.backbone.engine import load_onnxruntime
load_onnxruntime()
before = rss_mb()
gradient = Gradient(bundle, sys.argv[2])
found = [rss_mb() - before]
for length in map(int, sys.argv[3:]):
    x = np.ones((length, gradient.width), np.float32)
    gradient.vjp(x, x)
    found.append(rss_mb() - before)
print(*found)
"""


def rows(bundle: Bundle) -> Iterator[Row]:
    """Measure; `check_gradient` first, then times, then memory."""
    variants = bundle.variants
    for variant in variants:
        found = check_gradient(bundle, variant)
        exact = {f"T={length}": error for length, error in found.exact.items()}
        yield at_most(f"VJP of {variant} against differences on the deployed weights", exact, EXACT_MAX, ".1e")
        runs = {f"T={length}": error for length, error in found.as_it_runs.items()}
        yield at_most(f"VJP of {variant} against the graph as it runs", runs, RUNS_MAX, ".1e")
    gradient = Gradient(bundle)
    over_forward, over_device, over_torch, over_whole, times = {}, {}, {}, {}, []
    for length in [length for length in LENGTHS if length <= bundle.header.context // 2]:  # the engine's longest pass
        vjp, smooth, device, eager, whole = medians_us(passes(bundle, gradient, length), REPEATS, ROUNDS)
        over_forward[f"T={length}"], over_torch[f"T={length}"] = vjp / smooth, vjp / eager
        over_device[f"T={length}"], over_whole[f"T={length}"] = vjp / device, vjp / whole
        times.append(f"T={length} {vjp / 1e3:.1f}")
    yield at_most("VJP time over forward time, float activations", over_forward, OVER_FORWARD_MAX)
    yield at_most("VJP time over torch eager forward and backward, inputs alone", over_torch, OVER_TORCH_MAX)
    yield Row("VJP time over the same with the weights' gradients", listed(over_whole))
    yield Row(f"VJP time over forward time as it runs ({gradient.variant})", listed(over_device))
    yield Row("VJP time, ms", "   ".join(times))
    yield Row("memory, MB: opened, and after each of these lengths", memory_mb(bundle, gradient.variant, (*LENGTHS[1:], gradient.rows_max)))


def listed(values: dict[str, float]) -> str:
    """Values by name in one line."""
    return "   ".join(f"{name} {value:.2f}" for name, value in values.items())


def passes(bundle: Bundle, gradient: Gradient, length: int) -> list[Callable[[], None]]:
    """`vjp`, the forward pass with float activations, the one of the device, torch without and with
    gradients of the weights: all on ``length`` latents."""
    x, g = (np.random.default_rng(seed).standard_normal((length, gradient.width), dtype=np.float32) for seed in (0, 1))

    def vjp() -> None:
        gradient.vjp(x, g)

    torches = [torch_pass(bundle, x, g, weights=weights) for weights in (False, True)]
    return [vjp, forward(bundle, "fp32", x), forward(bundle, gradient.variant, x), *torches]


def forward(bundle: Bundle, variant: str, x: Floats) -> Callable[[], None]:
    """A pass of the engine over the whole of ``x`` from an empty context."""
    engine = Engine(bundle, variant if variant in bundle.variants else "auto")

    def run() -> None:
        engine.reset()
        engine.append(x)

    return run


def torch_pass(bundle: Bundle, x: Floats, g: Floats, *, weights: bool) -> Callable[[], None]:
    """The same in torch, eager, with random weights, for time does not depend on them; ``weights``: with their gradients, as a module comes."""
    import torch

    from innervate.models.backbone import Backbone, BackboneConfig

    torch.set_num_threads(1)
    header = bundle.header
    ffn = gate_rows(bundle)
    config = BackboneConfig(header.width, header.layers, header.heads, ffn, header.context, header.rope_base)
    net = Backbone(config).requires_grad_(weights)
    leaf, question = torch.from_numpy(x)[None].requires_grad_(), torch.from_numpy(g)[None]

    def run() -> None:
        net(leaf).backward(question)
        leaf.grad = None
        net.zero_grad()

    return run


def gate_rows(bundle: Bundle) -> int:
    """Width of the feed-forward part, which the header does not tell."""
    import onnx

    graph = onnx.load(bundle.variant_path(bundle.variants[0]), load_external_data=False).graph
    sizes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    if "down.0.int8" in sizes:
        return int(sizes["down.0.int8"][0])
    _, blocks, block = sizes["down.0.blocks"]
    return int(blocks * block)


def memory_mb(bundle: Bundle, variant: str, wanted: tuple[int, ...]) -> str:
    """What the gradient adds to a process that has onnxruntime loaded."""
    lengths = [length for length in wanted if length <= bundle.header.context]
    command = [sys.executable, "-c", _MEMORY, str(bundle.folder), variant, *map(str, lengths)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    opened, *after = (float(word) for word in done.stdout.split())
    return f"{opened:.0f}   " + "   ".join(f"T={length} {value:.0f}" for length, value in zip(lengths, after, strict=True))
