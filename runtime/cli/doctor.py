"""`innervate doctor`: what this machine has and what it lacks, each with the command that mends it.

Every check is a function that returns findings and lets nothing escape: a broken library, a crash of a driver or a missing
file is what it reports. Libraries that can crash are asked in a process of their own. Nothing is opened that listens or looks:
devices are listed, never read. Serial ports alone are asked who they are, unless another program has them.
"""

from __future__ import annotations

import argparse
import grp
import importlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from innervate.runtime.ali.errors import InnervateError
from innervate.runtime.cli.options import installs_extra, pip

State = Literal["ok", "missing", "optional"]

PYTHON_MIN = (3, 11)
MEMORY_MB_MIN = 300  # the device's program takes 150; the same again for the system's own
DISK_MB_MIN = 200  # an hour of events is 30 MB; a picture 1
LATENCY_MS_MAX = 1  # of an FTDI adapter: 16 unless told otherwise, which is most of the link's round trip
PROBE_S_MAX = 60.0  # a renderer's first start compiles shaders; none of the probes takes longer than a few seconds
BASE = {"numpy": "numpy", "onnxruntime": "onnxruntime", "msgspec": "msgspec", "opencv-python-headless": "cv2"}
EXTRAS = {
    "emulator": ("the emulator and the picture of a run", {"mujoco": "mujoco", "scipy": "scipy", "matplotlib": "matplotlib"}),
    "audio": ("a real microphone", {"pyaudio": "pyaudio"}),
    "link": ("a microcontroller", {"pyserial": "serial", "cryptography": "cryptography"}),
    "train": ("training and export", {"torch": "torch", "onnx": "onnx"}),
}
GROUPS = {"audio": "a real microphone", "video": "a real camera", "dialout": "a microcontroller on a serial port"}
# What makes 8-bit products fast, by the names that /proc/cpuinfo gives them.
FAST = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "asimddp", "i8mm")

_RENDER = """
import mujoco
context = mujoco.GLContext(8, 8)
context.make_current()
from OpenGL import GL
print(GL.glGetString(GL.GL_RENDERER).decode())
context.free()
"""
_TELEMETRY = "from innervate.runtime.backbone.engine import load_onnxruntime; load_onnxruntime()"
_MICROPHONES = """
import pyaudio
audio = pyaudio.PyAudio()
for index in range(audio.get_device_count()):
    info = audio.get_device_info_by_index(index)
    if info["maxInputChannels"] > 0:
        print(info["name"])
audio.terminate()
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    `state`: "ok"; "missing" when the base needs it; "optional" when only some use of the device does. `mend` is a command
    or one clause that mends it, empty when nothing needs mending.
    """

    name: str
    state: State
    found: str
    mend: str = ""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb `doctor`."""
    parser = subparsers.add_parser(
        "doctor",
        help="what this machine has and lacks, with the command that mends it",
        description="What this machine has and lacks, with the command that mends it.",
        epilog="examples:\n  innervate doctor\n  innervate doctor --json\n\nexit status: 0 when the base works, 1 when something it needs is missing",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print a list of {name, state, found, mend} instead of a table")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Examine this machine and print what was found. Returns 0 when the base works, 1 when something it needs is missing."""
    findings = examine()
    if args.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2, ensure_ascii=False))
    else:
        print(table(findings))
    return 1 if any(finding.state == "missing" for finding in findings) else 0


def examine() -> list[Finding]:
    """Run all checks, in the order of the report. A check that fails itself becomes a finding; none raises."""
    findings: list[Finding] = []
    for check in CHECKS:
        try:
            findings += check()
        except Exception as error:  # a doctor that dies of the illness helps nobody
            name = check.__name__.removeprefix("check_")
            findings.append(Finding(name, "missing", f"the check itself failed: {error!r}", "report this line to the project"))
    return findings


def table(findings: list[Finding]) -> str:
    """Lay findings out for a terminal: name, state and what was found, the mending command on a line of its own."""
    width = max((len(finding.name) for finding in findings), default=0)
    lines = []
    for finding in findings:
        lines.append(f"{finding.name:<{width}}  {finding.state:<8}  {finding.found}")
        if finding.mend:
            lines.append(f"{'':<{width}}  {'':<8}  -> {finding.mend}")
    count = {state: sum(finding.state == state for finding in findings) for state in ("ok", "missing", "optional")}
    verdict = "something that the base needs is missing" if count["missing"] else "the base works"
    return "\n".join([*lines, "", f"{verdict}: {count['ok']} ok, {count['missing']} missing, {count['optional']} optional"])


