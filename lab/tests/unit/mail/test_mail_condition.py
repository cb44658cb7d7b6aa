"""Effects of combined faults on a mail system, without sockets."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pantau_lab.mail import Fault, FaultDelays, Port
from pantau_lab.mail.faults.condition import Condition
from pantau_lab.mail.faults.effect import effects
from pantau_lab.mail.resources.tls import Tls
from pantau_lab.mail.transport.queued_message import QueuedMessage

SLOW_BY = timedelta(seconds=5)
NOON = datetime(2026, 11, 24, 4, 0, tzinfo=UTC)
GREYLISTED_FOR = FaultDelays().greylisted_for
MESSAGE = QueuedMessage(
    sender="pantau@jabatan-contoh.gov.my",
    recipient="pantau@rujukan-satu.example",
    content=b"Subject: ujian\r\n\r\nSelamat \xc3\xa9\r\n",
)


def condition(*faults: Fault) -> Condition:
    broken = Condition(effects(FaultDelays(slow_by=SLOW_BY)))
    for fault in faults:
        broken.add_fault(fault)
    return broken


def test_condition_without_faults_changes_nothing() -> None:
    working = condition()
    assert working.transform(MESSAGE) == (MESSAGE,)
    assert working.transaction_refusal is None
    assert working.sign_in_refusal(Port.IMAP) is None
    assert working.shut == frozenset()


def test_every_fault_has_effect_and_description() -> None:
    assert set(effects(FaultDelays(slow_by=SLOW_BY))) == set(Fault)
    assert all(fault.__doc__ and fault.__doc__.endswith(".") for fault in Fault)


@pytest.mark.parametrize(
    ("fault", "answer"),
    [(Fault.REFUSE, "554 5.3.2 System is not accepting messages"), (Fault.AUTH, None), (Fault.LOSE, None)],
)
def test_only_refuse_fault_answers_transactions(fault: Fault, answer: str | None) -> None:
    reply = condition(fault).transaction_refusal
    assert answer == (str(reply) if reply else None)


def test_auth_fault_refuses_sign_in_temporarily() -> None:
    reply = condition(Fault.AUTH).sign_in_refusal(Port.IMAP)
    assert reply is not None
    assert (reply.code, reply.status) == (454, "4.7.0")


def test_imap_fault_closes_one_port() -> None:
    assert condition(Fault.IMAP).shut == frozenset({Port.IMAP})


def test_lose_fault_drops_message() -> None:
    assert condition(Fault.LOSE).transform(MESSAGE) == ()


def test_slow_and_bounce_faults_bounce_late() -> None:
    (queued_message,) = condition(Fault.BOUNCE, Fault.SLOW).transform(MESSAGE)
    assert queued_message.hold == SLOW_BY
    assert queued_message.bounce is not None
    assert queued_message.bounce.permanent


def test_lose_fault_overrides_other_faults() -> None:
    assert condition(Fault.CORRUPT, Fault.BOUNCE, Fault.LOSE).transform(MESSAGE) == ()


def test_bounce_fault_does_not_bounce_reports() -> None:
    report = QueuedMessage(sender="", recipient=MESSAGE.recipient, content=MESSAGE.content)
    assert condition(Fault.BOUNCE).transform(report) == (report,)


def test_recover_removes_one_fault_or_all() -> None:
    broken = condition(Fault.SLOW, Fault.SLOW, Fault.IMAP, Fault.AUTH)
    assert broken.faults == {Fault.SLOW, Fault.IMAP, Fault.AUTH}
    broken.remove_fault(Fault.SLOW)
    assert broken.faults == {Fault.IMAP, Fault.AUTH}
    broken.remove_fault()
    assert broken.faults == frozenset()


def test_sending_fault_does_not_affect_reading() -> None:
    broken = condition(Fault.POLICY)
    reply = broken.sign_in_refusal(Port.SUBMISSION)
    assert reply is not None
    assert (reply.code, reply.status) == (550, "5.7.30")
    assert broken.sign_in_refusal(Port.IMAP) is None


def test_reading_fault_does_not_affect_sending() -> None:
    broken = condition(Fault.BYE)
    assert broken.behavior(Port.IMAP) is not None
    assert broken.behavior(Port.SUBMISSION) is None


def test_two_tls_faults_apply_first() -> None:
    broken = condition(Fault.HANDSHAKE, Fault.EXPIRED)
    assert broken.tls(Port.IMAP) is Tls.EXPIRED
    assert broken.tls(Port.MX) is Tls.SOUND


def test_no_starttls_fault_does_not_affect_implicit_tls() -> None:
    broken = condition(Fault.NO_STARTTLS)
    assert (broken.tls(Port.SUBMISSION), broken.tls(Port.SUBMISSIONS)) == (Tls.UNOFFERED, Tls.SOUND)


def test_greylist_fault_restarts_each_time_added() -> None:
    broken = condition(Fault.GREYLIST)
    pair = MESSAGE.sender, MESSAGE.recipient
    assert broken.gate(*pair, NOON) is not None
    broken.add_fault(Fault.GREYLIST)
    assert broken.gate(*pair, NOON + GREYLISTED_FOR) is None
    broken.remove_fault()
    assert broken.gate(*pair, NOON) is None
    broken.add_fault(Fault.GREYLIST)
    assert broken.gate(*pair, NOON + GREYLISTED_FOR) is not None


def test_junk_and_duplicate_faults_deliver_junk_twice() -> None:
    messages = condition(Fault.JUNK, Fault.DUPLICATE).transform(MESSAGE)
    assert [queued_message.junk for queued_message in messages] == [True, True]


def test_warn_fault_is_not_a_bounce() -> None:
    (queued_message,) = condition(Fault.WARN).transform(MESSAGE)
    assert queued_message.bounce is None
    assert queued_message.warning is not None
    assert not queued_message.warning.permanent
    assert queued_message.hold == SLOW_BY


def test_behavior_and_tls_faults_cut_open_sessions() -> None:
    table = effects(FaultDelays())
    assert {
        fault for fault, effect in table.items() if (effect.behavior or effect.tls) and effect.cut != effect.at
    } == set()
