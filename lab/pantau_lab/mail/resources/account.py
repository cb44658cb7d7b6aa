"""Mail accounts of a fictional agency."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from secrets import compare_digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Mailbox with its credentials. The user name is the address."""

    #: Unique in the network. It becomes the name of the `probes.model.mailbox.Mailbox`, such as "jabatan-contoh".
    name: str
    address: str
    secret: str = field(repr=False)


class Accounts:
    """The accounts of one mail system, found by address without regard to case."""

    def __init__(self, accounts: Iterable[Account]) -> None:
        self._by_address = {account.address.lower(): account for account in accounts}

    def __iter__(self) -> Iterator[Account]:
        return iter(self._by_address.values())

    def find(self, address: str) -> Account | None:
        """Return the account with this address."""
        return self._by_address.get(address.lower())

    def signed_in(self, username: str, secret: str) -> Account | None:
        """Return the account with these credentials; `None` if they are wrong."""
        account = self.find(username)
        if account is None or not compare_digest(account.secret.encode(), secret.encode()):
            return None
        return account
