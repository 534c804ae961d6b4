"""The physical world around and in the device, from one scenario and one seed.

Rules. Time is integer nanoseconds from 0 and moves only by `advance_to`. Physics runs in steps of 2 ms, so nothing
depends on how a span is cut into calls. Everything that is heard, typed or noisy is a function of the time asked for
and of the seed, never of a generator's state. So the same scenario and seed give the same bytes from every sensor on
the same machine.

What it does not imitate: shadows, motion blur and exposure of the camera, echo and direction of sound, bounce and
backlash of the servos.
"""

from __future__ import annotations

import math
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from innervate.boards.emulator.scenario import (
    RATE_HZ,
    AudioInput,
    Scenario,
    SpeechInput,
    SqueezeInput,
    TextInput,
    load_scenario,
)
from innervate.boards.emulator.scene import PAN_LIMIT_DEG, TILT_LIMIT_DEG, Seen, look_up
from innervate.boards.emulator.servo import Servo
from innervate.boards.emulator.studio import Studio

STEP_NS = 2_000_000
FORCE_NS = 10_000_000  # 100 Hz
FORCE_KEPT = 2_000  # samples: 20 s, far more than any reader's window
FORCE_NOISE_N = 0.02
MICROPHONE_NOISE = 4.0  # RMS in units of int16: about -78 dBFS
NEVER_NS = 1 << 62
_INERTIA = (1.04e-3, 1.02e-3)  # kg m2 of pan and tilt, from the model
_STIFFNESS, _DAMPING = 4.0e4, 4.0e2  # 1/s2, 1/s: the joint follows the servo's reference within 5 ms
_BLOCK = 1280  # samples of microphone noise drawn at once
_AMBIENT_STREAM, _FORCE_STREAM = 1, 2