def check_python() -> list[Finding]:
    """The interpreter and the machine it runs on."""
    version = ".".join(map(str, sys.version_info[:3]))
    found = f"{version} on {platform.system()} {platform.machine()}"
    if sys.version_info[:2] < PYTHON_MIN:
        return [Finding("python", "missing", found, "install Python 3.11 or later and run make again")]
    return [Finding("python", "ok", found)]


def check_packages() -> list[Finding]:
    """Base packages, each imported, and the extras, each looked up."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # this process is about to load onnxruntime to see whether it does
    findings = []
    for distribution, module in BASE.items():
        try:
            if module == "onnxruntime":
                importlib.import_module("innervate.runtime.backbone.engine").load_onnxruntime()
            else:
                importlib.import_module(module)
            findings.append(Finding(distribution, "ok", importlib.metadata.version(distribution)))
        except Exception as error:  # ImportError, and whatever a broken native library raises
            mend = f"{pip()} install --force-reinstall {distribution}"
            findings.append(Finding(distribution, "missing", f"cannot be imported: {error}", mend))
    for extra, (use, modules) in EXTRAS.items():
        absent = [name for name, module in modules.items() if importlib.util.find_spec(module) is None]
        if absent:
            findings.append(Finding(f"[{extra}]", "optional", f"no {', '.join(absent)}; needed for {use}", _install_extra(extra)))
        else:
            versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in modules)
            findings.append(Finding(f"[{extra}]", "ok", versions))
    return findings


def check_cpu() -> list[Finding]:
    """Cores, the features that matter for 8-bit weights, and the variant of the bundle that they lead to."""
    from innervate.runtime.backbone.variant import cpu_features, preferred

    features = cpu_features()
    fast = [word for word in FAST if word in features]
    variant = preferred(platform.machine(), features)
    cores = len(os.sched_getaffinity(0))
    choice = f"variant {variant}" if variant else "variant by a self-test at load"
    return [Finding("processor", "ok", f"{cores} cores, {' '.join(fast) or 'no 8-bit product instructions'}: {choice}")]


def check_telemetry() -> list[Finding]:
    """Load onnxruntime as the device does, in an empty home folder, and look for what it leaves there."""
    with tempfile.TemporaryDirectory() as home:
        status, said = _probe(_TELEMETRY, {"HOME": home, "XDG_CACHE_HOME": ""})
        left = sorted(path.name for path in Path(home).rglob("*") if path.is_file())
    if status != 0:
        return [Finding("telemetry", "missing", f"onnxruntime could not be loaded: {said}", f"{pip()} install 'onnxruntime==1.32.*'")]
    if left:
        return [Finding("telemetry", "missing", f"onnxruntime wrote {', '.join(left)} in an empty home", "report this line to the project")]
    return [Finding("telemetry", "ok", "off: onnxruntime loaded and left nothing in an empty home folder")]


def check_bundle() -> list[Finding]:
    """The shipped model: every file against its hash."""
    from innervate.runtime.backbone.bundle import Bundle

    mend = "in a checkout: git checkout -- models/nano (as shipped), or: make train (from nothing)"
    folder = _room("models")
    if folder is None or not (folder / "nano" / "bundle.toml").is_file():
        return [Finding("bundle nano", "missing", "models/nano is not there", mend)]
    try:
        bundle = Bundle.open(folder / "nano")
    except InnervateError as error:
        return [Finding("bundle nano", "missing", str(error), mend)]
    size_mb = sum(path.stat().st_size for path in (folder / "nano").rglob("*") if path.is_file()) / 1e6
    found = f"{bundle.header.version}, {size_mb:.1f} MB, every file has its hash; variants {', '.join(bundle.variants)}"
    return [Finding("bundle nano", "ok", found)]


def check_plugins() -> list[Finding]:
    """Every plugin in reach: its manifest is read, nothing of it is imported."""
    from innervate.runtime.ali.registry import Registry

    registry = Registry()
    broken = registry.broken()
    findings = [Finding(f"plugin {name}", "missing", str(cause), "innervate plugins tells more") for name, cause in broken.items()]
    good = [name for name in registry.names() if name not in broken]
    if good:
        findings.insert(0, Finding("plugins", "ok", ", ".join(good)))
    elif not findings:
        findings.append(Finding("plugins", "missing", "none found", "install innervate again; in a checkout: make setup"))
    return findings


def check_audio() -> list[Finding]:
    """Microphones that PortAudio lists; none of them is opened."""
    if importlib.util.find_spec("pyaudio") is None:
        return [Finding("microphone", "optional", "PyAudio is not installed", _install_extra("audio"))]
    status, said = _probe(_MICROPHONES)
    if status != 0:
        return [Finding("microphone", "optional", f"PortAudio failed: {said}", "sudo apt-get install --reinstall libportaudio2")]
    names = said.splitlines()
    if not names:
        mend = "plug one in; arecord -l (package alsa-utils) shows what the system sees"
        return [Finding("microphone", "optional", "PortAudio lists no input", mend)]
    return [Finding("microphone", "ok", ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else ""))]


def check_camera() -> list[Finding]:
    """Video devices of the system; none of them is opened."""
    nodes = sorted(Path("/dev").glob("video*"))
    if not nodes:
        return [Finding("camera", "optional", "no /dev/video*", "plug one in, or name a stream: [component.camera.options] in a board file")]
    closed = [str(node) for node in nodes if not os.access(node, os.R_OK | os.W_OK)]
    if closed:
        return [Finding("camera", "optional", f"no permission for {', '.join(closed)}", _join_group("video"))]
    return [Finding("camera", "ok", ", ".join(f"{node} ({_camera_name(node)})" for node in nodes))]


def check_speech() -> list[Finding]:
    """espeak-ng, the voice of `kind = "speech"` inputs in scenarios."""
    from ctypes.util import find_library

    name = find_library("espeak-ng")
    if name is None:
        return [Finding("espeak-ng", "optional", "no libespeak-ng; needed for spoken inputs of scenarios", "sudo apt-get install -y espeak-ng")]
    return [Finding("espeak-ng", "ok", name)]


def check_renderer() -> list[Finding]:
    """What draws the emulator's camera frames, tried in a process of its own: a wrong driver takes its process with it."""
    if importlib.util.find_spec("mujoco") is None:
        return [Finding("renderer", "optional", "MuJoCo is not installed; needed for the emulator", _install_extra("emulator"))]
    causes = []
    chosen = os.environ.get("MUJOCO_GL")
    gpu = any(Path("/dev/dri").glob("renderD*")) or Path("/dev/nvidiactl").exists()
    likely = ("egl", "osmesa") if gpu else ("osmesa", "egl")
    for backend in (chosen,) if chosen else likely:
        status, said = _probe(_RENDER, {"MUJOCO_GL": backend, "PYOPENGL_PLATFORM": backend})
        if status == 0:
            return [Finding("renderer", "ok", f"{backend}: {said.splitlines()[0] if said else 'unnamed'}")]
        causes.append(f"{backend}: {said.splitlines()[-1] if said else f'status {status}'}")
    return [Finding("renderer", "optional", "; ".join(causes), "sudo apt-get install -y libosmesa6")]


