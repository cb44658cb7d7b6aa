"""Section `mail_providers`: limits that mail providers set for all accounts together and for one account."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated

from pydantic import AfterValidator, Field

from monitor.config.files.findings import Findings
from monitor.config.files.problem import closest_match
from monitor.config.files.section import Host, Section, SubstituteIfInvalid
from monitor.model.mail_provider import KNOWN_PROVIDERS, MailProvider, MailProviders

#: Providers with default limits, by name.
_KNOWN = {provider.name: provider for provider in KNOWN_PROVIDERS}

Messages = Annotated[int, Field(ge=1, le=10_000_000), SubstituteIfInvalid(1)]
Sessions = Annotated[int, Field(ge=1, le=1000), SubstituteIfInvalid(1)]


def _lower_case(host: str) -> str:
    return host.lower()


class MailProviderSettings(Section):
    """Limits of a provider. gmail, google and microsoft have defaults; others need `hosts`."""

    hosts: tuple[Annotated[Host, AfterValidator(_lower_case)], ...] = ()
    """Servers of the provider; a domain matches all hosts below it."""
    messages_per_day: Messages | None = None
    """Messages that one account may send in a day; default: the provider's known limit."""
    messages_per_minute: Messages | None = None
    """Messages that one account may send in a minute."""
    received_per_minute: Messages | None = None
    """Messages that one account may receive in a minute."""
    received_per_hour: Messages | None = None
    """Messages that one account may receive in an hour."""
    concurrency: Sessions | None = None
    """Maximum number of concurrent sessions of all probed accounts together."""
    account_concurrency: Sessions | None = None
    """Maximum number of concurrent sessions of one account."""

    def build(self, name: str) -> MailProvider:
        """Return the provider *name* with the configured hosts and limits, and defaults for the others."""
        default = _KNOWN.get(name, MailProvider(name=name, hosts=(), concurrency=10))
        configured = {key: value for key in MailProviderSettings.model_fields if (value := getattr(self, key))}
        return replace(default, **configured)


def build_mail_providers(settings: Mapping[str, MailProviderSettings]) -> MailProviders:
    """Return all providers. The first that matches a mailbox applies, so the ones without defaults come first."""
    configured = {name: provider.build(name) for name, provider in settings.items()}
    additional = [provider for name, provider in configured.items() if name not in _KNOWN]
    return MailProviders([*additional, *(configured.get(name, provider) for name, provider in _KNOWN.items())])


def check_mail_providers(settings: Mapping[str, MailProviderSettings], findings: Findings) -> None:
    """Record providers that have neither defaults nor hosts."""
    for name, provider in settings.items():
        if name not in _KNOWN and not provider.hosts:
            instead = closest_match(name, _KNOWN) or "hosts: [mel.contoh.gov.my]"
            findings[name].error("is no provider that is known, and has no hosts", instead)
