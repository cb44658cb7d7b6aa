"""Examples in documents, and a configuration with those of docs/how-to/operator/shared-mailboxes.md."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
SHARED_MAILBOXES = ROOT / "docs/how-to/operator/shared-mailboxes.md"

Tree = dict[str, Any]


def examples(language: str, document: Path = SHARED_MAILBOXES) -> list[str]:
    """Return the code blocks of *language*, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", document.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def written(directory: Path, agency: Sequence[Tree], settings: Mapping[str, Any]) -> Path:
    """Write the sample configuration with these parts of an agency's file, and *settings*; return the settings file.

    Lists of several parts, such as routes, are joined. Other keys keep the values of the sample.
    """
    config = yaml.safe_load((ROOT / "deploy/pantau.yaml").read_text(encoding="utf-8"))
    file = yaml.safe_load((ROOT / "deploy/agencies/jabatan-contoh.yaml").read_text(encoding="utf-8"))
    config |= {"state_dir": "state", **settings}
    for part in agency:
        _merge(file, part)
    (directory / "agencies").mkdir()
    (directory / "agencies/jabatan-contoh.yaml").write_text(yaml.safe_dump(file, sort_keys=False), encoding="utf-8")
    path = directory / "pantau.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return path


def write_secrets(directory: Path, known: Mapping[str, str]) -> None:
    """Write every secret file that the configuration in *directory* names, with the value in *known* or a default."""
    for file in directory.rglob("*.yaml"):
        for name in re.findall(r"_file: (secrets/\S+)", file.read_text(encoding="utf-8")):
            secret_file = directory / name
            secret_file.parent.mkdir(exist_ok=True)
            secret_file.write_text(known.get(name, "kata-laluan-contoh") + "\n", encoding="utf-8")
            secret_file.chmod(0o600)


def _merge(tree: Tree, part: Tree) -> None:
    for key, value in part.items():
        if isinstance(value, dict):
            _merge(tree.setdefault(key, {}), value)
        elif isinstance(value, list):
            tree[key] = [*tree.get(key, ()), *value]
        else:
            tree[key] = value