def check_permissions() -> list[Finding]:
    """Membership of the groups that own sound, video and serial devices; root needs none."""
    if os.geteuid() == 0:
        return [Finding("permissions", "ok", "root may open every device")]
    mine = set(os.getgroups()) | {os.getegid()}
    findings = []
    for name, use in GROUPS.items():
        try:
            member = grp.getgrnam(name).gr_gid in mine
        except KeyError:  # systems without udev's usual groups, containers mostly
            found = f"this system has no such group; elsewhere it opens {use}"
            findings.append(Finding(f"group {name}", "optional", found, "see who owns the device: ls -l /dev"))
            continue
        if member:
            findings.append(Finding(f"group {name}", "ok", f"{_user()} is a member"))
        else:
            findings.append(Finding(f"group {name}", "optional", f"{_user()} is no member; needed for {use}", _join_group(name)))
    return findings


def _ask_firmware(port: Path) -> str:
    from innervate.runtime.cli import verb_module

    return str(verb_module("link").who(str(port)))


def check_link(
    dev: Path = Path("/dev"), sys_bus: Path = Path("/sys/bus/usb-serial/devices"), ask: Callable[[Path], str] = _ask_firmware
) -> list[Finding]:
    """Serial ports that a microcontroller may be on: may this user open them, does an FTDI adapter hold bytes back, which firmware answers; and QEMU
    for the emulated one. `ask` returns what the firmware is, or raises InnervateError with the next step.
    """
    findings = []
    for port in sorted(path for pattern in ("ttyACM*", "ttyUSB*") for path in dev.glob(pattern)):
        if not os.access(port, os.R_OK | os.W_OK):
            findings.append(Finding(f"port {port.name}", "optional", f"{_user()} may not open it", _join_group(_group_of(port))))
            continue
        timer = sys_bus / port.name / "latency_timer"
        held_ms = int(timer.read_text(encoding="ascii")) if timer.is_file() else 0
        if held_ms > LATENCY_MS_MAX:
            found = f"its adapter holds bytes back for {held_ms} ms; the link wants {LATENCY_MS_MAX}"
            findings.append(Finding(f"port {port.name}", "optional", found, f"echo {LATENCY_MS_MAX} | sudo tee {timer}"))
            continue
        try:
            findings.append(Finding(f"port {port.name}", "ok", ask(port)))
        except InnervateError as error:
            findings.append(Finding(f"port {port.name}", "optional", error.came, error.next_step))
    program = shutil.which("qemu-system-arm")
    if program is None:
        return [*findings, Finding("qemu", "optional", "not installed; it runs the board emulator_mcu", "sudo apt-get install -y qemu-system-arm")]
    said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=PROBE_S_MAX, check=False).stdout
    return [*findings, Finding("qemu", "ok", said.splitlines()[0] if said else "installed")]


