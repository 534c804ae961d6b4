"""Figures of serving: what the wire costs, and what one bad client costs the others.

Server, bare echo, good clients and the bad one are processes of their own. Round trips of served and bare bytes are taken in turns.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from innervate.models.bench.teach import Row, at_most
from innervate.runtime.backbone.bench import engine_pass, medians_us
from innervate.runtime.backbone.bundle import Bundle
from innervate.runtime.backbone.engine import Engine
from innervate.runtime.serve.client import Client, connect
from innervate.runtime.serve.links import connect_unix
from innervate.runtime.serve.wire import HEADER, Kind, ServeError, raw

ROWS, REPEATS, ROUNDS = 16, 3000, 10
OVER_ECHO_MAX = 1.5
CLIENTS, PERIOD_S, SPAN_S = 32, 0.08, 6.0  # 31 good ones, a latent each tick
P99_MAX = 2.0
UNLIMITED = ("--bytes-s", "1e11", "--requests-s", "1e9", "--latents-s", "1e9")  # or the budget is measured
TOKEN = "the token of the bench"

_ECHO = """\
import socket, sys
listening = socket.socket(socket.AF_UNIX)
listening.bind(sys.argv[1]); listening.listen(1); print("ready", flush=True)
sock, size = listening.accept()[0], int(sys.argv[2])
sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
buffer = memoryview(bytearray(size))
while True:
    at = 0
    while at < size:
        got = sock.recv_into(buffer[at:])
        if not got: sys.exit()
        at += got
    sock.sendall(buffer)
