"""The recipe of the image and the compose file, as far as they can be looked at without either being run."""

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
    """Return what the recipe takes from the sources."""
    lines = re.findall(r"^COPY (?!--from)(.+) \S+$", RECIPE, re.MULTILINE)
    return [name for line in lines for name in line.split()]


def test_the_image_gets_what_the_wheel_is_made_of_and_nothing_else() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    needed = {*packages, *project["project"]["license-files"], project["project"]["readme"], "pyproject.toml"}
    assert set(copied()) == {*needed, "requirements/service.txt"}


def test_what_is_not_copied_does_not_even_get_to_the_builder() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignored
    assert {line[1:] for line in ignored if line.startswith("!")} == set(copied())


def test_wheels_come_by_their_hashes_and_the_program_is_nobody_of_privilege() -> None:
    for line in RECIPE.splitlines():
        if "pip install" in line:
            assert ("--require-hashes" in line) is not ("--no-deps" in line)
    final = RECIPE.rpartition("\nFROM ")[2]
    user = re.search(r"^USER (\d+):(\d+)$", final, re.MULTILINE)
    assert user
    assert int(user[1]) > 0


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_its_version_and_stays_on_loopback(name: str) -> None:
    service = SERVICES[name]
    assert service["network_mode"] == "host"
    assert "ports" not in service
    if name != "pantau":  # It is built here.
        assert re.search(r":v?\d+\.\d+", service["image"])


def test_every_password_is_a_file() -> None:
    for service in SERVICES.values():
        for key, value in service.get("environment", {}).items():
            if "PASSWORD" in key:
                assert key.endswith("_FILE")
                assert value.removeprefix("/run/secrets/") in service["secrets"]
    assert {name for service in SERVICES.values() for name in service.get("secrets", ())} == COMPOSE["secrets"].keys()


def test_pantau_writes_its_volumes_and_nothing_else() -> None:
    service = SERVICES["pantau"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    written = {volume.split(":")[1] for volume in service["volumes"] if not volume.endswith(":ro")}
    volumes = re.search(r"^VOLUME (.+)$", RECIPE, re.MULTILINE)
    assert volumes
    assert written == set(yaml.safe_load(volumes[1]))


def test_what_is_mounted_from_the_sources_is_there_and_everything_else_is_a_volume() -> None:
    for service in SERVICES.values():
        for volume in service["volumes"]:
            place = volume.split(":")[0]
            if place.startswith("."):
                assert (ROOT / "deploy" / place).exists(), place
                assert volume.endswith(":ro")
            else:
                assert place.startswith("$") or place in COMPOSE["volumes"]
