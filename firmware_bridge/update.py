"""A new firmware over the link: choose the image for the free slot, send it, restart, look whether it lives, confirm.

The firmware checks size, target, version, CRC-32, SHA-256 and signature by itself and refuses (firmware/core/image.h); what can be told from here is
told before anything is erased. Without `confirm` the next restart goes back to the old image: so it does when this program, the cable or the new
image fails at any moment.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from innervate.firmware_bridge.image import ANY_SLOT, Image
from innervate.firmware_bridge.link import Link, LinkError
from innervate.firmware_bridge.messages import About, Capability, ImageBegin, ImageConfirm, ImageData, ImageEnd, Reset, Status
from innervate.firmware_bridge.messages import Image as Refusal
from innervate.firmware_bridge.session import State
from innervate.firmware_bridge.window import WINDOW, Replied

CHUNK = 128
ERASE_TIMEOUT_S = 10.0
CHECK_TIMEOUT_S = 10.0  # SHA-256 and Ed25519 take about a second without hardware for either
RESTART_TIMEOUT_S = 10.0
HEALTHY_SAMPLES = 100  # telemetry frames of the new image before it is confirmed: half a second

REFUSALS = {
    Refusal.ORDER: "the running image is not confirmed yet; restart the board, it goes back to the older one",
    Refusal.SIZE: "the image does not fit its slot, or arrived incomplete; try again",
    Refusal.MAGIC: "this is no firmware image; give a file made by `image pack`",
    Refusal.TARGET: "the image is for another board or the other slot",
    Refusal.OLDER: "the image is not newer than the running one",
    Refusal.CRC: "the image was damaged on the way; try again",
    Refusal.SHA: "the image was damaged on the way; try again",
    Refusal.SIGNATURE: "the signature is not of the key that this firmware trusts; sign it with that key",
    Refusal.FLASH: "the flash cannot be written (QEMU has none); on a board, its memory is worn out or protected",
}


def _about(link: Link) -> About:
    link.wait(lambda: link.info.about is not None, 5.0)
    about = link.info.about
    assert about is not None  # wait saw it
    return about


def choose(images: Sequence[Image], about: About, link: Link) -> Image:
    """Return the image of `images` for this board's free slot. Raises LinkError when there is none, or none newer."""
    welcome = link.info.welcome
    url = link.info.url
    fitting = [i for i in images if welcome is not None and i.target is welcome.port and i.slot in (1 - about.slot, ANY_SLOT)]
    if not fitting:
        have = ", ".join(f"{i.target.name.lower()} slot {i.slot}" for i in images) or "none"
        port = welcome.port.name.lower() if welcome else "unknown"
        raise LinkError(url, f"images for {have}", f"{port} slot {1 - about.slot}", "make -C firmware_bridge/firmware update VERSION=...")
    best = max(fitting, key=lambda i: i.version)
    if best.version <= about.version:
        raise LinkError(url, f"version {best.version}", f"above the running version {about.version}", "build with a higher VERSION")
    return best


def _accept(link: Link, reply: Replied, what: str) -> None:
    if reply.status is Status.OK:
        return
    why = REFUSALS.get(Refusal(reply.detail), "") if reply.status is Status.IMAGE and reply.detail in list(Refusal) else ""
    if reply.status is Status.UNSUPPORTED:
        why = "this board cannot be updated over the link"
    raise LinkError(link.info.url, f"{what} refused ({reply.status.name.lower()})", "", why or "see firmware/core/image.h")


def _send(link: Link, raw: bytes, progress: Callable[[float], None] | None) -> None:
    flying: deque[int] = deque()
    for at in range(0, len(raw), CHUNK):
        piece = raw[at : at + CHUNK]
        flying.append(link.send(ImageData(at, len(piece), piece.ljust(CHUNK, b"\0"))))
        if len(flying) >= WINDOW:
            _accept(link, link.answer(flying.popleft(), 10.0), "image data")
        if progress:
            progress(at / len(raw))
    while flying:
        _accept(link, link.answer(flying.popleft(), 10.0), "image data")


def flash(link: Link, images: Sequence[Image], progress: Callable[[float], None] | None = None) -> About:
    """Update the firmware behind `link` and return what then runs. `progress` is called with 0 to 1.

    Raises LinkError with the next step: nothing fits, refused, or the new image does not come up, in which case the board has gone back.
    """
    about = _about(link)
    if not about.capabilities & Capability.FLASH:
        raise LinkError(link.info.url, "this port has no flash", "a board with two slots", "flash it with a probe")
    image = choose(images, about, link)
    raw = image.to_bytes()
    _accept(link, link.request(ImageBegin(len(raw)), ERASE_TIMEOUT_S), "update")
    _send(link, raw, progress)
    _accept(link, link.request(ImageEnd(), CHECK_TIMEOUT_S), "image")
    old = link.info
    assert old.welcome is not None
    link.send(Reset(old.welcome.boot_id))
    link.wait(lambda: link.info.session > old.session and link.info.state in (State.LIVE, State.LIMITED), RESTART_TIMEOUT_S)
    now = _about(link)
    if now.version != image.version:
        raise LinkError(link.info.url, f"version {now.version} runs", f"version {image.version}", "the new image did not start; the old one is back")
    seen = 0

    def healthy() -> bool:
        nonlocal seen
        seen += len(link.drain())
        return seen >= HEALTHY_SAMPLES

    link.wait(healthy, RESTART_TIMEOUT_S)
    welcome = link.info.welcome
    assert welcome is not None
    _accept(link, link.request(ImageConfirm(welcome.boot_id), CHECK_TIMEOUT_S), "confirmation")
    if progress:
        progress(1.0)
    return now
