"""What a figure was measured on, in one line."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def machine() -> str:
    """Return the processor's name, the cores that this process may use and the system, e.g. "Intel Xeon, 4 cores, Linux x86_64, Python 3.11"."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        told = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
        name = told.get("Model") or told.get("model name") or name  # "Model" is the board's name on a Raspberry Pi
    except OSError:
        pass
    cores = len(os.sched_getaffinity(0))
    version = ".".join(platform.python_version_tuple()[:2])
    return f"{name}, {cores} core{'s' if cores > 1 else ''}, {platform.system()} {platform.machine()}, Python {version}"
