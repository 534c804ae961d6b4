"""What the microphone's driver, twin and encoder agree on."""

import msgspec

RATE_HZ = 16_000
BLOCK = 1_280  # samples a latent: 80 ms, one tick
BLOCK_NS = 80_000_000
BACKLOG_BLOCKS = 12  # about a second of sound is kept for a reader that falls behind; older blocks are dropped and counted


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[component.mic.options]` of a board; `plugin.toml` says what each means."""

    device: str = ""
    led: str = ""
    wav: str = ""
    loop: bool = False
