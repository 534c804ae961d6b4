"""The tree is what setup.cfg, the design and the README say it is."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest

from tests.house.tree import ROOT, copy_to, files, load_house

FOLDERS = {"runtime", "plugins", "firmware_bridge", "models", "boards", "tests", "docs"}
BUNDLE_BYTES_MAX = 16 * 2**20
TEXT = {".py", ".md", ".toml", ".cfg", ".lock", ".txt", ".c", ".h", ".in", ".sh", ".json", ".jsonl", ""}
# Places of one machine and hosts of one registry: true here, wrong at the next owner's.
FOREIGN = re.compile(r"/home/[a-z]|/root/|(?<![\w.])/work/|pypi\.org|pythonhosted\.org|pytorch\.org|piwheels|/opt/(?:pypi|wheels)|find-links")
SELF = Path("tests", "house", "test_layout.py")
house = load_house()


def test_top_level_folders_are_exactly_the_rooms() -> None:
    found = {name.parts[0] for name in files() if len(name.parts) > 1}
    visible = {name for name in found if not name.startswith(".")}
    assert visible - FOLDERS == set()
    assert FOLDERS - {"docs"} <= visible


def test_setup_cfg_lists_the_packages_of_the_tree() -> None:
    assert house.declared_packages(ROOT) == house.tree_packages(ROOT), "run: make packages"


def test_every_package_of_the_product_has_an_init_that_says_what_it_is() -> None:
    for package in house.tree_packages(ROOT):
        init = ROOT.joinpath(*package.split(".")[1:], "__init__.py")
        assert init.is_file(), f"{init} is missing"
        assert init.read_text(encoding="utf-8").lstrip().startswith('"""'), f"{init} has no docstring"


def test_innervate_itself_is_a_namespace() -> None:
    assert not (ROOT / "__init__.py").exists()
    assert not (ROOT / "innervate").exists()


def test_packages_verb_rewrites_the_list_and_nothing_else(tmp_path: Path) -> None:
    copy = copy_to(tmp_path / "copy")
    (copy / "runtime" / "zzz").mkdir()
    (copy / "runtime" / "zzz" / "__init__.py").write_text('"""New."""\n')
    before = (copy / "setup.cfg").read_text().splitlines()
    house.write_packages(copy)
    after = (copy / "setup.cfg").read_text().splitlines()
    assert [line for line in after if line not in before] == ["    innervate.runtime.zzz"]
    assert house.declared_packages(copy) == house.tree_packages(copy)


def test_links_are_made_and_mended(tmp_path: Path) -> None:
    for room in house.ROOMS:
        (tmp_path / room).mkdir()
    house.make_links(tmp_path)
    wrong = tmp_path / ".links" / "innervate" / "runtime"
    wrong.unlink()
    wrong.symlink_to("nowhere")
    house.make_links(tmp_path)
    for room in house.ROOMS:
        link = tmp_path / ".links" / "innervate" / room
        assert link.resolve() == tmp_path / room
        assert not link.readlink().is_absolute(), "a checkout that is moved keeps its links"


def test_no_file_names_a_machine_or_a_registry() -> None:
    found = []
    for name in files():
        if name.suffix in TEXT and name != SELF:
            for number, line in enumerate((ROOT / name).read_text(encoding="utf-8", errors="replace").splitlines(), 1):
                if FOREIGN.search(line):
                    found.append(f"{name}:{number}: {line.strip()[:100]}")
    assert found == []


def test_bundle_is_small_enough_to_ship() -> None:
    sizes = [(ROOT / name).stat().st_size for name in files() if name.parts[:2] == ("models", "nano")]
    assert sum(sizes) <= BUNDLE_BYTES_MAX


def test_readme_names_only_what_exists() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = set(re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8")))
    # Commands stand at the start of a line of a code block, or between backticks.
    code = "\n".join(re.findall(r"```.*?\n(.*?)```", text, re.DOTALL)) + "\n" + "\n".join(re.findall(r"`([^`\n]+)`", text))
    wanted = set(re.findall(r"(?m)^(?:\$ )?make ([a-z-]+)", code))
    assert wanted - targets == set()
    verbs = set(re.findall(r"(?m)^(?:\$ )?innervate ([a-z]+)", code))
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    brought = {line.split("=")[0].strip() for line in setup["options.entry_points"]["innervate.verbs"].splitlines() if "=" in line}
    assert {verb for verb in verbs - brought if not (ROOT / "runtime" / "cli" / f"{verb}.py").is_file()} == set()
    links = {link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text) if "://" not in link}
    assert {link for link in links if not (ROOT / link).exists()} == set()
    assert {"run", "test"} <= wanted, "the two commands stand in the README"


def test_make_help_names_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.findall(r"(?m)^\.PHONY: (.*)$", makefile)
    described = set(re.findall(r"(?m)^([a-z-]+):.*## ", makefile))
    assert set(" ".join(phony).split()) == described


def test_changelog_has_the_version_or_an_unreleased_part() -> None:
    version = house.setup_cfg(ROOT)["metadata"]["version"]
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{version}]" in text or "## [Unreleased]" in text


@pytest.mark.parametrize("name", [".ci/setup", ".ci/run"])
def test_scripts_may_be_executed(name: str) -> None:
    assert (ROOT / name).stat().st_mode & 0o111
