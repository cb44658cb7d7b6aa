"""Comparison of DNS names by whole labels: evil-gov.my is not below gov.my."""

from __future__ import annotations

from collections.abc import Iterable


def normalize_domain(text: str) -> str:
    """Return the domain *text* as domains are compared: in lower case, without a dot at the end."""
    return text.strip().rstrip(".").lower()


def is_within(domain: str, parents: Iterable[str]) -> bool:
    """Return whether *domain*, which may be a host, equals one of *parents* or is below one."""
    return find_parent(domain, parents) is not None


def find_parent(domain: str, parents: Iterable[str]) -> str | None:
    """Return the first of *parents* that *domain*, which may be a host, equals or is below."""
    name = normalize_domain(domain)
    for parent in parents:
        normal_parent = normalize_domain(parent)
        if name == normal_parent or name.endswith(f".{normal_parent}"):
            return parent
    return None
