"""Workers end with their parent, even when it is killed outright."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from innervate.models.workers import die_with

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux can be asked")

# The worker writes its number once it has asked, and holds the pipe open for as long as it lives.
WORKER = "import os, sys; from innervate.models.workers import die_with; die_with(int(sys.argv[1])); print(os.getpid(), flush=True); sys.stdin.read()"
PARENT = f"import os, subprocess, sys; subprocess.Popen([sys.executable, '-c', {WORKER!r}, str(os.getpid())]).wait()"


def test_a_worker_dies_with_its_parent() -> None:
    source = Path(__file__).parents[2] / ".links"
    read, write = os.pipe()
    hold_read, hold_write = os.pipe()  # the worker's stdin: never closed by us before the end
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=hold_read, stdout=write, env={**os.environ, "PYTHONPATH": str(source)}, close_fds=True
    )
    os.close(write)
    os.close(hold_read)
    with os.fdopen(read, "rb") as said, os.fdopen(hold_write, "wb"):
        assert int(said.readline()) != parent.pid
        parent.kill()
        parent.wait()
        assert said.read() == b""  # the end of the pipe: nobody is left who could write, the worker included


def test_a_parent_that_has_gone_already_takes_the_worker_along() -> None:
    done = subprocess.run([sys.executable, "-c", "from innervate.models.workers import die_with; die_with(1 << 30)"], check=False)
    assert done.returncode == -signal.SIGKILL


def test_elsewhere_nothing_is_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert die_with(os.getppid()) is False
