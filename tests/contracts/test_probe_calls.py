"""Who asks for all routes of an agency, on both stores: once a minute, and only what is fresh is answered."""

from __future__ import annotations

from datetime import timedelta

from monitor.store.backend.database import Database
from monitor.store.probing.probe_calls import MAX_CALL_DURATION, ProbeRequests
from tests.unit.alerts.people import MINUTE, T0

SECOND = timedelta(seconds=1)


async def test_an_agency_is_called_for_once_a_minute_and_a_call_that_is_old_is_nobodys(database: Database) -> None:
    calls = ProbeRequests(database)
    assert await calls.place("JCM", T0)
    assert not await calls.place("JCM", T0 + MAX_CALL_DURATION - SECOND)
    assert await calls.place("MDC", T0 + MAX_CALL_DURATION - SECOND)
    assert await calls.fresh(T0 + MAX_CALL_DURATION - SECOND) == {"JCM": T0, "MDC": T0 + MAX_CALL_DURATION - SECOND}
    assert list(await calls.fresh(T0 + MAX_CALL_DURATION)) == ["MDC"]
    assert await calls.place("JCM", T0 + MAX_CALL_DURATION)


async def test_a_call_from_before_the_clock_was_set_back_holds_up_nobody(database: Database) -> None:
    calls = ProbeRequests(database)
    await calls.place("JCM", T0 + 60 * MINUTE)
    assert await calls.fresh(T0) == {}
    assert await calls.place("JCM", T0)
    assert await calls.fresh(T0) == {"JCM": T0}
