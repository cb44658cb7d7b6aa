"""Gateways and probe kinds are found by being there; one that is not right stops the start."""

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


Orchestra = Callable[[str, str], ModuleType]


@pytest.fixture
def orchestra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Orchestra]:
    """Make a package with one module, of a name and a text; beside one in a folder ("bass.gong") stands what it shares."""
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


def test_every_module_of_the_package_is_found(orchestra: Orchestra) -> None:
    package = orchestra("gong", "KIND = Instrument('gong')")
    assert discover(package, "KIND", Instrument) == {"gong": Instrument("gong")}


@pytest.mark.parametrize("text", ["", "KIND = 'gong'", "OTHER = Instrument('gong')"])
def test_a_module_that_offers_nothing_stops_the_start(orchestra: Orchestra, text: str) -> None:
    with pytest.raises(TypeError, match=r"orkestra\.gong does not end with a Instrument called KIND"):
        discover(orchestra("gong", text), "KIND", Instrument)


def test_a_module_with_another_name_stops_the_start(orchestra: Orchestra) -> None:
    with pytest.raises(TypeError, match=r"orkestra\.gong calls itself 'seruling'"):
        discover(orchestra("gong", "KIND = Instrument('seruling')"), "KIND", Instrument)


def test_a_module_in_a_folder_bears_the_names_of_both(orchestra: Orchestra) -> None:
    package = orchestra("bass.gong", "KIND = Instrument('bass_gong')")
    assert discover(package, "KIND", Instrument) == {"bass_gong": Instrument("bass_gong")}


def test_a_module_in_a_folder_that_does_not_bear_its_folder_s_name_stops_the_start(orchestra: Orchestra) -> None:
    with pytest.raises(TypeError, match=r"orkestra\.bass\.gong calls itself 'gong'"):
        discover(orchestra("bass.gong", "KIND = Instrument('gong')"), "KIND", Instrument)


def test_a_folder_that_offers_nothing_stops_the_start(orchestra: Orchestra) -> None:
    with pytest.raises(TypeError, match=r"orkestra\.bass does not end with a Instrument called KIND"):
        discover(orchestra("bass.gong", ""), "KIND", Instrument)


def test_the_gateways_that_ship_are_as_they_should_be() -> None:
    assert discover(alerts.gateways, "GATEWAY", GatewayKind)
