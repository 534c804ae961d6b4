import textwrap
from pathlib import Path

import pytest

from innervate.runtime.ali import manifest as module
from innervate.runtime.ali.errors import ManifestError
from innervate.runtime.ali.manifest import load_manifest

GOOD = """\
[plugin]
name = "claw"
version = "0.1.0"
summary = "a claw"
licence = "Apache-2.0"

[[component]]
name = "claw"
kind = "downstream"
virtual = "claw:Twin"
decoder = "claw:Decoder"
graph = "claw.decoder"
safe = "open"
hold_ms_max = 100

[component.limits.grip]
min = 0.0
max = 10.0
unit = "n"

[component.options]
port = "/dev/ttyACM0"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "plugin.toml"
    path.write_text(text)
    return path


def test_a_good_manifest(tmp_path: Path) -> None:
    manifest = load_manifest(write(tmp_path, GOOD))
    claw = manifest.find("claw")
    assert claw is not None
    assert claw.limits["grip"].limit().clamp(99.0) == 10.0
    assert claw.options == {"port": "/dev/ttyACM0"}
    assert not claw.is_sink
    assert manifest.find("leg") is None


def test_the_example_in_the_docstring_is_a_manifest(tmp_path: Path) -> None:
    text = (module.__doc__ or "").split("\n\n", 1)[1].rsplit("\n\nA component", 1)[0]
    assert load_manifest(write(tmp_path, textwrap.dedent(text))).plugin.name == "force"


LINES = ["name = ", "version = ", "summary = ", "licence = ", "kind = ", "virtual = ", "graph = ", "safe = ", "hold_ms_max = ", "unit = "]


@pytest.mark.parametrize("field", LINES)
def test_a_manifest_without_a_field_is_refused(tmp_path: Path, field: str) -> None:
    lines = GOOD.splitlines(keepends=True)
    lines.remove(next(line for line in lines if line.startswith(field)))
    with pytest.raises(ManifestError) as caught:
        load_manifest(write(tmp_path, "".join(lines)))
    assert str(tmp_path / "plugin.toml") in caught.value.who
    assert caught.value.next_step


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("summary =", "sumary =", "did you mean 'summary'"),
        ("hold_ms_max =", "hold_ms =", "did you mean 'hold_ms_max'"),
        ('unit = "n"', 'unit = "n"\nmaximum = 3.0', "did you mean 'max'"),
        ('"downstream"', '"sideways"', "sideways"),
        ("hold_ms_max = 100", 'hold_ms_max = "long"', "int"),
        ('"claw:Twin"', '"claw.Twin"', "module:attribute"),
        ("min = 0.0", "min = 11.0", "min < max"),
        ("[plugin]", "[plugin", "not TOML"),
    ],
)
def test_a_wrong_manifest_is_refused(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in GOOD
    with pytest.raises(ManifestError, match=words):
        load_manifest(write(tmp_path, GOOD.replace(old, new)))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="cannot be read"):
        load_manifest(tmp_path / "plugin.toml")


def test_a_downstream_component_without_decoder_takes_bytes(tmp_path: Path) -> None:
    text = GOOD.replace('decoder = "claw:Decoder"\n', "").replace('graph = "claw.decoder"\n', "")
    claw = load_manifest(write(tmp_path, text)).find("claw")
    assert claw is not None
    assert claw.is_sink
