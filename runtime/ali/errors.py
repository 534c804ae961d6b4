"""The error tree of Innervate.

Every error names who met it, what came, what was expected and what to do next, and carries the four as data, so that a
program can act on them and a person can read them. Command line verbs print `str(error)` and no traceback.
"""

import difflib
from collections.abc import Iterable


class InnervateError(Exception):
    """Root of every error that Innervate raises on purpose.

    `who` is the component, file or function that met it; `came`, `expected` and `next_step` are clauses without a final
    full stop. The message is "{who}: {came}; expected {expected}; {next_step}", empty clauses left out.
    """

    def __init__(self, who: str, came: str, expected: str = "", next_step: str = "") -> None:
        self.who = who
        self.came = came
        self.expected = expected
        self.next_step = next_step
        clauses = [f"{who}: {came}"]
        if expected:
            clauses.append(f"expected {expected}")
        if next_step:
            clauses.append(next_step)
        super().__init__("; ".join(clauses))

    def __reduce__(self) -> tuple[type["InnervateError"], tuple[str, str, str, str]]:
        return type(self), (self.who, self.came, self.expected, self.next_step)


class LatentError(InnervateError, ValueError):
    """A latent packet or a sample that breaks its contract: dtype, shape, finiteness, time order."""


class SpaceMismatch(InnervateError, ValueError):  # noqa: N818 - it names the state, as KeyboardInterrupt does
    """Two latent spaces that may not be mixed; the message holds both identities."""


class ManifestError(InnervateError, ValueError):
    """A `plugin.toml` that cannot be used."""


class BoardError(InnervateError, ValueError):
    """A board file that cannot be used."""


class ScenarioError(InnervateError, ValueError):
    """A scenario file, or a file that it names, that cannot be used."""


class BundleError(InnervateError, ValueError):
    """A model bundle that is missing, corrupted or of another format."""


class VocabularyError(InnervateError, ValueError):
    """Tokens of a component that cannot be added, read or found: a bad name, one that is taken, a damaged file, the budget used up."""


class DeviceError(InnervateError, OSError):
    """A device that cannot be opened, read or written; raised again on every use until it is reopened."""

    def __str__(self) -> str:
        # OSError.__str__ would print errno-style tuples for some argument counts; ours is the composed message.
        return str(self.args[0]) if self.args else ""


class PluginError(InnervateError, RuntimeError):
    """A plugin that cannot be found or loaded, or that breaks its component contract."""


def nearest(key: str, known: Iterable[str]) -> str:
    """Return a next step for an unknown `key`: the nearest known one, or the whole list when nothing is near."""
    names = sorted(known)
    matches = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
    if matches:
        return f"did you mean {matches[0]!r}?"
    return f"known: {', '.join(names)}" if names else "nothing is known here"
