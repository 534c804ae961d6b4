"""Components that are not the bundle's: opened by tokens of their own, whether a board brings them or they come while the device runs."""

from pathlib import Path

import numpy as np
import pytest

from innervate.boards.emulator import make_still
from innervate.runtime.ali.errors import InnervateError, ManifestError, VocabularyError
from innervate.runtime.ali.manifest import load_manifest
from innervate.runtime.ali.registry import Registry
from innervate.runtime.ali.space import Floats
from innervate.runtime.backbone.bundle import Bundle
from innervate.runtime.backbone.engine import Engine
from innervate.runtime.backbone.side import TOKENS_FILE, SideTokens
from innervate.runtime.backbone.vocabulary import Vocabulary
from innervate.runtime.board import load_board
from innervate.runtime.loop.assemble import assemble
from innervate.runtime.loop.clock import VirtualClock
from innervate.runtime.loop.device import Device
from innervate.runtime.loop.events import Close, Open, Setpoint, Stop
from innervate.runtime.loop.limb import Voice
from innervate.runtime.loop.router import Router
from tests.bundles import EO_MOTOR, IDLE, SO_MOTOR
from tests.loop.parts import Body, Kept

LAMP = """\
[plugin]
name = "lamp"
version = "0.1.0"
summary = "two numbers to look at"
licence = "Apache-2.0"
[[component]]
name = "lamp"
kind = "downstream"
virtual = "tests.ali.parts:Servo"
decoder = "tests.ali.parts:PlainDecoder"
space_id = "SPACE"
tokens = "./tokens.npz"
safe = "dark"
hold_ms_max = 100
[component.limits.pan]
min = -90.0
max = 90.0
unit = "deg"
[component.limits.tilt]
min = -30.0
max = 30.0
unit = "deg"
"""
BOARD = """\
[board]
name = "side"
variant = "fp32"
world = "innervate.boards.emulator:make_still"
[component.force]
plugin = "force"
use = "virtual"
[component.pose]
plugin = "motor"
use = "virtual"
[component.motor]
plugin = "motor"
use = "virtual"
"""
LAMP_ON_BOARD = '[component.lamp]\nplugin = "lamp"\nuse = "virtual"\n'


def script(bundle: Bundle, vocabulary: Vocabulary, side: SideTokens, start_after: int, end_after: int) -> None:
    """Solve for rows that say `<so_>` after the token `start_after` and `<eo_>` after `end_after`, and lose everywhere else."""
    engine = Engine(bundle, "fp32")
    draws = np.random.default_rng(0)
    tokens = sorted({IDLE, SO_MOTOR, side.start, start_after, end_after, ord("x")})
    side.embedding[:] = vocabulary.row(EO_MOTOR)  # after which this model idles
    hidden: list[Floats] = []
    wanted: list[tuple[float, float]] = []
    for _ in range(80):
        engine.append((draws.standard_normal((9, engine.width)) * draws.uniform(0.0, 0.7)).astype(np.float32))
        for token in draws.permutation(tokens):
            h = engine.append(vocabulary.row(int(token))[None])[-1].copy()
            best = float(vocabulary.logits(h)[: vocabulary.base_size].max())
            hidden.append(h)
            wanted.append((best + (1.0 if token == start_after else -1.0), best + (1.0 if token == end_after else -1.0)))
    h_all, y = np.array(hidden, np.float64), np.array(wanted)
    solved = np.linalg.solve(h_all.T @ h_all + 1e-2 * np.eye(engine.width), h_all.T @ y)
    side.classifier[:] = solved.T


def device_of(folder: Path, bundle: Bundle, log: Kept, board: str) -> Device:
    (folder / "board.toml").write_text(board)
    registry = Registry(entry_points=False, more=[folder])
    clock = VirtualClock()
    return assemble(load_board(folder / "board.toml"), bundle, registry, clock, make_still(None), log)


@pytest.fixture
def lamp(tmp_path: Path, quiet_bundle: Path) -> Path:
    """A plugin folder whose component is opened in every tick."""
    bundle = Bundle.open(quiet_bundle)
    vocabulary = Vocabulary(bundle)
    side = vocabulary.add_component("acme/lamp")
    script(bundle, vocabulary, side, start_after=IDLE, end_after=ord("x"))
    side.save(tmp_path / "lamp" / TOKENS_FILE)
    (tmp_path / "lamp" / "plugin.toml").write_text(LAMP.replace("SPACE", bundle.header.space_id))
    return tmp_path


def test_a_plugin_with_tokens_is_opened_and_steered_like_the_motor(lamp: Path, quiet_bundle: Path) -> None:
    log = Kept()
    before = {path.name: path.read_bytes() for path in quiet_bundle.rglob("*") if path.is_file()}
    device = device_of(lamp, Bundle.open(quiet_bundle), log, BOARD + LAMP_ON_BOARD)
    assert device.router.vocabulary.control[-2:] == ("<so_acme/lamp>", "<eo_acme/lamp>")
    device.run(800_000_000)
    opened = [event for event in log.of(Open) if isinstance(event, Open)]
    assert [event.component for event in opened] == ["lamp"] * 10
    assert len(log.of(Setpoint)) == 20
    assert [event.cause for event in log.of(Stop) if isinstance(event, Stop)] == ["end of run", "end of run"]
    assert {path.name: path.read_bytes() for path in quiet_bundle.rglob("*") if path.is_file()} == before


def test_without_the_plugin_its_board_is_as_before(lamp: Path, quiet_bundle: Path) -> None:
    log = Kept()
    device = device_of(lamp, Bundle.open(quiet_bundle), log, BOARD)
    device.run(800_000_000)
    assert log.of(Open) == []


