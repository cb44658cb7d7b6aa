"""The container recipe and the compose file, checked without running either."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
RECIPE = (ROOT / "deploy" / "Containerfile").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def copied() -> list[str]:
    """Return the sources that the recipe copies."""
    lines = re.findall(r"^COPY (?!--from)(.+) \S+$", RECIPE, re.MULTILINE)
    return [name for line in lines for name in line.split()]


def test_image_contains_exactly_wheel_sources() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    needed = {*packages, *project["project"]["license-files"], project["project"]["readme"], "pyproject.toml"}
    assert set(copied()) == {*needed, "requirements/service.txt"}


def test_dockerignore_admits_only_copied_files() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignored
    assert {line[1:] for line in ignored if line.startswith("!")} == set(copied())


def test_image_installs_by_hash_and_runs_unprivileged() -> None:
    for line in RECIPE.splitlines():
        if "pip install" in line:
            assert ("--require-hashes" in line) is not ("--no-deps" in line)
    final = RECIPE.rpartition("\nFROM ")[2]
    user = re.search(r"^USER (\d+):(\d+)$", final, re.MULTILINE)
    assert user
    assert int(user[1]) > 0


@pytest.mark.parametrize("name", SERVICES)
def test_service_has_pinned_version_and_listens_on_loopback(name: str) -> None:
    service = SERVICES[name]
    assert service["network_mode"] == "host"
    assert "ports" not in service
    if name != "pantau":  # It is built here.
        assert re.search(r":v?\d+\.\d+", service["image"])


def test_passwords_are_files() -> None:
    for service in SERVICES.values():
        for key, value in service.get("environment", {}).items():
            if "PASSWORD" in key:
                assert key.endswith("_FILE")
                assert value.removeprefix("/run/secrets/") in service["secrets"]
    assert {name for service in SERVICES.values() for name in service.get("secrets", ())} == COMPOSE["secrets"].keys()


def test_pantau_service_writes_only_its_volumes() -> None:
    service = SERVICES["pantau"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    written = {volume.split(":")[1] for volume in service["volumes"] if not volume.endswith(":ro")}
    volumes = re.search(r"^VOLUME (.+)$", RECIPE, re.MULTILINE)
    assert volumes
    assert written == set(yaml.safe_load(volumes[1]))


def test_mounts_from_sources_exist_and_others_are_volumes() -> None:
    for service in SERVICES.values():
        for volume in service["volumes"]:
            place = volume.split(":")[0]
            if place.startswith("."):
                assert (ROOT / "deploy" / place).exists(), place
                assert volume.endswith(":ro")
            else:
                assert place.startswith("$") or place in COMPOSE["volumes"]
