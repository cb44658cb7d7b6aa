"""Versions of agency documents on both stores."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from monitor.access.encryption import Ciphertext, SecretPurpose
from monitor.model.document import DocumentVersion, EditSource, WrittenDocument, digest_of
from monitor.store.admin.documents import Documents, VersionConflictError, read_documents
from monitor.store.admin.secrets import RotatedToken, Secrets, read_secrets
from monitor.store.admin.unopened import StoreUnreadableError
from monitor.store.backend.database import Database
from monitor.store.backend.postgres import PostgresServer
from monitor.store.probing.records import Applied
from monitor.store.schema.tables import audit_log, secret
from tests.unit.alerts.people import MINUTE, T0

Open = Callable[[], AbstractAsyncContextManager[Database]]


def written(agency: str, text: str = "") -> WrittenDocument:
    return WrittenDocument(agency=agency, name=f"{agency.lower()}.yaml", text=text or f"agency: {agency}\n")


async def write(documents: Documents, *wanted: WrittenDocument, gone: tuple[str, ...] = ()) -> Applied:
    present = await documents.latest()
    return await documents.write(present, wanted, gone, edit_source=EditSource.FILES, by="Siti", now=T0)


async def test_every_version_is_kept_and_latest_returned(database: Database) -> None:
    documents = Documents(database)
    assert await write(documents, written("JCM"), written("MDC")) == Applied(added=("JCM", "MDC"))
    assert await write(documents, written("JCM", "second")) == Applied(changed=("JCM",))
    assert await write(documents, gone=("MDC",)) == Applied(removed=("MDC",))
    assert await write(documents, written("MDC", "again")) == Applied(added=("MDC",))

    latest = await documents.latest()
    assert {code: (each.number, each.text, each.source, each.by, each.at) for code, each in latest.items()} == {
        "JCM": (2, "second", EditSource.FILES, "Siti", T0),
        "MDC": (3, "again", EditSource.FILES, "Siti", T0),
    }
    for text in ("agency: JCM\n", "second"):
        assert await documents.text("JCM", digest_of(text)) == text
    assert await documents.text("JCM", digest_of("never")) is None


async def test_latest_reads_changes_of_others_and_keeps_unchanged_objects(database: Database) -> None:
    ours, other = Documents(database), Documents(database)
    await write(ours, written("JCM"), written("MDC"))
    before = await ours.latest()
    await write(other, written("JCM", "second"), written("JLN"), gone=("MDC",))
    await write(other, written("MDC"))
    await write(other, written("MDC", "fourth"))
    now = await ours.latest()
    assert {code: (each.number, each.text) for code, each in now.items()} == {
        "JCM": (2, "second"),
        "JLN": (1, "agency: JLN\n"),
        "MDC": (4, "fourth"),
    }
    assert before["JCM"].text == "agency: JCM\n"
    again = await ours.latest()
    assert all(again[code] is now[code] for code in now)


async def test_revision_sum_of_stored_documents_grows_with_each_version(
    database: Database,
) -> None:
    documents = Documents(database)
    jcm, mdc, second = written("JCM"), written("MDC"), written("JCM", "second")
    await write(documents, jcm, mdc)
    levels = [await documents.revision_sum([jcm, mdc])]
    await write(documents, second)
    assert await documents.revision_sum([jcm, mdc]) == 0
    levels.append(await documents.revision_sum([mdc, second]))
    await write(documents, gone=("MDC",))
    levels.append(await documents.revision_sum([second]))
    await write(documents, mdc, jcm)
    levels.append(await documents.revision_sum([mdc, jcm]))
    assert levels == [2, 3, 4, 6]


async def test_removed_agency_has_version_without_text(database: Database) -> None:
    documents = Documents(database)
    await write(documents, written("JCM"))
    await write(documents, gone=("JCM",))
    (gone,) = (await documents.latest()).values()
    assert (gone.number, gone.name, gone.text, gone.document, gone.digest) == (2, "jcm.yaml", None, None, "")


async def test_versions_are_newest_first_and_paged(database: Database) -> None:
    documents = Documents(database)
    for text in ("first", "second", "third"):
        await write(documents, written("JCM", text), written("MDC", text))
    assert [each.text for each in await documents.versions("JCM")] == ["third"]
    assert [each.number for each in await documents.versions("JCM", at_most=9)] == [3, 2, 1]
    assert [each.number for each in await documents.versions("JCM", before_number=3, at_most=1)] == [2]
    assert await documents.versions("X") == []


async def test_list_latest_searches_code_and_given_agencies_in_pages(database: Database) -> None:
    documents = Documents(database)
    await write(documents, *map(written, ("JCM", "JLN", "MDC", "1A", "GONE")))
    await write(documents, written("JCM", "second"), gone=("GONE",))

    async def codes(**asked: Any) -> list[str]:
        return [each.agency for each in await documents.list_latest(**{"at_most": 9, **asked})]

    assert [(each.agency, each.number, each.by, each.at) for each in await documents.list_latest(at_most=2)] == [
        ("1A", 1, "Siti", T0),
        ("JCM", 2, "Siti", T0),
    ]
    assert await codes() == ["1A", "JCM", "JLN", "MDC"]
    assert await codes(after="JCM", at_most=1) == ["JLN"]
    assert await codes(search="j") == ["JCM", "JLN"]
    # Agencies that the caller found by name.
    assert await codes(search="laut", agencies=["MDC", "1A", "GONE"]) == ["1A", "MDC"]
    assert await codes(search="laut", agencies=["MDC", "JLN", "1A"], after="1A", at_most=1) == ["JLN"]
    assert await codes(search="%") == []


async def test_write_any_version_conflict_writes_nothing(database: Database) -> None:
    documents = Documents(database)
    await write(documents, written("JCM"))
    before = await documents.latest()
    await write(documents, written("MDC"))
    with pytest.raises(VersionConflictError):
        await documents.write(before, [written("JCM", "late")], [], edit_source=EditSource.API, by="Ravi", now=T0)
    assert {code: each.number for code, each in (await documents.latest()).items()} == {"JCM": 1, "MDC": 1}


async def test_concurrent_writes_one_succeeds(database: Database) -> None:
    documents = Documents(database)
    before = await documents.latest()

    async def try_write(number: int) -> bool:
        try:
            await documents.write(
                before, [written("JCM", f"{number}")], [], edit_source=EditSource.API, by="Ravi", now=T0
            )
        except VersionConflictError:
            return False
        return True

    assert sum(await asyncio.gather(*map(try_write, range(8)))) == 1
    (only,) = (await documents.latest()).values()
    assert only.number == 1


async def test_write_many_documents_at_once(database: Database) -> None:
    documents = Documents(database)
    many = [written(f"A{number:04}") for number in range(1200)]
    await write(documents, *many)
    await write(documents, *(written(each.agency, "second") for each in many))
    assert {each.number for each in (await documents.latest()).values()} == {2}


async def test_store_files_adds_changes_and_removes(database: Database) -> None:
    documents = Documents(database)
    files = [written("JCM"), written("MDC")]
    assert await documents.store_files(files, by="start", now=T0) == Applied(added=("JCM", "MDC"))
    assert await documents.store_files(files, by="start", now=T0 + MINUTE) == Applied()
    followed = await documents.store_files([written("JCM", "second")], by="Siti", now=T0 + MINUTE)
    assert followed == Applied(changed=("JCM",), removed=("MDC",))
    assert {code: each.number for code, each in (await documents.latest()).items()} == {"JCM": 2, "MDC": 2}


async def test_audit_entry_names_actor_and_source_without_text(database: Database) -> None:
    documents = Documents(database)
    await write(documents, written("JCM", "a text"))
    await documents.store_files([written("JCM", "a text")], by="start", now=T0)
    async with database.read() as connection:
        (entry,) = (await connection.execute(select(audit_log))).all()
    assert (entry.actor, entry.event, entry.detail) == ("Siti", "documents written", {"pen": "files", "added": "JCM"})


async def test_read_documents_works_with_open_and_closed_store(
    open_database: Open, server: PostgresServer | None, tmp_path: Path
) -> None:
    async with open_database() as database:
        await write(Documents(database), written("JCM"))
        there = await Documents(database).latest()
        assert await asyncio.to_thread(read_documents, tmp_path, server) == there
    assert await asyncio.to_thread(read_documents, tmp_path, server) == there


async def test_read_documents_known_unchanged_versions_are_reused(
    open_database: Open, server: PostgresServer | None, tmp_path: Path
) -> None:
    async with open_database() as database:
        documents = Documents(database)
        await write(documents, written("JCM"), written("MDC"))
        known = await documents.latest()

        async def read() -> Mapping[str, DocumentVersion]:
            return await asyncio.to_thread(read_documents, tmp_path, server, known)

        found = await read()
        assert found == known
        assert found["JCM"] is known["JCM"]
        await write(documents, written("JCM", "second"), written("JAS"), gone=("MDC",))
        found = await read()
        assert found == await asyncio.to_thread(read_documents, tmp_path, server)
        assert (found["JCM"].text, found["MDC"].text, "JAS" in found) == ("second", None, True)


def test_read_documents_missing_or_older_store_returns_none(server: PostgresServer | None, tmp_path: Path) -> None:
    assert read_documents(tmp_path, server) == {}


def test_read_documents_unreadable_file_raises(tmp_path: Path) -> None:
    (tmp_path / "pantau.sqlite").write_bytes(b"rubbish" * 100)
    with pytest.raises(StoreUnreadableError, match=r"pantau\.sqlite, cannot be read: file is not a database"):
        read_documents(tmp_path, None)


NAME, OTHER = "typed-aaaabbbbccccdddd", "typed-eeeeffffgggghhhh"
LOCKED = Ciphertext(key_id="k1", text="1.x")


async def secret_owners(database: Database) -> list[str]:
    async with database.read() as connection:
        return sorted((await connection.execute(select(secret.c.owner))).scalars())


async def test_stored_secret_written_only_with_document_that_names_it(database: Database) -> None:
    documents = Documents(database)
    named = written("JCM", f"agency: JCM\npassword_stored: {NAME}\n")
    seen = {"MDC": (await write_one(documents, written("MDC")))}
    await write(documents, written("MDC", "second"))
    with pytest.raises(VersionConflictError):
        await documents.write(
            seen, [named], [], edit_source=EditSource.PORTAL, by="Siti", now=T0, secrets={NAME: LOCKED}
        )
    assert await secret_owners(database) == []

    present = await documents.latest()
    await documents.write(
        present, [named], [], edit_source=EditSource.PORTAL, by="Siti", now=T0, secrets={NAME: LOCKED}
    )
    assert await secret_owners(database) == [NAME]
    async with database.read() as connection:
        entries = (await connection.execute(select(audit_log).order_by(audit_log.c.id.desc()).limit(1))).all()
    assert [(each.event, each.actor, each.detail) for each in entries] == [("secret typed", "Siti", {"secret": NAME})]


async def write_one(documents: Documents, document: WrittenDocument) -> DocumentVersion:
    await write(documents, document)
    return (await documents.latest())[document.agency]


async def test_read_secrets_works_without_opening_store(
    open_database: Open, server: PostgresServer | None, tmp_path: Path
) -> None:
    assert read_secrets(tmp_path, server, SecretPurpose.MAILBOX) == {}
    async with open_database() as database:
        named = [written("JCM", f"a: {NAME}\n")]
        await Documents(database).write(
            {}, named, [], edit_source=EditSource.PORTAL, by="Siti", now=T0, secrets={NAME: LOCKED}
        )
        assert await asyncio.to_thread(read_secrets, tmp_path, server, SecretPurpose.MAILBOX) == {NAME: LOCKED}
        assert await asyncio.to_thread(read_secrets, tmp_path, server, SecretPurpose.ONE_TIME) == {}


async def test_secret_deleted_when_no_document_names_it(database: Database) -> None:
    documents = Documents(database)
    both = [written("JCM", f"a: {NAME}\nb: {OTHER}\n"), written("MDC", f"a: {OTHER}\n")]
    secrets = {NAME: LOCKED, OTHER: LOCKED}
    await documents.write({}, both, [], edit_source=EditSource.PORTAL, by="Siti", now=T0, secrets=secrets)

    # The rotated token is deleted with its refresh token.
    assert await Secrets(database).store_rotated_token(NAME, RotatedToken(secret=LOCKED, at=T0))

    await write(documents, written("JCM", f"# was {NAME}\n"))
    assert await secret_owners(database) == [NAME, NAME, OTHER]
    await write(documents, written("JCM", "nothing\n"))
    assert await secret_owners(database) == [OTHER]
    await write(documents, gone=("MDC",))
    assert await secret_owners(database) == []
