"""A model bundle on disk: what ``bundle.toml`` says, and the proof that the files are those it means.

Every file under the folder that the bundle uses is named in ``[files]`` with its SHA-256 and checked when the bundle is
opened, before anything of it is read. ``bundle.toml`` itself ends with a seal, the SHA-256 of all that stands before it. Hashes show
damage, not intent: whoever can write the folder can also seal it. Known weakness: a file changed between opening and its
later reading is not noticed.
"""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated

import msgspec
import numpy as np
import numpy.typing as npt

from innervate.runtime.ali.errors import BundleError, nearest
from innervate.runtime.ali.space import Space

if TYPE_CHECKING:
    from innervate.runtime.backbone.graph import Graph

Floats = npt.NDArray[np.float32]

# Bounds far beyond any model that runs here; they keep a wrong number from asking for all memory.
Count = Annotated[int, msgspec.Meta(ge=1, le=1 << 20)]
Layers = Annotated[int, msgspec.Meta(ge=1, le=1024)]
Base = Annotated[float, msgspec.Meta(gt=1.0)]

FORMAT = 1
SEAL_MARK = "\n[seal]\n"
TEXT_ROWS = 256  # one row a byte; control rows follow
_FRESH = "restore the file or export the bundle again"


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[bundle]``: identity and the backbone's numbers."""

    name: str
    version: str
    licence: str
    format: int
    width: Count
    layers: Layers
    heads: Layers
    head_width: Count
    context: Count
    rope_base: Base
    tick_ms: Count
    space_id: str
    tap: str = "final_norm"
    norm: str = "rms"


