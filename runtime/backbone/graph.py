"""A component's network: one input ``x``, one output ``y``, and states that it keeps between runs.

The graph's convention: inputs ``x`` and ``state_*``, outputs ``y`` and ``next_*`` for each ``state_*``, all of fixed shape.
States start at zero. Two sets of state buffers are bound crosswise, once: odd runs read the first and write the second, even
runs the other way round, so no state is copied and a run that fails leaves the states as they were.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from innervate.runtime.ali.errors import BundleError, LatentError
from innervate.runtime.backbone.engine import load_onnxruntime, open_session

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

_FLOAT = "tensor(float)"


class Graph:
    """An opened component graph.

    :param path: the ONNX file.
    :param who: how errors call it, e.g. ``"mic.encoder"``.
    :raises BundleError: when the file does not follow the convention above.
    """

    def __init__(self, path: Path, threads: int = 1, who: str | None = None) -> None:
        self.who = who if who is not None else path.name
        session = open_session(path, threads)
        inputs = {node.name: node for node in session.get_inputs()}
        outputs = {node.name: node for node in session.get_outputs()}
        self._names = sorted(name for name in inputs if name != "x")
        self._check(path, inputs, outputs)
        ort = load_onnxruntime()
        value = ort.OrtValue.ortvalue_from_numpy
        self._x = np.zeros(inputs["x"].shape, np.float32)
        self._y = np.zeros(outputs["y"].shape, np.float32)
        self._sets = [{name: np.zeros(inputs[name].shape, np.float32) for name in self._names} for _ in range(2)]
        x, y = value(self._x), value(self._y)
        held = [{name: value(array) for name, array in one.items()} for one in self._sets]
        self._bindings = []
        for now in (0, 1):
            binding = session.io_binding()
            binding.bind_ortvalue_input("x", x)
            binding.bind_ortvalue_output("y", y)
            for name in self._names:
                binding.bind_ortvalue_input(name, held[now][name])
                binding.bind_ortvalue_output(_next(name), held[1 - now][name])
            self._bindings.append(binding)
        self._now = 0  # the set that holds the present states
        self._run = session.run_with_iobinding
        self._answer = self._y.view()
        self._answer.flags.writeable = False

    @property
    def x_shape(self) -> tuple[int, ...]:
        """Shape of the input."""
        return tuple(self._x.shape)

    @property
    def y_shape(self) -> tuple[int, ...]:
        """Shape of the output."""
        return tuple(self._y.shape)

    def run(self, x: Array) -> Floats:
        """Run one step and keep the next states.

        :param x: float32 of ``x_shape``, finite.
        :returns: float32 of ``y_shape``; a read-only view, valid until the next run.
        :raises LatentError: what ``x`` must be; the states are as before.
        """
        if x.__class__ is not np.ndarray or x.dtype != np.float32 or x.shape != self._x.shape:
            came = f"{getattr(x, 'dtype', type(x).__name__)} {list(getattr(x, 'shape', ()))}"
            raise LatentError(self.who, came, f"float32 {list(self._x.shape)}", "convert at the driver's edge")
        if b"\0" in np.isfinite(x).tobytes():  # half the time of .all()
            came = f"{int(np.count_nonzero(~np.isfinite(x)))} non-finite values"
            raise LatentError(self.who, came, "finite values", "look at the sensor's raw data")
        self._x[:] = x
        self._run(self._bindings[self._now])
        self._now = 1 - self._now
        return self._answer

    def reset(self) -> None:
        """Set the states back to zeros."""
        for array in self._sets[self._now].values():
            array[:] = 0

    def state(self) -> dict[str, Floats]:
        """A copy of the present states by name; empty for a stateless graph."""
        return {name: array.copy() for name, array in self._sets[self._now].items()}

    def restore(self, state: dict[str, Floats]) -> None:
        """Take back what :meth:`state` gave. Raises LatentError when it is another graph's."""
        present = self._sets[self._now]
        if {name: array.shape for name, array in state.items()} != {name: array.shape for name, array in present.items()}:
            raise LatentError(self.who, f"states {sorted(state)}", f"{self._names}", "restore what state() gave")
        for name, array in state.items():
            present[name][:] = array

    def _check(self, path: Path, inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
        step = "export it with models.export.export_component"
        if "x" not in inputs or "y" not in outputs:
            raise BundleError(str(path), f"inputs {sorted(inputs)}, outputs {sorted(outputs)}", "x and y", step)
        wanted = {"y", *map(_next, self._names)}
        if set(outputs) != wanted or not all(name.startswith("state_") for name in self._names):
            raise BundleError(str(path), f"inputs {sorted(inputs)}, outputs {sorted(outputs)}", f"{sorted(wanted)}", step)
        for node in (*inputs.values(), *outputs.values()):
            if node.type != _FLOAT or not all(isinstance(size, int) for size in node.shape):
                came = f"{node.name!r} is {node.type} {node.shape}"
                raise BundleError(str(path), came, "float32 of fixed shape", step)
        for name in self._names:
            if outputs[_next(name)].shape != inputs[name].shape:
                came = f"{_next(name)!r} has shape {outputs[_next(name)].shape}"
                raise BundleError(str(path), came, f"{inputs[name].shape} as {name!r}", step)


def _next(state: str) -> str:
    """Name of the output that becomes ``state`` in the next run."""
    return "next_" + state.removeprefix("state_")
