"""Desired agency documents that a hub distributes to a site, and the differences. Pure.

The hub writes its documents beside the site's, never over them: only the site can decide which of them work with its
own secrets. It applies what it can and reports why it rejects the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from monitor.model.document import WrittenDocument


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredDocument:
    """A desired document, as the site reads it."""

    agency: str
    #: File name: "jcontoh.yaml".
    name: str
    #: `None`: the agency is to be removed.
    text: str | None = field(repr=False)
    #: The hub.
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
    refusal: str | None = None

    @property
    def is_done(self) -> bool:
        """Whether the site has applied it."""
        return self.is_processed and self.refusal is None


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferDifference:
    """Changes to write to a site, and its lag."""

    offered: tuple[WrittenDocument, ...] = ()
    #: Agencies to remove.
    leaving: tuple[str, ...] = ()
    #: Agencies without a desired document any more.
    withdrawn: tuple[str, ...] = ()
    #: Number of agencies whose desired document is not in use.
    behind: int = 0
    #: Reasons of rejection, as reported by the site.
    refused: Mapping[str, str] = field(default_factory=dict)


def offer_difference(
    wanted: Mapping[str, WrittenDocument],
    there: Mapping[str, ActualDocument],
    offered: Mapping[str, DesiredDocumentState],
) -> OfferDifference:
    """Return the changes for a site from its actual and its previous desired documents, by agency.

    Only agencies written by the hub are removed, and none if no document is desired at all: a hub with an empty store
    would disable its sites.
    """
    if not wanted:
        return OfferDifference()
    targets = {agency: each.digest for agency, each in wanted.items()}
    targets |= {agency: "" for agency, each in there.items() if agency not in wanted and each.digest and each.is_by_hub}
    offering, refused, behind = list[str](), dict[str, str](), 0
    for agency, digest in targets.items():
        present, offer = there.get(agency), offered.get(agency)
        is_new = offer is None or offer.digest != digest
        if present is not None and present.digest == digest:
            # An outdated desired document must not be applied any more.
            if offer is not None and is_new:
                offering.append(agency)
            continue
        behind += 1
        # A document that was changed at the site is sent again.
        if offer is None or is_new or offer.is_done:
            offering.append(agency)
        elif offer.refusal is not None:
            refused[agency] = offer.refusal
    return OfferDifference(
        offered=tuple(wanted[agency] for agency in offering if agency in wanted),
        leaving=tuple(agency for agency in offering if agency not in wanted),
        withdrawn=tuple(agency for agency in offered if agency not in targets),
        behind=behind,
        refused=refused,
    )
