"""The loss of a token against torch, and that teaching two rows through it and the gradient works."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from innervate.runtime.ali.errors import LatentError
from innervate.runtime.backbone.bundle import Bundle
from innervate.runtime.backbone.gradient import Gradient
from innervate.runtime.backbone.loss import UNSCORED, token_loss
from innervate.runtime.backbone.vocabulary import Vocabulary
from tests.backbone.small import inputs


@pytest.fixture
def vocabulary(bundle: Bundle) -> Vocabulary:
    vocabulary = Vocabulary(bundle)
    for name in ("a/gone", "a/one", "a/two"):
        vocabulary.add_component(name).classifier[:] = inputs(2, seed=len(vocabulary.components))
    vocabulary.remove_component("a/gone")
    return vocabulary


@pytest.mark.parametrize("only", [False, True])
def test_agrees_with_torch(vocabulary: Vocabulary, only: bool) -> None:
    hidden = inputs(6) * 0.3
    targets = np.array([256, 261, UNSCORED, 264, 257, 263])
    weights = np.array([1, 2, 5, 0.5, 1, 1], np.float32)
    found = token_loss(vocabulary, hidden, targets, weights=weights, control_only=only)
    h = torch.from_numpy(hidden).double().requires_grad_()
    table = torch.from_numpy(vocabulary.classifier()).double().requires_grad_()
    logits = h @ table.T
    mask = torch.from_numpy(~vocabulary.in_use())
    if only:
        mask[:256] = True
    logits = logits.masked_fill(mask, float("-inf"))
    each = F.cross_entropy(logits, torch.from_numpy(targets), ignore_index=UNSCORED, reduction="none")
    share = torch.from_numpy(np.where(targets == UNSCORED, 0, weights)).double()
    loss = (each * share / share.sum()).sum()
    loss.backward()
    assert found.loss == pytest.approx(float(loss.detach()), rel=1e-6)
    assert h.grad is not None
    assert table.grad is not None
    np.testing.assert_allclose(found.g_hidden, h.grad.numpy(), atol=1e-6)
    for name in ("a/one", "a/two"):
        side = vocabulary.component(name)
        np.testing.assert_allclose(found.g_classifier[name], table.grad[side.start : side.end + 1].numpy(), atol=1e-6)
    assert not found.right[2]
    assert found.right.tolist() == [t != UNSCORED and int(logits[i].argmax()) == t for i, t in enumerate(targets)]


def test_bad_targets_are_refused(vocabulary: Vocabulary) -> None:
    hidden = inputs(2)
    for targets, message in (
        (np.array([1, 2, 3]), "integers"),
        (np.array([0.5, 1.0]), "integers"),
        (np.array([1, 400]), "ids in use"),
        (np.array([1, 259]), "ids in use"),  # the place that a removed component left
        (np.array([1, -2]), "ids in use"),
        (np.array([UNSCORED, UNSCORED]), "all zero"),
    ):
        with pytest.raises(LatentError, match=message):
            token_loss(vocabulary, hidden, targets)
    with pytest.raises(LatentError, match="a byte as target"):
        token_loss(vocabulary, hidden, np.array([256, 65]), control_only=np.array([False, True]))
    with pytest.raises(LatentError, match="weights"):
        token_loss(vocabulary, hidden, np.array([1, 2]), weights=np.array([-1, 1], np.float32))
    with pytest.raises(LatentError, match=r"weights \[3\]"):
        token_loss(vocabulary, hidden, np.array([1, 2]), weights=np.ones(3, np.float32))


def test_rows_learn_through_the_gradient(bundle: Bundle) -> None:
    """After the pattern the token is said, after the token another, after anything else neither; only the new rows are trained."""
    vocabulary, gradient = Vocabulary(bundle), Gradient(bundle, "fp32")
    side = vocabulary.add_component("acme/ring")
    pattern = inputs(1, seed=5)[0]

    def example(seed: int) -> tuple[np.ndarray, np.ndarray]:
        x = inputs(12, seed=seed)
        x[8], x[9] = pattern, side.embedding[0]
        targets = np.full(12, 256)
        targets[8], targets[9] = side.start, side.end
        return x, targets

    m, v = np.zeros((2, 2, 128), np.float32), np.zeros((2, 2, 128), np.float32)
    for step in range(60):
        grad = np.zeros((2, 2, 128), np.float32)
        for seed in range(4):
            x, targets = example(100 + seed)
            loss = token_loss(vocabulary, gradient.forward(x), targets, weights=np.where(targets == 256, 1, 5).astype(np.float32))
            grad[0, 0] += gradient.vjp(x, loss.g_hidden)[1][9]
            grad[1] += loss.g_classifier["acme/ring"]
        m, v = 0.9 * m + 0.1 * grad, 0.99 * v + 0.01 * grad**2
        for table, first, second in zip((side.embedding, side.classifier), m, v, strict=True):
            table -= 0.05 * (first / (1 - 0.9 ** (step + 1))) / (np.sqrt(second / (1 - 0.99 ** (step + 1))) + 1e-8)
    x, targets = example(999)
    assert token_loss(vocabulary, gradient.forward(x), targets).right[[8, 9]].all()
