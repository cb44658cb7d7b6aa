"""Checks that references do not fail together, neither with each other nor with an agency.

A *reference* is a mailbox of the operator outside the agencies; a *pool* is a reference of several mailboxes. If a
probe fails, the references are the evidence whether the agency is at fault. Therefore they must have other hosts and
domains than the agency.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import combinations, product
from typing import Final

from monitor.config.agency.mailbox import MailboxSettings
from monitor.config.fields.circular import domain_of
from monitor.config.files.findings import Findings
from monitor.config.files.problem import Path, format_path
from monitor.config.model.reference import ReferenceSettings, all_mailboxes, mailboxes_of
from monitor.config.model.registry import Agency
from monitor.config.model.settings import Settings
from monitor.model.route import Direction
from monitor.model.translatable import translatable
from probes.model.domain import is_within

_SECTION: Final = "references"


def check_independence(references: Mapping[str, ReferenceSettings], findings: Findings) -> None:
    """Record an error if there is a process for which all references would fail together.

    Each process uses one mailbox of a pool. Two pools are therefore independent only if each mailbox of the one is
    independent of each mailbox of the other.
    """
    pairs = list(combinations(references.items(), 2))
    # One independent pair of references is enough.
    if not pairs or findings.is_broken or any(_first_dependent_pair(*pair) is None for pair in pairs):
        return
    instead = "at least one with another provider"
    # If a pool is involved, name the two mailboxes that fail together.
    for first, second in pairs:
        if (dependent_pair := _first_dependent_pair(first, second)) is not None and any(
            len(mailboxes_of(each)) > 1 for _, each in (first, second)
        ):
            first_path, second_path = dependent_pair
            findings[first_path].error(
                translatable(
                    "is on the same hosts and in the same domain as {there}: a process that uses both has no "
                    "independent reference",
                    there=format_path((_SECTION, *second_path)),
                ),
                instead,
            )
            return
    message = "all reference mailboxes are on the same hosts and in the same domain: they would fail together"
    findings.error(message, instead)


def _first_dependent_pair(
    reference: tuple[str, ReferenceSettings], other_reference: tuple[str, ReferenceSettings]
) -> tuple[Path, Path] | None:
    """Return the paths of the first two mailboxes that fail together; `None` if the references are independent.

    Each reference is given with its name, with which its paths begin. The first path is in the larger reference.
    """
    first, second = (
        (reference, other_reference)
        if len(mailboxes_of(reference[1])) >= len(mailboxes_of(other_reference[1]))
        else (other_reference, reference)
    )
    own_mailboxes, other_mailboxes = (
        {(name, *path): each for path, each in mailboxes_of(ref).items()} for name, ref in (first, second)
    )
    return next(
        (
            pair
            for pair in product(own_mailboxes, other_mailboxes)
            if not _are_independent(own_mailboxes[pair[0]], other_mailboxes[pair[1]])
        ),
        None,
    )


def _are_independent(one: MailboxSettings, other: MailboxSettings) -> bool:
    # Only mailboxes with both a common host and the same domain fail together.
    return one.hosts.isdisjoint(other.hosts) or domain_of(one.address) != domain_of(other.address)


def dependent_references(agency: Agency, settings: Settings) -> frozenset[Path]:
    """Return the paths of the references that have routes to or from *agency* and would fail together with it.

    They have a server or the domain in common with it. A common server counts only if its name is in an official
    domain: the servers of large providers, which half of the government uses, do not count.
    """
    references = all_mailboxes(settings.references)
    return frozenset(path for path, each in references if _depends_on(str(path[0]), each, agency, settings))


def check_dependent_references(
    settings: Settings, references_by_agency: Mapping[str, Collection[Path]], findings: Findings
) -> None:
    """Record references that fail together with an agency, and therefore are no evidence about it.

    *references_by_agency*: by the agency's short code, the result of `dependent_references`.
    """
    for path, _ in all_mailboxes(settings.references):
        dependent_agencies = [code for code, references in references_by_agency.items() if path in references]
        if dependent_agencies:
            first, *others = dependent_agencies
            names = translatable("{first} and {count} more", first=first, count=len(others)) if others else first
            findings["references"][path].warning(
                translatable(
                    "has its server or its domain in common with {them}, and would fail together with it", them=names
                ),
                "a mailbox elsewhere, or `routes:` without this one in the agency's file",
            )


def _depends_on(name: str, reference: MailboxSettings, agency: Agency, settings: Settings) -> bool:
    shared_hosts = {host for mailbox in agency.mailboxes.values() for host in mailbox.hosts & reference.hosts}
    has_official_host = any(is_within(host, settings.official_suffixes) for host in shared_hosts)
    if not has_official_host and not is_within(domain_of(reference.address), agency.domains):
        # Fast path for nearly all pairs, for which no routes are computed.
        return False
    routes = [
        route
        for route in agency.resolve_routes(settings.references_in_use)
        if route.direction is not Direction.INTERNAL
    ]
    # The direction decides which end is the reference: a mailbox of the agency may have the same key.
    return name in {route.recipient if route.direction is Direction.OUTBOUND else route.sender for route in routes}
