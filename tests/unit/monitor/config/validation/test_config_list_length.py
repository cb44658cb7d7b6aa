"""Maximum list lengths of an agency's document. An administrator may exceed them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from monitor.config.files.document import document_from_text
from monitor.config.files.problem import Path
from monitor.config.files.reading import as_model, field_annotation, is_mapping, item_type, keys_of
from monitor.config.model.registry import Agency
from monitor.config.validation.restricted_fields import MAX_LENGTHS, check_list_lengths


def lists(asked: Any, path: Path = ()) -> Iterator[tuple[Path, bool]]:
    """Yield the path of each list or mapping with free keys, and whether it is a mapping."""
    model, below = as_model(asked), item_type(asked)
    if model is not None:
        for key, field in keys_of(model).items():
            yield from lists(field_annotation(field), (*path, key))
    elif below is not None:
        yield path, is_mapping(asked)
        yield from lists(below, (*path, "*"))


FOUND = dict(lists(Agency))


def test_max_lengths_cover_each_list_of_document() -> None:
    assert FOUND.keys() == MAX_LENGTHS.keys()


def document_with(path: Path, count: int) -> str:
    """Return a document with *count* entries at *path*."""
    value: Any = {f"x{n}": {} for n in range(count)} if FOUND[path] else ["x"] * count
    for at in range(len(path) - 1, -1, -1):
        around: Any = {"x": value} if FOUND.get(path[:at]) else [value]
        value = around if path[at] == "*" else {path[at]: value}
    return yaml.safe_dump(value, sort_keys=False)


@pytest.mark.parametrize("path", MAX_LENGTHS, ids=lambda path: ".".join(map(str, path)))
def test_list_lengths_limit_new_entries_and_keep_longer_lists(path: Path) -> None:
    most = MAX_LENGTHS[path]
    as_many, more, many_more = (
        document_from_text(document_with(path, count), "JCM") for count in (most, most + 1, most + 2)
    )

    assert check_list_lengths({}, as_many) == ()
    (problem,) = check_list_lengths({}, more)
    assert (problem.message, problem.instead) == (
        f"has more than {most} entries",
        f"{most} at most; an administrator may write more",
    )
    assert problem.key == ".".join(map(str, path)).replace(".*.layers.*", ".x.layers[0]").replace(
        "steps.*", "steps[0]"
    ).replace("hours.*", "hours[0]").replace(".*", ".x")
    assert check_list_lengths(more.data, more) == ()
    assert check_list_lengths(more.data, many_more)[0].message == f"has more than {most + 1} entries"


def test_list_lengths_problem_names_line_of_first_extra_entry() -> None:
    steps = "- contacts: [siti]\n  channels: [sms]\n" * 1500
    (problem,) = check_list_lengths(
        {},
        document_from_text(
            f"escalation:\n  steps:\n{steps}".replace("\n-", "\n  -").replace("\n  channels", "\n    channels"), "JCM"
        ),
    )

    assert str(problem) == (
        "JCM:43: escalation.steps: has more than 20 entries; write instead: 20 at most; an administrator may write more"
    )


@pytest.mark.parametrize("text", ["escalation: {steps: dua}", "contacts: []", "routes: {}", "[]", "escalation: [1]"])
def test_list_lengths_ignore_values_of_other_shape(text: str) -> None:
    assert check_list_lengths({}, document_from_text(text, "JCM")) == ()
