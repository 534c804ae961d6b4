"""The loss of saying the right token, and its gradients: what joins the Tokenizer API to the Gradient API.

x[at] = ring.embedding[0]                          # where <so_acme/ring> stands in the sequence
loss = token_loss(vocabulary, gradient.forward(x), targets)
_, dx = gradient.vjp(x, loss.g_hidden)
ring.embedding[0] -= rate * dx[at].sum(axis=0)     # a row's gradient is the sum of dx where it stands
ring.classifier -= rate * loss.g_classifier["acme/ring"]
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from innervate.runtime.ali.errors import LatentError
from innervate.runtime.ali.latents import check_data
from innervate.runtime.backbone.bundle import TEXT_ROWS
from innervate.runtime.backbone.vocabulary import Vocabulary

Floats = npt.NDArray[np.float32]
Tokens = npt.NDArray[np.integer]

_WHO = "token_loss"
UNSCORED = -1  # the target of a row that does not count


@dataclass(frozen=True, slots=True, eq=False)
class TokenLoss:
    """The loss and its gradients.

    ``loss`` is the weighted mean of cross entropies, in nats. ``g_hidden [T, D]`` is its gradient in the hidden states, the ``g`` of
    ``Gradient.vjp``; ``g_classifier`` that in the classifier rows of each component beside the base, ``[2, D]`` by name. ``right [T]``
    tells whether the target had the highest score; False where a row does not count.
    """

    loss: float
    g_hidden: Floats
    g_classifier: dict[str, Floats]
    right: npt.NDArray[np.bool_]


def token_loss(
    vocabulary: Vocabulary,
    hidden: Floats,
    targets: Tokens,
    *,
    weights: Floats | None = None,
    control_only: bool | npt.NDArray[np.bool_] = False,
) -> TokenLoss:
    """Cross entropy between the tokens that hidden states mean and those that they should.

    :param hidden: ``[T, D]`` float32, the answers at T positions.
    :param targets: ``[T]`` ids of the tokens that should follow; UNSCORED where a row does not count.
    :param weights: ``[T]``, not negative, how much each row counts; None is 1.
    :param control_only: whether only control rows compete, as while a component is open; one for all rows or ``[T]``.
    :raises LatentError: shapes that do not agree, ids that are not in use, a byte as target among control rows, nothing that counts.
    """
    width = vocabulary.row(0).shape[0]
    check_data(_WHO, hidden, width)
    count = len(hidden)
    only = np.broadcast_to(np.asarray(control_only, bool), (count,))
    scored = _check_targets(vocabulary, targets, count, only)
    given = np.ones(count) if weights is None else np.asarray(weights, np.float64)
    share = np.where(scored, given, 0.0) if given.shape == (count,) else np.zeros(count)
    if not np.isfinite(share).all() or (share < 0).any() or share.sum() <= 0:
        came = f"weights {list(given.shape)} that are negative, not finite or all zero"
        raise LatentError(_WHO, came, f"[{count}], some above 0", "give a row that counts a weight")
    share = share / share.sum()
    table = vocabulary.classifier()  # [size, D]
    logits = hidden.astype(np.float64) @ table.T.astype(np.float64)  # [T, size]
    logits[:, ~vocabulary.in_use()] = -np.inf
    logits[only, :TEXT_ROWS] = -np.inf
    logits -= logits.max(axis=1, keepdims=True)
    odds = np.exp(logits)
    odds /= odds.sum(axis=1, keepdims=True)
    rows, wanted = np.flatnonzero(scored), np.asarray(targets)[scored]
    loss = -float(share[rows] @ np.log(np.maximum(odds[rows, wanted], 1e-300)))
    right = np.zeros(count, bool)
    right[rows] = odds[rows].argmax(axis=1) == wanted
    odds[rows, wanted] -= 1.0
    odds *= share[:, None]  # now the gradient in the logits
    g_table = (odds.T @ hidden).astype(np.float32)  # [size, D]
    sides = {name: vocabulary.component(name) for name in vocabulary.components}
    g_classifier = {name: g_table[side.start : side.end + 1].copy() for name, side in sides.items()}
    return TokenLoss(loss, (odds @ table).astype(np.float32), g_classifier, right)


def _check_targets(vocabulary: Vocabulary, targets: Tokens, count: int, only: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Which rows count. Raises LatentError for targets that cannot be."""
    if targets.shape != (count,) or not np.issubdtype(targets.dtype, np.integer):
        came = f"targets {targets.dtype} {list(targets.shape)}"
        raise LatentError(_WHO, came, f"integers [{count}]", "give each row a token id, or -1 where it does not count")
    scored = np.asarray(targets != UNSCORED)
    wanted = targets[scored]
    if len(wanted) and (wanted.min() < 0 or wanted.max() >= vocabulary.size or not vocabulary.in_use()[wanted].all()):
        raise LatentError(_WHO, f"targets from {wanted.min()} to {wanted.max()}", f"ids in use, 0 to {vocabulary.size - 1}", "ask id() for tokens")
    if bool((targets[scored & only] < TEXT_ROWS).any()):
        raise LatentError(_WHO, "a byte as target among control rows", f"ids from {TEXT_ROWS} on", "set control_only to False there")
    return scored
