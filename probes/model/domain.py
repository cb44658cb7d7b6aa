"""Comparison of DNS names by whole labels: evil-gov.my is not below gov.my."""

from __future__ import annotations

from collections.abc import Iterable


def normalize_domain(text: str) -> str:
    """Return the domain *text* in the form that is compared: in lower case, without a dot at the end."""
    return text.strip().rstrip(".").lower()


def is_within(domain: str, parents: Iterable[str]) -> bool:
    """Return whether *domain* (or a host name) equals one of *parents*, or is a subdomain of one."""
    return find_parent(domain, parents) is not None


def find_parent(domain: str, parents: Iterable[str]) -> str | None:
    """Return the first of *parents* that *domain* (or a host name) equals or is a subdomain of, or `None`."""
    name = normalize_domain(domain)
    for parent in parents:
        normal_parent = normalize_domain(parent)
        if name == normal_parent or name.endswith(f".{normal_parent}"):
            return parent
    return None
