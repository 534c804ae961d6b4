"""A component that listens to another one: it is shown what that one sensed, in the same tick."""

from pathlib import Path

import numpy as np
import pytest

from innervate.runtime.ali.errors import BoardError, ManifestError
from innervate.runtime.ali.manifest import load_manifest
from innervate.runtime.ali.registry import Registry
from innervate.runtime.ali.tap import Tap
from innervate.runtime.backbone.bundle import Bundle
from innervate.runtime.board import load_board
from innervate.runtime.loop.assemble import assemble
from innervate.runtime.loop.clock import VirtualClock
from tests.loop.parts import Kept, Sense

BOARD = """
[board]
name = "still"
world = "innervate.boards.emulator:make_still"
{components}
"""
MANIFEST = """
[plugin]
name = "grip"
version = "1"
summary = "says what it listened to"
licence = "Apache-2.0"
[[component]]
name = "grip"
kind = "{kind}"
virtual = "tests.loop.test_listening:Listener"
encoder = "innervate.plugins.text.latent:ByteEncoder"
graph = "rows"
listens = "{source}"
"""


class Listener:
    """Never made here."""


def test_a_tap_keeps_the_newest() -> None:
    sense = Sense(Kept())
    tap = Tap("mic", capacity=2)
    sense.upstream.taps.append(tap)
    sense.upstream.start(0)
    sense.give(10, 20, 30)
    packets = sense.upstream.collect(40)
    taken = tap.take()
    assert [sample.t_ns for sample, _ in taken] == [20, 30]
    assert [latents for _, latents in taken] == packets[1:]
    assert (tap.lost, tap.take()) == (1, [])


def test_a_run_can_be_listened_to(quiet_bundle: Path, tmp_path: Path) -> None:
    from innervate.boards.emulator import make_still

    (tmp_path / "board.toml").write_text(BOARD.format(components='[component.force]\nplugin = "force"\nuse = "virtual"'))
    tap = Tap("force")
    clock = VirtualClock()
    board, bundle = load_board(tmp_path / "board.toml"), Bundle.open(quiet_bundle)
    device = assemble(board, bundle, Registry(), clock, make_still(None), Kept(), taps={"force": tap})
    device.run(800_000_000)
    taken = tap.take()
    assert len(taken) == 10
    assert all(latents.data.shape == (1, bundle.header.width) and sample.data.dtype == np.float32 for sample, latents in taken)


def plugin(folder: Path, kind: str = "upstream", source: str = "force") -> Path:
    (folder / "grip").mkdir(exist_ok=True)
    path = folder / "grip" / "plugin.toml"
    path.write_text(MANIFEST.format(kind=kind, source=source))
    return path


def test_only_a_sense_listens(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no such key in a downstream component"):
        load_manifest(plugin(tmp_path, kind="downstream"))


@pytest.mark.parametrize("source", ["microphone", "grip"])
def test_nobody_to_listen_to(source: str, quiet_bundle: Path, tmp_path: Path) -> None:

    path = plugin(tmp_path, source=source)
    path.write_text(path.read_text().replace("tests.loop.test_listening:Listener", "innervate.plugins.text.virtual:VirtualKeyboard"))
    (tmp_path / "board.toml").write_text(BOARD.format(components='[component.grip]\nplugin = "grip"\nuse = "virtual"'))
    board = load_board(tmp_path / "board.toml")
    with pytest.raises(BoardError, match=f"no component {source} to listen to"):
        assemble(board, Bundle.open(quiet_bundle), Registry(more=[tmp_path]), VirtualClock(), None, Kept())
