"""The microphone's driver on real PyAudio, real PortAudio and real ALSA, with a sound card made of files."""

import os
import subprocess
import sys
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyaudio
import pytest

from innervate.boards.emulator.alsa import Card, build_plugin, make_card
from innervate.plugins.mic.driver import Microphone
from innervate.plugins.mic.settings import BLOCK
from innervate.runtime.ali.component import Sample
from innervate.runtime.ali.conformance import check_sensor
from innervate.runtime.ali.errors import BoardError, DeviceError
from innervate.runtime.loop.clock import RealClock
from tests.plugins.parts import context

WAIT_S = 5.0  # for a block that comes every 80 ms; long only when the machine is overloaded
NOISE = np.random.default_rng(0).integers(-30_000, 30_000, 16 * BLOCK).astype("<i2")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("alsa")


@pytest.fixture
def plug_in(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Card]]:
    """Make ALSA see one file card; `plug_in(capture=..., playback=...)`."""

    def plug(**wiring: object) -> Card:
        card = make_card(tmp_path / "card", cache=cache, **wiring)  # type: ignore[arg-type]
        for key, value in card.environ.items():
            monkeypatch.setenv(key, value)
        return card

    yield plug


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    path = tmp_path / "noise.raw"
    NOISE.tofile(path)
    return path


def microphone(**options: Any) -> Microphone:
    return Microphone(context("mic", "mic", RealClock(), **options))


def hear(mic: Microphone, blocks: int) -> list[Sample]:
    samples = [mic.read(WAIT_S) for _ in range(blocks)]
    assert None not in samples
    return [sample for sample in samples if sample is not None]


def test_capture_is_exact_and_stamped_when_the_sound_was_in_the_air(plug_in: Callable[..., Card], noise: Path) -> None:
    plug_in(capture=noise)
    mic = microphone(device="innervate")
    mic.open()
    before_ns = mic.context.clock.now_ns()
    samples = hear(mic, 8)
    after_ns = mic.context.clock.now_ns()
    mic.close()
    assert np.array_equal(np.concatenate([sample.data for sample in samples]), NOISE[: 8 * BLOCK])
    stamps = np.array([sample.t_ns for sample in samples])
    assert stamps[0] > before_ns and stamps[-1] <= after_ns
    # A late callback on a busy machine moves one stamp a little, never the whole row.
    assert abs((stamps[-1] - stamps[0]) / 7 - 80e6) < 20e6
    assert (mic.device, mic.rate_hz, mic.overruns, mic.dropped) == ("innervate", 16_000, 0, 0)


def test_the_published_checks_hold(plug_in: Callable[..., Card], noise: Path) -> None:
    plug_in(capture=noise)
    check_sensor(microphone).require()


def test_a_stereo_device_of_another_rate_gives_its_first_channel_resampled(plug_in: Callable[..., Card], tmp_path: Path) -> None:
    t = np.arange(48_000) / 48_000
    left, right = 8_000 * np.sin(2 * np.pi * 500 * t), 4_000 * np.sin(2 * np.pi * 500 * t)
    with wave.open(str(tmp_path / "tone.wav"), "wb") as wav:
        wav.setparams((2, 2, 48_000, 0, "NONE", ""))
        wav.writeframes(np.stack([left, right], axis=1).astype("<i2").tobytes())
    plug_in(capture=tmp_path / "tone.wav")
    mic = microphone()
    mic.open()
    heard = np.concatenate([sample.data for sample in hear(mic, 4)])
    mic.close()
    assert mic.rate_hz == 48_000 and heard.shape == (4 * BLOCK,)
    lag = round(mic._resampler.delay_s * 16_000)
    expected = 8_000 * np.sin(2 * np.pi * 500 * (np.arange(4 * BLOCK) / 16_000 - mic._resampler.delay_s))
    assert np.abs(heard[2 * lag :] - expected[2 * lag :]).max() < 8


def test_a_card_that_is_unplugged_is_an_error_and_can_be_opened_again(plug_in: Callable[..., Card], noise: Path) -> None:
    plug_in(capture=noise)
    mic = microphone()
    mic.open()
    hear(mic, 1)
    noise.unlink()
    with pytest.raises(DeviceError, match=r"mic: default gave no sound .* every 80 ms; check its cable"):
        for _ in range(50):
            mic.read(0.25)
    mic.close()
    NOISE.tofile(noise)
    mic.open()
    assert np.array_equal(hear(mic, 1)[0].data, NOISE[:BLOCK])
    mic.close()


