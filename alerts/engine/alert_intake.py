"""What alerts of the NOC's own monitoring do to the store, inside one transaction.

What they mean is decided in `alerts.model.alert`, and what becomes of their incidents in `alerts.model.incident`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from alerts.engine.intake import take_in_all
from alerts.model.alert import KnownAlert, News, ReceivedAlert, heed
from alerts.model.brief import Brief
from alerts.model.event import Resolve, Trigger
from alerts.model.notice import Matter
from alerts.record.store import Entry, Ledger

#: Who brings them, in the journal.
ACTOR = "alertmanager"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertsTaken:
    """What came of some alerts."""

    news: Sequence[News]
    #: The incidents that it changes something for.
    concerned: Sequence[int]


async def take_alerts(
    ledger: Ledger, alerts: Sequence[ReceivedAlert], brief: Callable[[ReceivedAlert], Brief], now: datetime
) -> AlertsTaken:
    """Take in what Alertmanager says of some alerts, a hundred or two. *brief*: whom one tells that opens an incident now."""
    news, concerned = list[News](), list[int]()
    for part in _apart(alerts):
        taken = await _take_part(ledger, part, brief, now)
        news += taken.news
        concerned += taken.concerned
    return AlertsTaken(news=news, concerned=concerned)


async def known_before(
    ledger: Ledger, alerts: Sequence[ReceivedAlert], brief: Callable[[ReceivedAlert], Brief], now: datetime
) -> Sequence[News] | None:
    """Return what some alerts come to where nothing is to be written for any of them; `None`: something is."""
    if len({each.fingerprint for each in alerts}) < len(alerts):
        return None
    found = await _decide(ledger, alerts, brief, now)
    return None if found.changed or found.events else found.news


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decided:
    """What some alerts come to."""

    news: Sequence[News]
    #: What is to be written down of them.
    changed: Sequence[KnownAlert]
    #: What opens and ends incidents.
    events: Sequence[Trigger | Resolve]


def _apart(alerts: Sequence[ReceivedAlert]) -> Iterator[Sequence[ReceivedAlert]]:
    """Return alerts in their order, in parts in which none comes twice: as a rule all of them."""
    part: dict[str, ReceivedAlert] = {}
    for alert in alerts:
        if alert.fingerprint in part:
            yield list(part.values())
            part = {}
        part[alert.fingerprint] = alert
    yield list(part.values())


async def _take_part(
    ledger: Ledger, alerts: Sequence[ReceivedAlert], brief: Callable[[ReceivedAlert], Brief], now: datetime
) -> AlertsTaken:
    decided = await _decide(ledger, alerts, brief, now)
    concerned = await take_in_all(ledger, decided.events)
    told = {each.dedup_key: each for each in alerts}
    for incident in concerned:
        if incident.is_open:
            detail = told[incident.dedup_key].told()
            await ledger.journal(
                Entry(at=now, actor=ACTOR, event="alert received", incident_id=incident.id, detail=detail)
            )
    await ledger.save_alerts(decided.changed)
    return AlertsTaken(news=decided.news, concerned=[each.id for each in concerned])


async def _decide(
    ledger: Ledger, alerts: Sequence[ReceivedAlert], brief: Callable[[ReceivedAlert], Brief], now: datetime
) -> _Decided:
    known = await ledger.known_alerts({each.fingerprint for each in alerts})
    are_open = await ledger.open_among({each.dedup_key for each in alerts})
    news, changed, events = list[News](), list[KnownAlert](), list[Trigger | Resolve]()
    for alert in alerts:
        before = known.get(alert.fingerprint)
        said, after = heed(alert, before, now)
        news.append(said)
        if after is not before:
            changed.append(after)
        event = _event(alert, said, brief, now, is_open=alert.dedup_key in are_open)
        if event is not None:
            events.append(event)
    return _Decided(news=news, changed=changed, events=events)


def _event(
    alert: ReceivedAlert, news: News, brief: Callable[[ReceivedAlert], Brief], now: datetime, *, is_open: bool
) -> Trigger | Resolve | None:
    """Return what opens or ends the incident about an alert, where its word does."""
    key, began_at = alert.dedup_key, min(alert.starts_at, now)
    if news in {News.FIRES, News.GOES_ON} and not is_open:
        # What goes on and is not open was closed by a person: that holds for a while.
        told = replace(brief(alert), subject=alert.subject, subject_en=alert.subject, of_agency=alert.agency)
        return Trigger(dedup_key=key, at=now, matter=Matter.ALERT, began_at=began_at, brief=told)
    # Also one of which nothing is known any more.
    if alert.ended_at is not None and (news is News.IS_OVER or (news is News.WAS_OVER and is_open)):
        return Resolve(dedup_key=key, at=now, ended_at=max(min(alert.ended_at, now), began_at))
    return None
