"""Mail domains: how they are compared. Always by whole labels: evil-gov.my is not below gov.my."""

from __future__ import annotations

from collections.abc import Iterable

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
#: A host or domain name (RFC 1123, with the underscores that some name servers' owners use).
HOST = rf"{_LABEL}(?:\.{_LABEL})*"
#: A mail address with a dot-atom before the @ (RFC 5321); quoted local parts exist and nobody has one.
ADDRESS = rf"[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~-]+)*@{_LABEL}(?:\.{_LABEL})+"


def normal_domain(text: str) -> str:
    """Return *text* as domains are compared: lower case, no dot at the end."""
    return text.strip().rstrip(".").lower()


def domain_of(address: str) -> str:
    """Return the domain of a mail address, as domains are compared."""
    return normal_domain(address.rpartition("@")[2])


def is_within(domain: str, parents: Iterable[str]) -> bool:
    """Return whether *domain* is one of *parents* or below one."""
    return parent_of(domain, parents) is not None


def parent_of(domain: str, parents: Iterable[str]) -> str | None:
    """Return the one of *parents* that *domain* is or is below."""
    name = normal_domain(domain)
    for parent in parents:
        root = normal_domain(parent)
        if name == root or name.endswith(f".{root}"):
            return parent
    return None
