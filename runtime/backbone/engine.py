"""The engine: one backbone, one endless session, input latents to output latents.

Rules and invariants:

- This module alone imports onnxruntime, inside a function, after telemetry has been switched off: from 1.32 on the library
  otherwise writes a device id under the home folder when it is imported.
- Buffers are bound once. onnxruntime aliases numpy memory on the CPU: past and present of a layer are one buffer, the input
  rows and the two counters are written in place. A step costs a few microseconds of Python besides the graph.
- Checks come before effects: a refused pass leaves the session as it was, and so does a pass that fails inside
  onnxruntime, for it can only have written beyond ``length``.

Known weakness: one engine is one session and belongs to one thread.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from innervate.runtime.ali.errors import BundleError, LatentError
from innervate.runtime.ali.latents import check_data
from innervate.runtime.ali.space import Space
from innervate.runtime.backbone.bundle import Bundle, Header
from innervate.runtime.backbone.cache import Cache, Snapshot
from innervate.runtime.backbone.variant import choose_variant

if TYPE_CHECKING:
    import onnxruntime

Floats = npt.NDArray[np.float32]

_FLOAT32 = np.dtype(np.float32)
_LOG_ERRORS = 3  # onnxruntime's severity: warnings about our fused operators are no news to an owner


def load_onnxruntime() -> Any:
    """The onnxruntime module, imported with its telemetry off."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    return onnxruntime


def open_session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    """A CPU session of the graph at ``path``. Raises BundleError when onnxruntime refuses the file."""
    ort = load_onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _LOG_ERRORS
    # malloc instead of the arena: as fast for these sizes, and the memory that a long pass took goes back
    options.enable_cpu_mem_arena = False
    # spinning workers would hold the cores that drivers and the loop need between two ticks
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exception classes have no common root but Exception
        raise BundleError(str(path), f"onnxruntime refuses it ({error})", "a graph it can run", "export the bundle again") from error


class _Lane:
    """The binding of passes of one length: views of the shared buffers and what onnxruntime knows of them."""

    __slots__ = ("binding", "h", "x")

    def __init__(self, binding: Any, x: Floats, h: Floats) -> None:
        self.binding = binding
        self.x = x  # [T, D], written before a pass
        self.h = h  # [T, D], read-only view of what the pass wrote


