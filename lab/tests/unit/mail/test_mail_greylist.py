"""Who comes for the first time is told to come again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from pantau_lab.mail.faults.greylist import greylist

NOON = datetime(2026, 11, 24, 4, 0, tzinfo=UTC)
WAIT = timedelta(minutes=5)
US, THEM, OTHERS = "a@satu.example", "b@dua.example", "c@dua.example"


def test_a_pair_is_let_in_when_it_comes_again_after_a_while() -> None:
    gate = greylist(WAIT)
    answers = [gate(US, THEM, NOON + span) for span in (timedelta(), WAIT / 2, WAIT, WAIT * 2)]
    assert [answer and (answer.code, answer.status) for answer in answers] == [
        (450, "4.7.1"),
        (450, "4.7.1"),
        None,
        None,
    ]


def test_every_pair_waits_for_itself_in_whatever_case_it_is_written() -> None:
    gate = greylist(WAIT)
    assert gate(US, THEM, NOON) is not None
    assert gate(US.upper(), THEM.title(), NOON + WAIT) is None
    assert gate(US, OTHERS, NOON + WAIT) is not None
    assert gate(THEM, US, NOON + WAIT) is not None
