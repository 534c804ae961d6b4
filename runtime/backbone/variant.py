"""Which variant of a bundle is fast and true on this processor.

The facts behind the choice (x86-64 with VNNI measured, ARM by kernel taken): nb8 has half of dq8's error and its speed
for one latent wherever the processor multiplies bytes in one instruction (for the ten of a tick it takes 1.6 times as long,
1.0 ms against 0.6). Without such an instruction nb8 is several times slower on ARM; dq8 is not.
On x86 without VNNI dq8's byte products can saturate, so nb8 stays the choice down to AVX2.
"""

from __future__ import annotations

import platform
import time
from pathlib import Path

import numpy as np

from innervate.runtime.backbone.bundle import Bundle

SELF_TEST_STEPS = 50  # passes a variant; the median of so many differs by a few per cent between runs
SELF_TEST_ROWS = 10  # latents a pass: what a tick brings
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
    if machine.lower() in X86 and features & {"avx512_vnni", "avx_vnni", "avx512bw", "avx2"}:
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
    """Median time of a pass of ``variant`` over a tick's latents, microseconds."""
    from innervate.runtime.backbone.engine import Engine

    engine = Engine(bundle, variant, threads)
    x = np.full((SELF_TEST_ROWS, engine.width), 0.1, np.float32)
    took: list[int] = []
    for _ in range(SELF_TEST_STEPS):
        start = time.perf_counter_ns()
        engine.append(x)
        took.append(time.perf_counter_ns() - start)
    return float(np.median(took)) / 1000
