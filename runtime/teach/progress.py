"""A progress bar for what takes seconds: one line that redraws itself on a terminal, a line at the end elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TextIO

_BAR = 28
_REDRAW_S = 0.1


class Progress:
    """`bar.show(done, total, note)` as often as you like; `bar.end()` closes the line."""

    def __init__(self, name: str, stream: TextIO | None = None) -> None:
        self._name = name
        self._stream = sys.stderr if stream is None else stream
        self._live = self._stream.isatty()
        self._began = self._shown = time.monotonic()
        self._line = ""

    def show(self, done: int, total: int, note: str = "") -> None:
        """Show that `done` of `total` are done."""
        now = time.monotonic()
        filled = _BAR * done // max(1, total)
        self._line = f"{self._name:<22} [{'#' * filled}{'.' * (_BAR - filled)}] {done}/{total} {now - self._began:4.0f} s  {note}"
        if self._live and (now - self._shown >= _REDRAW_S or done >= total):
            self._shown = now
            print(f"\r\x1b[2K{self._line}", end="", file=self._stream, flush=True)

    def end(self) -> None:
        """End the line; where nothing is redrawn, print it now."""
        if self._line:
            print("" if self._live else self._line, file=self._stream, flush=True)
        self._line = ""