class World:
    """A handheld on its bench: see the module's rules. Build by `make_world`, or here from a Scenario.

    `frame` needs a renderer and makes it at the first call; everything else runs without one.
    """

    def __init__(self, scenario: Scenario, seed: int | None = None, size: int = 96) -> None:
        self.scenario = scenario
        self.seed = scenario.seed if seed is None else seed
        self.end_ns = NEVER_NS if scenario.duration_s is None else round(scenario.duration_s * 1e9)
        self.t_ns = 0
        self._studio = Studio(size)
        self._studio.arrange(scenario.objects, self.seed)
        self._servos = (Servo(PAN_LIMIT_DEG), Servo(TILT_LIMIT_DEG))
        self._steps = 0
        self._force: NDArray[np.float32] = np.zeros(FORCE_KEPT, np.float32)  # ring, sample k at k % FORCE_KEPT
        self._force_count = 0
        self._squeezes = [i for i in scenario.inputs if isinstance(i, SqueezeInput)]
        self._typed = sorted((round(i.t_s * 1e9), i.text) for i in scenario.inputs if isinstance(i, TextInput))
        self._clips = self._render_clips(scenario)
        self._grip = self._studio.model.body("grip").id
        self._measure_force()

    @classmethod
    def from_file(cls, path: Path | None, seed: int | None = None) -> World:
        """Read a scenario file and build its world; None gives an empty, silent one without an end."""
        return cls(Scenario(duration_s=None) if path is None else load_scenario(path), seed)

    @staticmethod
    def _render_clips(scenario: Scenario) -> list[tuple[int, NDArray[np.float32]]]:
        clips = []
        for item in scenario.inputs:
            if isinstance(item, (AudioInput, SpeechInput)):
                pcm = item.samples()
                clips.append((round(item.t_s * RATE_HZ), pcm.astype(np.float32) * np.float32(10 ** (item.gain_db / 20))))
        return clips

    # -- time and motion ------------------------------------------------------------------------------------------

    def advance_to(self, t_ns: int) -> None:
        """Run physics up to `t_ns`; raises ValueError when that is in the past."""
        if t_ns < self.t_ns:
            raise ValueError(f"world: advance to {t_ns} ns; expected at least {self.t_ns}; time never goes back")
        mj, model, data = self._studio.mj, self._studio.model, self._studio.data
        for _ in range(t_ns // STEP_NS - self._steps):
            for axis, servo in enumerate(self._servos):
                servo.step(STEP_NS * 1e-9)
                # the joint meets the reference at the end of this step: compare with where it goes by itself
                ahead = data.qpos[axis] + data.qvel[axis] * STEP_NS * 1e-9
                pull = _STIFFNESS * (math.radians(servo.position_deg) - ahead)
                pull += _DAMPING * (math.radians(servo.rate_deg_s) - data.qvel[axis])
                data.ctrl[axis] = _INERTIA[axis] * pull
            mj.mj_step(model, data)
            self._steps += 1
            if self._steps * STEP_NS % FORCE_NS == 0:
                self._measure_force()
        self.t_ns = t_ns

    def drive(self, pan_deg: float, tilt_deg: float) -> None:
        """Give the servos a set point in degrees, clamped to +-90 and +-30; ValueError when not finite."""
        for servo, target in zip(self._servos, (pan_deg, tilt_deg), strict=True):
            servo.drive(float(target))

    def hold(self) -> None:
        """Stop both axes as quickly as their limits allow, and stay there."""
        for servo in self._servos:
            servo.hold()

    def pose(self) -> NDArray[np.float32]:
        """Measured [4] float32: pan_deg, tilt_deg, pan_deg_s, tilt_deg_s, by an encoder of 0.01 degrees."""
        data = self._studio.data
        turns = np.degrees(np.concatenate([data.qpos[:2], data.qvel[:2]]))
        measured: NDArray[np.float32] = (np.round(turns * 100.0) / 100.0 + 0.0).astype(np.float32)
        return measured

    # -- senses ---------------------------------------------------------------------------------------------------

    def frame(self) -> NDArray[np.uint8]:
        """What the camera sees now: uint8 [96, 96, 3] RGB, field of view 60 degrees."""
        return self._studio.shoot(self.t_ns * 1e-9)

    def audio(self, t0_ns: int, t1_ns: int) -> NDArray[np.int16]:
        """What the microphone hears from t0 up to t1: int16 [N] mono at 16 kHz; any span, past or future."""
        first, last = t0_ns * RATE_HZ // 1_000_000_000, t1_ns * RATE_HZ // 1_000_000_000
        mix = self._ambient(first, last)
        for start, clip in self._clips:
            low, high = max(first, start), min(last, start + len(clip))
            if low < high:
                mix[low - first : high - first] += clip[low - start : high - start]
        noise = self.scenario.noise
        if noise is not None and len(noise):
            mix += noise[np.arange(first, last) % len(noise)]
        heard: NDArray[np.int16] = np.clip(np.rint(mix), -32768, 32767).astype(np.int16)
        return heard

    def _ambient(self, first: int, last: int) -> NDArray[np.float32]:
        """The microphone's own noise from sample `first` up to `last`, as float32 in units of int16."""
        if last <= first:
            return np.zeros(0, np.float32)
        blocks = [
            self._noise(_AMBIENT_STREAM, k).standard_normal(_BLOCK, np.float32)
            for k in range(first // _BLOCK, (last - 1) // _BLOCK + 1)
        ]
        offset = first // _BLOCK * _BLOCK
        return MICROPHONE_NOISE * np.concatenate(blocks)[first - offset : last - offset]

    def _noise(self, stream: int, index: int) -> np.random.Generator:
        # a counter-based generator: block `index` of a stream can be drawn at any time in any order
        return np.random.Generator(np.random.Philox(key=[self.seed & (2**64 - 1), stream], counter=[0, 0, 0, index]))

    def _measure_force(self) -> None:
        """Press on the grip with the scenario's force and store what its sensor reads, in newtons."""
        mj, model, data = self._studio.mj, self._studio.model, self._studio.data
        t_s = self._steps * STEP_NS * 1e-9
        data.xfrc_applied[self._grip, 0] = sum(s.force_at(t_s) for s in self._squeezes)
        mj.mj_forward(model, data)
        k = self._force_count
        error = float(self._noise(_FORCE_STREAM, k).standard_normal()) * FORCE_NOISE_N
        self._force[k % FORCE_KEPT] = max(0.0, abs(float(data.sensor("grip").data[0])) + error)
        self._force_count += 1

    def force(self, t0_ns: int, t1_ns: int) -> NDArray[np.float32]:
        """Grip force at the instants of the 100 Hz grid in (t0, t1]: float32 [N] newtons.

        The last 20 s are kept. Raises ValueError for older instants and for instants not yet lived through.
        """
        first, last = t0_ns // FORCE_NS + 1, t1_ns // FORCE_NS
        if t0_ns < 0:
            first = max(first, 0)
        if last < first:
            return np.zeros(0, np.float32)
        if last >= self._force_count or first < self._force_count - FORCE_KEPT:
            raise ValueError(
                f"world: force from {t0_ns} to {t1_ns} ns; expected a span of the 20 s before {self.t_ns}; advance first"
            )
        return self._force[np.arange(first, last + 1) % FORCE_KEPT]

    def typed(self, t0_ns: int, t1_ns: int) -> bytes:
        """What was typed from t0 up to t1, UTF-8, each input ended by a newline."""
        return b"".join(text.encode() + b"\n" for t_ns, text in self._typed if t0_ns <= t_ns < t1_ns)

    # -- truth ----------------------------------------------------------------------------------------------------

    def truth(self) -> list[Seen]:
        """Where every object really is now, in the scenario's order: for judging and training, not for the device."""
        pan, tilt = np.degrees(self._studio.data.qpos[:2])
        return look_up(self.scenario.objects, float(pan), float(tilt), self.t_ns * 1e-9)

    def close(self) -> None:
        """Free the renderer; safe to call twice."""
        self._studio.close()

    def __enter__(self) -> World:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
