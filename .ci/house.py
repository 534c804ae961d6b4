"""Keeps the house in order: the `.links` folder, the package list, the lock files.

Run by make with any Python from 3.11 on, before anything is installed, so it needs the standard library alone (`lock` also
needs uv on the path). Tests import it by path. Examples:

    python3 .ci/house.py links       make .links/innervate/X -> X, the names that mypy, editors and pytest use
    python3 .ci/house.py packages    rewrite the package list of setup.cfg from the tree
    python3 .ci/house.py lock        resolve the lock files anew from setup.cfg
"""

from __future__ import annotations

import argparse
import configparser
import hashlib
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("boards", "firmware_bridge", "models", "plugins", "runtime")

# What each lock file holds: extras of setup.cfg on top of the base. setuptools is in all of them, because it builds the
# package itself (and PyAudio) without fetching anything that no hash covers.
PROFILES: dict[str, tuple[str, ...]] = {
    "dev": ("emulator", "audio", "link", "serve", "train", "bench", "dev"),
    "run": ("emulator", "serve"),
    "device": ("audio", "link", "serve"),
    "mcu": ("emulator", "link"),
    "bench": ("emulator", "serve", "bench"),
}
BUILD = ("setuptools>=77",)
# torch's wheel differs from machine to machine (CPU builds, CUDA builds), so no one hash covers it: it is pinned in setup.cfg
# and installed in a step of its own. What it needs is listed here, so that the locks hold all of it.
TORCH_NEEDS = ("filelock", "fsspec", "jinja2", "networkx", "sympy", "typing-extensions")


def setup_cfg(root: Path) -> configparser.ConfigParser:
    """Return setup.cfg of `root`, parsed."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(root / "setup.cfg", encoding="utf-8")
    return parser


def lines(text: str) -> list[str]:
    """Return the stripped lines of a multi-line setting, without empty ones and comments."""
    return [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]


def tree_packages(root: Path) -> list[str]:
    """Return the import name of every folder in the rooms of `root` that holds Python code, sorted."""
    found = set()
    for room in ROOMS:
        for path in (root / room).rglob("*.py"):
            found.add(".".join(("innervate", *path.parent.relative_to(root).parts)))
    return sorted(found)


def declared_packages(root: Path) -> list[str]:
    """Return the `packages` of setup.cfg, in file order."""
    return lines(setup_cfg(root)["options"]["packages"])


def write_packages(root: Path) -> None:
    """Rewrite the `packages` list of setup.cfg from the tree; nothing else in the file changes."""
    path = root / "setup.cfg"
    body = "".join(f"    {name}\n" for name in tree_packages(root))
    text = re.sub(r"(?m)^packages =\n(?: +.*\n)+", f"packages =\n{body}", path.read_text(encoding="utf-8"))
    path.write_text(text, encoding="utf-8")


def make_links(root: Path) -> None:
    """Make `.links/innervate/X -> ../../X` for each room; links that are right already stay as they are."""
    folder = root / ".links" / "innervate"
    folder.mkdir(parents=True, exist_ok=True)
    for room in ROOMS:
        link = folder / room
        target = Path("..", "..", room)
        if link.is_symlink() and link.readlink() == target:
            continue
        link.unlink(missing_ok=True)
        link.symlink_to(target)


def lock_path(root: Path, profile: str) -> Path:
    """Return where the lock file of `profile` stands."""
    return root / f"requirements-{profile}.lock"


def lock_inputs(root: Path, profile: str) -> list[str]:
    """Return the requirements that the lock of `profile` answers, sorted: setup.cfg's, less torch, plus torch's own needs."""
    parser = setup_cfg(root)
    wanted = [*lines(parser["options"]["install_requires"]), *BUILD]
    for extra in PROFILES[profile]:
        wanted += lines(parser["options.extras_require"][extra])
    if any(line.startswith("torch==") for line in wanted):
        wanted += TORCH_NEEDS
    return sorted({line for line in wanted if not line.startswith("torch==")})


def lock_header(root: Path, profile: str) -> str:
    """Return the first lines of the lock of `profile`; the digest ties it to the requirements that it was made from."""
    digest = hashlib.sha256("\n".join(lock_inputs(root, profile)).encode()).hexdigest()
    extras = ", ".join(("base", *PROFILES[profile]))
    torch = "# torch is not in here: its wheel differs from machine to machine; `make` installs the version that setup.cfg pins.\n"
    return (
        f"# {extras}: every version with its hashes, for Python 3.11 and later on x86-64 and aarch64. Made by `make lock`.\n"
        f"{torch if 'train' in PROFILES[profile] else ''}"
        f"# requirements sha256: {digest}\n"
    )


def write_locks(root: Path, uv: str) -> None:
    """Resolve all lock files with the program `uv`; pins that still fit stay, and the smaller locks agree with the largest.

    Raises subprocess.CalledProcessError when a requirement cannot be met.
    """
    command = [uv, "pip", "compile", "-", "--universal", "--python-version", "3.11", "--generate-hashes", "--no-header", "--no-annotate"]
    for profile in PROFILES:
        path = lock_path(root, profile)
        agree = [] if profile == "dev" else ["--constraint", str(lock_path(root, "dev"))]
        keep = ["--output-file", str(path)]
        request = "\n".join(lock_inputs(root, profile))
        subprocess.run([*command, *agree, *keep], input=request, text=True, check=True, stdout=subprocess.DEVNULL)
        path.write_text(lock_header(root, profile) + path.read_text(encoding="utf-8"), encoding="utf-8")
        print(f"{path.name}: {path.read_text(encoding='utf-8').count('==')} pins")


def main(argv: list[str] | None = None) -> int:
    """Run one verb; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["links", "packages", "lock"])
    parser.add_argument("--uv", default="uv", help="the uv program that resolves (lock)")
    args = parser.parse_args(argv)
    if args.verb == "links":
        make_links(ROOT)
    elif args.verb == "packages":
        write_packages(ROOT)
    else:
        write_locks(ROOT, args.uv)
    return 0


if __name__ == "__main__":
    sys.exit(main())
