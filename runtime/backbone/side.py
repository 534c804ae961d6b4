"""Tokens beside the base's: two rows of a component, `<so_x>` and `<eo_x>`, that live outside the bundle and come and go.

A component's rows are a file of its own, `tokens.npz`: `embedding` and `classifier` [2, D] float32 and `about`, JSON in bytes, with the
format, the component's name and the latent space that they were trained in. Nothing of the bundle is ever written.

Names: `vendor/part`, the vendor's namespace first, for what is shipped to others; a bare `part` for what an owner teaches a device.
Lower case letters, digits, `_` and `-`, each part at most 32 long.
"""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from innervate.runtime.ali.errors import SpaceMismatch, VocabularyError

Floats = npt.NDArray[np.float32]

TOKENS_FILE = "tokens.npz"  # in the component's folder
SIDE_MAX = 16  # components; as many as can be pinned at once, and 32 rows cost less than 5 us a step
FORMAT = 1
_PART = "[a-z0-9][a-z0-9_-]{0,31}"
_NAME = re.compile(f"({_PART}/)?{_PART}")
_OVERHEAD = 1 << 16  # bytes of a file beside its numbers, at most


def start_token(name: str) -> str:
    """Name of the token that opens component ``name``."""
    return f"<so_{name}>"


def end_token(name: str) -> str:
    """Name of the token that closes component ``name``."""
    return f"<eo_{name}>"


def check_name(name: str) -> None:
    """Raise VocabularyError for a name that is none."""
    if not _NAME.fullmatch(name):
        step = "use lower case letters, digits, _ and -, at most 32 a part, e.g. wave or acme/ring"
        raise VocabularyError("vocabulary", f"component name {name!r}", "NAME or VENDOR/NAME", step)


class SideTokens:
    """The rows of one component; row 0 is ``<so_NAME>``, row 1 ``<eo_NAME>``.

    ``start`` and ``end`` are their ids, the same for as long as the component stays in the vocabulary. ``embedding`` and ``classifier``,
    [2, D] float32, are the vocabulary's own memory: writing to them trains the rows in place, and nothing else. After the component
    was removed they are copies of what they were.
    """

    __slots__ = ("classifier", "embedding", "end", "name", "space_id", "start")

    def __init__(self, name: str, start: int, embedding: Floats, classifier: Floats, space_id: str) -> None:
        self.name = name
        self.start = start
        self.end = start + 1
        self.embedding = embedding
        self.classifier = classifier
        self.space_id = space_id

    def save(self, path: Path) -> None:
        """Write the rows to ``path``, whole or not at all, the old file staying until the new one is there.

        :raises VocabularyError: rows that are not finite.
        :raises InnervateError: a disc that refuses.
        """
        from innervate.runtime.teach.files import write_whole  # not on the boot path

        _check_rows(str(path), self.embedding, self.classifier, self.embedding.shape[1])
        text = json.dumps({"format": FORMAT, "name": self.name, "space_id": self.space_id})
        about = np.frombuffer(text.encode(), np.uint8)
        write_whole(path, lambda file: np.savez(file, embedding=self.embedding, classifier=self.classifier, about=about))

    def detach(self) -> None:
        """Leave the vocabulary's memory: what is written from now on touches nobody."""
        self.embedding, self.classifier = self.embedding.copy(), self.classifier.copy()


def read_tokens(path: Path, width: int, space_id: str) -> tuple[str, Floats, Floats]:
    """Name, embedding and classifier rows of a file that :meth:`SideTokens.save` wrote.

    :raises VocabularyError: a missing, damaged or oversized file.
    :raises SpaceMismatch: rows of another latent space.
    """
    who, step = str(path), "restore the file or train the component again"
    try:
        with zipfile.ZipFile(path) as file:  # sizes are known before anything is unpacked
            size = sum(member.file_size for member in file.infolist())
        if size > 4 * 2 * width * 4 + _OVERHEAD:
            raise VocabularyError(who, f"{size} bytes", f"rows of {width} numbers", step)
        with np.load(path, allow_pickle=False) as file:
            embedding, classifier, about = file["embedding"], file["classifier"], json.loads(file["about"].tobytes())
        name, found, version = str(about["name"]), str(about["space_id"]), about["format"]
    except VocabularyError:
        raise
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise VocabularyError(who, f"cannot be read ({error})", "a component's token rows", step) from error
    if version != FORMAT:
        raise VocabularyError(who, f"format {version}", f"format {FORMAT}", "use an innervate that knows it")
    check_name(name)
    if found != space_id:
        came = f"rows of latent space {found}"
        raise SpaceMismatch(who, came, f"the backbone's {space_id}", "train the component again on this bundle")
    _check_rows(who, embedding, classifier, width)
    return name, embedding, classifier


def _check_rows(who: str, embedding: Floats, classifier: Floats, width: int) -> None:
    for table in (embedding, classifier):
        if table.dtype != np.float32 or table.shape != (2, width):
            came = f"rows {table.dtype} {list(table.shape)}"
            raise VocabularyError(who, came, f"float32 [2, {width}]", "train the component again")
        if not np.isfinite(table).all():
            raise VocabularyError(who, "rows with non-finite values", "finite values", "train again with a lower learning rate")
