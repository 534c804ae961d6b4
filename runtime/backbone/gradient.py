"""The Gradient API: the gradient of the deployed backbone with respect to its input latents, with no training library.

    gradient = Gradient(Bundle.open("models/nano"))
    y, dx = gradient.vjp(x, g)  # x, g [T, D]; y what the backbone answers; dx the gradient of sum(g * y) in x

Rules:

- The graph is built from the same bytes of weights as the variant's decode graph (`models/vjp.py`). Its identity is that variant's
  ``exact_id``; a gradient for another quantisation would be that of another model, so it is refused.
- Activations are float32. The variants dq8 and nb8 round theirs to 8 bits while they run, which is a step function without a slope: the
  gradient is that of the function which the steps follow (`gradient_check.py` measures how closely).
- A pass begins at position 0 with an empty context and has no cache. The length is bounded by the context.
- Memory beside the weights grows with T^2, for attention's weights are kept for the way back: nano takes 50 MB to open, 10 more at 57 latents,
  130 in all at 512. It goes back with the object.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt

from innervate.runtime.ali.errors import BundleError, LatentError, SpaceMismatch
from innervate.runtime.ali.latents import check_data
from innervate.runtime.ali.space import Space
from innervate.runtime.backbone.bundle import Bundle
from innervate.runtime.backbone.engine import load_onnxruntime
from innervate.runtime.backbone.variant import choose_variant

Floats = npt.NDArray[np.float32]

_WHO = "gradient"
_LOG_ERRORS = 3


class Gradient:
    """Vector-Jacobian products of one variant of a bundle.

    :param bundle: an opened bundle.
    :param variant: as for the Engine; ``"auto"`` is the variant that an Engine would take on this machine.
    :param threads: threads inside one operator.
    :param exact_id: the weights that the caller means; None is whatever the variant has.
    :raises SpaceMismatch: when ``exact_id`` is not the variant's.
    :raises BundleError: unknown variant, or a bundle without its gradient graph.
    """

    def __init__(self, bundle: Bundle, variant: str = "auto", threads: int = 1, *, exact_id: str | None = None) -> None:
        self.variant = choose_variant(bundle, variant, threads)
        self.space: Space = bundle.space(self.variant)
        self.width = bundle.header.width
        self.rows_max = bundle.header.context
        if exact_id is not None:
            self._require(exact_id)
        path = bundle.gradient_path(self.variant)
        ort = load_onnxruntime()
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _LOG_ERRORS
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Weights become float32 once, at load: 28 MB more, and 12 ms less a call, than turning them in every call.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        try:
            self._session = ort.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exception classes have no common root but Exception
            step = "build it again: python -m innervate.models.vjp BUNDLE"
            raise BundleError(str(path), f"onnxruntime refuses it ({error})", "a graph it can run", step) from error
        self._check_graph(str(path))

    def require(self, space: Space) -> None:
        """Raise SpaceMismatch unless ``space``, e.g. an engine's, is of the same weights in the same quantisation."""
        self._require(space.exact_id)

    def vjp(self, x: Floats, g: Floats) -> tuple[Floats, Floats]:
        """Answer of the backbone to a sequence, and the gradient of ``sum(g * y)`` in its latents.

        :param x: ``[T, D]`` float32, finite, 1 <= T <= ``rows_max``; stands at positions 0 to T - 1.
        :param g: ``[T, D]`` float32, finite: the gradient of the caller's loss in ``y``; zeros where a row does not count.
        :returns: ``y [T, D]`` and ``dx [T, D]`` float32, fresh arrays.
        :raises LatentError: what an operand must be, or that the gradient is no finite number.
        """
        self._check(x, "x")
        self._check(g, "g")
        if x.shape != g.shape:
            step = "give g a row for each row of x, zeros where none counts"
            raise LatentError(_WHO, f"x {list(x.shape)} and g {list(g.shape)}", "one shape", step)
        y, dx = self._session.run(("y", "dx"), {"x": x, "g": g})
        for name, values in (("y", y), ("dx", dx)):
            if not np.isfinite(values).all():
                came = f"{name} with {int(np.count_nonzero(~np.isfinite(values)))} non-finite values"
                step = f"make x or g smaller: their largest values are {np.abs(x).max():.3g} and {np.abs(g).max():.3g}"
                raise LatentError(_WHO, came, "a finite gradient", step)
        return y, dx

    def forward(self, x: Floats) -> Floats:
        """The same ``y [T, D]`` for ``x [T, D]``, at the same cost; to know it with rounded activations, ask an Engine."""
        return self.vjp(x, np.zeros_like(x))[0]

    def _require(self, exact_id: str) -> None:
        if exact_id != self.space.exact_id:
            came = f"weights {exact_id}"
            expected = f"{self.space.exact_id}, those of variant {self.variant}"
            raise SpaceMismatch(_WHO, came, expected, "open the gradient with the same bundle and variant as the engine")

    def _check(self, values: Floats, name: str) -> None:
        check_data(f"{_WHO}: {name}", values, self.width)
        if len(values) > self.rows_max:
            step = "cut the sequence: the gradient has no cache, so it is bounded by the context"
            raise LatentError(f"{_WHO}: {name}", f"{len(values)} latents", f"1 to {self.rows_max}", step)

    def _check_graph(self, who: str) -> None:
        def told(nodes: Any) -> dict[str, list[object]]:
            return {node.name: list(node.shape) for node in nodes}

        shape: list[object] = ["T", self.width]
        came = {**told(self._session.get_inputs()), **told(self._session.get_outputs())}
        expected = dict.fromkeys(("x", "g", "y", "dx"), shape)
        if came != expected:
            raise BundleError(who, f"inputs and outputs {came}", f"{expected}", "build it again: python -m innervate.models.vjp BUNDLE")
