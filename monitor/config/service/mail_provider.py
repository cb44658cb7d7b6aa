"""Configuration of mail providers: the limits of their servers, and the quota of an account."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated

from pydantic import AfterValidator, Field

from monitor.config.files.findings import Findings
from monitor.config.files.problem import closest_match
from monitor.config.files.section import Host, InvalidValue, Section
from monitor.model.mail_provider import KNOWN_PROVIDERS, MailProvider, MailProviders

_KNOWN = {provider.name: provider for provider in KNOWN_PROVIDERS}

Messages = Annotated[int, Field(ge=1, le=10_000_000), InvalidValue(1)]
Sessions = Annotated[int, Field(ge=1, le=1000), InvalidValue(1)]


def _lower_case(host: str) -> str:
    return host.lower()


class MailProviderSettings(Section):
    """Limits of a provider. gmail, google and microsoft have defaults; others need `hosts`."""

    hosts: tuple[Annotated[Host, AfterValidator(_lower_case)], ...] = ()
    """Its servers; a domain matches all hosts below it."""
    messages_per_day: Messages | None = None
    """Messages that one account may send in a day; default: the provider's known limit."""
    messages_per_minute: Messages | None = None
    """Messages that one account may send in a minute."""
    received_per_minute: Messages | None = None
    """Messages that one account may receive in a minute."""
    received_per_hour: Messages | None = None
    """Messages that one account may receive in an hour."""
    concurrency: Sessions | None = None
    """Concurrent sessions of all accounts."""
    account_concurrency: Sessions | None = None
    """Concurrent sessions of one account."""

    def build(self, name: str) -> MailProvider:
        """Return the provider *name*."""
        default = _KNOWN.get(name, MailProvider(name=name, hosts=(), concurrency=10))
        configured = {key: value for key in MailProviderSettings.model_fields if (value := getattr(self, key))}
        return replace(default, **configured)


def build_mail_providers(settings: Mapping[str, MailProviderSettings]) -> MailProviders:
    """Return all providers: those that are configured but not built in first, then the built-in ones."""
    configured = {name: provider.build(name) for name, provider in settings.items()}
    additional = [provider for name, provider in configured.items() if name not in _KNOWN]
    return MailProviders([*additional, *(configured.get(name, provider) for name, provider in _KNOWN.items())])


def check_mail_providers(settings: Mapping[str, MailProviderSettings], findings: Findings) -> None:
    """Record providers without any settings that are not built in."""
    for name, provider in settings.items():
        if name not in _KNOWN and not provider.hosts:
            instead = closest_match(name, _KNOWN) or "hosts: [mel.contoh.gov.my]"
            findings[name].error("is no provider that is known, and has no hosts", instead)
