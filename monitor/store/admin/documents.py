"""The agencies' documents. Every version is kept. A write fails if its author has not read the latest version."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sqlalchemy import Row, Select, column, insert, select, table, update
from sqlalchemy.ext.asyncio import AsyncConnection

from alerts.persistence.store import AuditEntry
from monitor.access.encryption import Ciphertext, SecretPlace, SecretPurpose
from monitor.model.document import DocumentVersion, EditSource, WrittenDocument, digest_of, secret_names_in
from monitor.model.renamed_keys import rename_keys
from monitor.runtime.cooperative import yielding
from monitor.store.admin.secrets import drop_secret, keep_secret
from monitor.store.admin.unopened import read_unopened
from monitor.store.backend.database import Database
from monitor.store.backend.postgres import PostgresServer
from monitor.store.engine import audit
from monitor.store.probing.records import Applied
from monitor.store.schema.rows import from_row, portions
from monitor.store.schema.tables import document

#: Schema revision since which stored documents have the present keys.
_KEYS_RENAMED = "0053"
_REVISION: Select[Any] = select(column("version_num")).select_from(table("alembic_version"))


class VersionConflictError(Exception):
    """An agency's document has a newer version; nothing of the write is applied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentVersionInfo:
    """Latest version of an agency's document, without its text."""

    agency: str
    number: int
    #: The author.
    by: str
    at: datetime


class Documents:
    """Reads and writes agencies' documents. Raises `StoreUnavailable` when the database is unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database
        #: The latest versions as last read. A written version never changes.
        self.known: Mapping[str, DocumentVersion] = {}

    async def latest(self) -> Mapping[str, DocumentVersion]:
        """Return the latest version of each document, by agency. It has no text if the agency was removed.

        Only versions that are new since the last call are read.
        """
        known, changed = self.known, dict[str, DocumentVersion]()
        async with self._database.read() as connection:
            rows = (await connection.execute(_marks())).all()
            for batch in portions(_unknown(rows, known)):
                new = await connection.execute(_latest().where(document.c.agency.in_(batch)))
                changed |= {row.agency: _version(row) async for row in yielding(new)}
        self.known = {row.agency: changed.get(row.agency) or known[row.agency] for row in rows}
        return self.known

    async def level(self, documents: Iterable[WrittenDocument]) -> int:
        """Return a number that grows with each written version; 0: *documents* are not the latest in the database."""
        latest = await self.latest()
        numbers = [each.document for each in latest.values() if each.document is not None]
        if {each.agency: each for each in numbers} != {each.agency: each for each in documents}:
            return 0
        return sum(each.number for each in latest.values())

    async def marks(
        self, *, search: str = "", agencies: Collection[str] = (), after: str = "", at_most: int
    ) -> Sequence[DocumentVersionInfo]:
        """Return at most *at_most* agencies with a document, in order of code, from the first code behind *after*.

        With *search*: only agencies whose code contains it, and those in *agencies*.
        """
        query = select(document.c.agency, document.c.number, document.c.written_by, document.c.written_at).where(
            document.c.replaced_at.is_(None), document.c.text.is_not(None), document.c.agency > after
        )
        if search:
            # If more match than fit on the page, the list of named agencies is cut at the page size.
            page = sorted(each for each in agencies if each > after)[:at_most]
            query = query.where(
                document.c.agency.contains(search.upper(), autoescape=True) | document.c.agency.in_(page)
            )
        rows = await self._database.rows(query.order_by(document.c.agency).limit(at_most))
        return [from_row(DocumentVersionInfo, row, by=row.written_by, at=row.written_at) for row in rows]

    async def versions(
        self, agency: str, *, before_number: int | None = None, at_most: int = 1
    ) -> Sequence[DocumentVersion]:
        """Return the latest versions of an agency's document, latest first; *before_number*: only earlier ones."""
        query = select(document).where(document.c.agency == agency).order_by(document.c.number.desc()).limit(at_most)
        if before_number is not None:
            query = query.where(document.c.number < before_number)
        return [_version(row) for row in await self._database.rows(query)]

    async def text(self, agency: str, digest: str) -> str | None:
        """Return the text of an agency's document with this digest; `None`: there never was one."""
        query = select(document.c.text).where(document.c.agency == agency, document.c.text.is_not(None))
        texts = await self._database.values(query.order_by(document.c.number.desc()))
        return next((text for text in texts if digest_of(text) == digest), None)

    async def write(
        self,
        present: Mapping[str, DocumentVersion],
        wanted: Iterable[WrittenDocument],
        gone: Iterable[str],
        *,
        edit_source: EditSource,
        by: str,
        now: datetime,
        secrets: Mapping[str, Ciphertext] = MappingProxyType({}),
        address: str = "",
    ) -> Applied:
        """Write a new version of each *wanted* document and of the agencies that are *gone*, in one transaction.

        Store *secrets*, which were typed in the portal, under their names in the documents. Delete secrets that the
        replaced versions name and no latest version names. Record *address* as the client address in the audit log. The
        documents were checked against the versions *present*; raise `VersionConflictError` if a newer version exists.
        """
        async with self._database.exclusive() as connection:
            query = select(document.c.agency, document.c.number).where(document.c.replaced_at.is_(None))
            numbers = {row.agency: row.number for row in await connection.execute(query)}
            if numbers != {agency: version.number for agency, version in present.items()}:
                raise VersionConflictError
            applied = await _replace(
                connection, present, wanted, gone, edit_source=edit_source, by=by, now=now, address=address
            )
            for name, secret in secrets.items():
                entry = AuditEntry(at=now, actor=by, event="secret typed", detail={"secret": name})
                await keep_secret(connection, _place(name), secret, entry)
                await audit.append(connection, [entry])
            return applied

    async def follow(self, documents: Iterable[WrittenDocument], *, by: str, now: datetime) -> Applied:
        """Store a new version of each document that differs from the agency files, if those are configured."""
        wanted = {each.agency: each for each in documents}
        async with self._database.exclusive() as connection:
            present = _by_agency((await connection.execute(_latest())).all())
            stored = {agency: (each.name, each.text) for agency, each in present.items() if each.text is not None}
            changed = [each for agency, each in wanted.items() if stored.get(agency) != (each.name, each.text)]
            gone = [agency for agency in stored if agency not in wanted]
            return await _replace(connection, present, changed, gone, edit_source=EditSource.FILES, by=by, now=now)


