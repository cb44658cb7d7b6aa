"""Requests of a hub that a site runs all routes of an agency now, written into the site's store with the time of its clock."""

from __future__ import annotations

from psycopg.errors import UndefinedTable

from monitor.store.probing.probe_calls import CALL_AHEAD, MAX_CALL_DURATION
from monitor.store.sites.link import SiteConnection, SiteRefusedError, dialled

_PLACE = """
INSERT INTO probe_request AS known (agency, requested_at) VALUES (%s, clock_timestamp())
ON CONFLICT (agency) DO UPDATE SET requested_at = excluded.requested_at
WHERE known.requested_at <= excluded.requested_at - %s OR known.requested_at > excluded.requested_at + %s
"""


class SiteOutdatedError(SiteRefusedError):
    """A site runs an older version that does not support requests."""


def place_call(member: SiteConnection, agency: str) -> bool:
    """Request a run of all routes of an agency at a site, as `ProbeRequests.place` does. Raise `SiteRefusedError`."""
    with dialled(member.server, f"site {member.site}") as site:
        try:
            return site.execute(_PLACE, [agency, MAX_CALL_DURATION, CALL_AHEAD]).rowcount > 0
        except UndefinedTable:
            raise SiteOutdatedError(f"site {member.site} is of an older version: upgrade it") from None
