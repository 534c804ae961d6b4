"""Worker processes that do not outlive their parent.

A process that is killed outright says goodbye to nobody: workers of a training would go on, or wait for ever, with gigabytes held.
Linux can be asked to end a process with the one that started it; each worker asks for itself, first thing.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with(parent_pid: int, number: signal.Signals = signal.SIGKILL) -> bool:
    """Ask the system to send this process `number` when its parent ends, however it ends; return whether it will (Linux only).

    Call it in the worker, with what `os.getpid()` said in the parent: when the parent has ended before the call, the signal is sent at once.
    The request belongs to the thread of the parent that started the worker: start workers from a thread that lives as long as they should.
    It is not inherited: workers of a worker ask for themselves.

    :raises OSError: when the kernel refuses.
    """
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(number), 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl: {os.strerror(code)}")
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), number)
    return True
