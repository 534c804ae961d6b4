"""espeak-ng in process and as a program: sound, words, voices, and what is said where it is missing."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from innervate.boards.emulator import espeak, speech
from innervate.boards.emulator.record import main
from innervate.boards.emulator.scenario import Scenario, SpeechInput
from innervate.boards.emulator.speech import speak, synthesiser
from innervate.boards.emulator.world import World
from innervate.runtime.ali.errors import DeviceError

SENTENCE = "look at the red cube"


def test_a_sentence_is_the_same_every_time_whatever_was_said_before() -> None:
    first = speak(SENTENCE, "en-gb+f2")
    synthesiser().say("something else", "en-us+m1")
    assert first.dtype == np.int16 and 0.8 < len(first) / 16000 < 2.5
    assert np.abs(first).max() > 3000
    assert np.array_equal(speak(SENTENCE, "en-gb+f2"), first)
    assert not np.array_equal(speak(SENTENCE, "en-us+m3"), first)


def test_words_are_aligned() -> None:
    said = synthesiser().say(SENTENCE, "en-gb+f2", rate_wpm=150, pitch=60)
    assert [SENTENCE[w.start : w.start + w.length] for w in said.words] == SENTENCE.split()
    starts = [w.sample for w in said.words]
    assert starts == sorted(starts) and starts[-1] < len(said.pcm)
    slow = synthesiser().say(SENTENCE, "en-gb+f2", rate_wpm=100)
    assert len(slow.pcm) > 1.3 * len(said.pcm)


def test_a_voice_that_is_not_known() -> None:
    for render in (speak, synthesiser().say):
        with pytest.raises(DeviceError, match=r"speech: espeak-ng does not know the voice 'en-xx'.*en-gb\+f2"):
            render("stop", "en-xx")
        with pytest.raises(DeviceError, match=r"no variant 'f22'.*did you mean \+f2"):
            render("stop", "en-gb+f22")


def test_a_machine_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr("ctypes.CDLL", absent)
    with pytest.raises(DeviceError, match="apt-get install espeak-ng"):
        speech.Synthesiser()


def test_a_crash_of_the_program_is_a_device_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "espeak.py"
    broken.write_text("raise SystemExit('out of voice')")
    monkeypatch.setattr(espeak, "__file__", str(broken))
    with pytest.raises(DeviceError, match=r"ended with status 1 on voice 'en-gb' \(out of voice\)"):
        speak("stop")


def test_a_hang_of_the_program_is_a_device_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stuck = tmp_path / "espeak.py"
    stuck.write_text("while True: pass")
    monkeypatch.setattr(espeak, "__file__", str(stuck))
    monkeypatch.setattr(speech, "SPEAK_S_MAX", 0.2)
    with pytest.raises(DeviceError, match="hung on 'stop'"):
        speak("stop")


def test_speech_is_heard_in_the_world() -> None:
    with World(Scenario(inputs=(SpeechInput(0.5, "stop"),))) as world:
        heard = world.audio(0, 2_000_000_000).astype(float)
    assert np.abs(heard[:8000]).max() < 30 and np.abs(heard[8000:]).max() > 3000


def test_record_writes_a_wav(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "said.wav"
    assert main([SENTENCE, str(file), "--voice", "en-gb+f2", "--rate", "150"]) == 0
    with wave.open(str(file)) as sound:
        assert (sound.getframerate(), sound.getnchannels(), sound.getsampwidth()) == (16000, 1, 2)
        assert sound.getnframes() == len(speak(SENTENCE, "en-gb+f2", rate_wpm=150))
    assert main([SENTENCE, str(file), "--voice", "en-xx"]) == 1
    assert "does not know the voice" in capsys.readouterr().err
    assert main([SENTENCE, str(tmp_path / "none" / "said.wav")]) == 1
