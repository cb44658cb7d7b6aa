"""Probe requests on both stores: one per agency and lifetime."""

from __future__ import annotations

from datetime import timedelta

from monitor.store.backend.database import Database
from monitor.store.probing.probe_requests import REQUEST_LIFETIME, ProbeRequests
from tests.unit.alerts.people import MINUTE, T0

SECOND = timedelta(seconds=1)


async def test_probe_request_once_per_lifetime_and_expires(database: Database) -> None:
    requests = ProbeRequests(database)
    assert await requests.add("JCM", T0)
    assert not await requests.add("JCM", T0 + REQUEST_LIFETIME - SECOND)
    assert await requests.add("MDC", T0 + REQUEST_LIFETIME - SECOND)
    assert await requests.list_current(T0 + REQUEST_LIFETIME - SECOND) == {
        "JCM": T0,
        "MDC": T0 + REQUEST_LIFETIME - SECOND,
    }
    assert list(await requests.list_current(T0 + REQUEST_LIFETIME)) == ["MDC"]
    assert await requests.add("JCM", T0 + REQUEST_LIFETIME)


async def test_probe_request_with_future_time_does_not_block(database: Database) -> None:
    requests = ProbeRequests(database)
    await requests.add("JCM", T0 + 60 * MINUTE)
    assert await requests.list_current(T0) == {}
    assert await requests.add("JCM", T0)
    assert await requests.list_current(T0) == {"JCM": T0}
