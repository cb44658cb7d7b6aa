"""Whether what is meant to fail apart does: references from each other, and from the agencies that they are to prove."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

from monitor.config.agency.mailbox import MailboxSettings
from monitor.config.fields.circular import domain_of, is_within
from monitor.config.files.findings import Findings
from monitor.config.model.registry import Agency
from monitor.config.model.settings import Settings
from monitor.model.route import Direction
from monitor.model.said import said


def check_independence(references: Mapping[str, MailboxSettings], findings: Findings) -> None:
    """Note references that all fail together."""
    pairs = list(combinations(references.values(), 2))
    if pairs and not any(_independent(one, other) for one, other in pairs) and not findings.is_broken:
        findings.error(
            "all reference mailboxes are on the same hosts and in the same domain: they would fail together",
            "at least one with another provider",
        )


def _independent(one: MailboxSettings, other: MailboxSettings) -> bool:
    return one.hosts.isdisjoint(other.hosts) or domain_of(one.address) != domain_of(other.address)


def check_neighbours(settings: Settings, agencies: Mapping[str, Agency], findings: Findings) -> None:
    """Note references that fail together with an agency: what they seem to prove of it, they do not.

    A server of a big provider is no neighbour: half of the government is there. One with an official name is.
    """
    for name, reference in settings.references.items():
        near = [code for code, agency in agencies.items() if _is_near(name, reference, agency, settings)]
        if near:
            first, *others = near
            them = said("{first} and {count} more", first=first, count=len(others)) if others else first
            findings["references", name].warning(
                said("has its server or its domain in common with {them}, and would fail together with it", them=them),
                "a mailbox elsewhere, or `routes:` without this one in the agency's file",
            )


def _is_near(name: str, reference: MailboxSettings, agency: Agency, settings: Settings) -> bool:
    hosts = {host for mailbox in agency.mailboxes.values() for host in mailbox.hosts & reference.hosts}
    own = any(is_within(host, settings.official_suffixes) for host in hosts)
    if not own and not is_within(domain_of(reference.address), agency.domains):
        return False  # As of nearly all: which routes they have is asked for those few alone.
    legs = [leg for leg in agency.legs(settings.references) if leg.direction is not Direction.INTERNAL]
    # A mailbox of the agency may have the same key as a reference: the direction says whose is which.
    return name in {leg.recipient if leg.direction is Direction.OUTBOUND else leg.sender for leg in legs}
