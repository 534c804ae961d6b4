"""What the camera's driver, twin and encoder agree on."""

from typing import Annotated

import msgspec

SIDE = 96  # pixels of the encoder's square input
NS_PER_MS = 1_000_000


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[component.camera.options]` of a board; `plugin.toml` says what each means."""

    source: str = "0"
    width: Annotated[int, msgspec.Meta(ge=16, le=8192)] = 640
    height: Annotated[int, msgspec.Meta(ge=16, le=8192)] = 480
    stale_ms: Annotated[int, msgspec.Meta(ge=1)] = 1000
    start_ms: Annotated[int, msgspec.Meta(ge=1)] = 5000
    delay_ms: Annotated[float, msgspec.Meta(ge=0, le=1000)] = 0.0
    led: str = ""
    seed: int = 0
