"""The checkout as the house tests see it: its files, a clean copy of it, and `.ci/house.py` as a module."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
# What a checkout holds besides its sources; said here again because an unpacked archive has no git to ask.
LEFTOVERS = {"build", "dist", "out", "data", ".venv", ".links", ".git", ".hypothesis"}


def files() -> list[Path]:
    """Every file that belongs to the repository, relative to ROOT, sorted: tracked ones and new ones that git does not ignore."""
    asked = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"], capture_output=True, text=True, check=False
    )
    if asked.returncode == 0:
        names = [Path(name) for name in asked.stdout.split("\0") if name]
    else:
        names = [path.relative_to(ROOT) for path in ROOT.rglob("*")]
    kept = [name for name in names if (ROOT / name).is_file() and name.parts[0] not in LEFTOVERS and "__pycache__" not in name.parts]
    return sorted(name for name in kept if not name.parts[0].endswith((".egg-info", "_cache")))


def copy_to(folder: Path) -> Path:
    """Copy every file of the repository into `folder`, which need not exist. Returns `folder`."""
    for name in files():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target)
    return folder


def load_house() -> ModuleType:
    """Import `.ci/house.py` by its path."""
    spec = importlib.util.spec_from_file_location("house", ROOT / ".ci" / "house.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
