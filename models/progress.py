"""A progress bar for long jobs: one line that redraws itself on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

_BAR = 28
_QUIET_S = 20.0  # between lines when the output is a file


class Progress:
    """`with Progress("name", total) as bar: ...; bar.step(note="loss 0.3")`."""

    def __init__(self, name: str, total: int, done: int = 0) -> None:
        self._name, self._total, self._done, self._from = name, max(1, total), done, done
        self._began = time.monotonic()
        self._shown = -_QUIET_S
        self._live = sys.stderr.isatty()

    def __enter__(self) -> Progress:
        return self

    def step(self, count: int = 1, note: str = "") -> None:
        """Count `count` more as done and show where things stand."""
        self._done += count
        now = time.monotonic()
        if self._done < self._total and now - self._shown < (0.1 if self._live else _QUIET_S):
            return
        self._shown = now
        passed = now - self._began
        left = passed / max(1, self._done - self._from) * (self._total - self._done)
        filled = _BAR * self._done // self._total
        line = f"{self._name:<18} [{'#' * filled}{'.' * (_BAR - filled)}] {self._done}/{self._total} {passed:5.0f} s, {left:5.0f} s left  {note}"
        print(f"\r\x1b[2K{line}" if self._live else line, end="" if self._live else "\n", file=sys.stderr, flush=True)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live:
            print(file=sys.stderr)
