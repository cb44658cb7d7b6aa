"""Domain names within parent domains."""

from __future__ import annotations

import pytest

from probes.model.domain import find_parent, is_within

_PARENTS = ("gov.my", "Contoh.EDU.my.")


@pytest.mark.parametrize(
    ("name", "parent"),
    [
        ("gov.my", "gov.my"),
        ("jabatan-contoh.gov.my", "gov.my"),
        ("Mel.Jabatan-Contoh.GOV.my.", "gov.my"),
        ("pos.contoh.edu.my", "Contoh.EDU.my."),
        ("jahat-gov.my", None),
        ("gov.my.contoh.com", None),
        ("my", None),
        ("", None),
    ],
)
def test_parent_domain_matches_whole_labels(name: str, parent: str | None) -> None:
    assert find_parent(name, _PARENTS) == parent
    assert is_within(name, _PARENTS) is (parent is not None)
