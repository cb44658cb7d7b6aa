"""Desired agency documents that a hub distributes to a site, and what has to change at the site. Pure.

A *site* runs Pantau in one place; a *hub* collects the results of several sites and distributes the documents (the
configuration of each agency). The hub stores its documents beside the site's own, never over them: only the site can
decide which of them work with its secrets. The site applies what it can, and reports why it rejects the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from monitor.model.document import WrittenDocument


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredDocument:
    """A desired document at the site."""

    agency: str
    #: File name: "jcontoh.yaml".
    name: str
    #: `None`: the agency is to be removed.
    text: str | None = field(repr=False)
    #: Name of the hub.
    by: str
    at: datetime
    #: Why the site rejected it at the last attempt.
    refusal: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ActualDocument:
    """The document of one agency that a site uses."""

    #: "": the agency is removed.
    digest: str
    #: Whether the hub wrote it.
    is_by_hub: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredDocumentState:
    """State of a desired document of one agency."""

    #: "": the agency is to be removed.
    digest: str
    is_processed: bool = False
    rejection_reason: str | None = None

    @property
    def is_applied(self) -> bool:
        """Whether the site has applied it."""
        return self.is_processed and self.rejection_reason is None


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferDifference:
    """Changes to send to a site, and how far it is behind."""

    offered: tuple[WrittenDocument, ...] = ()
    #: Agencies that the site is to remove.
    removed: tuple[str, ...] = ()
    #: Agencies whose desired document is deleted: the hub neither wants nor removes them any more.
    withdrawn: tuple[str, ...] = ()
    #: Number of agencies whose desired document is not in use.
    outdated: int = 0
    #: Reasons of rejection, as reported by the site.
    rejected: Mapping[str, str] = field(default_factory=dict)


def offer_difference(
    desired: Mapping[str, WrittenDocument],
    actual: Mapping[str, ActualDocument],
    offered: Mapping[str, DesiredDocumentState],
) -> OfferDifference:
    """Return the changes to write to a site. All documents are by agency.

    *desired*: the hub's documents. *actual*: those that the site uses. *offered*: those that the hub has written to the
    site before. Only agencies that the hub wrote are removed, and none if no document is desired at all: a hub with an
    empty store would disable its sites.
    """
    if not desired:
        return OfferDifference()
    targets = {agency: each.digest for agency, each in desired.items()}
    targets |= {
        agency: "" for agency, each in actual.items() if agency not in desired and each.digest and each.is_by_hub
    }
    offering, rejected, behind = list[str](), dict[str, str](), 0
    for agency, digest in targets.items():
        present, offer = actual.get(agency), offered.get(agency)
        is_new = offer is None or offer.digest != digest
        if present is not None and present.digest == digest:
            # The site uses the desired document; an outdated one that was sent must be replaced.
            if offer is not None and is_new:
                offering.append(agency)
            continue
        behind += 1
        # A document that was applied, and then changed at the site, is sent again.
        if offer is None or is_new or offer.is_applied:
            offering.append(agency)
        elif offer.rejection_reason is not None:
            rejected[agency] = offer.rejection_reason
    return OfferDifference(
        offered=tuple(desired[agency] for agency in offering if agency in desired),
        removed=tuple(agency for agency in offering if agency not in desired),
        withdrawn=tuple(agency for agency in offered if agency not in targets),
        outdated=behind,
        rejected=rejected,
    )
