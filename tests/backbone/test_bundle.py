"""Bundles: hashes, every way to be broken, rows, identity, and that writing is all or nothing."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from innervate.models.backbone import Nano
from innervate.models.export import reseal, space_id, write_bundle
from innervate.runtime.ali.errors import BundleError, LatentError
from innervate.runtime.backbone.bundle import SEAL_MARK, Bundle, sealed
from innervate.runtime.backbone.engine import Engine
from innervate.runtime.backbone.vocabulary import Vocabulary
from tests.backbone.small import inputs, make_bundle, make_nano

FILES = [
    "decode.dq8.onnx",
    "decode.nb8.onnx",
    "decode.fp32.onnx",
    "vjp.onnx",
    "vjp.nb8.onnx",
    "vjp.fp32.onnx",
    "rows.npz",
    "weights.common.bin",
    "weights.dq8.bin",
    "weights.nb8.bin",
    "weights.residual.bin",
    "components/mic/encoder.onnx",
]


@pytest.fixture
def copy(bundle_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle_folder, tmp_path / "copy"))


def test_every_file_is_listed(bundle: Bundle) -> None:
    assert sorted(bundle.toml.files) == sorted(FILES)
    assert bundle.components == {"mic": ["encoder"]}
    assert bundle.rate_hz("mic") == 12.5
    assert bundle.rate_hz("camera") is None
    assert bundle.figures == {"figure": 1.5}


@pytest.mark.parametrize("name", FILES)
def test_one_flipped_bit_is_named(copy: Path, bundle: Bundle, name: str) -> None:
    raw = bytearray((copy / name).read_bytes())
    raw[len(raw) // 2] ^= 1
    (copy / name).write_bytes(raw)
    with pytest.raises(BundleError) as caught:
        Bundle.open(copy)
    error = caught.value
    assert str(copy / name) == error.who
    assert hashlib.sha256(raw).hexdigest() in error.came
    assert bundle.toml.files[name] in error.expected
    assert error.next_step


@pytest.mark.parametrize("name", FILES)
def test_missing_file_is_named(copy: Path, bundle: Bundle, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(BundleError, match="cannot be read") as caught:
        Bundle.open(copy)
    assert str(copy / name) == caught.value.who
    assert bundle.toml.files[name] in caught.value.expected


BROKEN_TOML: dict[str, tuple[Callable[[str], str], str]] = {
    "not toml": (lambda text: text + "\n[[[", "cannot be read"),
    "unknown key": (lambda text: text.replace("tick_ms", "tick_mss"), "tick_ms"),
    "wrong type": (lambda text: text.replace("width = 128", 'width = "128"'), "width"),
    "other format": (lambda text: text.replace("format = 1", "format = 2"), "format 2"),
    "no tokens": (lambda text: text.replace("[tokens]", "[variant.x]"), "variant"),
    "empty": (lambda text: "", "bundle"),
    "too large": (lambda text: text.replace("layers = 2", "layers = 2000000000"), "layers"),
    "edited": (lambda text: text.replace("rope_base = 10000.0", "rope_base = 20000.0"), "by its seal"),
    "no seal": (lambda text: text.partition("[seal]")[0], "seal"),
}


@pytest.mark.parametrize("case", list(BROKEN_TOML))
def test_broken_toml(copy: Path, case: str) -> None:
    change, words = BROKEN_TOML[case]
    path = copy / "bundle.toml"
    text = path.read_text()
    assert change(text) != text
    path.write_text(change(text))
    with pytest.raises(BundleError, match="expected") as caught:
        Bundle.open(copy)
    assert words in str(caught.value)
    assert str(path) == caught.value.who


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[files]", '[files]\n"../x" = "00"', "inside the bundle"),
        ("[files]", '[files]\n"/etc/hostname" = "00"', "inside the bundle"),
        ('file = "decode.dq8.onnx"', 'file = "other.onnx"', "other.onnx"),
        ('encoder = "components', 'encoder = "parts', "parts/mic/encoder.onnx"),
    ],
)
def test_reference_to_an_unlisted_file(copy: Path, old: str, new: str, words: str) -> None:
    path = copy / "bundle.toml"
    body = path.read_text().partition(SEAL_MARK)[0]
    assert old in body
    path.write_text(sealed(body.replace(old, new)))
    with pytest.raises(BundleError) as caught:
        Bundle.open(copy)
    assert words in str(caught.value)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_change_of_bundle_toml_is_noticed(copy: Path, bundle_folder: Path, data: st.DataObject) -> None:
    """Invariant: whatever byte changes, opening says so with a BundleError and nothing else."""
    raw = bytearray((bundle_folder / "bundle.toml").read_bytes())
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    (copy / "bundle.toml").write_bytes(raw)
    with pytest.raises(BundleError, match=r"bundle\.toml"):
        Bundle.open(copy)


def test_figures_can_be_added(copy: Path) -> None:
    reseal(copy)
    assert Bundle.open(copy).figures == {"figure": 1.5}
    reseal(copy, {"look/at 10 dB": 0.93, "plain": 2.0})
    opened = Bundle.open(copy)
    assert opened.figures == {"look/at 10 dB": 0.93, "plain": 2.0}
    assert opened.rate_hz("mic") == 12.5
    assert sorted(opened.toml.files) == sorted(FILES)


def test_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no such file"):
        Bundle.open(tmp_path / "nowhere")


def test_graph_that_is_none(copy: Path) -> None:
    (copy / "decode.nb8.onnx").write_bytes(b"not a graph")
    reseal(copy)
    with pytest.raises(BundleError, match="onnxruntime refuses"):
        Engine(Bundle.open(copy), "nb8")
    Engine(Bundle.open(copy), "dq8")


def test_graph_of_another_size(copy: Path) -> None:
    path = copy / "bundle.toml"
    path.write_text(path.read_text().replace("context = 64", "context = 128"))
    reseal(copy)
    with pytest.raises(BundleError, match=r"past_key_0.*by bundle.toml"):
        Engine(Bundle.open(copy), "dq8")


def test_rows_of_another_size(copy: Path) -> None:
    table = np.zeros((10, 128), np.float32)
    np.savez(copy / "rows.npz", embedding=table, classifier=table)
    reseal(copy)
    with pytest.raises(BundleError, match=r"float32 \[10, 128\]"):
        Vocabulary(Bundle.open(copy))


def test_rows_with_nan(copy: Path) -> None:
    table = np.zeros((259, 128), np.float32)
    table[3, 4] = np.nan
    np.savez(copy / "rows.npz", embedding=table, classifier=table)
    reseal(copy)
    with pytest.raises(BundleError, match="non-finite"):
        Vocabulary(Bundle.open(copy))


def test_vocabulary(bundle: Bundle, nano: Nano) -> None:
    vocabulary = Vocabulary(bundle)
    h = inputs(1)[0]
    right = nano.logits(torch.from_numpy(h)).detach().numpy()
    np.testing.assert_allclose(vocabulary.logits(h), right, atol=1e-5)
    np.testing.assert_allclose(vocabulary.control_logits(h), right[256:], atol=1e-5)
    assert vocabulary.control_ids == (256, 257, 258)
    assert vocabulary.id("<so_motor>") == 257
    assert vocabulary.name(258) == "<eo_motor>"
    assert np.array_equal(vocabulary.row(65), nano.embedding[65].detach().numpy())
    assert np.array_equal(vocabulary.rows(b"hi"), nano.embedding[[104, 105]].detach().numpy())
    assert vocabulary.rows(b"").shape == (0, 128)
    with pytest.raises(BundleError, match="did you mean '<so_motor>'"):
        vocabulary.id("<so_motr>")
    with pytest.raises(LatentError, match="0 to 258"):
        vocabulary.row(259)
    with pytest.raises(LatentError):
        vocabulary.row(-1)


def test_same_weights_same_bytes(tmp_path: Path, bundle: Bundle) -> None:
    again = Bundle.open(make_bundle(tmp_path / "again", make_nano()))
    for name in FILES[:-1]:
        assert again.toml.files[name] == bundle.toml.files[name]
    assert again.header.space_id == bundle.header.space_id == space_id(make_nano())
    other = make_nano()
    with torch.no_grad():
        other.backbone.norm.weight[0] += 1e-6
    assert space_id(other) != bundle.header.space_id


def test_a_shorter_context_is_the_same_space_and_the_same_model(tmp_path: Path, bundle: Bundle) -> None:
    nano, x = make_nano(), inputs(20)
    short = Bundle.open(write_bundle(tmp_path / "short", nano, {}, {}, context=32))
    assert (short.header.context, bundle.header.context) == (32, 64)
    assert short.header.space_id == bundle.header.space_id
    assert np.array_equal(Engine(short, "dq8").append(x[:16]), Engine(bundle, "dq8").append(x[:16]))
    endless = Engine(short, "dq8")
    for start in range(0, 20 * 10, 10):
        endless.append(x[start % 20 : start % 20 + 10])
    assert endless.length <= 32


def test_writing_replaces_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "b", make_nano())
    first = (folder / "bundle.toml").read_text()
    with pytest.raises(FileNotFoundError):
        write_bundle(folder, make_nano(seed=5), {"mic.encoder": tmp_path / "absent.onnx"}, {})
    assert (folder / "bundle.toml").read_text() == first
    Bundle.open(folder)
    make_bundle(folder, make_nano(seed=5))
    assert (folder / "bundle.toml").read_text() != first
    Bundle.open(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
