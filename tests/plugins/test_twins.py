"""The twins: the published checks on each, what they take from a world, what they do without one."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from innervate.plugins.camera.settings import Options as CameraOptions
from innervate.plugins.camera.virtual import VirtualCamera
from innervate.plugins.force.virtual import Options as ForceOptions
from innervate.plugins.force.virtual import VirtualForce
from innervate.plugins.mic.settings import BACKLOG_BLOCKS, BLOCK
from innervate.plugins.mic.settings import Options as MicOptions
from innervate.plugins.mic.virtual import VirtualMicrophone
from innervate.plugins.motor.virtual import VirtualMotor, VirtualPose
from innervate.plugins.text.driver import Options as TextOptions
from innervate.plugins.text.virtual import VirtualKeyboard, VirtualTerminal
from innervate.runtime.ali.component import Bench, Context, Sensor, Setpoint
from innervate.runtime.ali.conformance import check_actuator, check_sensor, check_sink
from innervate.runtime.ali.errors import DeviceError
from innervate.runtime.ali.registry import Registry, load_class
from tests.plugins.parts import TICK_NS, Time, context
from tests.plugins.test_wav import tone, wav_bytes

SENSORS: dict[tuple[str, str], type[Sensor]] = {
    ("mic", "mic"): VirtualMicrophone,
    ("camera", "camera"): VirtualCamera,
    ("force", "force"): VirtualForce,
    ("motor", "pose"): VirtualPose,
    ("text", "text_in"): VirtualKeyboard,
}


class Maker:
    """Makes twins, each on a clock and in a world of its own; `advance` moves the newest."""

    def __init__(self, plugin: str, name: str, kind: type[Sensor], with_world: bool) -> None:
        self.time = Time()
        self._plugin, self._name, self._kind, self._with_world = plugin, name, kind, with_world

    def __call__(self) -> Sensor:
        self.time = Time()
        world: Bench | None = self.time.world if self._with_world else None
        entry = Registry(entry_points=False).component(self._plugin, self._name)
        limits = {axis: limit.limit() for axis, limit in entry.limits.items()}
        return self._kind(context(self._plugin, self._name, self.time.clock, world), limits)

    def advance(self, seconds: float) -> None:
        self.time.advance(seconds)


@pytest.mark.parametrize("name", SENSORS)
def test_the_published_checks_hold_in_a_world(name: tuple[str, str]) -> None:
    make = Maker(*name, SENSORS[name], with_world=True)
    check_sensor(make, make.advance, repeatable=True).require()


@pytest.mark.parametrize("name", [("mic", "mic"), ("camera", "camera"), ("force", "force")])
def test_the_published_checks_hold_without_a_world(name: tuple[str, str]) -> None:
    make = Maker(*name, SENSORS[name], with_world=False)
    check_sensor(make, make.advance, repeatable=True).require()


def test_the_published_checks_hold_for_the_motor_and_the_terminal() -> None:
    time = Time()
    entry = Registry(entry_points=False).component("motor", "motor")
    limits = {axis: limit.limit() for axis, limit in entry.limits.items()}
    check_actuator(lambda: VirtualMotor(context("motor", "motor", time.clock, time.world), limits, 200), time.advance).require()
    check_sink(lambda: VirtualTerminal(context("text", "text_out", time.clock))).require()


def test_every_class_that_a_manifest_names_can_be_loaded() -> None:
    registry = Registry(entry_points=False)
    assert registry.names() == ["camera", "force", "mic", "motor", "text"] and not registry.broken()
    for name in registry.names():
        for entry in registry.manifest(name).component:
            for reference in (entry.driver, entry.virtual, entry.encoder, entry.decoder):
                if reference is not None:
                    load_class(reference, object, name)


@pytest.mark.parametrize(
    ("plugin", "name", "kind"),
    [("mic", "mic", MicOptions), ("camera", "camera", CameraOptions), ("force", "force", ForceOptions), ("text", "text_in", TextOptions)],
)
def test_manifest_and_code_agree_on_options_and_defaults(plugin: str, name: str, kind: type[msgspec.Struct]) -> None:
    options = Registry(entry_points=False).component(plugin, name).options
    assert msgspec.convert(options, kind) == kind()
    assert set(options) == set(kind.__struct_fields__)


def test_twins_bring_in_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "from tests.plugins.test_twins import SENSORS, Maker\n"
        "before = set(sys.modules)\n"
        "for name, kind in SENSORS.items():\n"
        "    make = Maker(*name, kind, True); twin = make(); twin.open(); make.advance(0.5); assert twin.read(0.0); twin.close()\n"
        "print(sorted({'cv2', 'pyaudio', 'mujoco', 'scipy'} & (set(sys.modules) - before)))\n"
    )
    root = Path(__file__).parents[2]
    paths = f"{root}:{root / '.links'}"
    run = subprocess.run([sys.executable, "-c", program], env={"PYTHONPATH": paths}, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "[]\n"), run.stderr


def hear(mic: VirtualMicrophone, time: Time, ticks: int) -> np.ndarray:
    heard = []
    for _ in range(ticks):
        time.tick()
        while (sample := mic.read(0.0)) is not None:
            assert sample.t_ns <= time.clock.now_ns()
            heard.append(sample.data)
    return np.concatenate(heard)


def test_the_microphone_hears_every_sample_of_the_world_once() -> None:
    time = Time()
    time.advance(0.05)  # opened between two blocks: it begins with the next
    mic = VirtualMicrophone(context("mic", "mic", time.clock, time.world))
    mic.open()
    assert np.array_equal(hear(mic, time, 6)[:3], np.array([1280, 1281, 1282]))
    time.tick()
    sample = mic.read(0.0)
    assert sample is not None and sample.t_ns == 7 * TICK_NS and sample.data[-1] == 7 * BLOCK - 1


def test_a_microphone_that_is_not_read_keeps_a_second_and_counts_the_rest() -> None:
    time = Time()
    mic = VirtualMicrophone(context("mic", "mic", time.clock, time.world))
    mic.open()
    for _ in range(BACKLOG_BLOCKS + 5):
        time.tick()
    first = mic.read(0.0)
    assert first is not None and first.data[0] == 5 * BLOCK and mic.dropped == 5
    count = 1
    while mic.read(0.0) is not None:
        count += 1
    assert count == BACKLOG_BLOCKS


def listen(wav: Path | None, ticks: int, **options: Any) -> np.ndarray:
    time = Time()
    mic = VirtualMicrophone(context("mic", "mic", time.clock, wav=str(wav or ""), **options))
    mic.open()
    return hear(mic, time, ticks)


def test_without_a_world_the_microphone_hears_silence_or_a_file(tmp_path: Path) -> None:
    assert not listen(None, 3).any()
    short, empty = tmp_path / "short.wav", tmp_path / "empty.wav"
    short.write_bytes(wav_bytes(np.arange(1, 2001, dtype="<i2").tobytes()))
    empty.write_bytes(wav_bytes(b""))
    assert np.array_equal(listen(short, 3), np.pad(np.arange(1, 2001), (0, 3 * BLOCK - 2000)))
    assert np.array_equal(listen(short, 3, loop=True), np.resize(np.arange(1, 2001), 3 * BLOCK))
    assert not listen(empty, 2).any() and not listen(empty, 2, loop=True).any()


def test_a_stereo_8_khz_24_bit_file_is_heard(tmp_path: Path) -> None:
    both = np.repeat((tone(8_000) * (2**23 - 1)).round().astype("<i4"), 2)
    data = both.view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    odd = tmp_path / "odd.wav"
    odd.write_bytes(wav_bytes(data, rate=8_000, channels=2, bits=24))
    heard = listen(odd, 6)
    assert np.abs(heard[200:7000] - tone(16_000)[200:7000] * 32768).max() < 8


def test_a_file_that_is_no_wav_is_an_error_at_open(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("not a sound at all")
    mic = VirtualMicrophone(context("mic", "mic", Time().clock, wav=str(tmp_path / "text.wav")))
    with pytest.raises(DeviceError, match=r"mic: .*text.wav has a file that starts with b'not a sound '; expected a PCM WAV"):
        mic.open()


def test_the_camera_sees_the_world_once_for_each_time() -> None:
    time = Time()
    eye = VirtualCamera(context("camera", "camera", time.clock, time.world))
    eye.open()
    sample = eye.read(0.0)
    assert sample is not None and np.array_equal(sample.data, time.world.frame()) and eye.read(0.0) is None


def test_the_synthetic_scene_moves_and_depends_on_the_seed() -> None:
    def film(seed: int) -> list[np.ndarray]:
        time = Time()
        eye = VirtualCamera(context("camera", "camera", time.clock, seed=seed))
        eye.open()
        frames = []
        for _ in range(10):
            time.tick()
            sample = eye.read(0.0)
            assert sample is not None
            frames.append(sample.data)
        return frames

    first = film(1)
    assert all(np.array_equal(a, b) for a, b in zip(first, film(1), strict=True))
    assert not np.array_equal(first[0], first[-1]) and not np.array_equal(first[0], film(2)[0])


def test_the_force_sensor_feels_every_sample_once_and_no_more_than_the_window() -> None:
    time = Time()
    grip = VirtualForce(context("force", "force", time.clock, time.world))
    grip.open()
    time.tick()
    first = grip.read(0.0)
    assert first is not None and np.allclose(first.data, np.arange(1, 9) / 10) and first.t_ns == TICK_NS
    time.advance(0.005)
    assert grip.read(0.0) is None
    time.advance(5.0)
    late = grip.read(0.0)
    assert late is not None and late.data.shape == (104,) and late.t_ns == 5_080_000_000


def test_without_a_world_the_force_is_the_option() -> None:
    time = Time()
    grip = VirtualForce(context("force", "force", time.clock, rest_n=3.0))
    grip.open()
    time.tick()
    sample = grip.read(0.0)
    assert sample is not None and np.array_equal(sample.data, np.full(8, 3.0, np.float32))


def test_the_keyboard_gives_what_was_typed_once() -> None:
    time = Time()
    keys = VirtualKeyboard(context("text", "text_in", time.clock, time.world))
    keys.open()
    typed = []
    for _ in range(5):
        time.tick()
        sample = keys.read(0.0)
        typed.append(sample.data.tobytes() if sample else b"")
    assert typed == [b"", b"", b"stop\n", b"", b""]


def test_the_terminal_keeps_lines() -> None:
    terminal = VirtualTerminal(context("text", "text_out", Time().clock))
    terminal.open()
    for part in (b"a red cu", b"be\nno", b"thing\n", b"\xff\n", b"half"):
        terminal.write(part)
    assert list(terminal.utterances) == ["a red cube", "nothing", "\N{REPLACEMENT CHARACTER}"]


def head(time: Time) -> tuple[VirtualMotor, VirtualPose]:
    entry = Registry(entry_points=False).component("motor", "motor")
    limits = {axis: limit.limit() for axis, limit in entry.limits.items()}
    motor = VirtualMotor(context("motor", "motor", time.clock, time.world), limits, entry.hold_ms_max or 0)
    pose = VirtualPose(context("motor", "pose", time.clock, time.world))
    motor.open()
    pose.open()
    return motor, pose


def order(time: Time, **values: float) -> Setpoint:
    now_ns = time.clock.now_ns()
    return Setpoint(values, now_ns, now_ns + 200_000_000, 0)


def angles(pose: VirtualPose) -> list[float]:
    sample = pose.read(0.0)
    assert sample is not None
    return [float(value) for value in sample.data]


def test_the_head_reaches_its_setpoint_at_its_own_pace() -> None:
    time = Time()
    motor, pose = head(time)
    for _ in range(15):
        motor.apply(order(time, pan=30.0, tilt=-10.0))
        time.tick()
        _, _, pan_rate, tilt_rate = angles(pose)
        assert abs(pan_rate) <= 150.5 and abs(tilt_rate) <= 150.5
    motor.apply(order(time, pan=40.0))  # tilt keeps its target
    time.advance(1.0)
    assert np.allclose(angles(pose), [40.0, -10.0, 0.0, 0.0], atol=0.1)


def test_setpoints_beyond_the_limits_are_clamped() -> None:
    time = Time()
    motor, pose = head(time)
    assert motor.apply(order(time, pan=500.0, tilt=-500.0)) == {"pan": 90.0, "tilt": -30.0}
    time.advance(3.0)
    assert np.allclose(angles(pose)[:2], [90.0, -30.0], atol=0.1)


@pytest.mark.parametrize("way", ["safe", "expire", "close"])
def test_every_way_to_the_safe_value_stops_the_head(way: str) -> None:
    time = Time()
    motor, pose = head(time)
    motor.apply(order(time, pan=90.0, tilt=0.0))
    time.advance(0.2)
    stop: dict[str, Callable[[], object]] = {
        "safe": lambda: motor.safe("test"),
        "expire": lambda: motor.expire(time.clock.now_ns()),
        "close": motor.close,
    }
    stop[way]()
    at = angles(pose)[0]
    time.advance(0.3)
    braked, _, rate, _ = angles(pose)
    assert motor.is_safe and abs(rate) < 0.1 and at < braked < at + 15.0
    time.advance(1.0)
    assert angles(pose)[0] == pytest.approx(braked, abs=0.02)


@pytest.mark.parametrize("kind", [VirtualMotor, VirtualPose])
def test_the_head_needs_a_world(kind: type[VirtualMotor] | type[VirtualPose]) -> None:
    with pytest.raises(DeviceError, match=r"head: a virtual twin without a world; .*make_world"):
        kind(Context("head", Time().clock, {}), {}).open()
