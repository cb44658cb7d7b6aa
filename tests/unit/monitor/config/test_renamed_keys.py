"""Renamed keys: an old key is an error that names the new one."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from monitor.config.files.reading import as_model, field_annotation, is_mapping, item_type, keys_of
from monitor.config.model.registry import Agency
from monitor.config.model.settings import Settings
from monitor.model.renamed_keys import RENAMED_KEYS, RENAMED_VALUES
from tests.unit.monitor.config.ministry import Ministry


def places() -> list[Any]:
    """Return each old key with each kind of file that has the new one."""
    of_both = {"pantau": Settings, "jabatan": Agency}
    return [
        pytest.param(file, path, name, id=f"{file}:{path}")
        for path, name in RENAMED_KEYS.items()
        for file, model in of_both.items()
        if written(model, [*path.split(".")[:-1], name], "") is not None
    ]


def written(asked: Any, path: list[str], key: str) -> Any:
    """Return a value with *key* instead of the last key of *path*; `None` if *asked* has no such key."""
    if not path:
        return "x"
    model, below = as_model(asked) if not isinstance(asked, type) else asked, item_type(asked)
    if path[0] == "checks":
        return {"checks": {key or path[1]: "on"}}
    if path[0] == "voice":
        return {"voice": [{"gateway": "crier", key or path[1]: "x"}]}
    if model is None:
        found = written(below, path[1:] if is_mapping(asked) else path, key) if below is not None else None
        return None if found is None else {"a": found} if is_mapping(asked) else [found]
    if not issubclass(model, BaseModel) or path[0] not in known(model):
        return None
    found = written(known(model)[path[0]], path[1:], key)
    return None if found is None else {(key or path[0]) if len(path) == 1 else path[0]: found}


def known(model: type[BaseModel]) -> dict[str, Any]:
    keys = {name: field_annotation(field) for name, field in keys_of(model).items()}
    return keys | {f"{name}_{source}": None for name in keys for source in ("file", "env", "stored")}


def test_renamed_keys_each_old_key_has_place_in_model() -> None:
    assert {param.values[1] for param in places()} == RENAMED_KEYS.keys()


@pytest.mark.parametrize(("file", "path", "name"), places())
def test_renamed_keys_old_key_in_file_names_new_key(file: str, path: str, name: str, ministry: Ministry) -> None:
    *above, old = path.split(".")
    model = Settings if file == "pantau" else Agency
    ministry.write(file, yaml.safe_dump(written(model, [*above, name], old)))
    at = "pantau.yaml" if file == "pantau" else "agencies/jabatan.yaml"

    found = [line for line in ministry.problems() if line.endswith(f"`{old}` is now `{name}`; write instead: {name}")]

    assert len(found) == 1, ministry.problems()
    assert found[0].startswith(f"{at}:{len(ministry.path(file).read_text().splitlines())}: ")
    assert not [line for line in ministry.problems() if f".{name}: is missing" in line]


@pytest.mark.parametrize(("key", "old"), [(key, old) for key, values in RENAMED_VALUES.items() for old in values])
def test_renamed_values_old_value_in_settings_names_new_value(key: str, old: str, ministry: Ministry) -> None:
    ministry.edit(
        "pantau", "agencies: agencies/", f"{key}: {old}" if key == "agencies" else f"agencies: agencies/\n{key}: {old}"
    )
    new = RENAMED_VALUES[key][old]
    line = 1 if key == "agencies" else 2
    found = [
        each
        for each in ministry.problems()
        if each == f"pantau.yaml:{line}: {key}: `{old}` is now `{new}`; write instead: {new}"
    ]
    assert len(found) == 1, ministry.problems()
