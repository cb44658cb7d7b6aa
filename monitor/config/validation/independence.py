"""Independence of fault domains: between references, and between references and agencies."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import combinations, product
from typing import Final

from monitor.config.agency.mailbox import MailboxSettings
from monitor.config.fields.circular import domain_of
from monitor.config.files.findings import Findings
from monitor.config.files.problem import Path, dotted
from monitor.config.model.reference import ReferenceSettings, every_member, members
from monitor.config.model.registry import Agency
from monitor.config.model.settings import Settings
from monitor.model.lazy_text import said
from monitor.model.route import Direction
from probes.model.domain import is_within

_SECTION: Final = "references"


def check_independence(references: Mapping[str, ReferenceSettings], findings: Findings) -> None:
    """Record references that all fail together in some process.

    Two pools are independent only if every two of their mailboxes are.
    """
    pairs = list(combinations(references.items(), 2))
    if not pairs or findings.is_broken or any(_nearest(*pair) is None for pair in pairs):
        return
    instead = "at least one with another provider"
    for one, other in pairs:
        if (near := _nearest(one, other)) is not None and any(len(members(each)) > 1 for _, each in (one, other)):
            here, there = near
            findings[here].error(
                said(
                    "is on the same hosts and in the same domain as {there}: whoever uses both has nothing that fails apart",
                    there=dotted((_SECTION, *there)),
                ),
                instead,
            )
            return
    message = "all reference mailboxes are on the same hosts and in the same domain: they would fail together"
    findings.error(message, instead)


def _nearest(one: tuple[str, ReferenceSettings], other: tuple[str, ReferenceSettings]) -> tuple[Path, Path] | None:
    """Return the paths of the first mailboxes of two references that fail together; `None`: there are none."""
    first, second = (one, other) if len(members(one[1])) >= len(members(other[1])) else (other, one)
    here, there = ({(name, *path): each for path, each in members(ref).items()} for name, ref in (first, second))
    return next((pair for pair in product(here, there) if not _apart(here[pair[0]], there[pair[1]])), None)


def _apart(one: MailboxSettings, other: MailboxSettings) -> bool:
    return one.hosts.isdisjoint(other.hosts) or domain_of(one.address) != domain_of(other.address)


def references_near(agency: Agency, settings: Settings) -> frozenset[Path]:
    """Return the paths of reference mailboxes that would fail together with an agency that has routes to them.

    A server of a large provider does not count, because half of the government uses it. A server with an official name
    does.
    """
    references = every_member(settings.references)
    return frozenset(path for path, each in references if _is_near(str(path[0]), each, agency, settings))


def check_neighbours(settings: Settings, near_to: Mapping[str, Collection[Path]], findings: Findings) -> None:
    """Record references that fail together with an agency: they provide no evidence about it.

    *near_to*: by the agency's short code, the result of `references_near`.
    """
    for path, _ in every_member(settings.references):
        near = [code for code, references in near_to.items() if path in references]
        if near:
            first, *others = near
            them = said("{first} and {count} more", first=first, count=len(others)) if others else first
            findings["references"][path].warning(
                said("has its server or its domain in common with {them}, and would fail together with it", them=them),
                "a mailbox elsewhere, or `routes:` without this one in the agency's file",
            )


def _is_near(name: str, reference: MailboxSettings, agency: Agency, settings: Settings) -> bool:
    hosts = {host for mailbox in agency.mailboxes.values() for host in mailbox.hosts & reference.hosts}
    own = any(is_within(host, settings.official_suffixes) for host in hosts)
    if not own and not is_within(domain_of(reference.address), agency.domains):
        return False  # Fast path for nearly all: the routes of only the few others are computed.
    legs = [leg for leg in agency.legs(settings.references_in_use) if leg.direction is not Direction.INTERNAL]
    # A mailbox of the agency and a reference may have the same key; the direction distinguishes them.
    return name in {leg.recipient if leg.direction is Direction.OUTBOUND else leg.sender for leg in legs}
