"""Where taught skills lie: one plugin folder each, under the owner's own data folder, never in the base.

A skill's folder holds `plugin.toml`, the two networks, `skill.json` (what it does, for whom it was made, how it was judged, the SHA-256 of
every file) and `examples.npz`, the raw samples that it was taught from. It is written whole or not at all. A skill that was made for another model
is left out of a run with a line that says so; its examples are still there to teach it again from.
"""

from __future__ import annotations

import io
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from innervate.runtime.ali.component import Sample
from innervate.runtime.ali.errors import InnervateError, PluginError, nearest
from innervate.runtime.ali.registry import FILE, Registry
from innervate.runtime.backbone.bundle import Bundle, sha256_of
from innervate.runtime.board import Board, Wiring
from innervate.runtime.teach.files import mend, remove_folder, write_folder
from innervate.runtime.teach.recording import Moment, Recording, Span
from innervate.runtime.teach.skill import DETECTOR_FILE, ENCODER_FILE

SKILL_FILE, EXAMPLES_FILE = "skill.json", "examples.npz"
NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
SKILLS_MAX = 16  # on one device: each costs some 20 us a packet

_MANIFEST = """\
# Taught by the owner with `innervate teach`; `innervate forget {name}` removes it.
[plugin]
name = "{name}"
version = "1"
summary = "taught: {source} recognises {name}, then {what}"
licence = "LicenseRef-owner"

[[component]]
name = "{name}"
kind = "upstream"
driver = "innervate.runtime.teach.skill:Taught"
virtual = "innervate.runtime.teach.skill:Taught"
encoder = "innervate.runtime.teach.skill:TaughtEncoder"
graph = "./{encoder}"
listens = "{source}"
space_id = "{space_id}"
caps = ["taught"]

[component.options]
sure = {sure}
packets = {packets}
rest_packets = {rest_packets}
"""


