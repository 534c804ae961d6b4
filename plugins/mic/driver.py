"""The microphone through PyAudio: real PortAudio, stamped when the sound was in the air.

PortAudio calls back on a thread of its own with each block and the time at which its first sample was captured, on
PortAudio's clock. The driver carries that over to the injected clock by the age of the block, so that a late callback does not
make the sound late. Devices that refuse 16 kHz are opened at their own rate and resampled.

`python -m innervate.plugins.mic.driver` lists the devices.
"""

import os
import sys
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from innervate.plugins.mic.resample import Resampler
from innervate.plugins.mic.settings import BACKLOG_BLOCKS, BLOCK, BLOCK_NS, RATE_HZ, Options
from innervate.runtime.ali.component import Context, Limit, Sensor
from innervate.runtime.ali.errors import DeviceError
from innervate.runtime.ali.indicator import Indicator
from innervate.runtime.ali.options import read_options

STALL_NS = 1_000_000_000  # no block for this long: the device is gone (12 blocks missing)
AGE_S_MAX = 2.0  # an older block has no usable stamp: some PortAudio back ends give 0 for the capture time
SAID_BYTES_MAX = 4096  # of what native libraries print while they open

_STDERR = threading.Lock()  # descriptor 2, of which a process has one
INSTALL = "sudo apt install gcc python3-dev portaudio19-dev && pip install 'innervate[audio]'"


class Microphone(Sensor):
    """Gives int16 [1280], mono 16 kHz, stamped with the capture time of its last sample.

    Options: `device`, part of a device's name; `led`, a light that shows listening. `indicator.lit` is the visible state.
    `overruns` counts blocks before which the device lost sound, `dropped` blocks that nobody read in time.
    Raises DeviceError when PyAudio or PortAudio is missing, when no device fits (naming those found), when it refuses
    every format, and when it falls silent for a second.
    """

    dtype = np.int16
    shape = (BLOCK,)

    def __init__(self, context: Context, limits: Mapping[str, Limit] | None = None) -> None:
        super().__init__(context, limits)
        self._options = read_options(context, Options)
        self.indicator = Indicator(self.name, self._options.led)
        self.overruns = 0
        self.dropped = 0
        self.device = ""  # full name of the device in use
        self.rate_hz = RATE_HZ  # of the device; what `read` gives is always 16 kHz
        self._blocks: deque[tuple[bytes, int]] = deque(maxlen=BACKLOG_BLOCKS)
        self._arrived = threading.Condition()
        self._audio: Any = None
        self._stream: Any = None

    def _open(self) -> None:
        pyaudio = _import_pyaudio(self.name)
        self._blocks.clear()
        with _native_quiet():
            self._audio = pyaudio.PyAudio()
            info = _choose(self.name, _inputs(self._audio), self._options.device, _default_index(self._audio))
            self.rate_hz = _agree(self.name, pyaudio, self._audio, info)
        self.device = str(info["name"])
        self._resampler = Resampler(self.rate_hz, RATE_HZ)
        self._overflow = int(pyaudio.paInputOverflow)
        self._go_on = (None, int(pyaudio.paContinue))
        self._heard_ns = self._stamp_ns = self.context.clock.now_ns()
        self.indicator.on()
        with _native_quiet() as said:
            try:
                self._stream = self._audio.open(
                    rate=self.rate_hz,
                    channels=1,
                    format=pyaudio.paInt16,
                    input=True,
                    input_device_index=info["index"],
                    frames_per_buffer=round(self.rate_hz * BLOCK_NS / 1e9),
                    stream_callback=self._take,
                )
            except OSError as error:
                came = f"{self.device} cannot be opened: {error.args[0]}{_last_line(said())}"
                step = "close the program that uses it, or name another device in its options"
                raise DeviceError(self.name, came, "a free microphone", step) from error

    def _take(self, data: bytes, frames: int, times: Mapping[str, float], status: int) -> tuple[None, int]:
        """Keep one block; called on PortAudio's thread."""
        now_ns = self.context.clock.now_ns()
        age_s = times["current_time"] - times["input_buffer_adc_time"]  # of its first sample
        length_s = frames / self.rate_hz
        if not length_s <= age_s <= AGE_S_MAX:
            age_s = length_s
        end_ns = now_ns - round((age_s - length_s + self._resampler.delay_s) * 1e9)
        with self._arrived:
            self.overruns += bool(status & self._overflow)
            self.dropped += len(self._blocks) == BACKLOG_BLOCKS
            self._stamp_ns = max(self._stamp_ns, end_ns)  # jitter of two clocks must not turn time back
            self._heard_ns = now_ns
            self._blocks.append((data, self._stamp_ns))
            self._arrived.notify_all()
        return self._go_on

    def _read(self, timeout_s: float) -> tuple[npt.NDArray[np.int16], int] | None:
        with self._arrived:
            if not self._blocks and timeout_s > 0:
                self._arrived.wait_for(lambda: bool(self._blocks), timeout_s)
            block = self._blocks.popleft() if self._blocks else None
            heard_ns = self._heard_ns
        if block is None:
            silent_ns = self.context.clock.now_ns() - heard_ns
            if silent_ns > STALL_NS or not self._stream.is_active():
                came = f"{self.device} gave no sound for {silent_ns / 1e9:.1f} s"
                raise DeviceError(self.name, came, "a block every 80 ms", "check its cable; it is reopened by itself")
            return None
        data, t_ns = block
        pcm = np.frombuffer(data, "<i2").astype(np.int16, copy=False)
        if self.rate_hz != RATE_HZ:
            pcm = np.clip(np.round(self._resampler.push(pcm.astype(np.float32))), -32768, 32767).astype(np.int16)
        return pcm, t_ns

    def _close(self) -> None:
        stream, audio = self._stream, self._audio
        self._stream = self._audio = None
        try:
            if stream is not None:
                with suppress(OSError):  # an unplugged device refuses to stop
                    stream.stop_stream()
                stream.close()
        finally:
            if audio is not None:
                audio.terminate()
            self.indicator.off()


