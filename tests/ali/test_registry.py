from pathlib import Path

import pytest

from innervate.runtime.ali.component import Sensor
from innervate.runtime.ali.errors import ManifestError, PluginError
from innervate.runtime.ali.registry import Registry, load_attribute, load_class

MANIFEST = """\
[plugin]
name = "sonar"
version = "0.1.0"
summary = "distance"
licence = "MIT"
[[component]]
name = "sonar"
kind = "upstream"
virtual = "sonar_plugin.parts:Twin"
encoder = "sonar_plugin.parts:Echo"
graph = "rows"
"""


def test_built_in_plugins_are_all_good() -> None:
    registry = Registry(entry_points=False)
    assert {"camera", "force", "mic", "motor", "text"} <= set(registry.names())
    assert registry.broken() == {}


def test_built_in_references_can_be_loaded_or_say_why() -> None:
    registry = Registry(entry_points=False)
    for name in registry.names():
        for entry in registry.manifest(name).component:
            if entry.kind == "upstream" and entry.virtual is not None:
                load_class(entry.virtual, Sensor, name)  # type: ignore[type-abstract]


def test_an_unknown_plugin_or_component_names_the_nearest() -> None:
    registry = Registry(entry_points=False)
    with pytest.raises(PluginError, match="did you mean 'camera'"):
        registry.manifest("camara")
    with pytest.raises(PluginError, match="did you mean 'pose'"):
        registry.component("motor", "poze")


def test_a_broken_manifest_is_reported_not_skipped(tmp_path: Path) -> None:
    (tmp_path / "sonar").mkdir()
    (tmp_path / "sonar" / "plugin.toml").write_text(MANIFEST.replace('licence = "MIT"\n', ""))
    registry = Registry([tmp_path], entry_points=False)
    assert registry.names() == ["sonar"]
    assert isinstance(registry.broken()["sonar"], ManifestError)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A third party's plugin as pip leaves it: a package and its metadata."""
    package = tmp_path / "sonar_plugin"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('listing must not import')")
    (package / "plugin.toml").write_text(MANIFEST)
    metadata = tmp_path / "sonar_plugin-0.1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: sonar-plugin\nVersion: 0.1.0\n")
    (metadata / "entry_points.txt").write_text("[innervate.plugins]\nsonar = sonar_plugin\nghost = no_such_package\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return package


def test_third_parties_are_found_by_entry_point_without_importing_them(installed: Path) -> None:
    registry = Registry()
    assert "sonar" in registry.names()
    assert registry.manifest("sonar").plugin.licence == "MIT"
    assert "sonar" not in Registry(entry_points=False).names()


def test_a_registered_package_that_is_gone_is_reported(installed: Path) -> None:
    assert "no package 'no_such_package'" in str(Registry().broken()["ghost"])


def test_a_plugin_that_fails_to_import_is_reported_with_its_cause(installed: Path) -> None:
    with pytest.raises(PluginError, match="RuntimeError: listing must not import"):
        load_class("sonar_plugin.parts:Twin", Sensor, "plugin sonar")  # type: ignore[type-abstract]


def test_a_reference_to_something_else_is_refused() -> None:
    with pytest.raises(PluginError, match="subclass of Sensor"):
        load_class("json:dumps", Sensor, "plugin x")  # type: ignore[type-abstract]
    with pytest.raises(PluginError, match="AttributeError"):
        load_attribute("json:nothing", "plugin x")
