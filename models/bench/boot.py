"""From process start to the first tick, as an outsider sees it: a new process, its events on a pipe, a clock beside it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from innervate.runtime.ali.errors import DeviceError
from innervate.runtime.board import find_board

STILL = "innervate.boards.emulator:make_still"  # a world without MuJoCo
RUN_S = 1.0  # of the device's time


@dataclass(frozen=True, slots=True)
class Boot:
    """Seconds from the start of the process to its first tick; its peak resident memory in MiB."""

    first_tick_s: float
    rss_mb: float


def twins_board(folder: Path) -> Path:
    """Write the emulator's board with a world that needs no MuJoCo: five plugins, all on twins."""
    text = find_board("emulator").read_text(encoding="utf-8")
    path = folder / "twins.toml"
    path.write_text(re.sub(r'(?m)^world = ".*?"', f'world = "{STILL}"', text), encoding="utf-8")
    return path


def boot(bundle: Path, variant: str) -> Boot:
    """Start a device once. Raises DeviceError when it ends without a tick."""
    with tempfile.TemporaryDirectory(prefix="innervate-boot-") as folder:
        pipe = Path(folder) / "events"
        os.mkfifo(pipe)
        words = ["run", "--board", str(twins_board(Path(folder))), "--bundle", str(bundle), "--variant", variant]
        words += ["--headless", "--duration", str(RUN_S), "--events", str(pipe)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)  # so that the device's open finds a reader
        began = time.perf_counter()
        process = subprocess.Popen([sys.executable, "-m", "innervate.runtime.cli", *words], env=environment, stdout=subprocess.DEVNULL)
        try:
            os.set_blocking(reader, True)
            first_s, summary = _listen(reader, began, process)
        finally:
            os.close(reader)
            process.wait()
    if summary is None:
        raise DeviceError("boot", f"the device ended with {process.returncode} before its first tick", "a run of a second", "see what it says above")
    return Boot(first_s, float(summary["rss_mb"]))


def _listen(reader: int, began: float, process: subprocess.Popen[bytes]) -> tuple[float, dict[str, Any] | None]:
    """Return when the first tick came, and the summary; None when there was none."""
    first_s: float | None = None
    held = b""
    while True:
        part = os.read(reader, 65536)
        if part and first_s is None and b'"event":"tick"' in held + part:
            first_s = time.perf_counter() - began
        held += part
        if not part:
            if process.poll() is not None:
                break
            time.sleep(0.001)  # the device has not opened the pipe yet, or has just closed it
    lines = [json.loads(line) for line in held.splitlines()]
    summary = lines[-1] if lines and lines[-1]["event"] == "summary" else None
    return first_s or 0.0, summary
