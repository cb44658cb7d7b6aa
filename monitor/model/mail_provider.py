"""The big mail providers: by which servers they are known, how many messages and sessions they allow. Data, and who is which.

What they allow is what their own pages and those of others say (Exchange Online: 30 messages a minute and 10,000
recipients a day; Gmail: 500 messages a day, Workspace 2,000). An account that goes over it is shut out for a day.

What they let an account receive: Google 60 messages a minute and 3,600 an hour, all editions (support.google.com/a/answer/1366776);
what is over it bounces, mostly for 24 hours. Exchange Online 3,600 an hour (Microsoft's Exchange Team Blog, "Upcoming
changes to mailbox receiving limits: Hot Recipients Throttling", 2021-02-22); what is over it is returned until the hour is over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from probes.model.domain import is_within
from probes.model.mailbox import Mailbox


@dataclass(frozen=True, slots=True, kw_only=True)
class MailProvider:
    """One who runs mail for many."""

    name: str
    #: Of its submission servers: the name itself, or the end of it from a dot on (".gmail.com").
    hosts: tuple[str, ...]
    #: Of the servers beside them that its mailboxes are read at.
    inboxes: tuple[str, ...] = ()
    #: Domains of addresses that are meant, where that makes a difference; empty: all.
    domains: tuple[str, ...] = ()
    #: For each account; `None`: no limit is known.
    messages_per_day: int | None = None
    messages_per_minute: int | None = None
    #: What comes to each account.
    received_per_minute: int | None = None
    received_per_hour: int | None = None
    #: Sessions at a time, of all accounts together.
    concurrency: int
    #: Sessions at a time of one account.
    account_concurrency: int = 10

    def serves(self, host: str, address: str) -> bool:
        """Whether mail of *address* that is submitted at *host* goes through this provider."""
        return is_within(host, self.hosts) and self._has(address)

    def keeps(self, host: str, address: str) -> bool:
        """Whether mail to *address* that is read at *host* is received by this provider."""
        return is_within(host, (*self.hosts, *self.inboxes)) and self._has(address)

    def _has(self, address: str) -> bool:
        return not self.domains or address.rpartition("@")[2].lower() in self.domains


#: Where mail at Google is read.
_GOOGLES = ("imap.gmail.com", "imap.googlemail.com", "pop.gmail.com", "pop.googlemail.com")


#: The first that serves an account is its provider.
KNOWN = (
    MailProvider(
        name="gmail",
        hosts=("smtp.gmail.com", "smtp.googlemail.com"),
        inboxes=_GOOGLES,
        domains=("gmail.com", "googlemail.com"),
        messages_per_day=500,
        received_per_minute=60,
        received_per_hour=3600,
        concurrency=10,
    ),
    # An account with a domain of its own there is one of Google Workspace.
    MailProvider(
        name="google",
        hosts=("smtp.gmail.com", "smtp.googlemail.com", "smtp-relay.gmail.com"),
        inboxes=_GOOGLES,
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
        # The fourth is answered 432 4.3.2.
        account_concurrency=3,
    ),
)


@dataclass(frozen=True, slots=True)
class MailProviders:
    """All that are known here, those of the configuration first."""

    known: Sequence[MailProvider] = KNOWN

    def of(self, mailbox: Mailbox) -> MailProvider | None:
        """Return whom *mailbox* sends through; `None` when that is nobody in particular."""
        if mailbox.smtp is None:
            return None
        host, address = mailbox.smtp.host, mailbox.address
        return next((one for one in self.known if one.serves(host, address)), None)

    def receiving(self, mailbox: Mailbox) -> MailProvider | None:
        """Return who receives the mail of *mailbox*; `None` when that is nobody in particular, or nothing is read."""
        server = mailbox.imap or mailbox.pop3
        if server is None:
            return None
        return next((one for one in self.known if one.keeps(server.host, mailbox.address)), None)

    def lanes(self, sender: Mailbox) -> tuple[str, ...]:
        """Return the lanes of what is sent from *sender*: its server, or its account and its provider.

        A recipient has none: its mailbox is read over one connection, whatever is sent to it. If what is sent had to
        wait for room there, an agency whose server is slow to take it would keep others from the same reference.
        """
        if sender.smtp is None:
            return ()
        if (provider := self.of(sender)) is not None:
            return (_account(sender), _provider(provider))
        return (f"server {sender.smtp.host}:{sender.smtp.port}",)

    def room(self, senders: Iterable[Mailbox]) -> Mapping[str, int]:
        """Return how many sessions each lane of *senders* takes at a time, where that is not the usual number."""
        room = {_provider(provider): provider.concurrency for provider in self.known}
        return room | {
            _account(sender): provider.account_concurrency
            for sender in senders
            if (provider := self.of(sender)) is not None
        }


def _provider(provider: MailProvider) -> str:
    return f"provider {provider.name}"


def _account(sender: Mailbox) -> str:
    return f"account {sender.name}"