class Tokens(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[tokens]``: names of the control rows, ids 256 and up."""

    control: list[str]


class VariantEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[variant.NAME]``: a decode graph, the weight files that it refers to, its exact identity, its gradient graph."""

    file: str
    exact_id: str
    weights: list[str] = []
    gradient: str | None = None


class Seal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[seal]``, the last table: SHA-256 of the text before it."""

    sha256: str


class BundleToml(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole of ``bundle.toml``."""

    bundle: Header
    tokens: Tokens
    variant: dict[str, VariantEntry]
    files: dict[str, str]
    seal: Seal
    component: dict[str, dict[str, str | float]] = {}
    figures: dict[str, float] = {}


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sealed(body: str) -> str:
    """The text of a ``bundle.toml``: ``body`` and its seal."""
    return f'{body}{SEAL_MARK}sha256 = "{hashlib.sha256(body.encode()).hexdigest()}"\n'


def _read_toml(path: Path) -> BundleToml:
    """Parse and check ``bundle.toml``; every way to fail is a BundleError."""
    try:
        text = path.read_bytes().decode()
        raw = tomllib.loads(text)
    except FileNotFoundError as error:
        raise BundleError(str(path), "no such file", "a bundle folder with bundle.toml", "check the path") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise BundleError(str(path), f"cannot be read ({error})", "a TOML file", _FRESH) from error
    found = raw.get("bundle", {}).get("format") if isinstance(raw.get("bundle"), dict) else None
    if isinstance(found, int) and found != FORMAT:
        raise BundleError(str(path), f"bundle format {found}", f"format {FORMAT}", "use an innervate that knows it")
    try:
        toml = msgspec.convert(raw, BundleToml)
    except msgspec.ValidationError as error:
        raise BundleError(str(path), str(error), "the keys that models/export.py writes", _FRESH) from error
    body = text.rpartition(SEAL_MARK)[0]
    if text != sealed(body):
        came = f"its text has SHA-256 {hashlib.sha256(body.encode()).hexdigest()}"
        raise BundleError(str(path), came, f"{toml.seal.sha256} by its seal", f"{_FRESH}; after an edit, models.export.reseal")
    return toml


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """An opened bundle: all hashes agreed. Make one with :meth:`open`."""

    folder: Path
    toml: BundleToml

    @classmethod
    def open(cls, folder: str | Path) -> Bundle:
        """Read ``bundle.toml`` under ``folder`` and check every file that it names.

        :raises BundleError: naming the file, the SHA-256 expected and found, and the next step.
        """
        bundle = cls(Path(folder), _read_toml(Path(folder) / "bundle.toml"))
        bundle._check_references()
        for name, expected in bundle.toml.files.items():
            bundle._check_file(name, expected)
        return bundle

    @property
    def header(self) -> Header:
        """Identity and the backbone's numbers."""
        return self.toml.bundle

    @property
    def variants(self) -> list[str]:
        """Names of the variants, in the order of the file."""
        return list(self.toml.variant)

    @property
    def figures(self) -> dict[str, float]:
        """What was measured when the bundle was made."""
        return dict(self.toml.figures)

    @property
    def components(self) -> dict[str, list[str]]:
        """Components and their parts, e.g. ``{"mic": ["encoder"]}``."""
        return {name: [part for part, value in entry.items() if isinstance(value, str)] for name, entry in self.toml.component.items()}

    def space(self, variant: str) -> Space:
        """The latent space of a variant's hidden states."""
        header = self.header
        return Space(header.space_id, self._variant(variant).exact_id, header.width, norm=header.norm)

    def variant_path(self, variant: str) -> Path:
        """The decode graph of a variant."""
        return self.folder / self._variant(variant).file

    def gradient_path(self, variant: str) -> Path:
        """The gradient graph of a variant. Raises BundleError when the bundle was made without it."""
        name = self._variant(variant).gradient
        if name is None:
            who = str(self.folder / "bundle.toml")
            step = f"add it: python -m innervate.models.vjp {self.folder}"
            raise BundleError(who, f"variant {variant} has no gradient graph", "gradient = in its table", step)
        return self.folder / name

    def rate_hz(self, component: str) -> float | None:
        """Latents a second of a component, where the bundle states it."""
        rate = self.toml.component.get(component, {}).get("rate_hz")
        return float(rate) if rate is not None else None

    def component(self, name: str, part: str, threads: int = 1) -> Graph:
        """Open a component's graph, e.g. ``component("mic", "encoder")``. Raises BundleError when there is none."""
        from innervate.runtime.backbone.graph import Graph

        parts = {f"{one}.{other}" for one, others in self.components.items() for other in others}
        wanted = f"{name}.{part}"
        if wanted not in parts:
            who = str(self.folder / "bundle.toml")
            raise BundleError(who, f"has no component graph {wanted!r}", "one of [component]", nearest(wanted, parts))
        return Graph(self.folder / str(self.toml.component[name][part]), threads, wanted)

    def rows(self) -> tuple[Floats, Floats]:
        """``embedding`` and ``classifier``, each ``[256 + control tokens, D]`` float32."""
        path = self.folder / "rows.npz"
        shape = (TEXT_ROWS + len(self.toml.tokens.control), self.header.width)
        try:
            with np.load(path, allow_pickle=False) as file:
                tables = file["embedding"], file["classifier"]
        except (OSError, ValueError, KeyError) as error:
            raise BundleError(str(path), f"cannot be read ({error})", "embedding and classifier", _FRESH) from error
        for table in tables:
            if table.dtype != np.float32 or table.shape != shape:
                came = f"a table {table.dtype} {list(table.shape)}"
                raise BundleError(str(path), came, f"float32 {list(shape)}", _FRESH)
            if not np.isfinite(table).all():  # the engine takes these rows unchecked
                raise BundleError(str(path), "a table with non-finite values", "finite values", _FRESH)
        return tables

    def _variant(self, name: str) -> VariantEntry:
        entry = self.toml.variant.get(name)
        if entry is None:
            who = str(self.folder / "bundle.toml")
            step = nearest(name, self.toml.variant)
            raise BundleError(who, f"has no variant {name!r}", f"one of {', '.join(self.variants)}", step)
        return entry

    def _check_references(self) -> None:
        """Every path that the tables refer to stands in [files], and none leads out of the folder."""
        who, files = str(self.folder / "bundle.toml"), self.toml.files
        used = ["rows.npz"]
        for entry in self.toml.variant.values():
            used += [entry.file, *entry.weights, *([entry.gradient] if entry.gradient is not None else [])]
        for parts in self.toml.component.values():
            used += [value for value in parts.values() if isinstance(value, str)]
        for name in used:
            if name not in files:
                raise BundleError(who, f"refers to {name!r}", "a file listed in [files] with its SHA-256", _FRESH)
        for name in files:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts:
                raise BundleError(who, f"lists {name!r}", "paths inside the bundle's folder", _FRESH)
        if not self.toml.variant:
            raise BundleError(who, "has no variant", "at least one [variant.NAME]", _FRESH)

    def _check_file(self, name: str, expected: str) -> None:
        path = self.folder / name
        try:
            found = sha256_of(path)
        except OSError as error:
            came = f"cannot be read ({error.strerror})"
            raise BundleError(str(path), came, f"a file with SHA-256 {expected}", _FRESH) from error
        if found != expected:
            raise BundleError(str(path), f"has SHA-256 {found}", f"{expected} by bundle.toml", _FRESH)
