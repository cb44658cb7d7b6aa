"""Replacement of DNS MX records in the lab: the mail exchanger and port of each domain."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchanger:
    """Mail exchanger, which accepts mail for a domain (RFC 5321 section 5)."""

    hostname: str
    port: int


class Directory:
    """The mail exchangers of the domains that exist."""

    def __init__(self) -> None:
        self._exchangers: dict[str, Exchanger] = {}

    def register(self, domain: str, exchanger: Exchanger) -> None:
        """Register the mail exchanger of a domain, and replace an earlier one."""
        self._exchangers[domain.lower()] = exchanger

    def find(self, domain: str) -> Exchanger | None:
        """Return the exchanger of a domain; `None` if the domain does not exist."""
        return self._exchangers.get(domain.lower())
