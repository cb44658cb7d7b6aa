"""Desired agency documents that a hub distributes to a site, and what has to change at the site. Pure.

A *site* runs Pantau at one location. A *hub* collects the results of several sites, and distributes the documents (the
configuration of each agency). The hub writes its documents beside the site's own and never replaces them, because only
the site can decide which of them work with its secrets. The site applies the documents that it can use, and reports why
it rejects the others.
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
    #: When the hub wrote this document.
    at: datetime
    #: Why the site rejected it at the last attempt; `None`: not rejected.
    refusal: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ActualDocument:
    """The document of one agency that a site uses."""

    #: Digest of the text; "": the agency is removed.
    digest: str
    #: Whether the hub wrote the document, and not somebody at the site.
    is_by_hub: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredDocumentState:
    """State of a desired document that the hub has written to a site."""

    #: Digest of the text; "": the agency is to be removed.
    digest: str
    #: Whether the site has tried to apply it.
    is_processed: bool = False
    #: Why the site rejected it; `None`: not rejected.
    refusal: str | None = None

    @property
    def is_applied(self) -> bool:
        """Whether the site has applied it."""
        return self.is_processed and self.refusal is None


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteDocumentChanges:
    """Changes to write to a site, and how far the site is behind."""

    #: Documents to write.
    updated: tuple[WrittenDocument, ...] = ()
    #: Agencies that the site is to remove.
    removed: tuple[str, ...] = ()
    #: Agencies whose desired document is deleted at the site: the hub has no document of them any more, and the site
    #: uses none by the hub.
    withdrawn: tuple[str, ...] = ()
    #: Number of agencies whose desired document the site does not use yet.
    outdated: int = 0
    #: By agency: the reason of rejection that the site reported.
    rejected: Mapping[str, str] = field(default_factory=dict)


def site_document_changes(
    desired: Mapping[str, WrittenDocument],
    actual: Mapping[str, ActualDocument],
    offered: Mapping[str, DesiredDocumentState],
) -> SiteDocumentChanges:
    """Return the changes to write to a site. All documents are by agency.

    *desired*: the hub's documents. *actual*: those that the site uses. *offered*: those that the hub has written to the
    site before. Only an agency whose actual document is by the hub is removed. Without any desired document nothing
    changes, because a hub with an empty database must not disable its sites.
    """
    if not desired:
        return SiteDocumentChanges()
    # By agency: the digest that the site should have; "": it should remove the agency.
    targets = {agency: each.digest for agency, each in desired.items()}
    targets |= {
        agency: "" for agency, each in actual.items() if agency not in desired and each.digest and each.is_by_hub
    }
    to_write, rejected, outdated_count = list[str](), dict[str, str](), 0
    for agency, digest in targets.items():
        present, written = actual.get(agency), offered.get(agency)
        is_new = written is None or written.digest != digest
        if present is not None and present.digest == digest:
            # The site uses the desired document already. If the hub has written an older one, the site must not apply
            # that one, so it is replaced.
            if written is not None and is_new:
                to_write.append(agency)
            continue
        outdated_count += 1
        # A document that was applied and then changed at the site is written again.
        if written is None or is_new or written.is_applied:
            to_write.append(agency)
        elif written.refusal is not None:
            rejected[agency] = written.refusal
    return SiteDocumentChanges(
        updated=tuple(desired[agency] for agency in to_write if agency in desired),
        removed=tuple(agency for agency in to_write if agency not in desired),
        withdrawn=tuple(agency for agency in offered if agency not in targets),
        outdated=outdated_count,
        rejected=rejected,
    )
