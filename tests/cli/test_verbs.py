"""`innervate plugins`, `boards` and `check`; and what the device's start imports."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from innervate.runtime.board import board_paths
from innervate.runtime.cli import VERBS, main


def test_plugins_lists_components_and_limits(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins"]) == 0
    out = capsys.readouterr().out
    assert "pan -90 to 90 deg" in out
    assert "text_out" in out


def test_plugins_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert {one["plugin"]["name"] for one in listed["plugins"]} >= {"mic", "camera", "force", "motor", "text"}


def test_boards_lists_and_shows(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["boards"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in board_paths())
    assert main(["boards", "emulator"]) == 0
    assert "pan: -90 to 90 deg, at most 150 deg/s" in capsys.readouterr().out


def test_an_unknown_board_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["boards", "laptp"]) == 2
    assert "did you mean 'laptop'?" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["mic", "camera", "force", "motor", "text"])
def test_built_in_plugins_pass_the_published_checks(name: str, quiet_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", name, "--bundle", str(quiet_bundle)]) == 0
    out = capsys.readouterr().out
    assert "FAILS" not in out
    assert "every rule holds" in out


def test_an_unknown_plugin_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "camra"]) == 3
    assert "did you mean 'camera'?" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["run", "doctor", "plugins", "boards", "check"])
def test_a_verb_answers_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert verb in VERBS
    with pytest.raises(SystemExit) as caught:
        main([verb, "--help"])
    assert caught.value.code == 0
    assert f"usage: innervate {verb}" in capsys.readouterr().out


ALLOWED = {"innervate", "msgspec", "numpy", "onnxruntime", "typing_extensions"}
# What the allowed ones bring along: msgspec is compiled by Cython, editable installs have a finder.
BROUGHT = (
    "_cython",
    "cython",
    "_distutils_hack",
    "__editable__",
    "flatbuffers",
    "google",
    "packaging",
    "coloredlogs",
    "humanfriendly",
    "sympy",
    "mpmath",
)
STARTED = """\
import sys
before = set(sys.modules)
from innervate.runtime.cli import main
code = main(sys.argv[1:])
loaded = {name.partition(".")[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)
print(sorted(loaded), file=sys.stderr)
sys.exit(code)
"""


def test_the_start_of_a_device_imports_no_more_than_it_needs(tmp_path: Path, quiet_bundle: Path) -> None:
    parts = {"mic": "mic", "camera": "camera", "force": "force", "pose": "motor", "text_in": "text", "motor": "motor", "text_out": "text"}
    tables = "".join(f'[component.{name}]\nplugin = "{plugin}"\nuse = "virtual"\n' for name, plugin in parts.items())
    board = tmp_path / "board.toml"
    board.write_text(f'[board]\nname = "bench"\nvariant = "fp32"\nworld = "innervate.boards.emulator:make_still"\n{tables}')
    arguments = ["run", "--board", str(board), "--bundle", str(quiet_bundle), "--headless", "--duration", "0.4"]
    links = str(Path(__file__).parents[2] / ".links")
    done = subprocess.run([sys.executable, "-c", STARTED, *arguments], capture_output=True, text=True, check=True, env={"PYTHONPATH": links})
    loaded = set(json.loads(done.stderr.splitlines()[-1].replace("'", '"')))
    assert {name for name in loaded - ALLOWED if not name.startswith(BROUGHT)} == set()


def test_a_bundles_gradient_can_be_checked(quiet_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "gradient", "--bundle", str(quiet_bundle)]) == 0
    out = capsys.readouterr().out
    assert "holds  finite differences on the deployed weights, 57 latents" in out
    assert "dq8   8 latents: " in out
    assert "every rule holds" in out
