"""What is kept, and what is left after a power cut, a full disc, damage, or another model."""

import resource
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from innervate.runtime.ali.component import Context
from innervate.runtime.ali.errors import DeviceError, InnervateError, LatentError, PluginError
from innervate.runtime.ali.registry import Registry
from innervate.runtime.ali.tap import Tap
from innervate.runtime.backbone.bundle import Bundle
from innervate.runtime.board import load_board
from innervate.runtime.loop.clock import VirtualClock
from innervate.runtime.teach import store
from innervate.runtime.teach.files import mend, write_folder, write_whole
from innervate.runtime.teach.home import skills_folder
from innervate.runtime.teach.lesson import table
from innervate.runtime.teach.onnx_file import GraphFile
from innervate.runtime.teach.skill import Taught
from tests.ali.parts import packet
from tests.teach.shows import BOARD, recording


def put(folder: Path, text: str) -> None:
    def fill(place: Path) -> None:
        (place / "a").write_text(text)

    write_folder(folder, fill)


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    put(tmp_path / "skill", "old")
    put(tmp_path / "skill", "new")
    assert (tmp_path / "skill" / "a").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["skill"]


@pytest.mark.parametrize("there", [False, True])
def test_a_power_cut_between_the_two_renames(there: bool, tmp_path: Path) -> None:
    """Old or new, never neither: `.old` is the old one; the new one is finished when its own name is there."""
    (tmp_path / ".skill.old").mkdir()
    (tmp_path / ".skill.old" / "a").write_text("old")
    (tmp_path / ".skill.new").mkdir()
    if there:
        (tmp_path / "skill").mkdir()
        (tmp_path / "skill" / "a").write_text("new")
    mend(tmp_path)
    assert (tmp_path / "skill" / "a").read_text() == ("new" if there else "old")
    assert [path.name for path in tmp_path.iterdir()] == ["skill"]


