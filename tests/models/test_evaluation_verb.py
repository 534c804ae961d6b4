"""`innervate eval` from the command line on a small real bundle: the whole device runs, and the figures come out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from innervate.models.evaluation.cases import ROWS
from innervate.runtime.cli import main


def test_eval_runs_the_device_and_reports(quiet_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, kept = tmp_path / "eval.json", tmp_path / "failed"
    words = ["eval", "--bundle", str(quiet_bundle), "--variant", "fp32", "--rows", "directions,false_typed", "--count", "2", "--jobs", "1"]
    assert main([*words, "--json", str(out), "--keep", str(kept)]) == 0
    shown = capsys.readouterr().out
    assert "NOT MET" in shown and "95 %" in shown
    rows = {row["row"]: row for row in json.loads(out.read_text())["rows"]}
    assert (rows["directions"]["passed"], rows["directions"]["total"]) == (0, 2)
    assert rows["false_typed"]["figure"] == 0.0
    folder = kept / "held-out" / "directions-000-fp32"
    assert {path.name for path in folder.iterdir()} == {"scenario.toml", "sound0.wav", "events.jsonl", "why.txt"}
    assert json.loads((folder / "events.jsonl").read_text().splitlines()[-1])["event"] == "summary"
    assert "pan 0.0" in (folder / "why.txt").read_text()


def test_several_variants_run_on_the_same_cases_side_by_side(quiet_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["eval", "--bundle", str(quiet_bundle), "--rows", "force", "--count", "1", "--jobs", "1"]
    assert main([*words, "--variant", "dq8", "nb8,fp32", "dq8"]) == 0
    shown = capsys.readouterr().out
    assert "1 cases, dq8, nb8, fp32" in shown and "3 runs in" in shown
    assert shown.count("how hard: within 10 % or 1 N") == 4  # once for each variant, and side by side
    assert "side by side on the same cases, against fp32" in shown


def test_a_kept_scenario_replays_the_run(quiet_bundle: Path, tmp_path: Path) -> None:
    kept, again = tmp_path / "failed", tmp_path / "again.jsonl"
    words = ["--bundle", str(quiet_bundle), "--variant", "fp32"]
    assert main(["eval", *words, "--rows", "see", "--count", "1", "--jobs", "1", "--keep", str(kept)]) == 0
    folder = kept / "held-out" / "see-000-fp32"
    assert main(["run", *words, "--headless", "--scenario", str(folder / "scenario.toml"), "--events", str(again)]) == 0
    first, second = ((path.read_text().splitlines())[:-1] for path in (folder / "events.jsonl", again))
    assert first == second


def test_help_names_every_row(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["eval", "--help"])
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("rows: ")]
    assert line.removeprefix("rows: ").split(", ") == list(ROWS)


def test_judging_needs_no_workshop() -> None:
    script = "import sys, innervate.models.evaluation.play, innervate.models.evaluation.verb; print({'torch', 'onnx'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": ".links"})
    assert done.stdout.strip() == "set()"


def test_strict_fails_when_a_goal_is_missed(quiet_bundle: Path) -> None:
    assert main(["eval", "--bundle", str(quiet_bundle), "--variant", "fp32", "--rows", "force", "--count", "1", "--jobs", "1", "--strict"]) == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [(["--rows", "finds"], "find"), (["--variant", "int3"], "int3"), (["--bundle", "/nowhere"], "bundle.toml")],
    ids=["row", "variant", "bundle"],
)
def test_a_mistake_is_answered_at_once(quiet_bundle: Path, words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "--bundle", str(quiet_bundle), *words]) != 0
    assert says in capsys.readouterr().err