class Engine:
    """Appends latents to a bounded context and gives the hidden states that answer them.

    :param bundle: an opened bundle.
    :param variant: a variant of the bundle, ``"auto"`` (by CPU features) or ``"measure"`` (by a short self-test).
    :param threads: threads inside one operator; 1 is fastest below some 20M parameters.
    :param like: an engine of the same bundle whose weights this one shares; each has its own context, and may have its own thread.
    :raises BundleError: unknown variant, or a graph that does not fit the bundle's numbers.
    """

    def __init__(self, bundle: Bundle, variant: str = "auto", threads: int = 1, *, like: Engine | None = None) -> None:
        self.variant: str = choose_variant(bundle, variant, threads) if like is None else like.variant
        self.space: Space = bundle.space(self.variant)
        header = bundle.header
        self.width, self.context = header.width, header.context
        self.rows_max = header.context // 2  # a pass may be as long as what a slide always leaves room for
        path = bundle.variant_path(self.variant)
        self._session: onnxruntime.InferenceSession = open_session(path, threads) if like is None else like._session
        self._check_graph(path, header)
        self._cache = Cache(header.layers, header.heads, header.context, header.head_width, header.rope_base)
        self._ort = load_onnxruntime()
        self._x = np.zeros((1, self.rows_max, self.width), np.float32)
        self._h = np.zeros((1, self.rows_max, self.width), np.float32)
        last, count = np.zeros(1, np.int32), np.zeros(1, np.int32)
        value = self._ort.OrtValue.ortvalue_from_numpy
        self._shared = {"seqlens_k": value(last), "total_sequence_length": value(count)}
        # memoryviews, because storing an integer through numpy takes three times as long
        self._last = last.data  # index of the last valid position after the pass
        self._total = count.data  # number of valid positions after the pass
        for i in range(header.layers):
            self._shared[f"past_key_{i}"] = value(self._cache.keys[i])
            self._shared[f"past_value_{i}"] = value(self._cache.values[i])
        self._lanes: dict[int, _Lane] = {}
        self._run = self._session.run_with_iobinding

    @property
    def length(self) -> int:
        """Positions in the cache, 0 to ``context``."""
        return self._cache.length

    @property
    def pins(self) -> dict[str, int]:
        """Pinned positions by name."""
        return dict(self._cache.pins)

    def append(self, x: Floats, *, pin: str | None = None, checked: bool = False) -> Floats:
        """One pass over ``x``; slides the context when it is full.

        :param x: ``[T, D]`` float32, finite, 1 <= T <= ``rows_max``.
        :param pin: keep the last position of this pass under that name until :meth:`unpin`.
        :param checked: ``x`` is known to be finite (rows of the vocabulary, latents that a Border admitted); saves 9 us.
        :returns: hidden states ``[T, D]`` float32; a read-only view, valid until the next call.
        :raises LatentError: what ``x`` must be; the session is as before.
        """
        # One straight line of cheap checks: the pass before has pushed Python's own data out of the processor's cache,
        # so every object that is touched here costs a memory access. A call of its own per check took 5 us more.
        if x.__class__ is not np.ndarray or x.dtype is not _FLOAT32 or x.ndim != 2:
            check_data("engine", x, self.width)
        rows, width = x.shape
        if width != self.width or not 0 < rows <= self.rows_max:
            self._refuse(x)
        if not checked and b"\0" in np.isfinite(x).tobytes():  # half the time of .all()
            check_data("engine", x, self.width)
        cache = self._cache
        if pin is not None:
            cache.check_pin(pin)
        total = cache.length + rows
        if total > self.context or cache.length < cache.guard:
            cache.prepare(rows)
            total = cache.length + rows
        lane = self._lanes.get(rows)
        if lane is None:
            lane = self._lanes[rows] = self._bind(rows)
        lane.x[:] = x
        self._last[0] = total - 1
        self._total[0] = total
        self._run(lane.binding)
        cache.length = total
        if pin is not None:
            cache.pin(pin, total - 1)
        return lane.h

    def unpin(self, name: str) -> None:
        """Release the pin of that name; nothing happens when there is none."""
        self._cache.unpin(name)

    def snapshot(self) -> Snapshot:
        """The session's state, to come back to with :meth:`rewind_to`; costs no copy until it is overwritten."""
        return self._cache.snapshot()

    def rewind_to(self, snapshot: Snapshot) -> None:
        """Come back to ``snapshot``: what is appended next gives the same bits as it gave then."""
        self._cache.rewind_to(snapshot)

    def reset(self) -> None:
        """Start anew: empty context, no pins."""
        self._cache.reset()

    def _refuse(self, x: Floats) -> None:
        """Word the error of a wrong shape."""
        check_data("engine", x, self.width)
        came, step = f"a pass of {len(x)} latents", "append them in parts"
        raise LatentError("engine", came, f"1 to {self.rows_max}", step)

    def _bind(self, rows: int) -> _Lane:
        """Bind a lane for passes of ``rows``; at most ``rows_max`` of them exist."""
        binding = self._session.io_binding()
        x, h = self._x[:, :rows], self._h[:, :rows]  # contiguous, the first axis being 1
        value = self._ort.OrtValue.ortvalue_from_numpy
        binding.bind_ortvalue_input("x", value(x))
        binding.bind_ortvalue_output("h", value(h))
        for name, buffer in self._shared.items():
            binding.bind_ortvalue_input(name, buffer)
            if name.startswith("past_"):
                binding.bind_ortvalue_output(name.replace("past_", "present_"), buffer)
        answer = h[0]
        answer.flags.writeable = False
        return _Lane(binding, x[0], answer)

    def _check_graph(self, path: Path, header: Header) -> None:
        """The graph must have exactly the inputs that will be bound, in the bundle's shapes."""
        buffer = [1, header.heads, header.context, header.head_width]
        expected: dict[str, list[object]] = {"x": [1, "T", self.width], "seqlens_k": [1], "total_sequence_length": [1]}
        for i in range(header.layers):
            expected[f"past_key_{i}"] = expected[f"past_value_{i}"] = list(buffer)
        came = {node.name: list(node.shape) for node in self._session.get_inputs()}
        if came != expected:
            wrong = sorted(name for name in came.keys() | expected.keys() if came.get(name) != expected.get(name))[0]
            raise BundleError(
                str(path),
                f"graph input {wrong!r} has shape {came.get(wrong)}",
                f"{expected.get(wrong)} by bundle.toml",
                "export the bundle again",
            )