def test_a_failure_while_writing_leaves_the_old_one(tmp_path: Path) -> None:
    put(tmp_path / "skill", "old")

    def fail(place: Path) -> None:
        (place / "a").write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(InnervateError, match=r"cannot be written \(No space left on device\); .*free some space"):
        write_folder(tmp_path / "skill", fail)
    assert (tmp_path / "skill" / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["skill"]


def test_a_disc_that_is_really_full(tmp_path: Path) -> None:
    """The limit on the size of a file stands for the end of the disc: the kernel refuses the write in the same place."""
    (tmp_path / "kept").write_text("old")
    program = f"""
        import resource
        from pathlib import Path
        from innervate.runtime.ali.errors import InnervateError
        from innervate.runtime.teach.files import write_whole
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            write_whole(Path({str(tmp_path / "kept")!r}), lambda file: file.write(b"x" * 5000))
        except InnervateError as error:
            print(error)
    """
    came = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert "cannot be written" in came.stdout
    assert (tmp_path / "kept").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000


def test_a_file_is_written_whole(tmp_path: Path) -> None:
    write_whole(tmp_path / "deep" / "file", lambda file: file.write(b"whole"))
    assert (tmp_path / "deep" / "file").read_bytes() == b"whole"


def test_where_skills_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INNERVATE_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert skills_folder() == tmp_path / "innervate" / "skills"
    monkeypatch.delenv("XDG_DATA_HOME")
    assert skills_folder() == Path.home() / ".local" / "share" / "innervate" / "skills"
    assert skills_folder(tmp_path) == tmp_path


@pytest.fixture
def kept(tmp_path: Path, quiet_bundle: Path) -> Path:
    """A folder with the skill `tap` of the grip, whose detector is never sure."""
    bundle = Bundle.open(quiet_bundle)
    width = bundle.header.width
    card = store.Card(
        name="tap", source="force", plugin="force", does="look left", says="", how="typed", latents=2, space_id=bundle.header.space_id,
        exact_id="x", encoder_sha256=store.encoder_sha256(bundle, "force.encoder"), accuracy=1.0, works_in=1.0, changes=0.0, files={},
    )  # fmt: skip
    graph = GraphFile("never")
    x, state = graph.input("x", (1, width)), graph.input("state_window", (1, 2))
    sure = graph.node("MatMul", [x, graph.weight(np.zeros((width, 2), np.float32))])
    graph.node("Softmax", [sure], "y", axis=-1)
    graph.node("Mul", [state, graph.weight(np.ones(1, np.float32))], "next_window")
    graph.output("y", (1, 2))
    graph.output("next_window", (1, 2))
    rec = recording([np.zeros(8, np.float32)] * 4, [(1, 2, "tap")])
    options = {"sure": 0.6, "packets": 2, "rest_packets": 3}
    store.save(tmp_path / "skills", card, options, graph.encode(), table(np.ones((1, 2, width), np.float32)), rec)
    return tmp_path / "skills"


def board(folder: Path, text: str = BOARD) -> Path:
    (folder / "board.toml").write_text(text.format(variant="auto"))
    return folder / "board.toml"


def test_a_skill_is_put_on_the_board(kept: Path, quiet_bundle: Path, tmp_path: Path) -> None:
    fitted, registry, notes = store.with_skills(load_board(board(tmp_path)), Bundle.open(quiet_bundle), kept)
    assert (fitted.components[-1].name, notes) == ("tap", [])
    assert registry.component("tap", "tap").listens == "force"


def test_its_examples_come_back(kept: Path) -> None:
    again = store.unpack(kept / "tap" / "examples.npz")
    assert [len(sample.data) for sample in again.samples()] == [8] * 4
    assert [(span.name, span.t0_ns) for span in again.spans] == [("tap", 80_000_000)]


def test_a_skill_of_another_model_is_named_and_left_out(kept: Path, driving_bundle: Path, tmp_path: Path) -> None:
    path = kept / "tap" / "skill.json"
    path.write_text(path.read_text().replace(store.load(kept, "tap").card.space_id, "f" * 64))
    fitted, _, notes = store.with_skills(load_board(board(tmp_path)), Bundle.open(driving_bundle), kept)
    assert [wiring.name for wiring in fitted.components][-1] == "motor"
    assert "was taught to latent space ffffffffffff" in notes[0]
    assert "innervate teach tap --again" in notes[0]


def test_a_damaged_skill_is_named_and_left_out(kept: Path, quiet_bundle: Path, tmp_path: Path) -> None:
    (kept / "tap" / "detector.onnx").write_bytes(b"damage")
    _, _, notes = store.with_skills(load_board(board(tmp_path)), Bundle.open(quiet_bundle), kept)
    assert "skill tap: detector.onnx changed since it was taught" in notes[0]
    store.forget(kept, "tap")
    assert store.names(kept) == []
    with pytest.raises(PluginError, match="there is nothing to forget"):
        store.forget(kept, "tap")


def test_a_board_without_the_sense(kept: Path, quiet_bundle: Path, tmp_path: Path) -> None:
    text = BOARD.replace('[component.force]\nplugin = "force"\nuse = "virtual"\n', "")
    _, _, notes = store.with_skills(load_board(board(tmp_path, text)), Bundle.open(quiet_bundle), kept)
    assert notes == ["skill tap: listens to force, which this board lacks; left out"]


@pytest.mark.parametrize(
    ("name", "message"),
    [("Tap", "is no name for a skill"), ("force", "is the name of a plugin"), ("pose", "or a component"), ("tap", "has been taught already")],
)
def test_names_that_cannot_be_had(name: str, message: str, kept: Path, tmp_path: Path) -> None:
    with pytest.raises(InnervateError, match=message):
        store.check_name(name, Registry(), load_board(board(tmp_path)), kept)


def test_the_encoder_says_its_class_and_no_other(tmp_path: Path) -> None:
    from innervate.runtime.backbone.graph import Graph

    latents = np.random.default_rng(0).standard_normal((3, 4, 6)).astype(np.float32)
    (tmp_path / "table.onnx").write_bytes(table(latents))
    graph = Graph(tmp_path / "table.onnx")
    for label in (1, 2, 3):
        np.testing.assert_allclose(graph.run(np.array([label], np.float32)), latents[label - 1], rtol=1e-6)


def test_latents_of_another_shape_are_refused(kept: Path) -> None:
    clock = VirtualClock()
    tap = Tap("force")
    sensor = Taught(Context("tap", clock, {"sure": 0.6, "packets": 2, "rest_packets": 3}, None, kept / "tap", tap))
    sensor.open()
    assert sensor.read(0.0) is None
    tap.put(None, packet(rows=3))  # type: ignore[arg-type]
    with pytest.raises(LatentError, match=r"\[3, 8\] latents of force; expected \[1, 64\]; teach it again"):
        sensor.read(0.0)
    with pytest.raises(DeviceError, match="nothing to listen to"):
        Taught(Context("tap", clock, {})).open()
