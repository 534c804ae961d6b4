import textwrap
from pathlib import Path

import pytest

from innervate.runtime import board as module
from innervate.runtime.ali.errors import BoardError
from innervate.runtime.ali.registry import Registry
from innervate.runtime.board import Board, Wiring, board_paths, find_board, load_board

GOOD = """\
[board]
name = "test"
summary = "a test"
[component.mic]
plugin = "mic"
use = "virtual"
[component.mic.options]
loop = true
[component.motor]
plugin = "motor"
use = "virtual"
[component.motor.limits.pan]
min_deg = -45.0
rate_max_deg_s = 90.0
"""


def load(folder: Path, text: str = GOOD) -> Board:
    path = folder / "test.toml"
    path.write_text(text)
    return load_board(path)


def wiring(board: Board, name: str) -> Wiring:
    return next(one for one in board.components if one.name == name)


def test_a_good_board(tmp_path: Path) -> None:
    board = load(tmp_path)
    registry = Registry(entry_points=False)
    assert [one.name for one in board.components] == ["mic", "motor"]
    assert (board.threads, board.variant, board.world, board.has_drivers) == (1, "auto", None, False)
    mic, motor = wiring(board, "mic"), wiring(board, "motor")
    assert board.options(mic, registry.component("mic", "mic"))["loop"] is True
    pan = board.limits(motor, registry.component("motor", "motor"))["pan"]
    assert (pan.min, pan.max, pan.rate_max) == (-45.0, 90.0, 90.0)


def test_the_example_in_the_docstring_is_a_board(tmp_path: Path) -> None:
    text = (module.__doc__ or "").split("\n\n", 1)[1].replace("gain_db = 0.0", "")
    path = tmp_path / "example.toml"
    # The motor's limits stand alone in the example; its wiring is like the microphone's.
    path.write_text(textwrap.dedent(text) + '\n[component.motor]\nplugin = "motor"\nuse = "virtual"\n')
    assert load_board(path).world == "innervate.boards.emulator:make_world"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("summary =", "sumary =", r"board\.sumary: unknown key; .*did you mean 'summary'"),
        ("[component.mic]", "[componet.mic]", "did you mean 'component'"),
        ('plugin = "mic"', 'plug = "mic"', r"component\.mic\.plug: unknown key; .*'plugin'"),
        ('use = "virtual"', 'use = "real"', "real"),
        ('use = "virtual"\n[component.mic', "[component.mic", "use"),
        ('name = "test"', "", "name"),
        ('summary = "a test"', "threads = 0", "threads"),
        ('summary = "a test"', 'threads = "four"', "threads|int"),
        ("[board]", "[board", "not TOML"),
    ],
)
def test_a_wrong_board_is_refused(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in GOOD
    with pytest.raises(BoardError, match=words):
        load(tmp_path, GOOD.replace(old, new, 1))


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        ("mic", "loop = true", "lop = true", "did you mean 'loop'"),
        ("mic", "loop = true", 'loop = "yes"', "'yes'; expected a value like False"),
        ("motor", "min_deg", "min_rad", "did you mean 'min_deg'"),
        ("motor", "-45.0", "-95.0", "no wider than -90"),
        ("motor", "= 90.0", "= 151.0", "no wider than 150"),
        ("motor", "-45.0", "90.0", "min < max"),
        ("motor", "limits.pan", "limits.pam", "did you mean 'pan'"),
    ],
)
def test_options_and_limits_are_checked_against_the_manifest(tmp_path: Path, name: str, old: str, new: str, words: str) -> None:
    board = load(tmp_path, GOOD.replace(old, new, 1))
    entry = Registry(entry_points=False).component(name, name)
    with pytest.raises(BoardError, match=words):
        board.options(wiring(board, name), entry)
        board.limits(wiring(board, name), entry)


def test_a_board_without_components_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BoardError, match="component"):
        load(tmp_path, '[board]\nname = "x"\n[component]\n')


def test_boards_are_found_by_name_or_path() -> None:
    assert find_board("./x.toml") == Path("x.toml")
    with pytest.raises(BoardError, match="is not known"):
        find_board("no such board")
    with pytest.raises(BoardError, match="cannot be read"):
        load_board(Path("/nonexistent/x.toml"))


@pytest.mark.parametrize("name", sorted(board_paths()))
def test_boards_that_ship_fit_the_plugins_that_ship(name: str) -> None:
    board = load_board(find_board(name))
    registry = Registry(entry_points=False)
    assert board.name == name
    for one in board.components:
        entry = registry.component(one.plugin, one.name)
        board.options(one, entry)
        board.limits(one, entry)
        assert (entry.virtual if one.use == "virtual" else entry.driver) is not None
