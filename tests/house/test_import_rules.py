"""The import rules of pyproject.toml hold, and each one catches a violation that is planted in a copy of the tree."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.house.tree import ROOT, copy_to, files, load_house

# contract id -> (the file that sins, the line that does)
PLANTED = {
    "layers": ("runtime/sin.py", "import innervate.plugins.mic\n"),
    "plugins": ("plugins/mic/sin.py", "import innervate.plugins.camera\n"),
    "workshop": ("boards/emulator/sin.py", "from innervate import models\n"),
    "models": ("models/sin.py", "import innervate.runtime.loop\n"),
    "world": ("boards/emulator/sin.py", "def later() -> None:\n    import innervate.runtime.loop.clock\n"),
    "torch": ("plugins/text/sin.py", "import torch\n"),
    "onnxruntime": ("models/sin.py", "import onnxruntime\n"),
}


def lint(root: Path, *contracts: str) -> subprocess.CompletedProcess[str]:
    """Run import-linter over the tree at `root`."""
    chosen = [word for contract in contracts for word in ("--contract", contract)]
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as go; go()", "--no-logo", "--no-cache", *chosen]
    environment = {**os.environ, "PYTHONPATH": str(root / ".links"), "COLUMNS": "200"}
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = copy_to(tmp_path_factory.mktemp("rules") / "copy")
    load_house().make_links(root)
    return root


def test_the_tree_keeps_the_rules(copy: Path) -> None:
    done = lint(copy)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_has_a_planted_violation() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    assert {contract["id"] for contract in contracts} == set(PLANTED)


@pytest.mark.parametrize("contract", sorted(PLANTED))
def test_a_planted_violation_is_caught(copy: Path, contract: str) -> None:
    name, line = PLANTED[contract]
    sin = copy / name
    sin.write_text(line, encoding="utf-8")
    try:
        done = lint(copy, contract)
    finally:
        sin.unlink()
    assert done.returncode == 1, done.stdout + done.stderr
    assert "BROKEN" in done.stdout
    assert ".sin" in done.stdout


def _lines(tree: ast.AST, library: str, call: str) -> tuple[list[int], list[int]]:
    """Return the lines that import from `library` at run time and the lines that call `call`, both inside `tree`."""
    imports, calls = [], []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) and any(name.name.split(".")[0] == library for name in node.names):
            imports.append(node.lineno)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == library:
            imports.append(node.lineno)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == call:
            calls.append(node.lineno)
    return imports, calls


def test_telemetry_is_off_wherever_onnxruntime_is_imported() -> None:
    """Outside the engine, each import of onnxruntime stands in a function that has called `load_onnxruntime` before."""
    found = []
    for name in files():
        if name.suffix != ".py" or name.parts[0] not in load_house().ROOMS or name == Path("runtime/backbone/engine.py"):
            continue
        tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
        good: set[int] = set()
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef):
                imports, calls = _lines(function, "onnxruntime", "load_onnxruntime")
                good |= {line for line in imports if any(call < line for call in calls)}
        found += [f"{name}:{line}" for line in _lines(tree, "onnxruntime", "")[0] if line not in good]
    assert found == []


def test_rooms_are_imported_under_their_family_name() -> None:
    """`import runtime` would make a second copy of every module it reaches, with classes that are not the first one's."""
    found = []
    for name in files():
        if name.suffix == ".py":
            for node in ast.walk(ast.parse((ROOT / name).read_text(encoding="utf-8"))):
                modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and node.level == 0:
                    modules.append(node.module or "")
                found += [f"{name}: {module}" for module in modules if module.split(".")[0] in load_house().ROOMS]
    assert found == []
