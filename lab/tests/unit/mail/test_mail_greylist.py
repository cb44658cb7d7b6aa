"""Greylisting of unknown sender and recipient pairs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from pantau_lab.mail.faults.greylist import greylist

NOON = datetime(2026, 11, 24, 4, 0, tzinfo=UTC)
WAIT = timedelta(minutes=5)
SENDER, RECIPIENT, OTHER_RECIPIENT = "a@satu.example", "b@dua.example", "c@dua.example"


def test_greylist_accepts_pair_after_wait() -> None:
    gate = greylist(WAIT)
    answers = [gate(SENDER, RECIPIENT, NOON + span) for span in (timedelta(), WAIT / 2, WAIT, WAIT * 2)]
    assert [answer and (answer.code, answer.status) for answer in answers] == [
        (450, "4.7.1"),
        (450, "4.7.1"),
        None,
        None,
    ]


def test_greylist_counts_each_pair_separately_ignoring_case() -> None:
    gate = greylist(WAIT)
    assert gate(SENDER, RECIPIENT, NOON) is not None
    assert gate(SENDER.upper(), RECIPIENT.title(), NOON + WAIT) is None
    assert gate(SENDER, OTHER_RECIPIENT, NOON + WAIT) is not None
    assert gate(RECIPIENT, SENDER, NOON + WAIT) is not None
