"""Calendar of a rota (RFC 5545) for calendar programs: names and times, without numbers."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from icalendar import Calendar, Event

from alerts.model.oncall import OnCallPeriod

#: Refresh interval for calendar programs.
_AGAIN = timedelta(hours=1)


def duty_calendar(rota: str, spells: Iterable[OnCallPeriod], now: datetime) -> bytes:
    """Return the calendar of a rota, with an event for each period, including those without anybody.

    An event is identified by the rota and its start, so a changed end or person replaces it. All times are UTC.
    """
    calendar = Calendar()
    calendar.add("prodid", "-//Pantau//Rota//MS")
    calendar.add("version", "2.0")
    calendar.add("name", rota)
    # The same for programs without RFC 7986.
    calendar.add("x-wr-calname", rota)
    calendar.add("refresh-interval", _AGAIN, parameters={"value": "DURATION"})
    calendar.add("x-published-ttl", "PT1H")
    for spell in spells:
        event = Event()
        begins = spell.starts_at.astimezone(UTC)
        event.add("uid", f"{begins:%Y%m%dT%H%M%SZ}-{rota.replace('/', '-').lower()}@pantau")
        event.add("dtstamp", now.astimezone(UTC).replace(microsecond=0))
        event.add("dtstart", begins)
        event.add("dtend", spell.ends_at.astimezone(UTC))
        event.add("summary", f"{spell.person.name} ({rota})" if spell.person else f"TIADA SESIAPA BERTUGAS ({rota})")
        # A person on call is still available for invitations.
        event.add("transp", "TRANSPARENT")
        calendar.add_component(event)
    made: bytes = calendar.to_ical()
    return made
