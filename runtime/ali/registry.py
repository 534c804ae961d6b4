"""Where plugins are found: the built-in folder first, then what other distributions register.

A plugin is a package with a `plugin.toml` in it. Built-in ones are the subfolders of `innervate.plugins`; third parties
register theirs under the entry-point group `innervate.plugins` (`sonar = "sonar_plugin"`). Listing and reading
manifests imports none of them; a class is imported when a board first uses it. What cannot be loaded is reported with
its cause, never skipped in silence.
"""

import importlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from innervate.runtime.ali.errors import InnervateError, PluginError, nearest
from innervate.runtime.ali.manifest import ComponentEntry, Manifest, load_manifest

GROUP = "innervate.plugins"
FILE = "plugin.toml"

T = TypeVar("T")


class Registry:
    """Plugins by name, found when asked for.

    `folders` are searched for `<name>/plugin.toml` (None: the built-in folder alone), then those of `more`; `entry_points=False`
    leaves third parties out.
    """

    def __init__(self, folders: Sequence[Path] | None = None, entry_points: bool = True, more: Sequence[Path] = ()) -> None:
        self._folders = [*(folders if folders is not None else _built_in_folders()), *more]
        self._entry_points = entry_points
        self._manifests: dict[str, Manifest] = {}
        self._third_party: dict[str, str] | None = None

    def names(self) -> list[str]:
        """Names of every plugin in reach, broken ones included, sorted."""
        found = {path.parent.name for folder in self._folders for path in folder.glob(f"*/{FILE}")}
        return sorted(found | set(self._registered()))

    def manifest(self, name: str) -> Manifest:
        """Return the manifest of plugin `name`. Raises PluginError when there is none, ManifestError when it is
        broken.
        """
        if name not in self._manifests:
            self._manifests[name] = load_manifest(self._find(name))
        return self._manifests[name]

    def folder(self, name: str) -> Path:
        """Return where the files of plugin `name` lie. Raises PluginError when there is none."""
        return self._find(name).parent

    def component(self, plugin: str, name: str) -> ComponentEntry:
        """Return component `name` of `plugin`. Raises PluginError when it has no such component."""
        manifest = self.manifest(plugin)
        entry = manifest.find(name)
        if entry is None:
            known = [entry.name for entry in manifest.component]
            raise PluginError(f"plugin {plugin}", f"asked for component {name!r}", ", ".join(known), nearest(name, known))
        return entry

    def broken(self) -> dict[str, InnervateError]:
        """Return the cause for each plugin whose manifest cannot be used."""
        causes: dict[str, InnervateError] = {}
        for name in self.names():
            try:
                self.manifest(name)
            except InnervateError as error:
                causes[name] = error
        return causes

    def _find(self, name: str) -> Path:
        for folder in self._folders:
            path = folder / name / FILE
            if path.is_file():
                return path
        package = self._registered().get(name)
        if package is None:
            raise PluginError(f"plugin {name}", "is not installed", "a known plugin", nearest(name, self.names()))
        try:
            spec = importlib.util.find_spec(package)
        except (ImportError, ValueError) as error:
            spec, cause = None, str(error)
        else:
            cause = f"no package {package!r}"
        if spec is None or not spec.submodule_search_locations:
            step = f"correct its entry point {GROUP}, or reinstall it"
            raise PluginError(f"plugin {name}", f"cannot be found: {cause}", f"a package holding {FILE}", step)
        return Path(next(iter(spec.submodule_search_locations))) / FILE

    def _registered(self) -> dict[str, str]:
        if self._third_party is None:
            self._third_party = _entry_point_packages() if self._entry_points else {}
        return self._third_party


def load_attribute(reference: str, who: str) -> object:
    """Import "module:attribute" and return it. Raises PluginError with the cause."""
    module_name, _, attribute = reference.partition(":")
    try:
        found: object = getattr(importlib.import_module(module_name), attribute)
    except Exception as error:  # a plugin's import may raise anything at all
        step = "install what it imports (innervate doctor lists extras), or correct the reference"
        raise PluginError(who, f"cannot load {reference}: {type(error).__name__}: {error}", "", step) from error
    return found


def load_class(reference: str, kind: type[T], who: str) -> type[T]:
    """Import "module:attribute" and return it, a subclass of `kind`. Raises PluginError with the cause."""
    found = load_attribute(reference, who)
    if not (isinstance(found, type) and issubclass(found, kind)):
        raise PluginError(who, f"{reference} is {found!r}", f"a subclass of {kind.__name__}", "correct plugin.toml")
    return found


def _built_in_folders() -> list[Path]:
    spec = importlib.util.find_spec("innervate.plugins")
    return [Path(place) for place in spec.submodule_search_locations or ()] if spec else []


def _entry_point_packages() -> dict[str, str]:
    from importlib.metadata import entry_points  # kept off the boot path: only needed for third parties

    return {point.name: point.value.partition(":")[0] for point in entry_points(group=GROUP)}
