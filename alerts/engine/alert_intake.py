"""What alerts of the NOC's own monitoring do to the store, inside one transaction.

What they mean is decided in `alerts.model.alert`, and what becomes of their incidents in `alerts.model.incident`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from alerts.engine.intake import take_in
from alerts.model.alert import KnownAlert, News, ReceivedAlert, heed
from alerts.model.brief import Brief
from alerts.model.event import Resolve, Trigger
from alerts.model.incident import Incident
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
    known = dict(await ledger.known_alerts({each.fingerprint for each in alerts}))
    were_open = set(await ledger.open_among({each.dedup_key for each in alerts}))
    changed, news, concerned = dict[str, KnownAlert](), list[News](), list[int]()
    for alert in alerts:
        before = known.get(alert.fingerprint)
        said, after = heed(alert, before, now)
        incident = await _tell(ledger, alert, said, brief, now, is_open=alert.dedup_key in were_open)
        if incident is not None:
            concerned.append(incident.id)
            (were_open.add if incident.is_open else were_open.discard)(alert.dedup_key)
        if after is not before:
            known[alert.fingerprint] = changed[alert.fingerprint] = after
        news.append(said)
    await ledger.save_alerts(list(changed.values()))
    return AlertsTaken(news=news, concerned=concerned)


async def _tell(
    ledger: Ledger,
    alert: ReceivedAlert,
    news: News,
    brief: Callable[[ReceivedAlert], Brief],
    now: datetime,
    *,
    is_open: bool,
) -> Incident | None:
    """Open or end the incident about an alert; return it where anything may have changed."""
    key, began_at = alert.dedup_key, min(alert.starts_at, now)
    if news in {News.FIRES, News.GOES_ON} and not is_open:
        # What goes on and is not open was closed by a person: that holds for a while.
        told = replace(brief(alert), subject=alert.subject, subject_en=alert.subject)
        event = Trigger(dedup_key=key, at=now, matter=Matter.ALERT, began_at=began_at, brief=told)
        incident = await take_in(ledger, event)
        if incident is not None and incident.is_open:
            await ledger.journal(
                Entry(at=now, actor=ACTOR, event="alert received", incident_id=incident.id, detail=alert.told())
            )
        return incident
    # Also one of which nothing is known any more.
    if alert.ended_at is not None and (news is News.IS_OVER or (news is News.WAS_OVER and is_open)):
        ended_at = max(min(alert.ended_at, now), began_at)
        return await take_in(ledger, Resolve(dedup_key=key, at=now, ended_at=ended_at))
    return None
