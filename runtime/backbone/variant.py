"""Which variant of a bundle is fast and true on this processor.

What decides is a tick's real work: one pass of ten latents, and now and then a token or two. The facts behind the choice (x86-64
measured, ARM by kernel taken):

- Where x86 multiplies bytes in one instruction (VNNI), dq8 takes 0.8 of nb8's time for ten latents and 1.1 of it for one. So dq8.
- On x86 without VNNI dq8's byte products can saturate: nb8 down to AVX2.
- On ARM nb8's fast kernel needs the dot product (``asimddp``); without it nb8 is several times slower than dq8.

nb8's hidden states lie twice as near to fp32's as dq8's; `innervate eval --variant all` shows what that is worth.
"""

from __future__ import annotations

import platform
import time
from pathlib import Path

import numpy as np

from innervate.runtime.backbone.bundle import Bundle

SELF_TEST_STEPS = 50  # ticks a variant; the median of so many differs by a few per cent between runs
SELF_TEST_ROWS = 10  # latents of a tick: sound 1, sight 6, force 1, pose 1, the query row
SELF_TEST_TOKENS = 1  # emitted in it: most ticks emit none, an answer dozens
X86 = frozenset({"x86_64", "amd64", "i686"})
ARM = frozenset({"aarch64", "arm64", "armv8l", "armv7l"})


def cpu_features(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Feature words of the first processor, empty where the system does not tell."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset()
    for line in text.splitlines():
        key, _, words = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return frozenset(words.split())
    return frozenset()


def preferred(machine: str, features: frozenset[str]) -> str | None:
    """The variant for a processor, None when its features do not decide."""
    if machine.lower() in ARM and features:
        return "nb8" if "asimddp" in features else "dq8"
    if machine.lower() in X86 and features & {"avx512_vnni", "avx_vnni"}:
        return "dq8"
    if machine.lower() in X86 and "avx2" in features:
        return "nb8"
    return None


def choose_variant(bundle: Bundle, wanted: str = "auto", threads: int = 1) -> str:
    """Name of the variant to load.

    :param wanted: a variant's name, ``"auto"`` or ``"measure"``.
    :raises BundleError: when the bundle has no variant of that name.
    """
    if wanted not in ("auto", "measure"):
        bundle.variant_path(wanted)  # raises for an unknown name
        return wanted
    known = bundle.variants
    if len(known) == 1:
        return known[0]
    if wanted == "auto":
        choice = preferred(platform.machine(), cpu_features())
        if choice in known:
            return str(choice)
    return min(known, key=lambda name: self_test_us(bundle, name, threads))


def self_test_us(bundle: Bundle, variant: str, threads: int) -> float:
    """Median time that ``variant`` takes for a tick, latents in and tokens out, microseconds."""
    from innervate.runtime.backbone.engine import Engine

    engine = Engine(bundle, variant, threads)
    x = np.full((SELF_TEST_ROWS, engine.width), 0.1, np.float32)
    took: list[int] = []
    for _ in range(SELF_TEST_STEPS):
        start = time.perf_counter_ns()
        engine.append(x)
        for _ in range(SELF_TEST_TOKENS):
            engine.append(x[:1])
        took.append(time.perf_counter_ns() - start)
    return float(np.median(took)) / 1000
