"""Section `alertmanager`: the alerts of the NOC's own monitoring that cause notifications, and their recipients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr

from monitor.config.agency.escalation import EscalationSettings
from monitor.config.fields.listen import safe_url
from monitor.config.files.findings import Findings
from monitor.config.files.section import InvalidValue, Section, Slug, Token, wrong
from monitor.model.lazy_text import said


class AlertRouteSettings(Section):
    """Recipients of alerts with certain labels."""

    match: Mapping[str, str] = Field(examples=["{team: rangkaian}"])
    """Labels with their whole values; an alert matches if it has all of them."""
    escalation: EscalationSettings
    """Escalation; it may name contacts of `noc`, shared contacts and shared rotas."""


class ReceiveSettings(Section):
    """Receiver of Alertmanager's webhook at `/api/v1/alertmanager`."""

    token: Token
    """Bearer token that Alertmanager sends (`authorization: {credentials_file: ...}`)."""
    routes: Mapping[Slug, AlertRouteSettings] = {}
    """The first route that matches an alert decides; an alert without a match follows the escalation of `noc`."""

    fold_above: Annotated[int, Field(ge=1, le=1000)] = 20
    """With more firing alerts in a group, new ones share one incident with a count."""

    def told_by(self, labels: Mapping[str, str]) -> str:
        """Return the key of the first entry that matches an alert; "" if none does."""
        matching = (key for key, each in self.routes.items() if each.match.items() <= labels.items())
        return next(matching, "")


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in {"http", "https"} or not text.isascii() or any(c.isspace() for c in text):
        raise wrong("is no address", "http://127.0.0.1:9093")
    if parts.username is not None or parts.query or parts.fragment:
        raise wrong("holds more than where it is", "the address alone; username and password_file, or token_file")
    return text.rstrip("/")


class SendSettings(Section):
    """Alertmanagers that receive our incidents while they are open."""

    urls: tuple[Annotated[str, AfterValidator(_url), InvalidValue("https://x.invalid")], ...] = Field(
        examples=["[http://127.0.0.1:9093]"]
    )
    """URLs of all members of the cluster, not of a load balancer."""
    token: SecretStr | None = None
    """Bearer token."""
    username: str | None = None
    """User name of basic authentication, with `password`."""
    password: SecretStr | None = None
    """Password of basic authentication."""


class AlertmanagerSettings(Section):
    """The NOC's Alertmanager. Any alert of its monitoring can cause notifications by telephone, fax and letter."""

    receive: ReceiveSettings | None = None
    """Alerts received from Alertmanager; each becomes an incident until it is resolved."""
    send: SendSettings | None = None
    """Incidents sent to Alertmanager as alerts."""


def check_alertmanager(settings: AlertmanagerSettings, findings: Findings) -> None:
    """Record a section without effect, and entries that would match every alert, or none."""
    if settings.send is not None:
        _check_send(settings.send, findings["send"])
    if settings.receive is None:
        if settings.send is None and not findings["receive"].is_broken and not findings["send"].is_broken:
            findings.error("does nothing", "receive: {token_file: PATH}, or leave it out")
        return
    before: dict[str, Mapping[str, str]] = {}
    for key, each in settings.receive.routes.items():
        there = findings["receive", "routes", key]
        if not each.match and not there["match"].is_broken:
            there["match"].error("every alert matches", "{severity: critical}; what none matches, noc.escalation tells")
        first = next((name for name, match in before.items() if match and match.items() <= each.match.items()), None)
        if first is not None:
            there.warning(
                said("decides about nothing: whatever matches, '{first}' decides about before", first=first),
                said("it before {first}", first=first),
            )
        before[key] = each.match


def _check_send(settings: SendSettings, findings: Findings) -> None:
    if not settings.urls and not findings["urls"].is_broken:
        findings["urls"].error("nobody is told", "[http://127.0.0.1:9093]")
    if (settings.username is None) is not (settings.password is None):
        findings.error("a user name and a password go together", "username: NAME and password_file: PATH")
    if settings.token is not None and settings.username is not None:
        findings["token_file"].error("is one secret too many beside a user name", "one of the two")
    if settings.token is not None or settings.password is not None:
        for number, url in enumerate(settings.urls):
            if safe_url(url) is None:
                findings["urls", number].error("would be sent the secret unencrypted", "https://...")
