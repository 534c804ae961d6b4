"""The published conformance check of a bundle's gradient, with no training library: `check_gradient(bundle).require()`.

Two questions, at several lengths, on sequences of the bundle's own tokens:

- **Is it the gradient of the deployed weights?** Central differences of the backbone in float64, computed in numpy from the decode graph's own
  bytes (`reference.py`), for random directions of question and answer. A cosine would not notice a gradient that belongs to other
  weights; this does.
- **How far is that from the graph as it runs?** A variant that rounds its activations is a step function: its differences are noise at
  small steps. So the step is long enough to rise over the noise, the answer is looked at in the direction in which it moves, and the engine
  runs as in a device, some ten latents a pass. A trained backbone has bent away from its tangent long before: the difference is compared
  with the gradient's mean along the step, an integral over gradients on the way (Gauss-Legendre).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from innervate.runtime.ali.conformance import Report
from innervate.runtime.backbone.bundle import Bundle
from innervate.runtime.backbone.engine import Engine
from innervate.runtime.backbone.gradient import Gradient
from innervate.runtime.backbone.reference import Reference

Floats = npt.NDArray[np.float32]
Answer = Callable[[Floats], npt.NDArray[np.float64]]

LENGTHS = (8, 57, 200)
EXACT_MAX = 1e-3  # relative, float activations
RUNS_MAX = 5e-2  # relative, the variant as it runs
ANSWER_MAX = 1e-4  # relative, float activations
DIRECTIONS = 4  # pairs of directions at each length
EXACT_STEP = 1e-6  # in lengths of the sequence; float64 leaves nine digits of the difference
RUNS_STEP, RUNS_NODES = 0.35, 64  # half the step, and nodes so that the integral errs by less than 5e-3 on a trained backbone
PASS_ROWS = 10  # latents that the engine takes in a pass: a tick's


@dataclass(frozen=True, slots=True)
class GradientReport:
    """Relative errors by length.

    ``exact``: the gradient against differences on the deployed weights; ``as_it_runs``: against the graph as it runs; ``answer``: what
    `vjp` answers, against float64; ``rounding``: what the running engine answers, against the same, for comparison.
    """

    variant: str
    exact: dict[int, float] = field(default_factory=dict)
    as_it_runs: dict[int, float] = field(default_factory=dict)
    answer: dict[int, float] = field(default_factory=dict)
    rounding: dict[int, float] = field(default_factory=dict)

    def report(self) -> Report:
        """The same as rules that hold or do not."""
        report = Report(f"gradient of {self.variant}")
        for rows, error in self.exact.items():
            report.note(f"finite differences on the deployed weights, {rows} latents", error <= EXACT_MAX, f"{error:.1e}, at most {EXACT_MAX:g}")
        for rows, error in self.as_it_runs.items():
            report.note(f"differences of the graph as it runs, {rows} latents", error <= RUNS_MAX, f"{error:.1e}, at most {RUNS_MAX:g}")
        for rows, error in self.answer.items():
            report.note(f"the answer that comes with it, {rows} latents", error <= ANSWER_MAX, f"{error:.1e}, at most {ANSWER_MAX:g}")
        return report

    @property
    def ok(self) -> bool:
        """True when every error is within its bound."""
        return self.report().ok

    def require(self) -> None:
        """Raise PluginError naming each error out of bounds; return when there is none."""
        self.report().require()


def check_gradient(bundle: Bundle, variant: str = "auto", lengths: Sequence[int] = LENGTHS, threads: int = 1, seed: int = 0) -> GradientReport:
    """Measure the gradient of a variant of ``bundle``; lengths beyond its context are left out.

    Half a minute for nano's three lengths on one thread. Raises BundleError where the bundle has no gradient.
    """
    gradient, engine = Gradient(bundle, variant, threads), Engine(bundle, variant, threads)
    gradient.require(engine.space)
    exact_answer, rows = Reference(bundle, gradient.variant), bundle.rows()[0]

    def smooth(x: Floats) -> npt.NDArray[np.float64]:
        return gradient.forward(x).astype(np.float64)

    def running(x: Floats) -> npt.NDArray[np.float64]:
        engine.reset()
        return np.concatenate([engine.append(x[at : at + PASS_ROWS]).astype(np.float64) for at in range(0, len(x), PASS_ROWS)])

    report = GradientReport(gradient.variant)
    for length in [length for length in lengths if length <= engine.context]:
        draws = np.random.default_rng([seed, length])
        exact, runs = [], []
        for _ in range(DIRECTIONS):
            x = rows[draws.integers(0, len(rows), length)]
            v, g = _unit(draws, *x.shape), _unit(draws, *x.shape)
            exact.append(_exact(gradient, exact_answer, x, v, g))
            reach = np.float32(RUNS_STEP * np.linalg.norm(x))
            moved = smooth(x + reach * v) - smooth(x - reach * v)
            g = (moved / np.linalg.norm(moved)).astype(np.float32)
            runs.append((_integral(gradient, x, reach * v, g, RUNS_NODES), _difference(running, x, reach * v, g)))
        report.exact[length], report.as_it_runs[length] = _relative(exact), _relative(runs)
        right = exact_answer(x)
        report.answer[length] = float(np.linalg.norm(smooth(x) - right) / np.linalg.norm(right))
        report.rounding[length] = float(np.linalg.norm(running(x) - right) / np.linalg.norm(right))
    return report


def _unit(draws: np.random.Generator, rows: int, width: int) -> Floats:
    v = draws.standard_normal((rows, width))
    return (v / np.linalg.norm(v)).astype(np.float32)


def _relative(pairs: list[tuple[float, float]]) -> float:
    """Error of (found, right) pairs over the size of what is right; single ones may be near zero."""
    found, right = np.array(pairs).T
    return float(np.linalg.norm(found - right) / np.linalg.norm(right))


def _exact(gradient: Gradient, answer: Reference, x: Floats, v: Floats, g: Floats) -> tuple[float, float]:
    """The derivative of ``g . y`` along ``v``, by the gradient and by differences."""
    reach = EXACT_STEP * float(np.linalg.norm(x))
    step = reach * v.astype(np.float64)
    slope = np.vdot(answer(x + step) - answer(x - step), g.astype(np.float64)) / (2 * reach)
    return float(np.vdot(gradient.vjp(x, g)[1].astype(np.float64), v)), float(slope)


def _integral(gradient: Gradient, x: Floats, step: Floats, g: Floats, count: int) -> float:
    """How far ``g . y`` goes from ``x - step`` to ``x + step`` by the gradient."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    slopes = [np.vdot(gradient.vjp(x + np.float32(node) * step, g)[1].astype(np.float64), step) for node in nodes]
    return float(weights @ np.array(slopes))


def _difference(answer: Answer, x: Floats, step: Floats, g: Floats) -> float:
    """How far it goes by the answers."""
    return float(np.vdot(answer(x + step) - answer(x - step), g))