async def _replace(
    connection: AsyncConnection,
    present: Mapping[str, DocumentVersion],
    wanted: Iterable[WrittenDocument],
    gone: Iterable[str],
    *,
    edit_source: EditSource,
    by: str,
    now: datetime,
    address: str = "",
) -> Applied:
    texts = {each.agency: each for each in wanted}
    changed = [*texts, *gone]
    for batch in portions([agency for agency in changed if agency in present]):
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
    watched = {agency for agency, each in present.items() if each.text is not None}
    applied = Applied(
        added=tuple(agency for agency in texts if agency not in watched),
        changed=tuple(agency for agency in texts if agency in watched),
        removed=tuple(gone),
    )
    if rows:
        await connection.execute(insert(document), rows)
        await _delete_unused_secrets(
            connection, present, {agency: texts[agency].text if agency in texts else "" for agency in changed}
        )
        await audit.append(connection, [_entry(applied, edit_source, by, now, address)])
    return applied


async def _delete_unused_secrets(
    connection: AsyncConnection, present: Mapping[str, DocumentVersion], now: Mapping[str, str]
) -> None:
    """Delete the secrets from the portal that replaced documents name and no present document names."""
    texts_before = {agency: each.text or "" for agency, each in present.items()}
    released = {
        agency: secret_names_in(texts_before.get(agency, "")) - secret_names_in(text) for agency, text in now.items()
    }
    if unused := frozenset[str]().union(*released.values()):
        still_named = frozenset[str]().union(*(secret_names_in(text) for text in {**texts_before, **now}.values()))
        for name in unused - still_named:
            for purpose in (SecretPurpose.MAILBOX, SecretPurpose.RENEWED):
                await drop_secret(connection, SecretPlace(purpose=purpose, owner=name))


def _place(name: str) -> SecretPlace:
    return SecretPlace(purpose=SecretPurpose.MAILBOX, owner=name)


def read_documents(
    directory: Path, server: PostgresServer | None, cached: Mapping[str, DocumentVersion] = MappingProxyType({})
) -> Mapping[str, DocumentVersion]:
    """Return the latest version of each document, by agency, from a store that this process need not have opened.

    The store is the file in *directory*, or *server*. A store that does not exist, or that predates documents, has
    none. *cached*: versions as read before, by agency; those that are still the latest are not read again. Raise
    `DocumentsAwayError`.
    """
    if cached:
        marks = read_unopened(directory, server, _marks(), document.name)
        changed = dict[str, DocumentVersion]()
        for batch in portions(_unknown(marks, cached)):
            query = _latest().where(document.c.agency.in_(batch))
            changed |= _by_agency(read_unopened(directory, server, query, document.name))
        latest = {row.agency: changed.get(row.agency) or cached.get(row.agency) for row in marks}
        if not _unknown(marks, {agency: each for agency, each in latest.items() if each is not None}):
            return {agency: each for agency, each in latest.items() if each is not None}
        # Another process has written between the two queries.
    versions = _by_agency(read_unopened(directory, server, _latest(), document.name))
    if any(row.version_num < _KEYS_RENAMED for row in read_unopened(directory, server, _REVISION, "alembic_version")):
        # The service is configured before it opens the store, which migrates the documents.
        return {agency: replace(each, text=each.text and rename_keys(each.text)) for agency, each in versions.items()}
    return versions


def _latest() -> Select[Any]:
    return select(document).where(document.c.replaced_at.is_(None)).order_by(document.c.agency)


def _marks() -> Select[Any]:
    columns = (document.c.agency, document.c.number, document.c.written_at)
    return select(*columns).where(document.c.replaced_at.is_(None)).order_by(document.c.agency)


def _unknown(current: Iterable[Row[Any]], known: Mapping[str, DocumentVersion]) -> Sequence[str]:
    """Return the agencies whose latest version is not among the *known* ones; a written version never changes."""
    return [
        row.agency
        for row in current
        if (cached_version := known.get(row.agency)) is None
        or (cached_version.number, cached_version.at) != (row.number, row.written_at)
    ]


def _by_agency(rows: Iterable[Row[Any]]) -> Mapping[str, DocumentVersion]:
    return {row.agency: _version(row) for row in rows}


def _version(row: Row[Any]) -> DocumentVersion:
    return from_row(DocumentVersion, row, by=row.written_by, at=row.written_at)


def _entry(applied: Applied, edit_source: EditSource, by: str, now: datetime, address: str) -> AuditEntry:
    detail = {"pen": str(edit_source), **applied.detail(), **({"address": address} if address else {})}
    return AuditEntry(at=now, actor=by, event="documents written", incident_id=None, detail=detail)
