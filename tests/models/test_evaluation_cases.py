"""Cases are repeatable, keep to what training never sees, and can be passed: an expert with perfect ears passes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from innervate.boards.emulator.scenario import AudioInput, load_scenario
from innervate.models.evaluation import others
from innervate.models.evaluation.cases import COUNTED, ROOM_SEED_MIN, ROWS, Case, make_case
from innervate.models.evaluation.judge import verdict
from innervate.models.evaluation.play import scenario_toml
from innervate.models.evaluation.sentences import another, holds_command
from innervate.models.evaluation.sound import HELD_OUT, SNR_DB, Script, coloured, trimmed
from innervate.models.language import HELD_OUT as HELD_OUT_PAIRS
from innervate.models.voices import HELD_OUT_VARIANTS
from innervate.runtime.ali.errors import DeviceError
from tests.models.expert_device import perform

SHORT_ROWS = [row for row in ROWS if row not in COUNTED]


def heard(case: Case) -> np.ndarray:
    (sound,) = [given for given in case.scenario.inputs if isinstance(given, AudioInput)]
    return sound.samples()


@pytest.mark.parametrize("row", SHORT_ROWS)
def test_the_expert_passes(row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[tuple[float, str]] = []
    ask = Script.ask

    def noted(self: Script, text: str, t_s: float, by: str) -> float:
        end_s = ask(self, text, t_s, by)
        ends.append((end_s, text))
        return end_s

    monkeypatch.setattr(Script, "ask", noted)
    for number in range(3):
        ends.clear()
        case = make_case(row, number, 11, HELD_OUT)
        assert verdict(case.expected, perform(case, ends)) == []


def test_a_case_is_a_function_of_its_number_and_seed() -> None:
    one, same, other = make_case("find", 3, 5, HELD_OUT), make_case("find", 3, 5, HELD_OUT), make_case("find", 3, 6, HELD_OUT)
    assert one.scenario.objects == same.scenario.objects and one.expected == same.expected
    assert np.array_equal(heard(one), heard(same))
    assert one.scenario.objects != other.scenario.objects


def test_voices_and_rooms_are_those_that_training_leaves_out() -> None:
    for number in range(4):
        case = make_case("stop", number, 0, HELD_OUT)
        assert case.scenario.seed >= ROOM_SEED_MIN
        assert any(f"+{variant}]" in case.said[-1][1] for variant in HELD_OUT_VARIANTS)


def test_held_out_pairs_are_asked_for_in_their_own_rows_alone() -> None:
    asked = {row: " ".join(what for k in range(12) for _, what in make_case(row, k, 0, HELD_OUT).said) for row in ("find", "follow", "find_held_out")}
    for colour, shape in HELD_OUT_PAIRS:
        assert f"{colour} {shape}" not in asked["find"] + asked["follow"]
        assert f"{colour} {shape}" in asked["find_held_out"]


def test_noise_lies_ten_decibels_under_the_voice() -> None:
    rng = np.random.default_rng(0)
    script = Script(rng, HELD_OUT)
    end_s = script.ask("look at the red cube", 1.0, "voice")
    pcm = script.track(end_s + 2.0).astype(float)
    noise = np.sqrt((pcm[round((end_s + 0.1) * 16000) :] ** 2).mean())
    assert 20 * np.log10(script.level / noise) == pytest.approx(SNR_DB, abs=1.0)


def test_coloured_noise_has_the_level_asked_for() -> None:
    for seed in range(5):
        noise = coloured(np.random.default_rng(seed), 16000)
        assert np.sqrt((noise**2).mean()) == pytest.approx(1.0, rel=1e-3)


def test_speech_ends_where_it_can_last_be_heard() -> None:
    tone = (8000 * np.sin(np.arange(3200))).astype(np.int16)
    silence = np.zeros(1600, np.int16)
    assert len(trimmed(np.concatenate([silence, tone, silence, silence]))) == 3200
    with pytest.raises(ValueError, match="without a sound"):
        trimmed(silence)


def test_other_sentences_hold_no_command() -> None:
    assert holds_command("please stop now") and holds_command("find the red cube over there")
    assert not holds_command("we stopped for lunch") and not holds_command("look at the")
    rng = np.random.default_rng(0)
    assert not any(holds_command(another(rng)) for _ in range(300))


def test_a_case_can_be_kept_as_a_scenario_file(tmp_path: Path) -> None:
    case = make_case("squeeze", 1, 0, HELD_OUT)
    path = tmp_path / "scenario.toml"
    path.write_text(scenario_toml(case.scenario, tmp_path), encoding="utf-8")
    loaded = load_scenario(path)
    assert (loaded.seed, loaded.duration_s, loaded.objects) == (case.scenario.seed, case.scenario.duration_s, case.scenario.objects)
    assert loaded.inputs[1:] == case.scenario.inputs[1:]
    assert np.array_equal(loaded.inputs[0].samples(), heard(case))  # type: ignore[union-attr]


def test_a_missing_synthesiser_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DeviceError, match="apt-get install flite"):
        others.voices()
    with pytest.raises(DeviceError, match="apt-get install flite"):
        others.say("hello", "flite:slt")
