"""Encoders and decoders on small real graphs: the published checks, and what each adds around its graph."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from innervate.plugins.camera.latent import SightEncoder, square
from innervate.plugins.force.latent import WINDOW, ForceEncoder
from innervate.plugins.mic.latent import SoundEncoder
from innervate.plugins.motor.latent import HeadDecoder, PoseEncoder
from innervate.plugins.text.latent import ByteEncoder
from innervate.runtime.ali.component import Array, Encoder, Graph, Sample
from innervate.runtime.ali.conformance import check_decoder, check_encoder
from innervate.runtime.ali.errors import LatentError
from innervate.runtime.ali.latents import Latents
from innervate.runtime.ali.registry import Registry
from innervate.runtime.ali.space import Floats
from tests.plugins.parts import SPACE, WIDTH, projection, turn

DRAWS = np.random.default_rng(3)


class Rows:
    """Byte rows as the loop hands them to the text plugin: uint8 [N] to [N, WIDTH]."""

    table = DRAWS.standard_normal((256, WIDTH)).astype(np.float32)

    def run(self, x: Array) -> Floats:
        return self.table[x]

    def reset(self) -> None:
        pass


def latents(values: Floats) -> Latents:
    return Latents(values, SPACE, np.zeros(len(values), np.int64), "backbone", 0)


CASES: dict[str, tuple[type[Encoder], list[int], int, float | None, Array]] = {
    "mic": (SoundEncoder, [1, 1280], 1, 0.5, DRAWS.integers(-30000, 30000, (5, 1280)).astype(np.int16)),
    "camera": (SightEncoder, [1, 3, 96, 96], 6, None, DRAWS.integers(0, 256, (5, 120, 160, 3)).astype(np.uint8)),
    "force": (ForceEncoder, [1, 104], 1, None, DRAWS.uniform(0, 20, (5, 8)).astype(np.float32)),
    "pose": (PoseEncoder, [1, 4], 1, None, DRAWS.uniform(-90, 90, (5, 4)).astype(np.float32)),
}


@pytest.mark.parametrize("name", CASES)
def test_the_published_checks_hold(name: str, tmp_path: Path) -> None:
    kind, shape, rows, decay, stream = CASES[name]
    graph = projection(tmp_path / "g.onnx", shape, rows, decay)
    check_encoder(lambda: kind(graph, SPACE, name), lambda i: stream[i]).require()


def test_the_published_checks_hold_for_text_and_head(tmp_path: Path) -> None:
    graph: Graph = Rows()
    check_encoder(lambda: ByteEncoder(graph, SPACE, "text_in"), lambda i: np.frombuffer(b"stop\n", np.uint8)[: i + 1]).require()
    entry = Registry(entry_points=False).component("motor", "motor")
    limits = {axis: limit.limit() for axis, limit in entry.limits.items()}
    decoder = HeadDecoder(turn(tmp_path / "t.onnx", 3.0, -4.0), SPACE, "motor")
    check_decoder(lambda: decoder, limits, np.zeros(4, np.float32)).require()


def test_sound_is_scaled_to_one_and_the_graph_remembers(tmp_path: Path) -> None:
    graph = projection(tmp_path / "g.onnx", [1, 1280], 1, 0.5)
    encoder = SoundEncoder(graph, SPACE, "mic")
    loud = np.full(1280, -32768, np.int16)
    first = encoder.encode(Sample(loud, 80_000_000, 0))
    second = encoder.encode(Sample(loud, 160_000_000, 1))
    graph.reset()
    assert np.array_equal(first.data, graph.run(np.full((1, 1280), -1.0, np.float32)))
    assert np.allclose(second.data, 1.5 * first.data, atol=1e-5)
    assert (first.t_ns.tolist(), second.t_ns.tolist(), second.seq) == ([80_000_000], [160_000_000], 1)


def test_six_columns_share_the_capture_time(tmp_path: Path) -> None:
    encoder = SightEncoder(projection(tmp_path / "g.onnx", [1, 3, 96, 96], 6), SPACE, "camera")
    packet = encoder.encode(Sample(np.zeros((96, 96, 3), np.uint8), 7, 0))
    assert packet.data.shape == (6, WIDTH) and packet.t_ns.tolist() == [7] * 6


def test_a_frame_goes_in_as_red_green_blue_planes_from_zero_to_one(tmp_path: Path) -> None:
    frame = DRAWS.integers(0, 256, (96, 96, 3)).astype(np.uint8)
    graph = projection(tmp_path / "g.onnx", [1, 3, 96, 96], 6)
    packet = SightEncoder(graph, SPACE, "camera").encode(Sample(frame, 0, 0))
    planes = np.stack([frame[..., channel] for channel in range(3)])[None].astype(np.float32) / 255
    assert np.array_equal(packet.data, graph.run(planes))


@pytest.mark.parametrize("size", [(96, 96), (480, 640), (640, 480), (100, 100), (96, 200), (48, 64)])
def test_the_central_square_is_kept_whatever_the_size(size: tuple[int, int]) -> None:
    height, width = size
    side = min(size)
    frame = np.zeros((height, width, 3), np.uint8)
    top, left = (height - side) // 2, (width - side) // 2
    frame[top : top + side, left : left + side // 2] = 200
    cut = square(frame)
    assert cut.shape == (96, 96, 3)
    assert (cut[:, :46] == 200).all() and not cut[:, 50:].any()


def test_shrinking_averages_areas() -> None:
    fine = np.tile(np.array([[0, 200], [200, 0]], np.uint8), (96, 96))[..., None].repeat(3, axis=2)
    assert (square(fine) == 100).all()
    assert np.array_equal(square(fine), cv2.resize(fine, (96, 96), interpolation=cv2.INTER_AREA))


def test_the_force_window_is_oldest_first_and_begins_with_nothing(tmp_path: Path) -> None:
    seen: list[Array] = []
    graph = projection(tmp_path / "g.onnx", [1, WINDOW], 1)

    class Seen:
        def run(self, x: Array) -> Floats:
            seen.append(x.copy())
            return graph.run(x)

        def reset(self) -> None:
            graph.reset()

    encoder = ForceEncoder(Seen(), SPACE, "force")
    encoder.encode(Sample(np.arange(1, 9, dtype=np.float32), 0, 0))
    assert np.array_equal(seen[-1][0], np.pad(np.arange(1, 9), (WINDOW - 8, 0)))
    encoder.encode(Sample(np.arange(9, 209, dtype=np.float32), 1, 1))
    assert np.array_equal(seen[-1][0], np.arange(209 - WINDOW, 209))
    encoder.encode(Sample(np.zeros(0, np.float32), 2, 2))
    assert np.array_equal(seen[-1][0], np.arange(209 - WINDOW, 209))
    encoder.reset()
    encoder.encode(Sample(np.ones(1, np.float32), 3, 3))
    assert np.array_equal(seen[-1][0], np.pad(np.ones(1), (WINDOW - 1, 0)))


def test_the_target_is_the_pose_at_capture_plus_the_turn(tmp_path: Path) -> None:
    decoder = HeadDecoder(turn(tmp_path / "t.onnx", 12.5, -3.0), SPACE, "motor")
    pose = Sample(np.array([10.0, 5.0, 99.0, 99.0], np.float32), 0, 0)
    assert decoder.decode(latents(np.ones((3, WIDTH), np.float32)), pose) == {"pan": 22.5, "tilt": 2.0}


@pytest.mark.parametrize(("pan", "cause"), [(float("nan"), "a turn of nan degrees"), (float("inf"), "a turn of inf"), (-400.0, "a turn of -400.0")])
def test_a_turn_that_no_head_can_make_is_refused(tmp_path: Path, pan: float, cause: str) -> None:
    decoder = HeadDecoder(turn(tmp_path / "t.onnx", pan, 0.0), SPACE, "motor")
    with pytest.raises(LatentError, match=rf"motor.pan: {cause}.*expected at most 360 degrees; check the bundle"):
        decoder.decode(latents(np.ones((1, WIDTH), np.float32)), Sample(np.zeros(4, np.float32), 0, 0))


def test_a_turn_from_nowhere_is_refused(tmp_path: Path) -> None:
    decoder = HeadDecoder(turn(tmp_path / "t.onnx", 1.0, 0.0), SPACE, "motor")
    row = latents(np.ones((1, WIDTH), np.float32))
    with pytest.raises(LatentError, match=r"motor: no pose; expected the measured pose \[4\]"):
        decoder.decode(row)
    with pytest.raises(LatentError, match=r"a pose of shape \[2\]"):
        decoder.decode(row, Sample(np.zeros(2, np.float32), 0, 0))


def test_bytes_become_their_rows() -> None:
    packet = ByteEncoder(Rows(), SPACE, "text_in").encode(Sample(np.frombuffer(b"up\n", np.uint8), 5, 0))
    assert np.array_equal(packet.data, Rows.table[[117, 112, 10]]) and packet.t_ns.tolist() == [5, 5, 5]