def _group_of(path: Path) -> str:
    try:
        return path.group()
    except (OSError, KeyError):
        return "dialout"


def check_memory() -> list[Finding]:
    """Memory that is free now, and room on the disk of the working folder."""
    path = Path("/proc/meminfo")
    match = re.search(r"^MemAvailable:\s+(\d+) kB", path.read_text(encoding="ascii"), re.MULTILINE) if path.is_file() else None
    if match is None:
        memory = Finding("memory", "optional", "this system does not tell how much is free", f"see that {MEMORY_MB_MIN} MB are free")
    else:
        memory = _enough("memory", int(match[1]) // 1024, MEMORY_MB_MIN, "free", "close other programs")
    place = Path.cwd()
    disk = _enough("disk", shutil.disk_usage(place).free // 1_000_000, DISK_MB_MIN, f"free in {place}", "remove files there")
    return [memory, disk]


def _enough(name: str, free_mb: int, least_mb: int, where: str, how: str) -> Finding:
    if free_mb >= least_mb:
        return Finding(name, "ok", f"{free_mb} MB {where}")
    return Finding(name, "missing", f"{free_mb} MB {where}", f"{how} until {least_mb} MB are free")


CHECKS: tuple[Callable[[], list[Finding]], ...] = (
    check_python,
    check_packages,
    check_cpu,
    check_telemetry,
    check_bundle,
    check_plugins,
    check_memory,
    check_permissions,
    check_audio,
    check_camera,
    check_link,
    check_speech,
    check_renderer,
)


def _probe(code: str, changes: dict[str, str] | None = None) -> tuple[int, str]:
    """Run `code` in a fresh interpreter with `changes` to the environment. Returns its status and what it printed last:
    stdout when it succeeded, the last line of stderr when not.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), **(changes or {})}
    environment = {key: value for key, value in environment.items() if value}
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, errors="replace", timeout=PROBE_S_MAX, check=False
        )
    except subprocess.TimeoutExpired:
        return 124, f"no answer within {PROBE_S_MAX:.0f} s"
    if done.returncode == 0:
        return 0, done.stdout.strip()
    if done.returncode < 0:
        return done.returncode, f"killed by signal {-done.returncode}"
    return done.returncode, (done.stderr.strip().splitlines() or ["no word"])[-1]


def _room(name: str) -> Path | None:
    spec = importlib.util.find_spec(f"innervate.{name}")
    places = list(spec.submodule_search_locations or ()) if spec else []
    return Path(places[0]) if places else None


def _install_extra(extra: str) -> str:
    system = "sudo apt-get install -y gcc python3-dev portaudio19-dev && " if extra == "audio" else ""
    return system + installs_extra(extra)


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a user id without a name, as containers have
        return str(os.geteuid())


def _join_group(name: str) -> str:
    return f"sudo usermod -aG {name} {_user()}, then log in again"


def _camera_name(node: Path) -> str:
    label = Path("/sys/class/video4linux") / node.name / "name"
    return label.read_text(encoding="utf-8", errors="replace").strip() if label.is_file() else "unnamed"