def _import_pyaudio(who: str) -> ModuleType:
    try:
        import pyaudio  # an extra, and a native library: only when a microphone is opened
    except ModuleNotFoundError as error:
        raise DeviceError(who, "PyAudio is not installed", "the extra [audio]", INSTALL) from error
    except ImportError as error:
        raise DeviceError(who, f"PyAudio cannot load: {error}", "PortAudio", "sudo apt install libportaudio2") from error
    return pyaudio  # type: ignore[no-any-return]


def _inputs(audio: Any) -> list[Mapping[str, Any]]:
    """Every device that can record, as PortAudio describes it."""
    found = [audio.get_device_info_by_index(i) for i in range(audio.get_device_count())]
    return [info for info in found if info["maxInputChannels"] > 0]


def _default_index(audio: Any) -> int | None:
    try:
        return int(audio.get_default_input_device_info()["index"])
    except OSError:  # PortAudio's way to say that there is none
        return None


def _choose(
    who: str, found: list[Mapping[str, Any]], wanted: str, default: int | None
) -> Mapping[str, Any]:  # fmt: skip
    names = ", ".join(repr(info["name"]) for info in found) or "none"
    if not found:
        step = "plug one in; `arecord -l` lists what the system sees; your user must be in the group audio"
        raise DeviceError(who, "no microphone on this machine", "one that ALSA lists", step)
    for info in found:
        if wanted.lower() in info["name"].lower() if wanted else info["index"] == default:
            return info
    if not wanted:
        return found[0]
    raise DeviceError(who, f"no microphone is called {wanted!r}", f"part of one of: {names}", "correct its option device")


def _agree(who: str, pyaudio: ModuleType, audio: Any, info: Mapping[str, Any]) -> int:
    """Return the first rate in Hz at which the device gives mono, 16 kHz by preference.

    Of a device with several channels PortAudio hands over the first.
    """
    own = int(info["defaultSampleRate"])
    for rate in (RATE_HZ, own, 48_000, 44_100):
        if rate * BLOCK_NS % 1_000_000_000:
            continue  # its blocks would not be 80 ms
        with suppress(ValueError):  # PyAudio's way to say no
            audio.is_format_supported(rate, input_device=info["index"], input_channels=1, input_format=pyaudio.paInt16)
            return rate
    came = f"{info['name']} refuses 16 kHz, its own {own} Hz, 48 and 44.1 kHz in 16 bits"
    raise DeviceError(who, came, "one of them", "choose another device; `arecord --dump-hw-params` tells its formats")


@contextmanager
def _native_quiet() -> Iterator[Any]:
    """Keep what ALSA and JACK print on stderr while devices are probed; yields a function that returns it so far.

    They print dozens of lines about devices that nobody asked for. The descriptor belongs to the whole process, so
    that other threads' stderr is held back too for these few milliseconds, and only one thread may do it at a time.
    """
    if not _STDERR.acquire(blocking=False):
        yield lambda: ""
        return
    sys.stderr.flush()
    kept = os.dup(2)
    said = os.memfd_create("native-stderr")
    os.dup2(said, 2)
    try:
        yield lambda: os.pread(said, SAID_BYTES_MAX, 0).decode(errors="replace")
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(said)
        _STDERR.release()


def _last_line(said: str) -> str:
    lines = said.strip().splitlines()
    return f" ({lines[-1]})" if lines else ""


def main() -> None:
    """Print the microphones of this machine, the default one marked."""
    pyaudio = _import_pyaudio("mic")
    with _native_quiet():
        audio = pyaudio.PyAudio()
    default = _default_index(audio)
    for info in _inputs(audio):
        mark = "*" if info["index"] == default else " "
        print(f"{mark} {info['name']}  ({int(info['defaultSampleRate'])} Hz, {info['maxInputChannels']} channels)")
    audio.terminate()


if __name__ == "__main__":
    main()
