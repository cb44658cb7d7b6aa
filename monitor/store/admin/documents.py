"""The agencies' documents (the YAML text that configures one agency), with all their versions.

A write fails if its author has not read the latest versions. A document also has a file name, such as "jcontoh.yaml".
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sqlalchemy import Row, Select, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from alerts.persistence.store import AuditEntry
from monitor.access.encryption import Ciphertext, SecretId, SecretPurpose
from monitor.model.document import DocumentVersion, EditSource, WrittenDocument, digest_of, secret_names_in
from monitor.runtime.cooperative import yielding
from monitor.store.admin.secrets import delete_secret, store_secret
from monitor.store.admin.unopened import read_unopened
from monitor.store.backend.database import Database
from monitor.store.backend.postgres import PostgresServer
from monitor.store.engine import audit
from monitor.store.probing.records import Applied
from monitor.store.schema.rows import batched, from_row
from monitor.store.schema.tables import document


class VersionConflictError(Exception):
    """An agency's document has a newer version than the author has read; nothing is written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentVersionInfo:
    """Latest version of an agency's document, without its text."""

    #: Agency code.
    agency: str
    #: Version number, from 1.
    number: int
    #: Name of the author.
    by: str
    #: When the version was written.
    at: datetime


class Documents:
    """Reads and writes agencies' documents. Raises `StoreUnavailable` when the database is unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database
        #: The latest versions as last read, by agency. A written version never changes.
        self.known: Mapping[str, DocumentVersion] = {}

    async def latest(self) -> Mapping[str, DocumentVersion]:
        """Return the latest version of each document, by agency. The version has no text if the agency was removed.

        Only versions that are new since the last call are read.
        """
        known, changed = self.known, dict[str, DocumentVersion]()
        async with self._database.read() as connection:
            rows = (await connection.execute(_select_latest_numbers())).all()
            for batch in batched(_changed_agencies(rows, known)):
                new = await connection.execute(_select_latest().where(document.c.agency.in_(batch)))
                changed |= {row.agency: _version(row) async for row in yielding(new)}
        self.known = {row.agency: changed.get(row.agency) or known[row.agency] for row in rows}
        return self.known

    async def revision_sum(self, documents: Iterable[WrittenDocument]) -> int:
        """Return the sum of the latest version numbers, which grows with each written version.

        Return 0 if *documents* are not the latest ones in the database.
        """
        latest = await self.latest()
        stored = [each.document for each in latest.values() if each.document is not None]
        if {each.agency: each for each in stored} != {each.agency: each for each in documents}:
            return 0
        return sum(each.number for each in latest.values())

    async def list_latest(
        self, *, search: str = "", agencies: Collection[str] = (), after: str = "", at_most: int
    ) -> Sequence[DocumentVersionInfo]:
        """Return at most *at_most* agencies that have a document, in order of code, with codes greater than *after*.

        *search*: return only agencies whose code contains it, and those in *agencies*.
        """
        query = select(document.c.agency, document.c.number, document.c.written_by, document.c.written_at).where(
            document.c.replaced_at.is_(None), document.c.text.is_not(None), document.c.agency > after
        )
        if search:
            # A page has room for *at_most* agencies: more of the named ones are not needed.
            page = sorted(each for each in agencies if each > after)[:at_most]
            query = query.where(
                document.c.agency.contains(search.upper(), autoescape=True) | document.c.agency.in_(page)
            )
        rows = await self._database.rows(query.order_by(document.c.agency).limit(at_most))
        return [from_row(DocumentVersionInfo, row, by=row.written_by, at=row.written_at) for row in rows]

    async def versions(
        self, agency: str, *, before_number: int | None = None, at_most: int = 1
    ) -> Sequence[DocumentVersion]:
        """Return the latest versions of an agency's document, latest first; *before_number*: only those before it."""
        query = select(document).where(document.c.agency == agency).order_by(document.c.number.desc()).limit(at_most)
        if before_number is not None:
            query = query.where(document.c.number < before_number)
        return [_version(row) for row in await self._database.rows(query)]

    async def text(self, agency: str, digest: str) -> str | None:
        """Return the text with this digest among all versions of an agency's document; `None`: no version has it."""
        query = select(document.c.text).where(document.c.agency == agency, document.c.text.is_not(None))
        texts = await self._database.values(query.order_by(document.c.number.desc()))
        return next((text for text in texts if digest_of(text) == digest), None)

    async def write(
        self,
        present: Mapping[str, DocumentVersion],
        wanted: Iterable[WrittenDocument],
        removed_agencies: Iterable[str],
        *,
        edit_source: EditSource,
        by: str,
        now: datetime,
        secrets: Mapping[str, Ciphertext] = MappingProxyType({}),
        address: str = "",
    ) -> Applied:
        """Write a new version of each *wanted* document, and a version without text of each removed agency.

        All changes are one transaction. *present*: the latest versions when the documents were checked; raise
        `VersionConflictError` if a newer version exists. *secrets*: secrets that were entered in the portal, by their
        names in the documents; they are stored. Secrets that no latest version names any more are deleted. *address*:
        client address for the audit log.
        """
        async with self._database.exclusive() as connection:
            query = select(document.c.agency, document.c.number).where(document.c.replaced_at.is_(None))
            numbers = {row.agency: row.number for row in await connection.execute(query)}
            if numbers != {agency: version.number for agency, version in present.items()}:
                raise VersionConflictError
            applied = await _replace(
                connection, present, wanted, removed_agencies, edit_source=edit_source, by=by, now=now, address=address
            )
            for name, secret in secrets.items():
                # A stored event name never changes.
                entry = AuditEntry(at=now, actor=by, event="secret typed", detail={"secret": name})
                await store_secret(connection, _mailbox_secret_id(name), secret, entry)
                await audit.append(connection, [entry])
            return applied

    async def store_files(self, documents: Iterable[WrittenDocument], *, by: str, now: datetime) -> Applied:
        """Store a new version of each of the files *documents* whose text or file name differs from the latest version.

        Agencies without a file are removed.
        """
        wanted = {each.agency: each for each in documents}
        async with self._database.exclusive() as connection:
            present = _by_agency((await connection.execute(_select_latest())).all())
            stored = {agency: (each.name, each.text) for agency, each in present.items() if each.text is not None}
            changed = [each for agency, each in wanted.items() if stored.get(agency) != (each.name, each.text)]
            removed_agencies = [agency for agency in stored if agency not in wanted]
            return await _replace(
                connection, present, changed, removed_agencies, edit_source=EditSource.FILES, by=by, now=now
            )


