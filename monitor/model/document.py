"""Versioned agency documents, and the changes of an edit. Pure.

A writer is an edit source: the files of a directory (`pantau apply`), the API, the portal's forms. Two may edit one
document: the second is shown what the other has written, and nothing is overwritten unseen. The digest of the text
identifies the version an edit started from.
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

#: Valid file names: in the directory itself.
FILE_NAME: Final = r"^[^./\x00][^/\x00]*\.ya?ml$"

#: Name of a stored secret in documents: 80 random bits, so that no name is repeated.
SECRET_NAME: Final = re.compile(r"typed-[a-z2-7]{16}")


def secrets_named(text: str) -> frozenset[str]:
    """Return the stored secrets named in a document, including its comments."""
    return frozenset(SECRET_NAME.findall(text))


class EditSource(StrEnum):
    """Source of a version."""

    #: Files of a directory.
    FILES = "files"
    #: Forms of the portal.
    PORTAL = "portal"
    #: A program.
    API = "api"
    #: The hub of a site.
    HUB = "hub"


def digest_of(text: str) -> str:
    """Return the SHA-256 of a document's text, as `sha256sum` prints it."""
    return sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenDocument:
    """An agency's document in an edit."""

    agency: str
    #: File name: "jcontoh.yaml".
    name: str
    text: str = field(repr=False)

    @property
    def digest(self) -> str:
        """See `digest_of`."""
        return digest_of(self.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentVersion:
    """A stored version of an agency's document."""

    agency: str
    #: From 1; all are kept.
    number: int
    #: File name: "jcontoh.yaml".
    name: str
    #: `None`: this version removes the agency.
    text: str | None = field(repr=False)
    source: EditSource
    #: The author.
    by: str
    at: datetime

    @property
    def document(self) -> WrittenDocument | None:
        """The document, unless this version removes the agency."""
        return None if self.text is None else WrittenDocument(agency=self.agency, name=self.name, text=self.text)

    @property
    def digest(self) -> str:
        """Digest of the text; "" without one."""
        return "" if self.text is None else digest_of(self.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentEdit:
    """Desired documents of an edit."""

    #: By agency.
    documents: Mapping[str, WrittenDocument] = field(default_factory=dict)
    #: By agency: digest of the version that the edit started from; "": none.
    started_from: Mapping[str, str] = field(default_factory=dict)
    #: Whether agencies that the author has seen and left out are removed.
    prune: bool = False
    #: Agencies to remove, whatever the documents.
    gone: AbstractSet[str] = frozenset()
    #: By agency: number of another source's version that the author has seen and overwrites.
    over: Mapping[str, int] = field(default_factory=dict)

    def takes_out(self, agency: str) -> bool:
        """Whether an agency without a document is removed."""
        return self.prune or agency in self.gone

    def has_seen(self, theirs: DocumentVersion) -> bool:
        """Whether the author has seen this version, so that it may be overwritten."""
        agency = theirs.agency
        return self.started_from.get(agency) == theirs.digest or self.over.get(agency) == theirs.number


@dataclass(frozen=True, slots=True, kw_only=True)
class EditConflict:
    """A version of another source that conflicts with an edit."""

    theirs: DocumentVersion
    #: `None`: the edit removes the agency.
    ours: WrittenDocument | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentDifference:
    """Changes of an edit. No agency occurs twice."""

    added: tuple[WrittenDocument, ...] = ()
    #: With the replaced versions.
    changed: tuple[tuple[DocumentVersion, WrittenDocument], ...] = ()
    removed: tuple[DocumentVersion, ...] = ()
    #: Conflicts: with any, nothing is written.
    clashes: tuple[EditConflict, ...] = ()
    #: Changes of other sources that the edit does not touch: they stay.
    newer: tuple[DocumentVersion, ...] = ()
    #: Agencies that the edit leaves out without removing them.
    missing: tuple[DocumentVersion, ...] = ()

    def __bool__(self) -> bool:
        """Whether there is anything to write."""
        return bool(self.added or self.changed or self.removed)


def document_difference(present: Mapping[str, DocumentVersion], edit: DocumentEdit) -> DocumentDifference:
    """Return the changes of *edit* to the latest versions *present*, by agency; a removal is a version too."""
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
    """Return all documents after *change*, by agency."""
    documents = {agency: each.document for agency, each in present.items() if each.document is not None}
    documents |= {ours.agency: ours for ours in (*change.added, *(ours for _, ours in change.changed))}
    gone = {each.agency for each in change.removed}
    return {agency: each for agency, each in documents.items() if agency not in gone}
