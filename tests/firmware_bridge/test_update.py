"""A new firmware over a real link, on the host port with its simulated flash."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from innervate.firmware_bridge import image as images
from innervate.firmware_bridge import update
from innervate.firmware_bridge.link import Link, LinkError
from innervate.firmware_bridge.messages import Port
from innervate.runtime.loop.clock import RealClock
from tests.firmware_bridge.served import Served
from tests.firmware_bridge.test_image import board

CODE = random.Random(3).randbytes(6000)


@pytest.fixture
def link() -> Iterator[Link]:
    with Served(board()) as served:
        made = Link.open(served.url, RealClock(), 10.0)
        yield made
        made.close()


def image(version: int, slot: int = images.ANY_SLOT, seed: bytes | None = images.DEVELOPMENT_SEED) -> images.Image:
    return images.make(CODE, Port.HOST, slot, version, seed)


def test_the_right_one_of_two_images_goes_to_the_free_slot(link: Link) -> None:
    told: list[float] = []
    now = update.flash(link, [image(2, 0), image(2, 1)], told.append)
    assert (now.version, now.slot) == (2, 1) and told[0] == 0.0 and told[-1] == 1.0
    now = update.flash(link, [image(3, 0), image(3, 1)])
    assert (now.version, now.slot) == (3, 0)


@pytest.mark.parametrize(
    ("offered", "says"),
    [
        ([], "make -C firmware_bridge/firmware update"),
        ([image(2, 0)], "slot 1"),
        ([images.make(CODE, Port.STM32F405, 1, 2)], "stm32f405"),
        ([image(1)], "higher VERSION"),
        ([image(2, seed=None)], "sign it"),
        ([images.make(bytes(20000), Port.HOST, 255, 2)], "does not fit"),
    ],
    ids=["nothing", "other slot", "other board", "not newer", "unsigned", "too large"],
)
def test_what_cannot_be_flashed_says_why(link: Link, offered: list[images.Image], says: str) -> None:
    with pytest.raises(LinkError, match=says):
        update.flash(link, offered)
    assert link.info.about is not None and link.info.about.version == 1
