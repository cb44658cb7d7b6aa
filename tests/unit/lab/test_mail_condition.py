"""What faults add up to, decided without a socket."""

from __future__ import annotations

from datetime import timedelta

import pytest

from monitor.lab.mail import Fault, Port
from monitor.lab.mail.effect import Condition, effects
from monitor.lab.mail.parcel import Parcel

SLOW_BY = timedelta(seconds=5)
PARCEL = Parcel(
    sender="pantau@jabatan-contoh.gov.my",
    recipient="pantau@rujukan-satu.example",
    content=b"Subject: ujian\r\n\r\nSelamat \xc3\xa9\r\n",
)


def condition(*faults: Fault) -> Condition:
    broken = Condition(effects(slow_by=SLOW_BY))
    for fault in faults:
        broken.suffer(fault)
    return broken


def test_a_sound_system_changes_nothing() -> None:
    sound = condition()
    assert sound.handling(PARCEL) == (PARCEL,)
    assert sound.transaction is None
    assert sound.sign_in is None
    assert sound.shut == frozenset()


def test_every_fault_has_a_row_and_a_word_for_operators() -> None:
    assert set(effects(slow_by=SLOW_BY)) == set(Fault)
    assert all(fault.__doc__ and fault.__doc__.endswith(".") for fault in Fault)


@pytest.mark.parametrize(
    ("fault", "answer"),
    [(Fault.REFUSE, "554 5.3.2 System is not accepting messages"), (Fault.AUTH, None), (Fault.LOSE, None)],
)
def test_only_refuse_answers_transactions(fault: Fault, answer: str | None) -> None:
    reply = condition(fault).transaction
    assert answer == (str(reply) if reply else None)


def test_auth_refuses_every_sign_in_for_now() -> None:
    reply = condition(Fault.AUTH).sign_in
    assert reply is not None
    assert (reply.code, reply.status) == (454, "4.7.0")


def test_imap_shuts_one_port() -> None:
    assert condition(Fault.IMAP).shut == frozenset({Port.IMAP})


def test_lose_leaves_no_parcel() -> None:
    assert condition(Fault.LOSE).handling(PARCEL) == ()


def test_slow_and_bounce_together_bounce_late() -> None:
    (parcel,) = condition(Fault.BOUNCE, Fault.SLOW).handling(PARCEL)
    assert parcel.hold == SLOW_BY
    assert parcel.doom is not None
    assert parcel.doom.permanent


def test_lose_wins_over_the_faults_after_it() -> None:
    assert condition(Fault.CORRUPT, Fault.BOUNCE, Fault.LOSE).handling(PARCEL) == ()


def test_a_report_is_never_answered_with_a_report() -> None:
    report = Parcel(sender="", recipient=PARCEL.recipient, content=PARCEL.content)
    assert condition(Fault.BOUNCE).handling(report) == (report,)


def test_faults_are_taken_away_one_by_one_or_all_at_once() -> None:
    broken = condition(Fault.SLOW, Fault.SLOW, Fault.IMAP, Fault.AUTH)
    assert broken.faults == {Fault.SLOW, Fault.IMAP, Fault.AUTH}
    broken.recover(Fault.SLOW)
    assert broken.faults == {Fault.IMAP, Fault.AUTH}
    broken.recover()
    assert broken.faults == frozenset()
