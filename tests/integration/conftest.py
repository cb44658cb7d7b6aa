"""Fixtures with the shipped configurations."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest
import trustme
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """Return a copy of the sample configuration, with its secrets."""
    shutil.copy(DEPLOY / "pantau.yaml", tmp_path)
    shutil.copytree(DEPLOY / "agencies", tmp_path / "agencies")
    return _with_secrets(tmp_path)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Return a copy of the settings of a site, with its secrets, and of an agency without contacts."""
    shutil.copy(DEPLOY / "site" / "pantau.yaml", tmp_path)
    (tmp_path / "agencies").mkdir()
    agency = yaml.safe_load((DEPLOY / "agencies" / "jabatan-contoh.yaml").read_text())
    kept = {key: agency[key] for key in ("agency", "name", "domains", "mailboxes")}
    (tmp_path / "agencies" / "jabatan-contoh.yaml").write_text(yaml.safe_dump(kept))
    return _with_secrets(tmp_path)


@pytest.fixture
def hub(sample: Path) -> Path:
    """Return a copy of the sample configuration as a hub, with its secrets, keys and certificates."""
    own = (DEPLOY / "hub" / "pantau.yaml").read_text().replace("/etc/postgresql/pantau/", "")
    sample.write_text(sample.read_text() + own)
    _with_secrets(sample.parent)
    trustme.CA().cert_pem.write_to_path(sample.parent / "johor-ca.crt")
    return sample


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """Return the first configuration that the tutorial shows, with its secrets."""
    settings, agency = re.findall(
        r"^```yaml\n(.*?)^```",
        (DEPLOY.parent / "docs/tutorials/first-configuration.md").read_text(),
        re.MULTILINE | re.DOTALL,
    )
    (tmp_path / "agencies").mkdir()
    (tmp_path / "agencies" / "jabatan-contoh.yaml").write_text(agency)
    (tmp_path / "pantau.yaml").write_text(settings)
    return _with_secrets(tmp_path)


def _with_secrets(directory: Path) -> Path:
    for file in directory.rglob("*.yaml"):
        for secret in _secrets_in(file.read_text()):
            (directory / secret).parent.mkdir(exist_ok=True)
            (directory / secret).write_text("kata-laluan-contoh\n")
            (directory / secret).chmod(0o600)
    return directory / "pantau.yaml"


@cache
def _secrets_in(text: str) -> Sequence[str]:
    """Return the secret files that a document names. Cached, because many tests use the same document."""
    return _secret_files(yaml.safe_load(text))


def _secret_files(tree: object) -> list[str]:
    if isinstance(tree, list):
        return [name for item in tree for name in _secret_files(item)]
    if not isinstance(tree, dict):
        return []
    found = [value for key, value in tree.items() if key.endswith("_file") and isinstance(value, str)]
    return found + [name for value in tree.values() for name in _secret_files(value)]
