"""Meaning of SMS replies."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.decide.response import Acknowledgement, Meaning, OptIn, OptOut, Unrecognised, format_code, parse_reply
from alerts.model.number import matches_number

#: The headings of tests/data/sms-replies.md.
MEANINGS: dict[str, Meaning] = {
    "Takes on 1A": Acknowledgement(code=1),
    "Takes on 1A, which is JCM-01": Acknowledgement(code=1, number="JCM-01"),
    "Takes on JCM-01": Acknowledgement(number="JCM-01"),
    "Takes on PPD01-01": Acknowledgement(number="PPD01-01"),
    "Takes on JBA10-01 of JBA1001": Acknowledgement(number="JBA10-01"),
    "Takes on JCONT-01 of JCONTOH": Acknowledgement(number="JCONT-01"),
    "Takes on what waits": Acknowledgement(),
    "Hands on 1A": Acknowledgement(code=1, escalates=True),
    "Hands on JCM-01": Acknowledgement(number="JCM-01", escalates=True),
    "Hands on what is theirs": Acknowledgement(escalates=True),
    "Unclear": Unrecognised(),
    "Wants no more SMS": OptOut(),
    "Wants SMS again": OptIn(),
}


def documented_replies() -> list[tuple[str, Meaning]]:
    """Return each SMS of the page with its meaning."""
    page = (Path(__file__).parents[4] / "tests/data/sms-replies.md").read_text(encoding="utf-8")
    sections = re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    assert [heading for heading, _ in sections] == list(MEANINGS)
    return [
        (sms, MEANINGS[heading])
        for heading, text in sections
        for sms in re.findall(r"^\| `(.*)` \|$", text, re.MULTILINE)
    ]


@pytest.mark.parametrize(("text", "meaning"), documented_replies())
def test_reply_is_parsed_as_documented(text: str, meaning: Meaning) -> None:
    parsed = parse_reply(text)

    if isinstance(meaning, Acknowledgement) and meaning.number is not None and meaning.code is None:
        assert isinstance(parsed, Acknowledgement)
        assert parsed.escalates is meaning.escalates
        agency = {"JCONT-01": "JCONTOH", "JBA10-01": "JBA1001"}.get(meaning.number, meaning.number[:-3])
        assert matches_number(parsed.number or "", meaning.number, agency)
    else:
        assert parsed == meaning


def test_reply_documentation_has_enough_distinct_examples() -> None:
    assert len({text for text, _ in documented_replies()}) == len(documented_replies()) >= 150


@pytest.mark.parametrize("text", ["", " ", "\t1a\r\n", "1A\n"])
def test_reply_surrounding_whitespace_is_ignored(text: str) -> None:
    assert parse_reply(text) == (Acknowledgement(code=1) if text.strip() else Unrecognised())


def test_reply_trailing_word_after_long_gap_is_not_ignored() -> None:
    assert parse_reply("1A" + " " * 500 + "tidak") == Unrecognised()


@given(st.integers(1, 9999))
def test_reply_with_any_formatted_code_is_parsed(code: int) -> None:
    assert parse_reply(format_code(code)) == Acknowledgement(code=code)


@given(st.text(max_size=600))
def test_reply_with_any_text_is_parsed(text: str) -> None:
    meaning: Meaning = parse_reply(text)

    assert isinstance(meaning, Acknowledgement | OptOut | OptIn | Unrecognised)
