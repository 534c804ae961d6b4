"""Files and folders that are whole or not there: written beside their name, flushed to the disc, then renamed.

A folder cannot be renamed over another in one step. So a replacement goes `NAME -> .NAME.old`, `.NAME.new -> NAME`, and `mend` puts
right what a power cut between the two steps left behind: the old one comes back, unless the new one is in its place already.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import IO

from innervate.runtime.ali.errors import InnervateError


def cannot_write(path: Path, error: OSError) -> InnervateError:
    """Return the error for a place that cannot be written."""
    step = "free some space, or name another folder; nothing was changed"
    return InnervateError(str(path), f"cannot be written ({error.strerror})", "a folder with room for it", step)


def write_whole(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write `path` by `write`, whole or not at all. Raises InnervateError when the disc refuses; the old file then stays."""
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        flush(path.parent)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise cannot_write(path, error) from error


def write_folder(folder: Path, fill: Callable[[Path], None]) -> None:
    """Make `folder` by `fill`, which writes into the empty one that it is given; replaces an older one whole.

    Raises InnervateError when the disc refuses; what was there before is then as before.
    """
    new, old = _new(folder), _old(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        mend(folder.parent)
        new.mkdir()
        fill(new)
        for path in new.rglob("*"):
            flush(path)
        flush(new)
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
        flush(folder.parent)
    except OSError as error:
        shutil.rmtree(new, ignore_errors=True)
        if old.exists() and not folder.exists():
            old.rename(folder)
        raise cannot_write(folder, error) from error
    shutil.rmtree(old, ignore_errors=True)


def remove_folder(folder: Path) -> None:
    """Remove `folder`: gone at once under its name, then its files. Raises InnervateError when the disc refuses."""
    gone = folder.with_name(f".{folder.name}.new")  # an unfinished one, to whoever looks after a power cut
    try:
        shutil.rmtree(gone, ignore_errors=True)
        folder.rename(gone)
        flush(folder.parent)
        shutil.rmtree(gone)
    except OSError as error:
        raise cannot_write(folder, error) from error


def mend(parent: Path) -> None:
    """Put right what a power cut left behind under `parent`; no effect where there is nothing of the kind."""
    for old in parent.glob(".*.old"):
        folder = parent / old.name.removeprefix(".").removesuffix(".old")
        if folder.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.rename(folder)
    for new in parent.glob(".*.new"):
        shutil.rmtree(new, ignore_errors=True)


def flush(path: Path) -> None:
    """Make a file's bytes, or a folder's entries, last through a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _new(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.new")


def _old(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")
