"""Where the owner's skills are kept; apart from `store.py` so that a device without any imports nothing more."""

import os
from pathlib import Path

HOME = "INNERVATE_HOME"  # names another data folder


def skills_folder(wanted: Path | None = None) -> Path:
    """Return `wanted`, or the owner's folder: under $INNERVATE_HOME, $XDG_DATA_HOME/innervate or ~/.local/share/innervate."""
    if wanted is not None:
        return wanted
    home = os.environ.get(HOME)
    if home:
        return Path(home) / "skills"
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "innervate" / "skills"
