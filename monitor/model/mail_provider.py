"""The large mail providers: their servers, and their limits on messages and sessions.

The sending limits are from the providers' own and other public pages (Exchange Online: 30 messages a minute and 10,000
recipients a day; Gmail: 500 messages a day, Workspace 2,000). An account above its limit is blocked for a day.

Receiving limits: Google, all editions: 60 messages a minute and 3,600 an hour (support.google.com/a/answer/1366776);
further messages bounce, mostly for 24 hours. Exchange Online: 3,600 an hour (Microsoft's Exchange Team Blog, "Upcoming
changes to mailbox receiving limits: Hot Recipients Throttling", 2021-02-22); further messages bounce until the hour is
over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from probes.model.domain import is_within
from probes.model.mailbox import Mailbox


@dataclass(frozen=True, slots=True, kw_only=True)
class MailProvider:
    """A provider of mail for many organisations."""

    name: str
    #: Submission servers: full names, or suffixes that begin with a dot (".gmail.com").
    hosts: tuple[str, ...]
    #: Further servers, at which the provider's mailboxes are read.
    inboxes: tuple[str, ...] = ()
    #: Mail domains of the provider's accounts; empty: any domain.
    domains: tuple[str, ...] = ()
    #: Maximum number of messages that an account may send; `None`: no known limit.
    messages_per_day: int | None = None
    messages_per_minute: int | None = None
    #: Maximum number of messages that an account may receive; `None`: no known limit.
    received_per_minute: int | None = None
    received_per_hour: int | None = None
    #: Maximum concurrent sessions of all monitored accounts together.
    concurrency: int
    #: Maximum concurrent sessions of one account.
    account_concurrency: int = 10

    def sends_for(self, host: str, address: str) -> bool:
        """Whether mail of *address* submitted at *host* uses this provider."""
        return is_within(host, self.hosts) and self._has_domain(address)

    def receives_for(self, host: str, address: str) -> bool:
        """Whether this provider receives mail to *address* that is read at *host*."""
        return is_within(host, (*self.hosts, *self.inboxes)) and self._has_domain(address)

    def _has_domain(self, address: str) -> bool:
        return not self.domains or address.rpartition("@")[2].lower() in self.domains


#: Servers at which Google's mailboxes are read.
_GOOGLE_INBOXES = ("imap.gmail.com", "imap.googlemail.com", "pop.gmail.com", "pop.googlemail.com")


#: In order of precedence: the first that matches a mailbox is its provider.
KNOWN_PROVIDERS = (
    MailProvider(
        name="gmail",
        hosts=("smtp.gmail.com", "smtp.googlemail.com"),
        inboxes=_GOOGLE_INBOXES,
        domains=("gmail.com", "googlemail.com"),
        messages_per_day=500,
        received_per_minute=60,
        received_per_hour=3600,
        concurrency=10,
    ),
    # An account with another domain belongs to Google Workspace.
    MailProvider(
        name="google",
        hosts=("smtp.gmail.com", "smtp.googlemail.com", "smtp-relay.gmail.com"),
        inboxes=_GOOGLE_INBOXES,
        messages_per_day=2000,
        received_per_minute=60,
        received_per_hour=3600,
        concurrency=20,
    ),
    MailProvider(
        name="microsoft",
        hosts=("smtp.office365.com", "outlook.office365.com", "smtp-mail.outlook.com"),
        messages_per_day=10_000,
        messages_per_minute=30,
        received_per_hour=3600,
        concurrency=20,
        # A fourth session is rejected with 432 4.3.2.
        account_concurrency=3,
    ),
)


@dataclass(frozen=True, slots=True)
class MailProviders:
    """All known providers, those of the configuration first."""

    providers: Sequence[MailProvider] = KNOWN_PROVIDERS

    def sending_provider(self, mailbox: Mailbox) -> MailProvider | None:
        """Return the provider through which *mailbox* sends; `None`: not a known provider, or it does not send."""
        if mailbox.smtp is None:
            return None
        host, address = mailbox.smtp.host, mailbox.address
        return next((provider for provider in self.providers if provider.sends_for(host, address)), None)

    def receiving_provider(self, mailbox: Mailbox) -> MailProvider | None:
        """Return the provider that receives the mail of *mailbox*; `None`: not a known provider, or it is not read."""
        server = mailbox.imap or mailbox.pop3
        if server is None:
            return None
        return next(
            (provider for provider in self.providers if provider.receives_for(server.host, mailbox.address)), None
        )

    def limit_names(self, sender: Mailbox) -> tuple[str, ...]:
        """Return the names of the concurrency limits of *sender*: for its account and provider, or for its server.

        Recipients have no limit, because a mailbox is read over one connection. With a limit, an agency with a slow
        server would delay the other agencies whose routes use the same reference mailbox (of the operator).
        """
        if sender.smtp is None:
            return ()
        if (provider := self.sending_provider(sender)) is not None:
            return (_account_limit(sender), _provider_limit(provider))
        return (f"server {sender.smtp.host}:{sender.smtp.port}",)

    def session_limits(self, senders: Iterable[Mailbox]) -> Mapping[str, int]:
        """Return the maximum number of sessions by limit name, for limits that differ from the default."""
        session_limits = {_provider_limit(provider): provider.concurrency for provider in self.providers}
        return session_limits | {
            _account_limit(sender): provider.account_concurrency
            for sender in senders
            if (provider := self.sending_provider(sender)) is not None
        }


def _provider_limit(provider: MailProvider) -> str:
    return f"provider {provider.name}"


def _account_limit(sender: Mailbox) -> str:
    return f"account {sender.name}"
