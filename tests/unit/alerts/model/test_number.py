"""Incident numbers, as given and as quoted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.model.number import candidate_numbers, incident_number, matches_number, number_prefix

CODES = st.from_regex(r"[A-Z0-9]{0,4}[A-Z][A-Z0-9]{0,6}", fullmatch=True)


@pytest.mark.parametrize(
    ("code", "prefix"),
    [
        ("JCM", "JCM"),
        ("JCONTOH", "JCONT"),
        ("PPD01", "PPD01"),
        ("JBA1001", "JBA10"),
        ("A123456", "A12"),
        ("12X45", "12X45"),
        ("", "NOC"),
        ("kementerian-a", "KEMEN"),
    ],
)
def test_number_prefix_has_five_characters_with_at_most_two_final_digits(code: str, prefix: str) -> None:
    assert number_prefix(code) == prefix


@pytest.mark.parametrize(
    ("quoted", "number", "agency"),
    [
        ("JCM-01", "JCM-01", "JCM"),
        ("jcm-1", "JCM-01", "JCM"),
        ("jcm1", "JCM-01", "JCM"),
        ("JCONT-01", "JCONT-01", "JCONTOH"),
        ("JCONTOH-01", "JCONT-01", "JCONTOH"),
        ("jcontoh1", "JCONT-01", "JCONTOH"),
        ("PPD01-01", "PPD01-01", "PPD01"),
        ("PPD0101", "PPD01-01", "PPD01"),
        ("PPD0101", "PPD-101", "PPD"),
        ("PPD-01-01", "PPD01-01", "PPD01"),
        ("JBA1001-01", "JBA10-01", "JBA1001"),
        ("JBA10-01", "JBA10-01", "JBA1001"),
        ("JBA10011", "JBA10-01", "JBA1001"),
        ("NOC-100", "NOC-100", ""),
    ],
)
def test_matches_number_accepts_common_spellings(quoted: str, number: str, agency: str) -> None:
    assert matches_number(quoted, number, agency)


@pytest.mark.parametrize(
    ("quoted", "number", "agency"),
    [
        ("JBA1002-01", "JBA10-01", "JBA1001"),
        ("JCONTAN-01", "JCONT-01", "JCONTOH"),
        ("JCM-10", "JCM-01", "JCM"),
        ("JCM-01", "JCM-10", "JCM"),
        ("PPD-101", "PPD01-01", "PPD01"),
        ("PPD01-01", "PPD-101", "PPD"),
        ("PPD01", "PPD01-01", "PPD01"),
        ("JCM", "JCM-01", "JCM"),
        ("JCM-", "JCM-01", "JCM"),
        ("-01", "NOC-01", ""),
        ("01", "NOC-01", ""),
        ("", "NOC-01", ""),
        ("JCM-" + "0" * 5000, "JCM-01", "JCM"),
        ("JCM-\N{SUPERSCRIPT ONE}", "JCM-01", "JCM"),
    ],
)
def test_matches_number_rejects_other_incident(quoted: str, number: str, agency: str) -> None:
    assert not matches_number(quoted, number, agency)


@given(CODES, st.integers(1, 9999))
def test_candidate_numbers_find_number_and_full_agency_code(agency: str, count: int) -> None:
    number = incident_number(number_prefix(agency), count)

    for quoted in (number, f"{agency}-{count}", number.lower()):
        assert candidate_numbers(quoted)[0] == number
        assert matches_number(quoted, number, agency)


@given(st.text(max_size=20))
def test_candidate_numbers_accept_any_text(text: str) -> None:
    assert all(isinstance(number, str) for number in candidate_numbers(text))
