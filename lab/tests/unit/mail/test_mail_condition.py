"""What faults add up to, decided without a socket."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pantau_lab.mail import Fault, FaultDelays, Port
from pantau_lab.mail.faults.condition import Condition
from pantau_lab.mail.faults.effect import effects
from pantau_lab.mail.resources.tls import Tls
from pantau_lab.mail.transport.parcel import QueuedMessage

SLOW_BY = timedelta(seconds=5)
NOON = datetime(2026, 11, 24, 4, 0, tzinfo=UTC)
GREYLISTED_FOR = FaultDelays().greylisted_for
PARCEL = QueuedMessage(
    sender="pantau@jabatan-contoh.gov.my",
    recipient="pantau@rujukan-satu.example",
    content=b"Subject: ujian\r\n\r\nSelamat \xc3\xa9\r\n",
)


def condition(*faults: Fault) -> Condition:
    broken = Condition(effects(FaultDelays(slow_by=SLOW_BY)))
    for fault in faults:
        broken.suffer(fault)
    return broken


def test_a_sound_system_changes_nothing() -> None:
    sound = condition()
    assert sound.handling(PARCEL) == (PARCEL,)
    assert sound.transaction is None
    assert sound.sign_in(Port.IMAP) is None
    assert sound.shut == frozenset()


def test_every_fault_has_a_row_and_a_word_for_operators() -> None:
    assert set(effects(FaultDelays(slow_by=SLOW_BY))) == set(Fault)
    assert all(fault.__doc__ and fault.__doc__.endswith(".") for fault in Fault)


@pytest.mark.parametrize(
    ("fault", "answer"),
    [(Fault.REFUSE, "554 5.3.2 System is not accepting messages"), (Fault.AUTH, None), (Fault.LOSE, None)],
)
def test_only_refuse_answers_transactions(fault: Fault, answer: str | None) -> None:
    reply = condition(fault).transaction
    assert answer == (str(reply) if reply else None)


def test_auth_refuses_every_sign_in_for_now() -> None:
    reply = condition(Fault.AUTH).sign_in(Port.IMAP)
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
    report = QueuedMessage(sender="", recipient=PARCEL.recipient, content=PARCEL.content)
    assert condition(Fault.BOUNCE).handling(report) == (report,)


def test_faults_are_taken_away_one_by_one_or_all_at_once() -> None:
    broken = condition(Fault.SLOW, Fault.SLOW, Fault.IMAP, Fault.AUTH)
    assert broken.faults == {Fault.SLOW, Fault.IMAP, Fault.AUTH}
    broken.recover(Fault.SLOW)
    assert broken.faults == {Fault.IMAP, Fault.AUTH}
    broken.recover()
    assert broken.faults == frozenset()


def test_a_fault_of_sending_leaves_reading_alone() -> None:
    broken = condition(Fault.POLICY)
    reply = broken.sign_in(Port.SUBMISSION)
    assert reply is not None
    assert (reply.code, reply.status) == (550, "5.7.30")
    assert broken.sign_in(Port.IMAP) is None


def test_a_fault_of_reading_leaves_sending_alone() -> None:
    broken = condition(Fault.BYE)
    assert broken.manner(Port.IMAP) is not None
    assert broken.manner(Port.SUBMISSION) is None


def test_of_two_faults_of_tls_the_first_is_met() -> None:
    broken = condition(Fault.HANDSHAKE, Fault.EXPIRED)
    assert broken.tls(Port.IMAP) is Tls.EXPIRED
    assert broken.tls(Port.MX) is Tls.SOUND


def test_who_wants_starttls_away_leaves_the_encrypted_ports_alone() -> None:
    broken = condition(Fault.NO_STARTTLS)
    assert (broken.tls(Port.SUBMISSION), broken.tls(Port.SUBMISSIONS)) == (Tls.UNOFFERED, Tls.SOUND)


def test_a_greylist_begins_anew_each_time_it_strikes() -> None:
    broken = condition(Fault.GREYLIST)
    pair = PARCEL.sender, PARCEL.recipient
    assert broken.gate(*pair, NOON) is not None
    broken.suffer(Fault.GREYLIST)
    assert broken.gate(*pair, NOON + GREYLISTED_FOR) is None
    broken.recover()
    assert broken.gate(*pair, NOON) is None
    broken.suffer(Fault.GREYLIST)
    assert broken.gate(*pair, NOON + GREYLISTED_FOR) is not None


def test_a_duplicate_of_junk_is_junk_twice() -> None:
    parcels = condition(Fault.JUNK, Fault.DUPLICATE).handling(PARCEL)
    assert [parcel.junk for parcel in parcels] == [True, True]


def test_a_warning_is_no_failure() -> None:
    (parcel,) = condition(Fault.WARN).handling(PARCEL)
    assert parcel.doom is None
    assert parcel.warning is not None
    assert not parcel.warning.permanent
    assert parcel.hold == SLOW_BY


def test_what_changes_how_a_server_speaks_or_shows_itself_cuts_who_is_there() -> None:
    table = effects(FaultDelays())
    assert {
        fault for fault, effect in table.items() if (effect.manner or effect.tls) and effect.cut != effect.at
    } == set()
