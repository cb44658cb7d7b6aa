"""Calendar (RFC 5545) of a rota for calendar programs: names and times of people on call, without telephone numbers."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from icalendar import Calendar, Event

from alerts.model.oncall import OnCallPeriod

#: Refresh interval for calendar programs.
_REFRESH_INTERVAL = timedelta(hours=1)


def duty_calendar(rota: str, on_call_periods: Iterable[OnCallPeriod], now: datetime) -> bytes:
    """Return the calendar of a rota, with an event for each period, including periods with nobody on call.

    *rota*: "CODE/key" for an agency's rota, "key" for a shared one. The UID of an event consists of its start and the
    rota, so that an event with a changed end or person replaces its earlier version. All times are UTC.
    """
    calendar = Calendar()
    calendar.add("prodid", "-//Pantau//Rota//MS")
    calendar.add("version", "2.0")
    calendar.add("name", rota)
    # Repeat the name, and below the refresh interval, for programs that do not support RFC 7986.
    calendar.add("x-wr-calname", rota)
    calendar.add("refresh-interval", _REFRESH_INTERVAL, parameters={"value": "DURATION"})
    calendar.add("x-published-ttl", "PT1H")
    for period in on_call_periods:
        event = Event()
        starts_at = period.starts_at.astimezone(UTC)
        event.add("uid", f"{starts_at:%Y%m%dT%H%M%SZ}-{rota.replace('/', '-').lower()}@pantau")
        event.add("dtstamp", now.astimezone(UTC).replace(microsecond=0))
        event.add("dtstart", starts_at)
        event.add("dtend", period.ends_at.astimezone(UTC))
        event.add("summary", f"{period.person.name} ({rota})" if period.person else f"TIADA SESIAPA BERTUGAS ({rota})")
        # Calendar programs must not show a person on call as busy.
        event.add("transp", "TRANSPARENT")
        calendar.add_component(event)
    content: bytes = calendar.to_ical()
    return content
