"""Versioned agency documents, and the changes of an edit. Pure.

A document is the YAML text that configures one agency. It may be edited from several sources: the files of a directory
(`pantau apply`), the API, the portal's forms. An edit names the version that it started from, by the digest of its
text. A stored version that the author of an edit has not seen is a conflict, and is not overwritten.
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

#: Valid file names: no path, and not hidden.
FILE_NAME: Final = r"^[^./\x00][^/\x00]*\.ya?ml$"

#: Name of a stored secret in documents. It has 80 random bits, so that no name occurs twice.
SECRET_NAME: Final = re.compile(r"typed-[a-z2-7]{16}")


def secret_names_in(text: str) -> frozenset[str]:
    """Return the names of stored secrets that occur in a document, including its comments."""
    return frozenset(SECRET_NAME.findall(text))


class EditSource(StrEnum):
    """Source of a document version."""

    #: Files of a directory.
    FILES = "files"
    #: Forms of the portal.
    PORTAL = "portal"
    #: A program.
    API = "api"
    #: The hub, which distributes documents to sites (locations that run Pantau).
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
        """The digest of the text."""
        return digest_of(self.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentVersion:
    """A stored version of an agency's document."""

    agency: str
    #: Counts the versions of the agency's document, from 1. All versions are kept.
    number: int
    #: File name: "jcontoh.yaml".
    name: str
    #: `None`: this version removes the agency.
    text: str | None = field(repr=False)
    source: EditSource
    #: The author of the version, and when it was stored.
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
    """An edit: the documents that its author wants to be stored."""

    #: By agency.
    documents: Mapping[str, WrittenDocument] = field(default_factory=dict)
    #: By agency: digest of the version that the edit started from; "": the agency had no document.
    started_from: Mapping[str, str] = field(default_factory=dict)
    #: Whether to remove all agencies that have no document in this edit.
    prune: bool = False
    #: Agencies to remove, if they have no document in this edit.
    removed: AbstractSet[str] = frozenset()
    #: By agency: number of the conflicting version that the author has seen and overwrites.
    overwrites: Mapping[str, int] = field(default_factory=dict)

    def removes_agency(self, agency: str) -> bool:
        """Whether the edit removes an agency that has no document in it."""
        return self.prune or agency in self.removed

    def has_seen(self, stored: DocumentVersion) -> bool:
        """Whether the author has seen this version, so that it may be overwritten."""
        agency = stored.agency
        return self.started_from.get(agency) == stored.digest or self.overwrites.get(agency) == stored.number


@dataclass(frozen=True, slots=True, kw_only=True)
class EditConflict:
    """A stored version that conflicts with an edit, because its author has not seen the version."""

    stored: DocumentVersion
    #: `None`: the edit removes the agency.
    submitted: WrittenDocument | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentDifference:
    """Changes of an edit. No agency occurs twice."""

    added: tuple[WrittenDocument, ...] = ()
    #: Pairs of the replaced version and the new document.
    changed: tuple[tuple[DocumentVersion, WrittenDocument], ...] = ()
    #: Latest versions of the agencies to remove.
    removed: tuple[DocumentVersion, ...] = ()
    #: If there are any, nothing is written.
    conflicts: tuple[EditConflict, ...] = ()
    #: Stored versions that the author has not seen. They stay, because the author has not changed the document.
    newer: tuple[DocumentVersion, ...] = ()
    #: Latest versions of agencies that have no document in the edit and are not removed.
    missing: tuple[DocumentVersion, ...] = ()

    def __bool__(self) -> bool:
        """Whether there is anything to write."""
        return bool(self.added or self.changed or self.removed)


def diff_documents(present: Mapping[str, DocumentVersion], edit: DocumentEdit) -> DocumentDifference:
    """Return the changes of *edit*. *present*: the latest version by agency, which may be a removal."""
    added, changed = list[WrittenDocument](), list[tuple[DocumentVersion, WrittenDocument]]()
    conflicts, newer = list[EditConflict](), list[DocumentVersion]()
    for agency, submitted in edit.documents.items():
        stored = present.get(agency)
        if stored is None:
            added.append(submitted)
        elif (stored.text, stored.name) == (submitted.text, submitted.name):
            continue
        elif not edit.has_seen(stored):
            is_unchanged_by_author = stored.text is not None and submitted.digest == edit.started_from.get(agency)
            if is_unchanged_by_author:
                newer.append(stored)
            else:
                conflicts.append(EditConflict(stored=stored, submitted=submitted))
        elif stored.text is None:
            added.append(submitted)
        else:
            changed.append((stored, submitted))
    missing = [each for code, each in present.items() if each.text is not None and code not in edit.documents]
    to_remove = [each for each in missing if edit.removes_agency(each.agency)]
    unseen_removals = [each for each in to_remove if not edit.has_seen(each)]
    conflicts += [EditConflict(stored=each, submitted=None) for each in unseen_removals]
    return DocumentDifference(
        added=tuple(added),
        changed=tuple(changed),
        removed=tuple(each for each in to_remove if edit.has_seen(each)),
        conflicts=tuple(conflicts),
        newer=tuple(newer),
        missing=tuple(each for each in missing if not edit.removes_agency(each.agency)),
    )


def documents_after(
    present: Mapping[str, DocumentVersion], difference: DocumentDifference
) -> Mapping[str, WrittenDocument]:
    """Return all documents after the changes in *difference*, by agency. *present*: as for `diff_documents`."""
    documents = {agency: each.document for agency, each in present.items() if each.document is not None}
    documents |= {new.agency: new for new in (*difference.added, *(new for _, new in difference.changed))}
    removed = {each.agency for each in difference.removed}
    return {agency: each for agency, each in documents.items() if agency not in removed}