def test_a_fifo_is_heard_live(plug_in: Callable[..., Card], tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    plug_in(capture=fifo)
    writer = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    os.write(writer, NOISE[: 2 * BLOCK].tobytes())
    mic = microphone()
    mic.open()
    heard = np.concatenate([sample.data for sample in hear(mic, 3)])
    mic.close()
    os.close(writer)
    assert np.array_equal(heard, np.concatenate([NOISE[: 2 * BLOCK], np.zeros(BLOCK, np.int16)]))


def test_playback_through_the_card_is_exact(plug_in: Callable[..., Card], tmp_path: Path) -> None:
    plug_in(playback=tmp_path / "said.raw")
    audio = pyaudio.PyAudio()
    stream = audio.open(rate=16_000, channels=1, format=pyaudio.paInt16, output=True, frames_per_buffer=320)
    stream.write(NOISE[: 3 * BLOCK].tobytes())
    stream.stop_stream()
    stream.close()
    audio.terminate()
    said = np.fromfile(tmp_path / "said.raw", "<i2")
    assert np.array_equal(said[: 3 * BLOCK], NOISE[: 3 * BLOCK]) and not said[3 * BLOCK :].any()


def test_devices_are_chosen_by_a_part_of_their_name(plug_in: Callable[..., Card], noise: Path) -> None:
    plug_in(capture=noise)
    mic = microphone(device="NERV")
    mic.open()
    mic.close()
    assert mic.device == "innervate"
    with pytest.raises(DeviceError, match=r"no microphone is called 'usb'; expected part of one of: 'innervate', 'default'"):
        microphone(device="usb").open()


def test_no_microphone_at_all(plug_in: Callable[..., Card], tmp_path: Path) -> None:
    plug_in(playback=tmp_path / "said.raw")
    with pytest.raises(DeviceError, match=r"mic: no microphone on this machine; expected one that ALSA lists; .*arecord -l"):
        microphone().open()


def test_a_format_that_fits_nobody(plug_in: Callable[..., Card], noise: Path) -> None:
    plug_in(capture=noise, rate_hz=22_222)
    with pytest.raises(DeviceError, match="refuses 16 kHz, its own 22222 Hz"):
        microphone().open()


def test_pyaudio_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyaudio", None)
    with pytest.raises(DeviceError, match="sudo apt install gcc python3-dev portaudio19-dev"):
        microphone().open()


def test_the_light_shows_listening(plug_in: Callable[..., Card], noise: Path, tmp_path: Path) -> None:
    plug_in(capture=noise)
    led = tmp_path / "brightness"
    led.write_text("0")
    mic = microphone(led=str(led))
    assert not mic.indicator.lit
    mic.open()
    assert mic.indicator.lit and led.read_text() == "1"
    mic.close()
    assert not mic.indicator.lit and led.read_text() == "0"


def test_no_light_no_listening(plug_in: Callable[..., Card], noise: Path, tmp_path: Path) -> None:
    plug_in(capture=noise)
    mic = microphone(led=str(tmp_path / "no" / "led"))
    with pytest.raises(DeviceError, match="No such file or directory; expected a light to write"):
        mic.open()
    assert not mic.is_open and not mic.indicator.lit


def test_a_wrong_option_is_the_boards_error() -> None:
    with pytest.raises(BoardError, match=r"mic: options: .*device.*; correct \[component.mic.options\]"):
        microphone(device=3)


def test_the_terminal_shows_listening_and_nothing_native(plug_in: Callable[..., Card], noise: Path, capfd: pytest.CaptureFixture[str]) -> None:
    plug_in(capture=noise)
    mic = microphone()
    mic.open()
    mic.close()
    assert capfd.readouterr().err == "mic: on\nmic: off\n"


def test_the_device_list(plug_in: Callable[..., Card], noise: Path) -> None:
    card = plug_in(capture=noise)
    command = [sys.executable, "-m", "innervate.plugins.mic.driver"]
    links = str(Path(__file__).parents[2] / ".links")
    run = subprocess.run(command, env={**os.environ, "PYTHONPATH": links, **card.environ}, capture_output=True, text=True, check=True)
    assert run.stdout == "  innervate  (16000 Hz, 1 channels)\n* default  (16000 Hz, 1 channels)\n"


def test_a_compiler_that_fails_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "false")
    with pytest.raises(DeviceError, match="did not compile: no message; expected ALSA headers; sudo apt install"):
        build_plugin(tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_card_refuses_what_it_cannot_play(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "short.wav").write_bytes(b"RIFF")
    with pytest.raises(DeviceError, match="cannot be read"):
        make_card(tmp_path, capture=tmp_path / "short.wav", cache=cache)
    with wave.open(str(tmp_path / "wide.wav"), "wb") as wav:
        wav.setparams((1, 3, 16_000, 0, "NONE", ""))
        wav.writeframes(bytes(30))
    with pytest.raises(DeviceError, match="24 bits a sample; expected 16"):
        make_card(tmp_path, capture=tmp_path / "wide.wav", cache=cache)
