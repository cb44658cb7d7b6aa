"""What every store promises about agencies' documents."""

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
from monitor.store.admin.unopened import DocumentsAwayError
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


async def test_every_version_is_kept_and_the_latest_is_what_there_is(database: Database) -> None:
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


async def test_what_another_has_written_is_read_and_what_nobody_has_is_not_read_again(database: Database) -> None:
    ours, theirs = Documents(database), Documents(database)
    await write(ours, written("JCM"), written("MDC"))
    before = await ours.latest()
    await write(theirs, written("JCM", "second"), written("JLN"), gone=("MDC",))
    await write(theirs, written("MDC"))
    await write(theirs, written("MDC", "fourth"))
    now = await ours.latest()
    assert {code: (each.number, each.text) for code, each in now.items()} == {
        "JCM": (2, "second"),
        "JLN": (1, "agency: JLN\n"),
        "MDC": (4, "fourth"),
    }
    assert before["JCM"].text == "agency: JCM\n"
    again = await ours.latest()
    assert all(again[code] is now[code] for code in now)


async def test_the_level_is_of_those_documents_that_the_store_has_and_grows_with_each_version(
    database: Database,
) -> None:
    documents = Documents(database)
    jcm, mdc, second = written("JCM"), written("MDC"), written("JCM", "second")
    await write(documents, jcm, mdc)
    levels = [await documents.level([jcm, mdc])]
    await write(documents, second)
    assert await documents.level([jcm, mdc]) == 0
    levels.append(await documents.level([mdc, second]))
    await write(documents, gone=("MDC",))
    levels.append(await documents.level([second]))
    await write(documents, mdc, jcm)
    levels.append(await documents.level([mdc, jcm]))
    assert levels == [2, 3, 4, 6]


async def test_an_agency_that_was_taken_out_is_known_to_be(database: Database) -> None:
    documents = Documents(database)
    await write(documents, written("JCM"))
    await write(documents, gone=("JCM",))
    (gone,) = (await documents.latest()).values()
    assert (gone.number, gone.name, gone.text, gone.document, gone.digest) == (2, "jcm.yaml", None, None, "")


async def test_the_versions_of_one_are_listed_from_the_latest_on(database: Database) -> None:
    documents = Documents(database)
    for text in ("first", "second", "third"):
        await write(documents, written("JCM", text), written("MDC", text))
    assert [each.text for each in await documents.versions("JCM")] == ["third"]
    assert [each.number for each in await documents.versions("JCM", at_most=9)] == [3, 2, 1]
    assert [each.number for each in await documents.versions("JCM", before_number=3, at_most=1)] == [2]
    assert await documents.versions("X") == []


async def test_of_many_agencies_some_are_listed_at_a_time_by_their_code_or_by_name(database: Database) -> None:
    documents = Documents(database)
    await write(documents, *map(written, ("JCM", "JLN", "MDC", "1A", "GONE")))
    await write(documents, written("JCM", "second"), gone=("GONE",))

    async def codes(**asked: Any) -> list[str]:
        return [each.agency for each in await documents.marks(**{"at_most": 9, **asked})]

    assert [(each.agency, each.number, each.by, each.at) for each in await documents.marks(at_most=2)] == [
        ("1A", 1, "Siti", T0),
        ("JCM", 2, "Siti", T0),
    ]
    assert await codes() == ["1A", "JCM", "JLN", "MDC"]
    assert await codes(after="JCM", at_most=1) == ["JLN"]
    assert await codes(search="j") == ["JCM", "JLN"]
    # By their names, which the documents are not searched for.
    assert await codes(search="laut", agencies=["MDC", "1A", "GONE"]) == ["1A", "MDC"]
    assert await codes(search="laut", agencies=["MDC", "JLN", "1A"], after="1A", at_most=1) == ["JLN"]
    assert await codes(search="%") == []


async def test_nothing_is_written_when_any_document_has_moved_on(database: Database) -> None:
    documents = Documents(database)
    await write(documents, written("JCM"))
    before = await documents.latest()
    await write(documents, written("MDC"))
    with pytest.raises(VersionConflictError):
        await documents.write(before, [written("JCM", "late")], [], edit_source=EditSource.API, by="Ravi", now=T0)
    assert {code: each.number for code, each in (await documents.latest()).items()} == {"JCM": 1, "MDC": 1}


async def test_of_many_that_write_at_once_one_wins_and_the_others_know(database: Database) -> None:
    documents = Documents(database)
    before = await documents.latest()

    async def try_to(number: int) -> bool:
        try:
            await documents.write(
                before, [written("JCM", f"{number}")], [], edit_source=EditSource.API, by="Ravi", now=T0
            )
        except VersionConflictError:
            return False
        return True

    assert sum(await asyncio.gather(*map(try_to, range(8)))) == 1
    (only,) = (await documents.latest()).values()
    assert only.number == 1


