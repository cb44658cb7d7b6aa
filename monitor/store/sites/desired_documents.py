"""Desired documents: agency documents that a hub writes into a site's store, and that the site applies or refuses.

The columns `offered_by` and `offered_at` have the hub that wrote the document, and the time by the site's clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from monitor.model.desired_document import (
    ActualDocument,
    DesiredDocumentState,
    SiteDocumentChanges,
    site_document_changes,
)
from monitor.model.document import EditSource, WrittenDocument
from monitor.store.sites.link import Connection, SiteConnection, connect_to_store, fetch_one, table_exists
from monitor.store.sites.partition import as_owner
from monitor.store.sites.publisher import Publisher

#: Maximum number of refusals that are reported one by one.
_MAX_REPORTED = 5


def write_desired_documents(
    site_config: SiteConnection, wanted: Mapping[str, WrittenDocument]
) -> SiteDocumentChanges | None:
    """Write those *wanted* documents, by agency, that differ at a site; return the changes. The call may be repeated.

    `None`: the site has not joined, has its agencies in files, or runs a version without desired documents. Raise
    `SiteRefusedError`.
    """
    with connect_to_store(site_config.server, f"site {site_config.site}") as connection:
        if (
            not _applies_documents(connection)
            or Publisher(connection, site_config.site, site_config.hub).slot() is None
        ):
            return None
        with as_owner(connection):
            changes = site_document_changes(wanted, _actual_documents(connection), _desired_states(connection))
            with connection.transaction():
                _write(connection, site_config.hub, changes)
        return changes


def desired_document_problems(connection: Connection) -> Iterator[str]:
    """Yield messages about desired documents that a site does not apply. "It" is the site."""
    if not _applies_documents(connection):
        return
    refused = connection.execute(
        "SELECT agency, refusal FROM desired_document WHERE refusal IS NOT NULL ORDER BY agency"
    ).fetchall()
    for row in refused[:_MAX_REPORTED]:
        yield f"it cannot use the hub's document of {row.agency}, and uses the previous one: {row.refusal}"
    if len(refused) > _MAX_REPORTED:
        yield f"it cannot use those of {len(refused) - _MAX_REPORTED} more agencies"
    waiting = fetch_one(
        connection,
        "SELECT count(*) AS number FROM desired_document"
        " WHERE processed_at IS NULL AND offered_at < clock_timestamp() - interval '2 minutes'",
    )
    if waiting.number:
        yield f"it has not processed the hub's documents of {waiting.number} agencies: does its service run?"


def delete_desired_documents(connection: Connection, hub: str) -> None:
    """Delete the desired documents of a hub at a site. Documents that the site has applied stay in use."""
    if table_exists(connection, "desired_document"):
        connection.execute("DELETE FROM desired_document WHERE offered_by = %s", [hub])


def _applies_documents(connection: Connection) -> bool:
    """Whether the site supports desired documents, and its latest process uses agency documents in the database."""
    if not table_exists(connection, "desired_document"):
        return False
    last = connection.execute("SELECT documents FROM process ORDER BY heartbeat_at DESC LIMIT 1").fetchone()
    return last is not None and last.documents is not None


def _actual_documents(connection: Connection) -> Mapping[str, ActualDocument]:
    rows = connection.execute(
        "SELECT agency, coalesce(encode(sha256(convert_to(text, 'UTF8')), 'hex'), '') AS digest, source"
        " FROM document WHERE replaced_at IS NULL"
    )
    return {row.agency: ActualDocument(digest=row.digest, is_by_hub=row.source == EditSource.HUB) for row in rows}


def _desired_states(connection: Connection) -> Mapping[str, DesiredDocumentState]:
    rows = connection.execute(
        "SELECT agency, coalesce(encode(sha256(convert_to(text, 'UTF8')), 'hex'), '') AS digest,"
        " processed_at IS NOT NULL AS is_processed, refusal FROM desired_document"
    )
    return {
        row.agency: DesiredDocumentState(digest=row.digest, is_processed=row.is_processed, refusal=row.refusal)
        for row in rows
    }


def _write(connection: Connection, hub: str, changes: SiteDocumentChanges) -> None:
    rows: list[tuple[str, str, str | None, str]] = [
        (each.agency, each.name, each.text, hub) for each in changes.updated
    ]
    rows += [(agency, f"{agency.lower()}.yaml", None, hub) for agency in changes.removed]
    with connection.cursor() as cursor:
        # Another process of the hub may just have written the same text: overwrite it only if the site has applied it.
        cursor.executemany(
            "INSERT INTO desired_document AS o (agency, name, text, offered_by, offered_at)"
            " VALUES (%s, %s, %s, %s, clock_timestamp())"
            " ON CONFLICT (agency) DO UPDATE SET name = excluded.name, text = excluded.text, offered_by = excluded.offered_by,"
            " offered_at = excluded.offered_at, processed_at = NULL, refusal = NULL"
            " WHERE o.text IS DISTINCT FROM excluded.text OR (o.processed_at IS NOT NULL AND o.refusal IS NULL)",
            rows,
        )
    connection.execute("DELETE FROM desired_document WHERE agency = ANY(%s)", [list(changes.withdrawn)])
