"""What happens to a mail in the mailbox, as a table."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from probes.bounce import Action, Report
from probes.ledger import Fate, Ledger, Verdict, decide
from probes.pace import Pace
from probes.result import Arrival, Party
from probes.sighting import Kind, Sighting
from probes.token import TokenSigner

NOW = datetime(2026, 3, 2, 8, 30, tzinfo=UTC)
OURS = TokenSigner(b"kunci-untuk-ujian-sahaja", "putrajaya-1")
THEIRS = TokenSigner(b"kunci-untuk-ujian-sahaja", "kuching-1")
TOKEN = OURS.issue("r", NOW)
RECIPIENT, SENDER = {Party.RECIPIENT}, {Party.SENDER}
DEADLINE = timedelta(minutes=5)
MESSAGE = Sighting(kind=Kind.MESSAGE, token=TOKEN)
ANSWER = Sighting(kind=Kind.ANSWER, token=TOKEN)
OTHERS = Sighting(kind=Kind.MESSAGE, token=THEIRS.issue("r", NOW))


def bounce(action: Action) -> Sighting:
    return Sighting(kind=Kind.REPORT, token=TOKEN, report=Report(action=action))


@pytest.mark.parametrize(
    ("sighting", "awaited", "fate", "after", "verdict"),
    [
        (MESSAGE, RECIPIENT, None, 0, Verdict(hand_over=True, delete=True)),
        (MESSAGE, RECIPIENT | SENDER, None, 0, Verdict(hand_over=True, delete=True)),
        (MESSAGE, RECIPIENT, Fate.ARRIVED, 0, Verdict(count=Arrival.DUPLICATE, delete=True)),
        (MESSAGE, set(), Fate.ARRIVED, 0, Verdict(count=Arrival.DUPLICATE, delete=True)),
        (MESSAGE, set(), Fate.ENDED, 0, Verdict(count=Arrival.LATE, delete=True)),
        (MESSAGE, set(), None, 0, Verdict(count=Arrival.LATE, delete=True)),
        (MESSAGE, SENDER, None, 0, Verdict(delete=True)),
        (MESSAGE, set(), Fate.SENT, 0, Verdict(delete=True)),
        (bounce(Action.FAILED), SENDER, None, 0, Verdict(hand_over=True, delete=True)),
        (bounce(Action.FAILED), RECIPIENT, None, 0, Verdict(hand_over=True, delete=True)),
        (bounce(Action.FAILED), set(), Fate.SENT, 0, Verdict(delete=True)),
        (bounce(Action.DELAYED), SENDER, None, 0, Verdict(delete=True)),
        (bounce(Action.DELIVERED), SENDER, None, 0, Verdict(delete=True)),
        (bounce(Action.RELAYED), SENDER, None, 0, Verdict(delete=True)),
        (ANSWER, RECIPIENT, None, 0, Verdict()),
        (ANSWER, set(), Fate.ENDED, 0, Verdict()),
        (Sighting(kind=Kind.FOREIGN), RECIPIENT, None, 0, Verdict()),
        (Sighting(kind=Kind.FOREIGN, forged=True), RECIPIENT, None, 0, Verdict(count=Arrival.FORGED)),
        (OTHERS, set(), None, 0, Verdict()),
        (OTHERS, set(), None, 24 * 60 + 5, Verdict()),
        (OTHERS, set(), None, 24 * 60 + 6, Verdict(delete=True)),
    ],
)
def test_verdicts(sighting: Sighting, awaited: set[Party], fate: Fate | None, after: int, verdict: Verdict) -> None:
    now = TOKEN.sent_at + timedelta(minutes=after)
    assert verdict == decide(sighting, prober=OURS.prober, awaited=awaited, fate=fate, now=now, deadline=DEADLINE)


def test_the_ledger_remembers_across_a_restart() -> None:
    ledger = Ledger(ended=["a", "b"], arrived=["b"])
    assert (ledger.fate("a"), ledger.fate("b"), ledger.fate("c")) == (Fate.ENDED, Fate.ARRIVED, None)


def test_an_arrival_is_not_forgotten_when_its_run_ends() -> None:
    ledger = Ledger()
    ledger.arrived("a")
    ledger.over("a", Party.RECIPIENT)
    ledger.over("b", Party.RECIPIENT)
    ledger.over("c", Party.SENDER)
    assert [ledger.fate(one) for one in "abc"] == [Fate.ARRIVED, Fate.ENDED, Fate.SENT]


def test_the_ledger_forgets_the_oldest_and_does_not_grow_for_ever() -> None:
    ledger = Ledger(ended=(str(number) for number in range(50_000)))
    ledger.arrived("one more")
    assert ledger.fate("0") is None
    assert ledger.fate("1") is Fate.ENDED


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
def test_the_pace(*, ages: list[timedelta], waiting: bool, pause: timedelta) -> None:
    assert Pace().pause(ages, waiting=waiting, unwatched=timedelta(minutes=7)) == pause


def test_the_backoff_doubles_up_to_a_minute() -> None:
    assert [Pace().backoff(failures) // SECOND for failures in (1, 2, 3, 7, 500)] == [1, 2, 4, 60, 60]
