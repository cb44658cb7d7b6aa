"""The lab's DNS: which port takes mail for a domain."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchanger:
    """A mail exchanger: where mail for a domain is handed over (RFC 5321 section 5)."""

    hostname: str
    port: int


class Directory:
    """The mail exchangers of the domains that exist."""

    def __init__(self) -> None:
        self._exchanges: dict[str, Exchanger] = {}

    def register(self, domain: str, exchange: Exchanger) -> None:
        """Publish where mail for a domain goes, instead of where it went before."""
        self._exchanges[domain.lower()] = exchange

    def find(self, domain: str) -> Exchanger | None:
        """Return the exchanger of a domain; `None` means that there is no such domain."""
        return self._exchanges.get(domain.lower())
