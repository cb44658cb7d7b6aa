"""What people answer by SMS, and what it is taken for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.response import Accepts, Meaning, Starts, Stops, Unclear, printed, understand


@pytest.mark.parametrize(
    "text",
    [
        *("1A", "1a", "1 a", " 1A ", "1A.", '"1A"', "'1a'", "“1A”", "1aa", "a1", "A 1", "1", "#1", "1-a"),
        *("ack 1", "ACK 1", "ack: 1", "ack #1", "1 ack", "terima 1", "Terima 1A", "1A terima", "1A terima kasih"),
        *("ok 1", "ya 1a", "1A ok tq", "1A\n", "\t1a\r\n", "sahkan 1", "Sila sahkan 1A", "1A, terima kasih tuan"),
        # As phones correct it: single curly quotes, letters of full width.
        *("\u20181a\u2019", "\uff11\uff21"),
    ],
)
def test_a_code_is_understood_however_it_is_typed(text: str) -> None:
    assert understand(text) == Accepts(code=1)


@pytest.mark.parametrize(
    "text",
    [
        *("JCM-01", "jcm-01", "JCM-1", "jcm01", "jcm 01", "JCM - 01", "“JCM-01”", "terima JCM-01", "ack jcm-01"),
        *("JCM-01 terima", "Ruj JCM-01", "ok jcm 1", "JCM\u201301"),
    ],
)
def test_an_incidents_number_is_understood_too(text: str) -> None:
    assert understand(text) == Accepts(number="JCM-01")


@pytest.mark.parametrize("text", ["terima", "ack", "OK", "ya", "Diterima, terima kasih", "a", "faham"])
def test_a_word_alone_means_what_the_person_was_told_of(text: str) -> None:
    assert understand(text) == Accepts()


@pytest.mark.parametrize("text", ["STOP", "stop", "Stop.", "berhenti", "UNSUBSCRIBE", "stopall", '"STOP"'])
def test_stop_is_heard(text: str) -> None:
    assert understand(text) == Stops()


@pytest.mark.parametrize("text", ["START", "mula", "unstop"])
def test_start_is_heard(text: str) -> None:
    assert understand(text) == Starts()


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            "?",
            "siapa ini",
            "no",
            "tidak",
            "jangan terima 1A",
            "1A 2A",
            "1A JCM-01",
            "call me",
            "12345A",
            "1B",
        ),
        # Words of other scripts are words: "no", in Chinese, Tamil, Jawi, Russian.
        *("不要 1A", "1A不要", "வேண்டாம் 1A", "جاڠن 1A", "нет 1A"),
        *("1A?", "ya?", "OK??", "1A" + " " * 500 + "tidak"),
        *("bukan 1A", "stop 1A", "saya tak stop", "kasih", "RM0 JCM ICT: AMARAN. Balas 1A utk terima", "01:30"),
    ],
)
def test_what_is_not_clear_is_never_taken_for_a_yes(text: str) -> None:
    assert understand(text) == Unclear()


@given(st.integers(1, 9999))
def test_every_code_that_is_printed_is_understood(code: int) -> None:
    assert understand(printed(code)) == Accepts(code=code)


@given(st.text(max_size=600))
def test_any_text_has_a_meaning(text: str) -> None:
    meaning: Meaning = understand(text)

    assert isinstance(meaning, Accepts | Stops | Starts | Unclear)
