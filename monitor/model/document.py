"""An agency's configuration as one document with versions, and what somebody's edit of many of them changes. Pure.

Whoever writes holds a pen: the files of a directory (`pantau apply`), the API, later the portal's forms. Two pens may be
at work on one document; whoever comes second is told what the other has written meanwhile, and nothing is written over
unseen. What a pen started from it knows by the digest of the text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Final

#: What a file of an agency is called: its name leads into no other directory, and is read in its own.
FILE_NAME: Final = r"^[^./\x00][^/\x00]*\.ya?ml$"

#: What a document calls a secret by that somebody has typed: 80 bits, so that no name is given twice.
SECRET_NAME: Final = re.compile(r"typed-[a-z2-7]{16}")


def secrets_named(text: str) -> frozenset[str]:
    """Return the typed secrets that a document names, also in its remarks."""
    return frozenset(SECRET_NAME.findall(text))


class EditSource(StrEnum):
    """With what a version was written."""

    #: The files of a directory.
    FILES = "files"
    #: The forms of the portal.
    PORTAL = "portal"
    #: A program.
    API = "api"
    #: The hub of a site.
    HUB = "hub"


def digest_of(text: str) -> str:
    """Return the SHA-256 of a document's text, as `sha256sum` prints it of its file."""
    return sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenDocument:
    """An agency's document as a pen brings it."""

    agency: str
    #: Of the file: "jcontoh.yaml".
    name: str
    text: str = field(repr=False)

    @property
    def digest(self) -> str:
        """See `digest_of`."""
        return digest_of(self.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentVersion:
    """A version of an agency's document, as the store has it."""

    agency: str
    #: From 1; each is kept.
    number: int
    #: Of the file: "jcontoh.yaml".
    name: str
    #: `None`: by this version the agency is watched no more.
    text: str | None = field(repr=False)
    pen: EditSource
    #: Who wrote it.
    by: str
    at: datetime

    @property
    def document(self) -> WrittenDocument | None:
        """What was written, if the agency is watched by it."""
        return None if self.text is None else WrittenDocument(agency=self.agency, name=self.name, text=self.text)

    @property
    def digest(self) -> str:
        """That of the text; "" when there is none."""
        return "" if self.text is None else digest_of(self.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentEdit:
    """What a pen wants the documents to be."""

    #: By agency.
    documents: Mapping[str, WrittenDocument] = field(default_factory=dict)
    #: By agency, the digest of the version that the pen started from: of the last that it has seen; "": there was none.
    started_from: Mapping[str, str] = field(default_factory=dict)
    #: Whether an agency that the pen has seen, and does not bring, is to be watched no more.
    prune: bool = False
    #: Agencies that are to be watched no more, whatever is brought.
    gone: AbstractSet[str] = frozenset()
    #: By agency, the number of the other pen's version that somebody has looked at and wants written over.
    over: Mapping[str, int] = field(default_factory=dict)

    def takes_out(self, agency: str) -> bool:
        """Whether an agency that is not brought is to be watched no more."""
        return self.prune or agency in self.gone

    def has_seen(self, theirs: DocumentVersion) -> bool:
        """Whether who writes knows this version: it may be written over."""
        agency = theirs.agency
        return self.started_from.get(agency) == theirs.digest or self.over.get(agency) == theirs.number


@dataclass(frozen=True, slots=True, kw_only=True)
class EditConflict:
    """What another pen has written meanwhile, in the way of an edit."""

    theirs: DocumentVersion
    #: `None`: the edit takes the agency out.
    ours: WrittenDocument | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentDifference:
    """What an edit changes. No agency is named twice."""

    added: tuple[WrittenDocument, ...] = ()
    #: With the version that each replaces.
    changed: tuple[tuple[DocumentVersion, WrittenDocument], ...] = ()
    removed: tuple[DocumentVersion, ...] = ()
    #: While there is one of these, nothing is written.
    clashes: tuple[EditConflict, ...] = ()
    #: What another pen has written, and this one has not touched: it stays.
    newer: tuple[DocumentVersion, ...] = ()
    #: What this pen does not bring, and has not asked to be taken out.
    missing: tuple[DocumentVersion, ...] = ()

    def __bool__(self) -> bool:
        """Whether there is anything to be written."""
        return bool(self.added or self.changed or self.removed)


def document_difference(present: Mapping[str, DocumentVersion], edit: DocumentEdit) -> DocumentDifference:
    """Return what *edit* changes of the latest versions *present*, by agency; a removal is a version, too."""
    added, changed = list[WrittenDocument](), list[tuple[DocumentVersion, WrittenDocument]]()
    clashes, newer = list[EditConflict](), list[DocumentVersion]()
    for agency, ours in edit.documents.items():
        theirs = present.get(agency)
        if theirs is None:
            added.append(ours)
        elif (theirs.text, theirs.name) == (ours.text, ours.name):
            continue
        elif not edit.has_seen(theirs):
            is_as_it_was = theirs.text is not None and ours.digest == edit.started_from.get(agency)
            if is_as_it_was:
                newer.append(theirs)
            else:
                clashes.append(EditConflict(theirs=theirs, ours=ours))
        elif theirs.text is None:
            added.append(ours)
        else:
            changed.append((theirs, ours))
    left = [each for code, each in present.items() if each.text is not None and code not in edit.documents]
    leaving = [each for each in left if edit.takes_out(each.agency)]
    unseen = [each for each in leaving if not edit.has_seen(each)]
    clashes += [EditConflict(theirs=each, ours=None) for each in unseen]
    return DocumentDifference(
        added=tuple(added),
        changed=tuple(changed),
        removed=tuple(each for each in leaving if edit.has_seen(each)),
        clashes=tuple(clashes),
        newer=tuple(newer),
        missing=tuple(each for each in left if not edit.takes_out(each.agency)),
    )


def edited(present: Mapping[str, DocumentVersion], change: DocumentDifference) -> Mapping[str, WrittenDocument]:
    """Return all documents as they are once *change* is written, by agency."""
    documents = {agency: each.document for agency, each in present.items() if each.document is not None}
    documents |= {ours.agency: ours for ours in (*change.added, *(ours for _, ours in change.changed))}
    gone = {each.agency for each in change.removed}
    return {agency: each for agency, each in documents.items() if agency not in gone}
