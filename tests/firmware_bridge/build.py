"""Builds the firmware for tests, once, also when several test processes want it at the same time."""

import fcntl
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FIRMWARE = ROOT / "firmware_bridge" / "firmware"
OUT = ROOT / "out" / "firmware"


def build(*targets: str) -> Path:
    """Make the targets; return the folder with the results. Raises RuntimeError with the compiler's words."""
    OUT.mkdir(parents=True, exist_ok=True)
    with open(OUT / ".lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(["make", "-s", "-C", str(FIRMWARE), *targets], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"firmware does not build ({' '.join(targets)}); `.ci/setup dev` installs the compilers:\n{done.stdout}{done.stderr}")
    return OUT
