"""The page of values matches the code."""

from __future__ import annotations

from enum import StrEnum

import pytest

from tests import values

ENUMERATIONS = [each for section in values.SECTIONS.values() for each in section]


def test_values_document_matches_code() -> None:
    assert values.DOCUMENT.read_text(encoding="utf-8") == values.document(), "write it again: make texts"


@pytest.mark.parametrize("enumeration", ENUMERATIONS)
def test_values_enumeration_documents_each_member(enumeration: type[StrEnum]) -> None:
    meanings = values.meanings(enumeration)
    assert list(meanings) == [str(member) for member in enumeration]
    assert [value for value, meaning in meanings.items() if not meaning.endswith(".")] == []
    assert (enumeration.__doc__ or "").endswith(".")
