"""Section `alertmanager`: exchange with the Alertmanager of the NOC (network operations centre).

Alerts that Pantau receives become incidents; incidents of Pantau are sent to Alertmanager as alerts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr

from monitor.config.agency.escalation import EscalationSettings
from monitor.config.fields.listen import parse_safe_url
from monitor.config.files.findings import Findings
from monitor.config.files.section import BearerToken, Section, Slug, SubstituteIfInvalid, shape_error
from monitor.model.translatable import translatable


class AlertRouteSettings(Section):
    """Escalation of alerts with certain labels."""

    match: Mapping[str, str] = Field(examples=["{team: rangkaian}"])
    """Labels with their values; an alert matches if it has all of them with exactly these values."""
    escalation: EscalationSettings
    """Who is notified; may name contacts of `noc`, and the contacts and rotas at the top of the settings file."""


class ReceiveSettings(Section):
    """Receiver of Alertmanager's webhook at `/api/v1/alertmanager`."""

    token: BearerToken
    """Bearer token that Alertmanager sends (`authorization: {credentials_file: ...}`)."""
    routes: Mapping[Slug, AlertRouteSettings] = {}
    """The first route that matches an alert decides; an alert without a match follows the escalation of `noc`."""

    fold_above: Annotated[int, Field(ge=1, le=1000)] = 20
    """Number of firing alerts in one webhook above which new alerts share one incident, which shows their number."""

    def match_route(self, labels: Mapping[str, str]) -> str:
        """Return the key of the first route that matches an alert's *labels*; "" if none does."""
        return next((key for key, each in self.routes.items() if each.match.items() <= labels.items()), "")


def _check_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        # An invalid port raises an error only when it is read.
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in {"http", "https"} or not text.isascii() or any(c.isspace() for c in text):
        raise shape_error("is no address", "http://127.0.0.1:9093")
    if parts.username is not None or parts.query or parts.fragment:
        raise shape_error(
            "contains more than scheme, host and path",
            "the URL alone, and username and password_file, or token_file, beside it",
        )
    return text.rstrip("/")


class SendSettings(Section):
    """Alertmanagers to which open incidents are sent as alerts."""

    urls: tuple[Annotated[str, AfterValidator(_check_url), SubstituteIfInvalid("https://x.invalid")], ...] = Field(
        examples=["[http://127.0.0.1:9093]"]
    )
    """URLs of all members of the Alertmanager cluster. A load balancer would send each alert to one member only."""
    token: SecretStr | None = None
    """Bearer token."""
    username: str | None = None
    """User name of basic authentication, with `password`."""
    password: SecretStr | None = None
    """Password of basic authentication."""


class AlertmanagerSettings(Section):
    """The NOC's Alertmanager. Any of its alerts can cause notifications by telephone, fax and letter."""

    receive: ReceiveSettings | None = None
    """Alerts received from Alertmanager; each becomes an incident until it is resolved."""
    send: SendSettings | None = None
    """Incidents sent to Alertmanager as alerts."""


def check_alertmanager(settings: AlertmanagerSettings, findings: Findings) -> None:
    """Record a section without effect, routes that match every alert, and routes that an earlier route precludes."""
    if settings.send is not None:
        _check_send(settings.send, findings["send"])
    if settings.receive is None:
        if settings.send is None and not findings["receive"].is_broken and not findings["send"].is_broken:
            findings.error("has no effect", "receive: {token_file: PATH}, or leave it out")
        return
    earlier_matches: dict[str, Mapping[str, str]] = {}
    for key, route in settings.receive.routes.items():
        route_findings = findings["receive", "routes", key]
        if not route.match and not route_findings["match"].is_broken:
            route_findings["match"].error(
                "every alert matches", "{severity: critical}; alerts that no route matches follow noc.escalation"
            )
        # An earlier route with fewer or the same labels matches all alerts that this one matches.
        earlier = next(
            (name for name, match in earlier_matches.items() if match and match.items() <= route.match.items()), None
        )
        if earlier is not None:
            route_findings.warning(
                translatable("never applies: '{first}' comes first and matches the same alerts", first=earlier),
                translatable("it before {first}", first=earlier),
            )
        earlier_matches[key] = route.match


def _check_send(settings: SendSettings, findings: Findings) -> None:
    if not settings.urls and not findings["urls"].is_broken:
        findings["urls"].error("nobody is notified", "[http://127.0.0.1:9093]")
    if (settings.username is None) is not (settings.password is None):
        findings.error("a user name and a password go together", "username: NAME and password_file: PATH")
    if settings.token is not None and settings.username is not None:
        findings["token_file"].error("cannot be combined with a user name", "one of the two")
    if settings.token is not None or settings.password is not None:
        for number, url in enumerate(settings.urls):
            if parse_safe_url(url) is None:
                findings["urls", number].error("would receive the secret unencrypted", "https://...")
