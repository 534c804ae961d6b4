"""Scenario files: what they mean, and an error with four parts for everything that is wrong with one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from innervate.boards.emulator.record import write_wav
from innervate.boards.emulator.scenario import AudioInput, Scenario, SpeechInput, SqueezeInput, TextInput, load_scenario
from innervate.boards.emulator.scene import SceneObject
from innervate.runtime.ali.errors import ScenarioError

EVERYTHING = """
[run]
duration_s = 8
seed = 7
[[object]]
shape = "cube"
colour = "red"
pan_deg = 35
tilt_deg = -5.0
distance_m = 0.9
pan_rate_deg_s = 2.5
[[object]]
shape = "ball"
colour = "white"
pan_deg = -10.0
[[input]]
t_s = 0.5
kind = "audio"
wav = "said.wav"
gain_db = -3.0
[[input]]
t_s = 1
kind = "speech"
text = "look at the red cube"
voice = "en-gb+f2"
[[input]]
t_s = 4.0
kind = "squeeze"
force_n = [[0, 0], [0.3, 12.0], [1.0, 12.0], [1.2, 0.0]]
[[input]]
t_s = 1.0
kind = "text"
text = "what do you see"
"""
OBJECT = '[[object]]\nshape = "cube"\ncolour = "red"\npan_deg = 1.0\n'
SQUEEZE = '[[input]]\nt_s = 0.0\nkind = "squeeze"\n'


def write(folder: Path, text: str) -> Path:
    file = folder / "scene.toml"
    file.write_text(text)
    return file


def test_a_whole_scenario(tmp_path: Path) -> None:
    write_wav(tmp_path / "said.wav", np.arange(100, dtype=np.int16))
    made = load_scenario(write(tmp_path, EVERYTHING))
    assert (made.duration_s, made.seed, made.noise) == (8.0, 7, None)
    assert made.objects == (SceneObject("cube", "red", 35.0, -5.0, 0.9, 2.5), SceneObject("ball", "white", -10.0))
    audio, speech, squeeze, text = made.inputs
    assert isinstance(audio, AudioInput) and (audio.t_s, audio.gain_db) == (0.5, -3.0)
    assert np.array_equal(audio.samples(), np.arange(100))
    assert speech == SpeechInput(1.0, "look at the red cube", "en-gb+f2")
    assert squeeze == SqueezeInput(4.0, ((0.0, 0.0), (0.3, 12.0), (1.0, 12.0), (1.2, 0.0)))
    assert text == TextInput(1.0, "what do you see")


def test_what_may_be_left_out(tmp_path: Path) -> None:
    assert load_scenario(write(tmp_path, "")) == Scenario(duration_s=10.0, seed=0)


def test_a_squeeze_is_linear_between_its_points_and_nothing_outside() -> None:
    squeeze = SqueezeInput(4.0, ((0.0, 0.0), (0.4, 12.0), (1.0, 12.0)))
    at = [squeeze.force_at(t) for t in (3.9, 4.0, 4.2, 4.7, 5.0, 5.1)]
    assert at == pytest.approx([0.0, 0.0, 6.0, 12.0, 12.0, 0.0])


def test_an_absolute_wav_path(tmp_path: Path) -> None:
    (tmp_path / "sounds").mkdir()
    sound = tmp_path / "sounds" / "said.wav"
    write_wav(sound, np.ones(10, np.int16))
    made = load_scenario(write(tmp_path, f'[[input]]\nt_s = 0.0\nkind = "audio"\nwav = "{sound}"\n'))
    assert isinstance(made.inputs[0], AudioInput) and made.inputs[0].wav == sound


WRONG = {
    "unknown table": ('[[objekt]]\nshape = "cube"\n', ["unknown key 'objekt'", "did you mean 'object'"]),
    "unknown run key": ("[run]\nduration = 3.0\n", ["[run]", "unknown key 'duration'", "did you mean 'duration_s'"]),
    "unknown object key": (OBJECT + "distance = 1.0\n", ["[[object]] 1", "'distance'", "did you mean 'distance_m'"]),
    "unknown input key": (SQUEEZE + "force = []\n", ["[[input]] 1 (squeeze)", "did you mean 'force_n'"]),
    "key of another kind": (
        '[[input]]\nt_s = 0.0\nkind = "speech"\ntext = "stop"\ngain_db = 1.0\n',
        ["(speech)", "unknown key 'gain_db'", "one of t_s, kind, text, voice"],
    ),
    "unknown shape": (OBJECT.replace("cube", "cub"), ["shape = 'cub'", "one of cube", "did you mean 'cube'"]),
    "unknown colour": (OBJECT.replace("red", "rad"), ["colour = 'rad'", "did you mean 'red'"]),
    "unknown kind": ('[[input]]\nt_s = 0.0\nkind = "speach"\n', ["kind = 'speach'", "did you mean 'speech'"]),
    "no kind": ("[[input]]\nt_s = 0.0\n", ["[[input]] 1", "kind is missing", "add kind = ..."]),
    "no time": ('[[input]]\nkind = "text"\ntext = "hi"\n', ["t_s is missing", "a number from 0"]),
    "no pan": ('[[object]]\nshape = "cube"\ncolour = "red"\n', ["pan_deg is missing", "-180 to 180"]),
    "text for a number": (OBJECT.replace("1.0", '"left"'), ["pan_deg = 'left'", "a number from -180 to 180"]),
    "true for a number": (OBJECT.replace("1.0", "true"), ["pan_deg = True"]),
    "not finite": (OBJECT.replace("1.0", "nan"), ["pan_deg = nan"]),
    "too far": (OBJECT + "distance_m = 40.0\n", ["distance_m = 40.0", "from 0.2 to 3"]),
    "negative time": ('[[input]]\nt_s = -1.0\nkind = "text"\ntext = "hi"\n', ["t_s = -1.0"]),
    "no duration": ("[run]\nduration_s = 0.0\n", ["duration_s = 0.0", "from 0.08 to 86400"]),
    "broken seed": ("[run]\nseed = 1.5\n", ["seed = 1.5", "a whole number"]),
    "number for a text": ('[[input]]\nt_s = 0.0\nkind = "text"\ntext = 5\n', ["text = 5", "a text in quotes"]),
    "empty text": ('[[input]]\nt_s = 0.0\nkind = "text"\ntext = " "\n', ["one line that is not empty"]),
    "two lines": ('[[input]]\nt_s = 0.0\nkind = "text"\ntext = "a\\nb"\n', ["one line that is not empty"]),
    "no points": (SQUEEZE, ["force_n is missing", "points [seconds, newtons]"]),
    "empty points": (SQUEEZE + "force_n = []\n", ["force_n = []"]),
    "flat points": (SQUEEZE + "force_n = [0.0, 1.0]\n", ["write [[0.0, 0.0], [0.3, 12.0]"]),
    "points back in time": (SQUEEZE + "force_n = [[1.0, 2.0], [0.5, 2.0]]\n", ["rising seconds"]),
    "negative force": (SQUEEZE + "force_n = [[0.0, -2.0]]\n", ["0 to 100 newtons"]),
    "single brackets": ('[object]\nshape = "cube"\n', ["object is not a list of tables", "[[object]]"]),
    "run is no table": ("run = 3\n", ["run = 3", "write it as [run]"]),
    "no TOML": ("[run\n", ["not TOML", "line 1"]),
    "too many objects": (OBJECT * 13, ["13 [[object]] tables", "at most 12"]),
    "missing sound": (
        '[[input]]\nt_s = 0.0\nkind = "audio"\nwav = "none.wav"\n',
        ["[[input]] 1 (audio)", "none.wav", "no such file", "relative to the scenario file"],
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said(tmp_path: Path, case: str) -> None:
    text, words = WRONG[case]
    file = write(tmp_path, text)
    with pytest.raises(ScenarioError) as caught:
        load_scenario(file)
    message = str(caught.value)
    assert message.startswith(f"scenario {file}")
    for word in words:
        assert word in message
    assert caught.value.came and caught.value.expected and caught.value.next_step


def test_second_of_several_tables_is_named(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"\[\[object\]\] 2"):
        load_scenario(write(tmp_path, OBJECT + OBJECT.replace("red", "pink")))


def test_missing_file_folder_and_binary(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="no such file"):
        load_scenario(tmp_path / "none.toml")
    with pytest.raises(ScenarioError, match="cannot be read"):
        load_scenario(tmp_path)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ScenarioError, match="not TOML"):
        load_scenario(tmp_path / "binary.toml")


def test_audio_needs_a_file_or_an_array() -> None:
    with pytest.raises(ScenarioError, match="neither wav nor pcm"):
        AudioInput(0.0).samples()


@given(
    st.sampled_from(["run", "object", "input", "x"]),
    st.dictionaries(
        st.sampled_from(["shape", "colour", "pan_deg", "t_s", "kind", "text", "force_n", "wav", "seed", "y"]),
        st.one_of(
            st.integers(-9, 9), st.floats(), st.booleans(), st.sampled_from(["cube", "red", "text", "squeeze", "audio"])
        ),
    ),
)
def test_any_table_is_read_or_refused_by_a_scenario_error(
    tmp_path_factory: pytest.TempPathFactory, name: str, table: dict[str, object]
) -> None:
    """Invariant: no input makes the reader raise anything but ScenarioError."""
    rows = [f"{k} = {str(v).lower() if not isinstance(v, str) else repr(v)}" for k, v in table.items()]
    for head in (f"[{name}]", f"[[{name}]]"):
        file = tmp_path_factory.getbasetemp() / "any.toml"
        file.write_text("\n".join([head, *rows]))
        try:
            load_scenario(file)
        except ScenarioError:
            pass
