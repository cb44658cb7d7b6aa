"""Requests of a hub to a site to run all routes of an agency now.

The hub writes them into the site's store, with the time of the site's clock.
"""

from __future__ import annotations

from psycopg.errors import UndefinedTable

from monitor.store.probing.probe_requests import MAX_FUTURE_SKEW, REQUEST_LIFETIME
from monitor.store.sites.link import SiteConnection, SiteRefusedError, connect_to_store

_INSERT_REQUEST = """
INSERT INTO probe_request AS known (agency, requested_at) VALUES (%s, clock_timestamp())
ON CONFLICT (agency) DO UPDATE SET requested_at = excluded.requested_at
WHERE known.requested_at <= excluded.requested_at - %s OR known.requested_at > excluded.requested_at + %s
"""


class SiteOutdatedError(SiteRefusedError):
    """A site runs an older version that does not support requests."""


def request_run(site_config: SiteConnection, agency: str) -> bool:
    """Request a run of all routes of an agency at a site; return `False` if an unexpired request exists already.

    Raise `SiteRefusedError`.
    """
    with connect_to_store(site_config.server, f"site {site_config.site}") as site:
        try:
            return site.execute(_INSERT_REQUEST, [agency, REQUEST_LIFETIME, MAX_FUTURE_SKEW]).rowcount > 0
        except UndefinedTable:
            raise SiteOutdatedError(f"site {site_config.site} runs an older version of Pantau: upgrade it") from None
