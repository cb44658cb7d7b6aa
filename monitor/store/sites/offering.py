"""Writer of desired documents into a site's store, in plain SQL; the site applies them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from monitor.model.desired_document import ActualDocument, DesiredDocumentState, OfferDifference, offer_difference
from monitor.model.document import EditSource, WrittenDocument
from monitor.store.sites.link import Connection, SiteConnection, dialled, is_there, one
from monitor.store.sites.partition import as_owner
from monitor.store.sites.publisher import Publisher


def offer(member: SiteConnection, wanted: Mapping[str, WrittenDocument]) -> OfferDifference | None:
    """Write what differs at a site from *wanted*; return the difference. Repeating the call changes nothing.

    `None`: the site has not joined, keeps its agencies in files, or runs a version without desired documents. Raise
    `SiteRefusedError`.
    """
    with dialled(member.server, f"site {member.site}") as connection:
        if not _takes(connection) or Publisher(connection, member.site, member.hub).slot() is None:
            return None
        with as_owner(connection):
            difference = offer_difference(wanted, _there(connection), _offered(connection))
            with connection.transaction():
                _write(connection, member.hub, difference)
        return difference


def offer_problems(connection: Connection) -> Iterator[str]:
    """Yield the desired documents that a site does not apply."""
    if not _takes(connection):
        return
    refused = connection.execute(
        "SELECT agency, refusal FROM desired_document WHERE refusal IS NOT NULL ORDER BY agency"
    ).fetchall()
    for row in refused[:_NAMED]:
        yield f"it cannot use the hub's document of {row.agency}, and goes by the one before: {row.refusal}"
    if len(refused) > _NAMED:
        yield f"nor can it use those of {len(refused) - _NAMED} more agencies"
    waiting = one(
        connection,
        "SELECT count(*) AS number FROM desired_document"
        " WHERE processed_at IS NULL AND offered_at < clock_timestamp() - interval '2 minutes'",
    )
    if waiting.number:
        yield f"it has not looked at documents that the hub wrote for it, of {waiting.number} agencies: does its service run?"


def withdraw_offers(connection: Connection, hub: str) -> None:
    """Delete the desired documents of a hub at a site. The site keeps what it has applied."""
    if is_there(connection, "desired_document"):
        connection.execute("DELETE FROM desired_document WHERE offered_by = %s", [hub])


#: Maximum of refusals that are reported one by one.
_NAMED = 5


def _takes(connection: Connection) -> bool:
    """Whether the site supports desired documents and uses the documents in its database, by its last process."""
    if not is_there(connection, "desired_document"):
        return False
    last = connection.execute("SELECT documents FROM process ORDER BY heartbeat_at DESC LIMIT 1").fetchone()
    return last is not None and last.documents is not None


def _there(connection: Connection) -> Mapping[str, ActualDocument]:
    rows = connection.execute(
        "SELECT agency, coalesce(encode(sha256(convert_to(text, 'UTF8')), 'hex'), '') AS digest, source"
        " FROM document WHERE replaced_at IS NULL"
    )
    return {row.agency: ActualDocument(digest=row.digest, is_by_hub=row.source == EditSource.HUB) for row in rows}


def _offered(connection: Connection) -> Mapping[str, DesiredDocumentState]:
    rows = connection.execute(
        "SELECT agency, coalesce(encode(sha256(convert_to(text, 'UTF8')), 'hex'), '') AS digest,"
        " processed_at IS NOT NULL AS is_processed, refusal FROM desired_document"
    )
    return {
        row.agency: DesiredDocumentState(digest=row.digest, is_processed=row.is_processed, rejection_reason=row.refusal)
        for row in rows
    }


def _write(connection: Connection, hub: str, difference: OfferDifference) -> None:
    rows: list[tuple[str, str, str | None, str]] = [
        (each.agency, each.name, each.text, hub) for each in difference.offered
    ]
    rows += [(agency, f"{agency.lower()}.yaml", None, hub) for agency in difference.removed]
    with connection.cursor() as cursor:
        # Another process of the hub may have just written the same: what waits to be processed stays unchanged.
        cursor.executemany(
            "INSERT INTO desired_document AS o (agency, name, text, offered_by, offered_at)"
            " VALUES (%s, %s, %s, %s, clock_timestamp())"
            " ON CONFLICT (agency) DO UPDATE SET name = excluded.name, text = excluded.text, offered_by = excluded.offered_by,"
            " offered_at = excluded.offered_at, processed_at = NULL, refusal = NULL"
            " WHERE o.text IS DISTINCT FROM excluded.text OR (o.processed_at IS NOT NULL AND o.refusal IS NULL)",
            rows,
        )
    connection.execute("DELETE FROM desired_document WHERE agency = ANY(%s)", [list(difference.withdrawn)])
