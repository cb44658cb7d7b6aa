"""What is told of a configuration at work."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from alerts.model.notification import IncidentType
from monitor.metrics import Metrics
from monitor.model.route import Direction
from monitor.service.probing_runtime import find_unresolvable_incidents, show_locked, show_tokens
from monitor.store.engine.incidents import OpenIncidentSummary
from probes.model.mailbox import AccessToken, Mailbox, OAuth, UnavailableLogin
from tests.unit.monitor.config.ministry import Ministry
from tests.unit.monitor.scrape import NOON, Clock, Scrape
from tests.unit.monitor.trial import route


@dataclass
class Tokens:
    """A token that somebody else gets and renews."""

    expires_at: datetime | None = None

    async def get(self) -> AccessToken:
        raise AssertionError("nobody signs in here")

    def reject(self, token: AccessToken) -> bool:
        raise AssertionError(token)


def test_when_a_token_expires_is_told_of_the_mailboxes_that_have_one() -> None:
    metrics, tokens = Metrics(version="1", now=Clock()), Tokens()
    plain = route("JCM", Direction.INBOUND, "a", "JCM/utama")
    signed_in = replace(plain.route.recipient, login=OAuth(username="pantau", tokens=tokens))
    watched = replace(plain, route=replace(plain.route, recipient=signed_in))
    metrics.register_agency("JCM", routes=[watched.name])

    def expiry() -> float | None:
        show_tokens(metrics, [watched])
        return Scrape(metrics).value("oauth_token_expiry_timestamp_seconds", agency="JCM", mailbox="JCM/utama")

    assert expiry() is None
    tokens.expires_at = NOON + timedelta(hours=1)
    assert expiry() == tokens.expires_at.timestamp()
    tokens.expires_at += timedelta(hours=1)
    assert expiry() == tokens.expires_at.timestamp()


def test_a_mailbox_whose_secret_cannot_be_had_is_told_until_it_can_be() -> None:
    metrics, plain = (
        Metrics(version="1", now=Clock()),
        route("JCM", Direction.INBOUND, "a", "JCM/utama").route.recipient,
    )
    metrics.register_agency("JCM", routes=["a"])

    def locked(mailbox: Mailbox) -> float | None:
        show_locked(metrics, [mailbox])
        return Scrape(metrics).value("mailbox_credential_unavailable", agency="JCM", mailbox="JCM/utama")

    withheld = replace(plain, login=UnavailableLogin(username="pantau", reason="its key is lost"))
    assert (locked(plain), locked(withheld), locked(withheld), locked(plain)) == (None, 1, 1, None)


def test_an_incident_whose_agency_has_left_is_pointed_out_and_nothing_of_ours_is(tmp_path: Path) -> None:
    ministry = Ministry(tmp_path)
    gone = OpenIncidentSummary(number="JCM-01", began_at=NOON, detected=IncidentType.BOTH)

    (problem,) = find_unresolvable_incidents(
        dict.fromkeys(("ours/network", "JCONTOH", "JCM"), gone), ministry.load().accepted()
    )

    assert str(problem).removeprefix(f"{tmp_path}/") == (
        "agencies: warning: JCM: JCM-01 is open, and its agency is watched no more: in 10 minutes it is closed, and the staff "
        "who were told hear so; write instead: what was there, or close it yourself: pantau close JCM-01 (in a shell)"
    )


def test_a_declared_outage_whose_agency_has_left_is_pointed_out_with_what_ends_it(tmp_path: Path) -> None:
    gone = dict.fromkeys(("JCM", "JCONTOH"), OpenIncidentSummary(number="JCM-01", began_at=NOON))

    (problem,) = find_unresolvable_incidents(gone, Ministry(tmp_path).load().accepted())

    assert "JCM-01 is open, and its agency is watched no more" in str(problem)
