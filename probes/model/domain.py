"""Comparison of DNS names by whole labels: evil-gov.my is not below gov.my."""

from __future__ import annotations

from collections.abc import Iterable


def normal_domain(text: str) -> str:
    """Return *text* in the form in which domains are compared: lower case, without a dot at the end."""
    return text.strip().rstrip(".").lower()


def is_within(domain: str, parents: Iterable[str]) -> bool:
    """Return whether *domain*, or a host, is one of *parents* or below one."""
    return parent_of(domain, parents) is not None


def parent_of(domain: str, parents: Iterable[str]) -> str | None:
    """Return the one of *parents* that *domain*, or a host, equals or is below; of several the first."""
    name = normal_domain(domain)
    for parent in parents:
        root = normal_domain(parent)
        if name == root or name.endswith(f".{root}"):
            return parent
    return None
