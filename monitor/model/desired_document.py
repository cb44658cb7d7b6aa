"""What a hub wants a site to go by, of agencies' documents: what differs there, and what is to be offered. Pure.

The hub writes its documents beside those of the site, as offers, and never over them: which of them can be used there, with
the secrets that the site has, only the site knows. It takes up what it can, and says of the rest why not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from monitor.model.document import WrittenDocument


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredDocument:
    """A document that a hub offers, as the site reads it."""

    agency: str
    #: Of the file: "jcontoh.yaml".
    name: str
    #: `None`: the agency is to be watched no more.
    text: str | None = field(repr=False)
    #: The hub.
    by: str
    at: datetime
    #: Why it was not taken up when the site last looked at it.
    refusal: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ActualDocument:
    """What a site goes by, of one agency."""

    #: "": the agency is watched no more.
    digest: str
    #: Whether that was written by the hub's pen.
    is_by_hub: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredDocumentState:
    """What was offered to a site, of one agency, and what became of it."""

    #: "": the agency is to be watched no more.
    digest: str
    is_looked_at: bool = False
    refusal: str | None = None

    @property
    def is_done(self) -> bool:
        """Whether the site has taken it up, and nothing comes of it any more."""
        return self.is_looked_at and self.refusal is None


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferDifference:
    """What is to be written at a site, and how far it is behind."""

    offered: tuple[WrittenDocument, ...] = ()
    #: Agencies that are to be watched no more.
    leaving: tuple[str, ...] = ()
    #: Agencies of which nothing is wanted any more, whatever was offered.
    withdrawn: tuple[str, ...] = ()
    #: Of how many agencies it does not go by what is wanted.
    behind: int = 0
    #: Of these, why not, as far as the site has said it.
    refused: Mapping[str, str] = field(default_factory=dict)


def offer_difference(
    wanted: Mapping[str, WrittenDocument],
    there: Mapping[str, ActualDocument],
    offered: Mapping[str, DesiredDocumentState],
) -> OfferDifference:
    """Return what is to be offered to a site, by what it goes by and what it was offered before; all by agency.

    An agency leaves only by the pen of the hub, and none leaves where nothing at all is wanted: a hub whose store is empty
    would blind its sites.
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
            # What was offered before, and is wanted no more, must not be taken up after all.
            if offer is not None and is_new:
                offering.append(agency)
            continue
        behind += 1
        # What was taken up, and has been written over there since, is offered anew.
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
