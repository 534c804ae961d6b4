"""Latent spaces: what makes two latents comparable, and how two ends agree before anything is plugged in.

Rules: a space is named by a hash of the fp32 weights, the tap and the norm (`space_id`); the quantisation adds to that
(`exact_id`). Two ends may be joined when their `space_id` is the same, or when an adapter from one to the other has
been declared. Anything else is refused with both identities in the message. There is no silent mixing.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from innervate.runtime.ali.errors import SpaceMismatch

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Space:
    """Identity of a latent space.

    `width` is D. `rate_hz` is the latents per second that an encoder was trained at (None: any). `norm` names the norm
    that was applied at the tap.
    """

    space_id: str
    exact_id: str
    width: int
    rate_hz: float | None = None
    norm: str = "rms"

    def __str__(self) -> str:
        return f"{self.space_id[:12]} (width {self.width}, exact {self.exact_id[:12]})"


@dataclass(frozen=True, slots=True)
class Adapter:
    """A declared map from one space to another: `apply` takes [T, D_source] float32 and gives [T, D_target] float32."""

    source_id: str
    target: Space
    apply: Callable[[Floats], Floats]


def negotiate(who: str, declared: Space, offered: Space, adapters: Iterable[Adapter] = ()) -> Adapter | None:
    """Agree on how latents of the space `declared` by component `who` enter the `offered` space of the backbone.

    Returns None when they are the same space, an adapter when one is declared. Raises SpaceMismatch otherwise.
    """
    if declared.space_id == offered.space_id and declared.width == offered.width:
        return None
    for adapter in adapters:
        if adapter.source_id == declared.space_id and adapter.target.space_id == offered.space_id:
            return adapter
    raise SpaceMismatch(
        who,
        f"speaks latent space {declared.space_id} (width {declared.width})",
        f"the backbone's {offered.space_id} (width {offered.width})",
        "use the component that ships with this bundle, retrain it for this space, or declare an adapter",
    )
