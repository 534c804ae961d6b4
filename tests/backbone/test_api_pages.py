"""The pages on gradients and tokens: their code runs, in order, on a small bundle, and what they name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ("gradient_api.md", "tokenizer_api.md")


@pytest.mark.parametrize("page", PAGES)
def test_the_code_runs(page: str, bundle_folder: Path, tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)
    assert len(blocks) >= 3
    names: dict[str, object] = {"BUNDLE": bundle_folder, "FOLDER": tmp_path}
    for number, block in enumerate(blocks):
        exec(compile(block, f"{page}, block {number + 1}", "exec"), names)


@pytest.mark.parametrize("page", PAGES)
def test_what_is_linked_is_there(page: str) -> None:
    for target in re.findall(r"\]\(([\w./]+)\)", (ROOT / "docs" / page).read_text()):
        assert (ROOT / "docs" / target).exists(), target
