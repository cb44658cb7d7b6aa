"""Discovery of gateways and probe kinds: an invalid module stops the start."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import alerts.gateways
from alerts.model.gateway import GatewayKind
from monitor.runtime.plugins import discover


@dataclass(frozen=True)
class Instrument:
    name: str


PackageMaker = Callable[[str, str], ModuleType]


@pytest.fixture
def make_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PackageMaker]:
    """Return a function that makes a package with one module; in a folder ("bass.gong") it adds a shared module."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(module: str, text: str) -> ModuleType:
        package = tmp_path / "orkestra"
        package.mkdir()
        (package / "__init__.py").touch()
        path = package.joinpath(*module.split(".")).with_suffix(".py")
        if path.parent != package:
            path.parent.mkdir()
            (path.parent / "__init__.py").touch()
            (path.parent / "shared.py").touch()
        path.write_text(f"from {__name__} import Instrument\n{text}\n")
        return import_module("orkestra")

    yield make
    for name in [name for name in sys.modules if name.split(".")[0] == "orkestra"]:
        del sys.modules[name]


def test_discover_finds_every_module(make_package: PackageMaker) -> None:
    package = make_package("gong", "KIND = Instrument('gong')")
    assert discover(package, "KIND", Instrument) == {"gong": Instrument("gong")}


@pytest.mark.parametrize("text", ["", "KIND = 'gong'", "OTHER = Instrument('gong')"])
def test_discover_module_without_plugin_is_error(make_package: PackageMaker, text: str) -> None:
    with pytest.raises(TypeError, match=r"orkestra\.gong has no Instrument called KIND"):
        discover(make_package("gong", text), "KIND", Instrument)


def test_discover_plugin_with_other_name_is_error(make_package: PackageMaker) -> None:
    with pytest.raises(TypeError, match=r"orkestra\.gong must have the name 'gong', and has 'seruling'"):
        discover(make_package("gong", "KIND = Instrument('seruling')"), "KIND", Instrument)


def test_discover_module_in_folder_has_both_names(make_package: PackageMaker) -> None:
    package = make_package("bass.gong", "KIND = Instrument('bass_gong')")
    assert discover(package, "KIND", Instrument) == {"bass_gong": Instrument("bass_gong")}


def test_discover_module_in_folder_with_short_name_is_error(make_package: PackageMaker) -> None:
    with pytest.raises(TypeError, match=r"orkestra\.bass\.gong must have the name 'bass_gong', and has 'gong'"):
        discover(make_package("bass.gong", "KIND = Instrument('gong')"), "KIND", Instrument)


def test_discover_folder_without_plugin_is_error(make_package: PackageMaker) -> None:
    with pytest.raises(TypeError, match=r"orkestra\.bass has no Instrument called KIND"):
        discover(make_package("bass.gong", ""), "KIND", Instrument)


def test_discover_finds_shipped_gateways() -> None:
    assert discover(alerts.gateways, "GATEWAY", GatewayKind)
