"""A sound card made of files, so that real PortAudio and real ALSA run where there is no sound card.

`pcm_innervate.c` is an ALSA user-space plug-in; this module compiles it and writes the ALSA configuration that
names it. Programs find the card when `ALSA_CONFIG_PATH` points at that file before they open ALSA:

    card = make_card(folder, capture=Path("speech.wav"), playback=folder / "heard.raw")
    os.environ.update(card.environ)

The configuration replaces the system's, so that nothing else is listed and no server is contacted. What the card
does not imitate stands at the head of the C file.
"""

import hashlib
import os
import shutil
import subprocess
import wave
from dataclasses import dataclass
from pathlib import Path

from innervate.runtime.ali.errors import DeviceError

CARD_NAME = "innervate"
SOURCE = Path(__file__).with_name("pcm_innervate.c")
LIBRARY = "libasound_module_pcm_innervate.so"
COMPILE_TIMEOUT_S = 60.0
SAMPLE_BYTES = 2


@dataclass(frozen=True, slots=True)
class Card:
    """One file card: its name in PortAudio's list, its ALSA configuration, its rate in Hz, its channels."""

    name: str
    config: Path
    rate_hz: int
    channels: int

    @property
    def environ(self) -> dict[str, str]:
        """The environment that makes ALSA see this card and nothing else."""
        return {"ALSA_CONFIG_PATH": str(self.config), "JACK_NO_START_SERVER": "1"}


def cache_folder() -> Path:
    """Where compiled plug-ins are kept between runs: the user's cache folder."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "innervate" / "alsa"


def build_plugin(cache: Path | None = None) -> Path:
    """Compile the ALSA plug-in once per source text and return the library's path.

    Raises `DeviceError` when there is no C compiler, no ALSA headers, or the compiler fails.
    """
    source = SOURCE.read_bytes()
    folder = (cache or cache_folder()) / hashlib.sha256(source).hexdigest()[:16]
    library = folder / LIBRARY
    if library.exists():
        return library
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        raise DeviceError("alsa plug-in", "no C compiler on this machine", "cc", "sudo apt install gcc libasound2-dev")
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / f"{LIBRARY}.{os.getpid()}"  # moved into place whole: two builders may race
    command = [*compiler.split(), "-O2", "-Wall", "-Wextra", "-fPIC", "-shared", "-DPIC"]
    run = subprocess.run(
        [*command, "-o", str(made), str(SOURCE), "-lasound"],
        capture_output=True, text=True, timeout=COMPILE_TIMEOUT_S, check=False,
    )  # fmt: skip
    if run.returncode != 0:
        cause = (run.stderr.strip().splitlines() or ["no message"])[0]
        next_step = "sudo apt install gcc libasound2-dev"
        raise DeviceError("alsa plug-in", f"{SOURCE.name} did not compile: {cause}", "ALSA headers", next_step)
    made.replace(library)
    return library


def make_card(
    folder: Path, *, capture: Path | None = None, playback: Path | None = None,
    rate_hz: int = 16_000, channels: int = 1, cache: Path | None = None,
) -> Card:  # fmt: skip
    """Write the ALSA configuration of a file card into `folder`.

    capture: what the card hears, a raw file or FIFO of int16 little-endian frames, or a 16-bit WAV, whose rate and
    channels then become the card's. playback: where the card writes what it is told to play, raw int16.
    Without one of them the card lacks that direction.

    Raises `DeviceError` when the plug-in cannot be compiled, a WAV is not 16-bit, or a path cannot be quoted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if capture is not None and capture.suffix.lower() == ".wav":
        capture, rate_hz, channels = _unpack_wav(capture, folder / "capture.raw")
    fields = [f"rate {rate_hz}", f"channels {channels}"]
    fields += [f"infile {_quoted(capture)}"] if capture else []
    fields += [f"outfile {_quoted(playback)}"] if playback else []
    # PortAudio lists a PCM that has a hint. PortAudio 19.6 aborts the whole process where ALSA has no default.
    fields += ['hint { show on description "Innervate file card" }']
    card = f"{{ type innervate {' '.join(fields)} }}"
    lines = [f"pcm_type.innervate {{ lib {_quoted(build_plugin(cache))} }}", f"pcm.{CARD_NAME} {card}", f"pcm.default {card}"]
    config = folder / "asound.conf"
    config.write_text("\n".join([*lines, ""]))
    return Card(CARD_NAME, config, rate_hz, channels)


def _unpack_wav(path: Path, raw: Path) -> tuple[Path, int, int]:
    """Copy the frames of a 16-bit WAV to a raw file; returns the file, the rate in Hz and the channels."""
    try:
        with wave.open(str(path), "rb") as wav:
            if wav.getsampwidth() != SAMPLE_BYTES:
                came = f"{path} has {8 * wav.getsampwidth()} bits a sample"
                raise DeviceError("alsa card", came, "16", f"ffmpeg -i {path} -sample_fmt s16 fixed.wav")
            raw.write_bytes(wav.readframes(wav.getnframes()))
            return raw, wav.getframerate(), wav.getnchannels()
    except (wave.Error, EOFError) as err:
        came = f"{path} cannot be read: {err or 'it ends early'}"
        raise DeviceError("alsa card", came, "a PCM WAV file", f"ffmpeg -i {path} -sample_fmt s16 fixed.wav") from err


def _quoted(path: Path) -> str:
    text = str(path.resolve())
    if any(mark in text for mark in '"\\\n'):
        raise DeviceError("alsa card", f"path {text!r}", "a path without quotes or backslashes", "choose another folder")
    return f'"{text}"'
