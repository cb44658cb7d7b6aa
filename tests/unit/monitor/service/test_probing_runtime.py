"""Metrics and problems of an active configuration."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from alerts.model.notification import IncidentType
from monitor.metrics import Metrics
from monitor.model.route import Direction
from monitor.service.probing_runtime import (
    export_token_expiry,
    export_unavailable_credentials,
    find_unresolvable_incidents,
)
from monitor.store.engine.incidents import OpenIncidentSummary
from probes.model.mailbox import AccessToken, Mailbox, OAuth, UnavailableLogin
from tests.unit.monitor.config.ministry import Ministry
from tests.unit.monitor.scrape import NOON, Clock, Scrape
from tests.unit.monitor.world import route


@dataclass
class Tokens:
    """Tokens from an external source."""

    expires_at: datetime | None = None

    async def get(self) -> AccessToken:
        raise AssertionError("nobody signs in here")

    def reject(self, token: AccessToken) -> bool:
        raise AssertionError(token)


def test_token_expiry_is_exported_for_mailboxes_with_expiring_token() -> None:
    metrics, tokens = Metrics(version="1", now=Clock()), Tokens()
    plain = route("JCM", Direction.INBOUND, "a", "JCM/utama")
    signed_in = replace(plain.route.recipient, login=OAuth(username="pantau", tokens=tokens))
    watched = replace(plain, route=replace(plain.route, recipient=signed_in))
    metrics.register_agency("JCM", routes=[watched.name])

    def expiry() -> float | None:
        export_token_expiry(metrics, [watched])
        return Scrape(metrics).value("oauth_token_expiry_timestamp_seconds", agency="JCM", mailbox="JCM/utama")

    assert expiry() is None
    tokens.expires_at = NOON + timedelta(hours=1)
    assert expiry() == tokens.expires_at.timestamp()
    tokens.expires_at += timedelta(hours=1)
    assert expiry() == tokens.expires_at.timestamp()


def test_credential_unavailable_is_exported_until_login_is_available() -> None:
    metrics, plain = (
        Metrics(version="1", now=Clock()),
        route("JCM", Direction.INBOUND, "a", "JCM/utama").route.recipient,
    )
    metrics.register_agency("JCM", routes=["a"])

    def locked(mailbox: Mailbox) -> float | None:
        export_unavailable_credentials(metrics, [mailbox])
        return Scrape(metrics).value("mailbox_credential_unavailable", agency="JCM", mailbox="JCM/utama")

    withheld = replace(plain, login=UnavailableLogin(username="pantau", reason="its key is lost"))
    assert (locked(plain), locked(withheld), locked(withheld), locked(plain)) == (None, 1, 1, None)


def test_unresolvable_incident_of_removed_agency_is_reported(tmp_path: Path) -> None:
    ministry = Ministry(tmp_path)
    gone = OpenIncidentSummary(number="JCM-01", began_at=NOON, detected=IncidentType.BOTH)

    (problem,) = find_unresolvable_incidents(
        dict.fromkeys(("ours/network", "JCONTOH", "JCM"), gone), ministry.load().require_configuration()
    )

    assert str(problem).removeprefix(f"{tmp_path}/") == (
        "agencies: warning: JCM: JCM-01 is open, but its agency is no longer monitored: in 10 minutes it is closed, and "
        "the notified staff are informed; write instead: the agency again, or close it yourself: pantau close JCM-01 "
        "(in a shell)"
    )


def test_unresolvable_declared_incident_of_removed_agency_is_reported(tmp_path: Path) -> None:
    gone = dict.fromkeys(("JCM", "JCONTOH"), OpenIncidentSummary(number="JCM-01", began_at=NOON))

    (problem,) = find_unresolvable_incidents(gone, Ministry(tmp_path).load().require_configuration())

    assert "JCM-01 is open, but its agency is no longer monitored" in str(problem)
