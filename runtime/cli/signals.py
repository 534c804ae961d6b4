"""Signals that end a run: the first asks, the second insists, and either way everything is made safe.

A signal that comes before the loop runs raises Interrupted at once: nothing is driven yet. While it runs the first signal lets
the current turn end; a second one raises Interrupted inside it, for a turn that hangs. Later ones are ignored, so
that the way to the safe values is not itself interrupted.
"""

import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """A signal ended the run; not an Exception, so that no component's guard swallows it."""


class EndingSignals:
    """Context in which SIGINT, SIGTERM and SIGHUP end the run as above; `exit_code` is 128 + the first signal, None if none."""

    def __init__(self) -> None:
        self.stop: Callable[[str], None] | None = None  # set it when the loop is about to run
        self._count = 0
        self._first: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    @property
    def exit_code(self) -> int | None:
        """Return what the shell expects of a program that a signal ended."""
        return None if self._first is None else 128 + self._first

    def __enter__(self) -> "EndingSignals":
        for number in ENDING:
            # What the parent chose to ignore (nohup) stays ignored.
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> bool:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        return kind is Interrupted

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._count += 1
        self._first = self._first or signal.Signals(number)
        if self.stop is not None and self._count == 1:
            self.stop(f"ended by {self._first.name}")
        elif self._count <= 2:
            raise Interrupted(self._first.name)