class Card(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole of `skill.json`."""

    name: str
    source: str
    plugin: str  # of the source
    does: str  # the command, empty for an utterance
    says: str
    how: str  # "learnt" or "typed"
    latents: int
    space_id: str
    exact_id: str  # of the weights that the latents were found on
    encoder_sha256: str  # of the source's network in the bundle
    accuracy: float
    works_in: float  # share of held-out moments in which the action works
    changes: float  # share of a minute's ticks in which the old skills did something else
    files: dict[str, str]


@dataclass(frozen=True, slots=True)
class Skill:
    """A skill that lies in `folder`."""

    folder: Path
    card: Card

    def stranger(self, bundle: Bundle, source_graph: str | None) -> str | None:
        """Return why it cannot work with this bundle; None when it can."""
        if self.card.space_id != bundle.header.space_id:
            return f"was taught to latent space {self.card.space_id[:12]}, this model's is {bundle.header.space_id[:12]}"
        if encoder_sha256(bundle, source_graph) != self.card.encoder_sha256:
            return f"was taught on another encoder of {self.card.source}"
        return None


def names(folder: Path) -> list[str]:
    """Names of the skills in the folder, sorted; what a power cut left half done is put right first."""
    if not folder.is_dir():
        return []
    if os.access(folder, os.W_OK):
        mend(folder)
    return sorted(path.parent.name for path in folder.glob(f"*/{FILE}") if not path.parent.name.startswith("."))


def load(folder: Path, name: str) -> Skill:
    """Read a skill and check its files. Raises PluginError when it is not there or damaged."""
    known = names(folder)
    if name not in known:
        raise PluginError(f"skill {name}", f"is not in {folder}", "a taught skill", nearest(name, known) if known else "teach one first")
    place = folder / name
    step = f"teach it again, or `innervate forget {name}`"
    try:
        card = msgspec.json.decode((place / SKILL_FILE).read_bytes(), type=Card)
        broken = [file for file, sha in card.files.items() if sha256_of(place / file) != sha]
    except (OSError, msgspec.DecodeError) as error:
        raise PluginError(f"skill {name}", f"cannot be read ({error})", SKILL_FILE, step) from error
    if broken:
        raise PluginError(f"skill {name}", f"{', '.join(broken)} changed since it was taught", "the files as they were written", step)
    return Skill(place, card)


def check_name(name: str, registry: Registry, board: Board, folder: Path, over: bool = False) -> None:
    """Raise InnervateError unless a new skill may have this name."""
    who = f"teach: {name!r}"
    if not NAME.fullmatch(name):
        raise InnervateError(who, "is no name for a skill", "a-z, 0-9 and _, a letter first, at most 32", "choose another name")
    taken = set(Registry().names()) | {wiring.name for wiring in board.components}
    if name in taken:
        raise InnervateError(who, "is the name of a plugin or a component", "a free name", "choose another name")
    held = names(folder)
    if name in held and not over:
        step = f"choose another name, `innervate forget {name}` first, or --replace"
        raise InnervateError(who, "has been taught already", "a free name", step)
    if len(held) >= SKILLS_MAX and name not in held:
        raise InnervateError(who, f"a skill beside {len(held)} others", f"at most {SKILLS_MAX}", f"forget one of {', '.join(held)}")


def save(folder: Path, card: Card, options: dict[str, float], detector: bytes, encoder: bytes, recording: Recording) -> Skill:
    """Write a skill, whole or not at all. `card.files` is filled in here."""
    what = f'does as for "{card.does}"' if card.does else f'says "{card.says}"'
    fields = {"name": card.name, "source": card.source, "space_id": card.space_id, "encoder": ENCODER_FILE, **options}
    manifest = _MANIFEST.format(what=what.replace("\\", "\\\\").replace('"', '\\"'), **fields)
    parts = {FILE: manifest.encode(), DETECTOR_FILE: detector, ENCODER_FILE: encoder, EXAMPLES_FILE: pack(recording)}
    written: list[Card] = []

    def fill(place: Path) -> None:
        for name, data in parts.items():
            (place / name).write_bytes(data)
        whole = msgspec.structs.replace(card, files={name: sha256_of(place / name) for name in parts})
        (place / SKILL_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(whole)))
        written.append(whole)

    write_folder(folder / card.name, fill)
    return Skill(folder / card.name, written[0])


def forget(folder: Path, name: str) -> None:
    """Remove a skill, damaged or not. Raises PluginError when there is none of that name."""
    known = names(folder)
    if name not in known:
        raise PluginError(f"skill {name}", f"is not in {folder}", "a taught skill", nearest(name, known) if known else "there is nothing to forget")
    remove_folder(folder / name)


def pack(recording: Recording) -> bytes:
    """A recording's raw samples and spans as the bytes of an npz file."""
    samples = recording.samples()
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {
        "source": np.array(recording.source),
        "data": np.concatenate([sample.data if sample.data.ndim < 3 else sample.data[None] for sample in samples]),
        "lengths": np.array([len(sample.data) if sample.data.ndim < 3 else 1 for sample in samples]),
        "pictures": np.array(samples[0].data.ndim == 3),
        "t_ns": np.array([sample.t_ns for sample in samples]),
        "spans_ns": np.array([[span.t0_ns, span.t1_ns] for span in recording.spans], np.int64).reshape(-1, 2),
        "names": np.array([span.name for span in recording.spans], np.str_),
    }
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def unpack(path: Path) -> Recording:
    """Read what `pack` made. Raises PluginError when it cannot be read."""
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            parts = np.split(file["data"], np.cumsum(file["lengths"])[:-1])
            pictures = bool(file["pictures"])
            samples = [Sample(part[0] if pictures else part, int(t), i) for i, (part, t) in enumerate(zip(parts, file["t_ns"], strict=True))]
            spans = [Span(int(a), int(b), str(name)) for (a, b), name in zip(file["spans_ns"], file["names"], strict=True)]
            source = str(file["source"])
    except Exception as error:  # a damaged archive raises a dozen kinds
        raise PluginError(str(path), f"cannot be read ({error})", "the examples of a skill", "show them again") from error
    return Recording(source, [Moment(sample.t_ns, [], [sample]) for sample in samples], spans)


def encoder_sha256(bundle: Bundle, graph: str | None) -> str:
    """SHA-256 of the network of a sense; empty for one that is not in the bundle."""
    name, _, part = (graph or "").partition(".")
    entry = bundle.toml.component.get(name, {}).get(part)
    return bundle.toml.files.get(str(entry), "") if isinstance(entry, str) else ""


def with_skills(board: Board, bundle: Bundle, folder: Path) -> tuple[Board, Registry, list[str]]:
    """Return the board with every skill that fits it, a registry that knows them, and a line for each that does not fit."""
    known = names(folder)
    registry = Registry(more=[folder]) if known else Registry()
    wirings: list[Wiring] = list(board.components)
    notes: list[str] = []
    for name in known:
        try:
            skill = load(folder, name)
        except InnervateError as error:
            notes.append(f"{error}")
            continue
        source = next((wiring for wiring in board.components if wiring.name == skill.card.source), None)
        if source is None or source.plugin != skill.card.plugin:
            notes.append(f"skill {name}: listens to {skill.card.source}, which this board lacks; left out")
            continue
        reason = skill.stranger(bundle, registry.component(source.plugin, source.name).graph)
        if reason is not None:
            notes.append(f"skill {name}: {reason}; left out; `innervate teach {name} --again` teaches it anew from its examples")
        elif any(wiring.name == name for wiring in wirings):
            notes.append(f"skill {name}: the board has a component of that name; left out")
        else:
            wirings.append(Wiring(name, name, source.use))
    return replace(board, components=tuple(wirings)), registry, notes