"""


@contextlib.contextmanager
def serving(bundle: Bundle, folder: Path, *more: str) -> Iterator[str]:
    """Serve the backbone alone in a process of its own; give the address of its Unix socket."""
    options = [*more, "--no-device", "--bundle", str(bundle.folder), "--unix", str(folder / "s"), "--ws", "off", "--http", "off"]
    environment = {**os.environ, "INNERVATE_TOKEN": TOKEN}
    command = [sys.executable, "-m", "innervate.runtime.cli", "serve", *options]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().removeprefix("serving at ").strip()
        finally:
            process.terminate()


@contextlib.contextmanager
def echoing(folder: Path, size: int) -> Iterator[Callable[[bytes], None]]:
    """Give the round trip of `size` bytes over a bare socket to a process that sends them back."""
    import socket

    with subprocess.Popen([sys.executable, "-c", _ECHO, str(folder / "e"), str(size)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(folder / "e"))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            buffer = memoryview(bytearray(size))

            def round_trip(data: bytes) -> None:
                sock.sendall(data)
                at = 0
                while at < size:
                    at += sock.recv_into(buffer[at:])

            yield round_trip


@contextlib.contextmanager
def kept_on(*processors: int) -> Iterator[None]:
    """Keep this program, and what it starts meanwhile, on the processors of these numbers; where a process lands decides the bare echo's time."""
    before = os.sched_getaffinity(0)
    chosen = sorted(before)
    os.sched_setaffinity(0, {chosen[number % len(chosen)] for number in processors})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def round_trip(bundle: Bundle) -> Iterator[Row]:
    """What a served latent costs beside the backbone's own work, against the same bytes over a bare socket."""
    x = np.random.default_rng(0).standard_normal((ROWS, bundle.header.width), dtype=np.float32)
    data = bytes(raw(x))
    times, figures = {}, []
    for where, ours in (("one core", 1), ("two cores", 0)):
        with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
            with kept_on(1):
                address = stack.enter_context(serving(bundle, Path(name), *UNLIMITED))
                echo = stack.enter_context(echoing(Path(name), len(data)))
            client = stack.enter_context(connect(address, token=TOKEN))

            def ping(client: Client = client) -> None:
                client.ping(raw(x))

            def append(client: Client = client) -> None:
                client.append(x)

            def bare(echo: Callable[[bytes], None] = echo) -> None:
                echo(data)

            with kept_on(ours):
                served_us, bare_us = medians_us([ping, bare], REPEATS, ROUNDS)
                (whole_us,) = medians_us([append], 600, 3)
        times[where] = served_us / bare_us
        figures.append(f"{where} {served_us:.0f} over {bare_us:.0f}, with the backbone {whole_us:.0f}")
    with kept_on(1):
        (alone_us,) = medians_us([engine_pass(Engine(bundle), bundle.header.context // 2, ROWS)], 600, 3)
    yield at_most(f"served round trip of {ROWS}x{bundle.header.width} over a bare echo", times, OVER_ECHO_MAX)
    yield Row("   the same in microseconds", f"{'   '.join(figures)}; the backbone alone {alone_us:.0f}")


def crowd(bundle: Bundle) -> Iterator[Row]:
    """The 99th percentile of 31 clients' round trips, without and with a 32nd that misbehaves in every way."""
    with tempfile.TemporaryDirectory() as name, serving(bundle, Path(name)) as address, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(address, token=TOKEN)) for _ in range(CLIENTS - 1)]
        x = np.random.default_rng(0).standard_normal((1, bundle.header.width), dtype=np.float32)
        _spell(clients, x)  # sessions are made, memory is touched
        calm = _spell(clients, x)
        with subprocess.Popen([sys.executable, "-c", f"from {__name__} import misbehave; misbehave({address!r})"]) as bad:
            try:
                time.sleep(0.5)
                troubled = _spell(clients, x)
                alive = bad.poll() is None
            finally:
                bad.terminate()
    yield at_most(f"p99 of {CLIENTS - 1} clients beside one that misbehaves, over calm", {"times": troubled[1] / calm[1]}, P99_MAX)
    figures = f"p50 {calm[0]:.1f} and {troubled[0]:.1f}   p99 {calm[1]:.1f} and {troubled[1]:.1f}"
    yield Row("   the same in milliseconds, calm and troubled", f"{figures}{'' if alive else '   (the bad one ended early)'}")


def _spell(clients: list[Client], x: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> tuple[float, float]:
    """Every client appends a latent each tick for SPAN_S; return p50 and p99 of the round trips in milliseconds."""
    took: list[float] = []

    def live(client: Client, phase_s: float) -> None:
        due = time.perf_counter() + phase_s
        end = due + SPAN_S
        while due < end:
            time.sleep(max(0.0, due - time.perf_counter()))
            began = time.perf_counter()
            client.append(x)
            took.append(1e3 * (time.perf_counter() - began))
            due += PERIOD_S

    threads = [threading.Thread(target=live, args=(client, PERIOD_S * i / len(clients))) for i, client in enumerate(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statistics.median(took), float(np.percentile(took, 99))


def misbehave(address: str) -> None:
    """Flood without reading, send what is not finite, vanish in the middle of a frame, stall in the middle of another; for ever."""
    hello = {"versions": [1], "token": TOKEN}
    path = Path(address.removeprefix("unix:"))
    with connect(address, token=TOKEN) as client:
        width = client.facts.width
    nan = raw(np.full((ROWS, width), np.nan, np.float32))
    while True:
        stalled, flood, gone = connect_unix(path), connect_unix(path), connect_unix(path)
        for link in (stalled, flood, gone):
            link.send(Kind.HELLO, 1, hello)
        for link in (stalled, gone):
            link._sock.sendall(HEADER.pack(b"IN", 1, Kind.APPEND, 1, 0, 4 * width) + bytes(7))
        gone.close()
        until = time.perf_counter() + 1.0
        with contextlib.suppress(ServeError):
            while time.perf_counter() < until:
                flood.send(Kind.APPEND, 1, None, nan)
                flood.send(Kind.APPEND, 1, None, raw(np.ones((ROWS, width), np.float32)))
        flood.close()
        stalled.close()


def rows(bundle: Bundle) -> Iterator[Row]:
    """All figures of serving."""
    yield from round_trip(bundle)
    yield from crowd(bundle)