async def _replace(
    connection: AsyncConnection,
    present: Mapping[str, DocumentVersion],
    wanted: Iterable[WrittenDocument],
    removed_agencies: Iterable[str],
    *,
    edit_source: EditSource,
    by: str,
    now: datetime,
    address: str = "",
) -> Applied:
    texts = {each.agency: each for each in wanted}
    changed = [*texts, *removed_agencies]
    for batch in batched([agency for agency in changed if agency in present]):
        old = document.c.agency.in_(batch) & document.c.replaced_at.is_(None)
        await connection.execute(update(document).where(old).values(replaced_at=now))
    rows = [
        {
            "agency": agency,
            "number": present[agency].number + 1 if agency in present else 1,
            "name": texts[agency].name if agency in texts else present[agency].name,
            "text": texts[agency].text if agency in texts else None,
            "source": str(edit_source),
            "written_by": by,
            "written_at": now,
        }
        for agency in changed
    ]
    monitored = {agency for agency, each in present.items() if each.text is not None}
    applied = Applied(
        added=tuple(agency for agency in texts if agency not in monitored),
        changed=tuple(agency for agency in texts if agency in monitored),
        removed=tuple(removed_agencies),
    )
    if rows:
        await connection.execute(insert(document), rows)
        await _delete_unused_secrets(
            connection, present, {agency: texts[agency].text if agency in texts else "" for agency in changed}
        )
        await audit.append(connection, [_entry(applied, edit_source, by, now, address)])
    return applied


