"""What the watcher does with each message in the mailbox, as a table."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from probes.mail.bounce import DsnAction, DsnReport
from probes.mail.disposition import Disposition, TokenRegistry, TokenState, decide
from probes.mail.observed_message import MailKind, ObservedMessage
from probes.mail.token import TokenSigner
from probes.model.polling import PollingPolicy
from probes.model.result import Arrival, Party

NOW = datetime(2026, 3, 2, 8, 30, tzinfo=UTC)
KEY = b"kunci-untuk-ujian-sahaja"
LASTS = timedelta(minutes=5)
OURS = TokenSigner(KEY, "putrajaya-1", process_started_at=NOW)
THEIRS = TokenSigner(KEY, "kuching-1")
#: Another process with our name: its earlier messages count as our earlier process's, the later ones as a conflict.
NAMED_ALIKE = TokenSigner(KEY, "putrajaya-1")
TOKEN = OURS.issue("r", NOW, LASTS)
RECIPIENT, SENDER = {Party.RECIPIENT}, {Party.SENDER}
MESSAGE = ObservedMessage(kind=MailKind.MESSAGE, token=TOKEN)
ANSWER = ObservedMessage(kind=MailKind.ANSWER, token=TOKEN)
OTHERS = ObservedMessage(kind=MailKind.MESSAGE, token=THEIRS.issue("r", NOW, LASTS))
OTHERS_BOUNCE = ObservedMessage(kind=MailKind.REPORT, token=OTHERS.token, report=DsnReport(action=DsnAction.FAILED))
EARLIER = ObservedMessage(kind=MailKind.MESSAGE, token=NAMED_ALIKE.issue("r", NOW, LASTS))
NAMESAKES = ObservedMessage(kind=MailKind.MESSAGE, token=NAMED_ALIKE.issue("r", NOW + timedelta(seconds=1), LASTS))
DAY = 24 * 60


def bounce(action: DsnAction) -> ObservedMessage:
    return ObservedMessage(kind=MailKind.REPORT, token=TOKEN, report=DsnReport(action=action))


@pytest.mark.parametrize(
    ("observed", "awaited", "token_state", "after", "disposition"),
    [
        (MESSAGE, RECIPIENT, None, 0, Disposition(deliver=True, delete=True)),
        (MESSAGE, RECIPIENT | SENDER, None, 0, Disposition(deliver=True, delete=True)),
        (MESSAGE, RECIPIENT, TokenState.ARRIVED, 0, Disposition(count=Arrival.DUPLICATE, delete=True)),
        (MESSAGE, set(), TokenState.ARRIVED, 0, Disposition(count=Arrival.DUPLICATE, delete=True)),
        (MESSAGE, set(), TokenState.ENDED, 0, Disposition(count=Arrival.LATE, delete=True)),
        (MESSAGE, set(), None, 0, Disposition(count=Arrival.LATE, delete=True)),
        (MESSAGE, SENDER, None, 0, Disposition(delete=True)),
        (MESSAGE, set(), TokenState.SENT, 0, Disposition(delete=True)),
        (bounce(DsnAction.FAILED), SENDER, None, 0, Disposition(deliver=True, delete=True)),
        (bounce(DsnAction.FAILED), RECIPIENT, None, 0, Disposition(deliver=True, delete=True)),
        (bounce(DsnAction.FAILED), set(), TokenState.SENT, 0, Disposition(delete=True)),
        (bounce(DsnAction.DELAYED), SENDER, None, 0, Disposition(delete=True)),
        (bounce(DsnAction.DELIVERED), SENDER, None, 0, Disposition(delete=True)),
        (bounce(DsnAction.RELAYED), SENDER, None, 0, Disposition(delete=True)),
        (ANSWER, RECIPIENT, None, 0, Disposition()),
        (ANSWER, set(), TokenState.ENDED, 0, Disposition()),
        (ObservedMessage(kind=MailKind.FOREIGN), RECIPIENT, None, 0, Disposition()),
        (ObservedMessage(kind=MailKind.FOREIGN, is_forged=True), RECIPIENT, None, 0, Disposition(count=Arrival.FORGED)),
        (OTHERS, set(), None, 0, Disposition()),
        (OTHERS, set(), None, DAY + 5, Disposition()),
        (OTHERS, set(), None, DAY + 6, Disposition(delete=True)),
        (OTHERS_BOUNCE, set(), None, DAY + 5, Disposition()),
        (OTHERS_BOUNCE, set(), None, DAY + 6, Disposition(delete=True)),
        (EARLIER, set(), None, 0, Disposition(count=Arrival.LATE, delete=True)),
        (EARLIER, set(), TokenState.ARRIVED, 0, Disposition(count=Arrival.DUPLICATE, delete=True)),
        (NAMESAKES, set(), None, DAY + 5, Disposition(count=Arrival.PROBER_CONFLICT)),
        (NAMESAKES, set(), None, DAY + 6, Disposition(count=Arrival.PROBER_CONFLICT, delete=True)),
        # The store has its token, so it is ours: the clock was set back between two processes.
        (NAMESAKES, set(), TokenState.ENDED, 0, Disposition(count=Arrival.LATE, delete=True)),
    ],
)
def test_disposition_table(
    observed: ObservedMessage, awaited: set[Party], token_state: TokenState | None, after: int, disposition: Disposition
) -> None:
    now = TOKEN.sent_at + timedelta(minutes=after)
    assert disposition == decided(observed, now, awaited=awaited, token_state=token_state)


def decided(
    observed: ObservedMessage,
    now: datetime,
    *,
    awaited: set[Party] | None = None,
    token_state: TokenState | None = None,
    marked: bool = False,
) -> Disposition:
    origin = OURS.origin(observed.token) if observed.token else None
    return decide(
        observed, origin=origin, awaited=awaited or set(), token_state=token_state, now=now, is_marked_deleted=marked
    )


@pytest.mark.blind
@pytest.mark.parametrize("hours", [1, 4])
def test_disposition_other_probers_mail_is_kept_one_day_after_its_deadline(hours: int) -> None:
    """Defect: Another prober's mail is deleted by our time-out.

    Pantau: Its token says when its run ends; it stays for a day after that.
    """
    patient = ObservedMessage(kind=MailKind.MESSAGE, token=THEIRS.issue("r", NOW, timedelta(hours=hours)))
    assert not decided(patient, NOW + timedelta(hours=hours + 24)).delete
    assert decided(patient, NOW + timedelta(hours=hours + 24, seconds=1)).delete


def test_disposition_late_mail_of_inherited_prober_is_taken_only_if_token_is_known() -> None:
    heir = TokenSigner(KEY, "waris")
    heir.inherit(["kuching-1"])
    origin = heir.origin(THEIRS.issue("r", NOW))

    def taken(token_state: TokenState | None) -> Disposition:
        return decide(OTHERS, origin=origin, awaited=set(), token_state=token_state, now=NOW)

    assert taken(TokenState.ENDED) == Disposition(count=Arrival.LATE, delete=True)
    assert taken(TokenState.ARRIVED) == Disposition(count=Arrival.DUPLICATE, delete=True)
    assert taken(None) == Disposition(), "the route may be another heir's"


@pytest.mark.blind
def test_disposition_answer_to_other_probers_message_is_never_deleted() -> None:
    """Defect: A person's answer to another prober's message is deleted.

    Pantau: What people may have written is never deleted.
    """
    answer = ObservedMessage(kind=MailKind.ANSWER, token=OTHERS.token)
    assert decided(answer, NOW + timedelta(days=30)) == Disposition()


def test_disposition_message_marked_deleted_by_other_prober_is_deleted() -> None:
    assert decided(OTHERS, NOW, marked=True) == Disposition(delete=True)
    assert decided(ObservedMessage(kind=MailKind.ANSWER, token=OTHERS.token), NOW, marked=True) == Disposition()


def test_token_registry_restores_ended_and_arrived() -> None:
    registry = TokenRegistry(ended=["a", "b"], arrived=["b"])
    assert (registry.token_state("a"), registry.token_state("b"), registry.token_state("c")) == (
        TokenState.ENDED,
        TokenState.ARRIVED,
        None,
    )


def test_token_registry_keeps_arrival_when_run_ends() -> None:
    registry = TokenRegistry()
    registry.mark_arrived("a")
    registry.end_wait("a", Party.RECIPIENT)
    registry.end_wait("b", Party.RECIPIENT)
    registry.end_wait("c", Party.SENDER)
    assert [registry.token_state(one) for one in "abc"] == [TokenState.ARRIVED, TokenState.ENDED, TokenState.SENT]


def test_token_registry_discards_oldest() -> None:
    registry = TokenRegistry(ended=(str(number) for number in range(50_000)))
    registry.mark_arrived("one more")
    assert registry.token_state("0") is None
    assert registry.token_state("1") is TokenState.ENDED


SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("ages", "waiting", "pause"),
    [
        ([], False, timedelta(minutes=7)),
        ([], True, 5 * SECOND),
        ([timedelta()], True, 0.1 * SECOND),
        ([8 * SECOND], True, SECOND),
        ([8 * SECOND, 200 * SECOND], True, SECOND),
        ([200 * SECOND], True, 5 * SECOND),
    ],
)
def test_poll_interval_by_age_of_waiting_runs(*, ages: list[timedelta], waiting: bool, pause: timedelta) -> None:
    assert PollingPolicy().poll_interval(ages, run_waits=waiting, quiet_interval=timedelta(minutes=7)) == pause


def test_backoff_doubles_up_to_one_minute() -> None:
    assert [PollingPolicy().backoff(failures) // SECOND for failures in (1, 2, 3, 7, 500)] == [1, 2, 4, 60, 60]