def test_missing_or_foreign_rows_are_named(lamp: Path, quiet_bundle: Path, tmp_path: Path) -> None:
    rows = (lamp / "lamp" / TOKENS_FILE).read_bytes()
    (lamp / "lamp" / TOKENS_FILE).write_bytes(rows[:400])
    with pytest.raises(VocabularyError, match=r"tokens.npz: cannot be read .*train the component again"):
        device_of(lamp, Bundle.open(quiet_bundle), Kept(), BOARD + LAMP_ON_BOARD)
    (lamp / "lamp" / TOKENS_FILE).unlink()
    with pytest.raises(InnervateError, match="No such file"):
        device_of(lamp, Bundle.open(quiet_bundle), Kept(), BOARD + LAMP_ON_BOARD)


@pytest.mark.parametrize("value", ["tokens.npz", "/etc/tokens.npz", "../tokens.npz", "./../tokens.npz"])
def test_a_manifest_names_rows_beside_itself(lamp: Path, value: str) -> None:
    path = lamp / "lamp" / "plugin.toml"
    path.write_text(path.read_text().replace("./tokens.npz", value))
    with pytest.raises(ManifestError, match=r"beside plugin\.toml"):
        load_manifest(path)


class Ring:
    """What an application looks like to the router."""

    def __init__(self, name: str = "ring") -> None:
        self.name = name
        self.up = True
        self.told: list[str] = []

    def steer(self, hidden: Floats, now_ns: int) -> bool:
        self.told.append("steer")
        return True

    def safe(self, now_ns: int, cause: str) -> None:
        self.told.append(cause)


class Live:
    """A router on a real engine and vocabulary, with no board."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.engine = Engine(bundle, "fp32")
        self.vocabulary = Vocabulary(bundle)
        self.log = Kept()
        self.router = Router(self.engine, self.vocabulary, {}, Voice(None, self.log), self.log)

    def turn(self) -> int:
        return self.router.emit(self.engine.append(self.vocabulary.row(IDLE)[None])[-1], 0)


@pytest.fixture
def live(quiet_bundle: Path) -> Live:
    return Live(Bundle.open(quiet_bundle))


def test_a_component_comes_and_goes_while_the_device_runs(live: Live) -> None:
    side = live.vocabulary.add_component("acme/ring")
    script(live.bundle, live.vocabulary, side, start_after=IDLE, end_after=ord("x"))
    assert live.turn() == 0, "nobody attached it, so its rows are never chosen"
    ring = Ring()
    live.router.attach(ring, "acme/ring")
    assert live.turn() == 1
    assert live.router.open == "ring"
    assert ring.told == ["steer"]
    assert set(live.engine.pins) == {"ring"}
    live.router.detach("ring", 0, "it left")
    assert ring.told == ["steer", "it left"]
    assert live.router.open is None
    assert live.engine.pins == {}
    assert [type(event) for event in live.log.events] == [Open, Close]
    live.vocabulary.remove_component("acme/ring")
    assert live.turn() == 0
    assert ring.told == ["steer", "it left"]


def test_the_model_closes_it_by_its_own_token(live: Live) -> None:
    side = live.vocabulary.add_component("acme/ring")
    script(live.bundle, live.vocabulary, side, start_after=IDLE, end_after=side.start)
    ring = Ring()
    live.router.attach(ring, "acme/ring")
    live.turn()
    assert [type(event) for event in live.log.events][:2] == [Open, Close]
    assert ring.told[0] == "closed by the model"


def test_one_that_fails_is_closed_and_the_model_is_told(live: Live) -> None:
    side = live.vocabulary.add_component("acme/ring")
    script(live.bundle, live.vocabulary, side, start_after=IDLE, end_after=ord("x"))
    ring = Ring()
    live.router.attach(ring, "acme/ring")
    live.turn()
    ring.up = False
    length = live.engine.length
    live.turn()
    assert ring.told[1] == "the component failed"
    assert live.engine.length == length + 3, "the query, its <eo_>, and <so_> again"


def test_what_cannot_be_attached_is_named(live: Live) -> None:
    with pytest.raises(VocabularyError, match=r"no tokens of 'acme/ring'.*add them first"):
        live.router.attach(Ring(), "acme/ring")
    live.vocabulary.add_component("acme/ring")
    live.router.attach(Ring(), "acme/ring")
    with pytest.raises(VocabularyError, match="attached already"):
        live.router.attach(Ring(), "acme/ring")
    with pytest.raises(VocabularyError, match="already open another component"):
        live.router.attach(Ring("other"), "acme/ring")
    live.router.detach("nobody", 0, "no effect")
    assert live.router.attached == ("ring",)


def test_ids_with_a_gap_are_scored_in_their_places(live: Live) -> None:
    live.vocabulary.add_component("a/first")
    side = live.vocabulary.add_component("acme/ring")
    live.vocabulary.remove_component("a/first")
    script(live.bundle, live.vocabulary, side, start_after=IDLE, end_after=ord("x"))
    ring = Ring()
    live.router.attach(ring, "acme/ring")
    for _ in range(5):
        live.turn()
    assert ring.told == ["steer"] * 5, "opened from all rows, opened again among the control rows"


def test_attaching_to_the_parts_of_other_tests_changes_nothing_for_the_motor() -> None:
    body = Body({IDLE: SO_MOTOR, SO_MOTOR: IDLE})
    assert body.router.attached == ("motor", "claw")
    assert body.emit() == 1
    assert body.router.open == "motor"