async def test_more_than_a_statement_holds_are_written_at_once(database: Database) -> None:
    documents = Documents(database)
    many = [written(f"A{number:04}") for number in range(1200)]
    await write(documents, *many)
    await write(documents, *(written(each.agency, "second") for each in many))
    assert {each.number for each in (await documents.latest()).values()} == {2}


async def test_where_files_count_the_store_follows_them(database: Database) -> None:
    documents = Documents(database)
    files = [written("JCM"), written("MDC")]
    assert await documents.follow(files, by="start", now=T0) == Applied(added=("JCM", "MDC"))
    assert await documents.follow(files, by="start", now=T0 + MINUTE) == Applied()
    followed = await documents.follow([written("JCM", "second")], by="Siti", now=T0 + MINUTE)
    assert followed == Applied(changed=("JCM",), removed=("MDC",))
    assert {code: each.number for code, each in (await documents.latest()).items()} == {"JCM": 2, "MDC": 2}


async def test_who_wrote_what_with_which_pen_is_in_the_journal_and_no_text(database: Database) -> None:
    documents = Documents(database)
    await write(documents, written("JCM", "a text"))
    await documents.follow([written("JCM", "a text")], by="start", now=T0)
    async with database.read() as connection:
        (entry,) = (await connection.execute(select(audit_log))).all()
    assert (entry.actor, entry.event, entry.detail) == ("Siti", "documents written", {"pen": "files", "added": "JCM"})


async def test_they_are_read_without_the_store_being_opened_while_it_is_in_use_and_afterwards(
    open_database: Open, server: PostgresServer | None, tmp_path: Path
) -> None:
    async with open_database() as database:
        await write(Documents(database), written("JCM"))
        there = await Documents(database).latest()
        assert await asyncio.to_thread(read_documents, tmp_path, server) == there
    assert await asyncio.to_thread(read_documents, tmp_path, server) == there


async def test_what_was_read_before_and_is_the_latest_still_is_not_read_again(
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


def test_a_store_that_is_not_there_or_of_before_has_none(server: PostgresServer | None, tmp_path: Path) -> None:
    assert read_documents(tmp_path, server) == {}


def test_a_file_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    (tmp_path / "pantau.sqlite").write_bytes(b"rubbish" * 100)
    with pytest.raises(DocumentsAwayError, match=r"pantau\.sqlite, cannot be read: file is not a database"):
        read_documents(tmp_path, None)


NAME, OTHER = "typed-aaaabbbbccccdddd", "typed-eeeeffffgggghhhh"
LOCKED = Ciphertext(key_id="k1", text="1.x")


async def kept(database: Database) -> list[str]:
    async with database.read() as connection:
        return sorted((await connection.execute(select(secret.c.owner))).scalars())


async def test_what_was_typed_is_kept_with_the_document_that_names_it_or_not_at_all(database: Database) -> None:
    documents = Documents(database)
    named = written("JCM", f"agency: JCM\npassword_stored: {NAME}\n")
    seen = {"MDC": (await write_one(documents, written("MDC")))}
    await write(documents, written("MDC", "second"))
    with pytest.raises(VersionConflictError):
        await documents.write(
            seen, [named], [], edit_source=EditSource.PORTAL, by="Siti", now=T0, secrets={NAME: LOCKED}
        )
    assert await kept(database) == []

    present = await documents.latest()
    await documents.write(
        present, [named], [], edit_source=EditSource.PORTAL, by="Siti", now=T0, secrets={NAME: LOCKED}
    )
    assert await kept(database) == [NAME]
    async with database.read() as connection:
        entries = (await connection.execute(select(audit_log).order_by(audit_log.c.id.desc()).limit(1))).all()
    assert [(each.event, each.actor, each.detail) for each in entries] == [("secret typed", "Siti", {"secret": NAME})]


async def write_one(documents: Documents, document: WrittenDocument) -> DocumentVersion:
    await write(documents, document)
    return (await documents.latest())[document.agency]


async def test_what_was_typed_is_read_without_the_store_being_opened(
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


async def test_what_no_document_names_any_more_is_forgotten(database: Database) -> None:
    documents = Documents(database)
    both = [written("JCM", f"a: {NAME}\nb: {OTHER}\n"), written("MDC", f"a: {OTHER}\n")]
    secrets = {NAME: LOCKED, OTHER: LOCKED}
    await documents.write({}, both, [], edit_source=EditSource.PORTAL, by="Siti", now=T0, secrets=secrets)

    # With a refresh token what came in exchange for it.
    assert await Secrets(database).renew(NAME, RotatedToken(secret=LOCKED, at=T0))

    await write(documents, written("JCM", f"# was {NAME}\n"))
    assert await kept(database) == [NAME, NAME, OTHER]
    await write(documents, written("JCM", "nothing\n"))
    assert await kept(database) == [OTHER]
    await write(documents, gone=("MDC",))
    assert await kept(database) == []