async def _delete_unused_secrets(
    connection: AsyncConnection, replaced: Mapping[str, DocumentVersion], new_texts: Mapping[str, str]
) -> None:
    """Delete the stored secrets that *replaced* documents name and no latest document names. *new_texts*: by agency."""
    old_texts = {agency: each.text or "" for agency, each in replaced.items()}
    dropped = {
        agency: secret_names_in(old_texts.get(agency, "")) - secret_names_in(text) for agency, text in new_texts.items()
    }
    if unused := frozenset[str]().union(*dropped.values()):
        # Another agency's document may name the same secret.
        still_named = frozenset[str]().union(*(secret_names_in(text) for text in {**old_texts, **new_texts}.values()))
        for name in unused - still_named:
            for purpose in (SecretPurpose.MAILBOX, SecretPurpose.RENEWED):
                await delete_secret(connection, SecretId(purpose=purpose, owner=name))


def _mailbox_secret_id(name: str) -> SecretId:
    return SecretId(purpose=SecretPurpose.MAILBOX, owner=name)


def read_documents(
    directory: Path, server: PostgresServer | None, cached: Mapping[str, DocumentVersion] = MappingProxyType({})
) -> Mapping[str, DocumentVersion]:
    """Return the latest version of each document, by agency, from a store that this process need not have opened.

    The store is the PostgreSQL *server*, or the SQLite file in *directory*. The result is empty if the store does not
    exist or has no table of documents. *cached*: versions as read before, by agency; a version that is still the
    latest is not read again. Raise `StoreUnreadableError`.
    """
    if cached:
        numbers = read_unopened(directory, server, _select_latest_numbers(), document.name)
        changed = dict[str, DocumentVersion]()
        for batch in batched(_changed_agencies(numbers, cached)):
            query = _select_latest().where(document.c.agency.in_(batch))
            changed |= _by_agency(read_unopened(directory, server, query, document.name))
        merged = {row.agency: changed.get(row.agency) or cached.get(row.agency) for row in numbers}
        latest = {agency: each for agency, each in merged.items() if each is not None}
        if not _changed_agencies(numbers, latest):
            return latest
        # Another process has written between the two queries: read everything in one query.
    return _by_agency(read_unopened(directory, server, _select_latest(), document.name))


def _select_latest() -> Select[Any]:
    return select(document).where(document.c.replaced_at.is_(None)).order_by(document.c.agency)


def _select_latest_numbers() -> Select[Any]:
    columns = (document.c.agency, document.c.number, document.c.written_at)
    return select(*columns).where(document.c.replaced_at.is_(None)).order_by(document.c.agency)


def _changed_agencies(latest: Iterable[Row[Any]], cached: Mapping[str, DocumentVersion]) -> Sequence[str]:
    """Return the agencies whose latest version is not the cached one; a written version never changes."""
    return [
        row.agency
        for row in latest
        if (cached_version := cached.get(row.agency)) is None
        or (cached_version.number, cached_version.at) != (row.number, row.written_at)
    ]


def _by_agency(rows: Iterable[Row[Any]]) -> Mapping[str, DocumentVersion]:
    return {row.agency: _version(row) for row in rows}


def _version(row: Row[Any]) -> DocumentVersion:
    return from_row(DocumentVersion, row, by=row.written_by, at=row.written_at)


def _entry(applied: Applied, edit_source: EditSource, by: str, now: datetime, address: str) -> AuditEntry:
    # "pen" is the stored key of the edit source; keys of audit entries never change.
    detail = {"pen": str(edit_source), **applied.detail(), **({"address": address} if address else {})}
    return AuditEntry(at=now, actor=by, event="documents written", incident_id=None, detail=detail)
