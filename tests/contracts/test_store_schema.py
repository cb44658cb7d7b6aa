"""What the migrations promise, on every database: the tables as the code knows them, and what older versions stored."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import URL, Connection, Engine, create_engine, event, func, insert, inspect, make_url, select, text
from sqlalchemy.exc import DBAPIError

from alerts.model.delivery import AttemptState
from alerts.model.policy_snapshot import EscalationPolicy
from monitor.model.health import Health
from monitor.model.renamed_keys import rename_keys
from monitor.store.admin.maintenance_notices import MaintenanceNoticeRecords
from monitor.store.backend.database import Database
from monitor.store.backend.postgres import PostgresServer
from monitor.store.engine.ledger import SqlStore
from monitor.store.probing.history import History
from monitor.store.probing.retention import Retention, RetentionPolicy
from monitor.store.schema import migrations
from monitor.store.schema.migrations import StoreBarredError, StoreTooNewError, upgrade
from monitor.store.schema.rows import BRIEF
from monitor.store.schema.tables import advance_notice, document, hour, journal, metadata, offered_document
from tests.real.postgres import Postgres
from tests.unit.alerts.people import trigger

AT = datetime(2026, 11, 24, 6, 15, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
#: The schema before the newest.
BEFORE = "0009"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceLocation:
    """An empty database."""

    directory: Path
    server: PostgresServer | None
    url: URL
    engine: Engine


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.real)])
def server(request: pytest.FixtureRequest) -> PostgresServer | None:
    """Return the server with a database in which nothing is; `None`: it is the file."""
    if request.param == "sqlite":
        return None
    postgres: Postgres = request.getfixturevalue("postgres")
    return postgres.database()


@pytest.fixture
def place(server: PostgresServer | None, tmp_path: Path) -> Iterator[SourceLocation]:
    url = make_url(f"sqlite:///{tmp_path / 'pantau.sqlite'}") if server is None else server.url()
    engine = create_engine(url)
    yield SourceLocation(directory=tmp_path, server=server, url=url, engine=engine)
    engine.dispose()


def test_the_migrations_make_what_the_tables_say(place: SourceLocation) -> None:
    upgrade(place.url)

    with place.engine.connect() as connection:
        assert different(connection) == []


def different(connection: Connection) -> list[Any]:
    """Return what in a database is not as the tables say; of parts of a table nothing is said there."""

    def is_meant(name: str | None, kind: str, _: object) -> bool:
        return kind != "table" or not (name or "").startswith("rest_of_")

    opts = {"compare_type": True, "compare_server_default": True, "include_name": is_meant}
    return list(compare_metadata(MigrationContext.configure(connection, opts=opts), metadata))


def test_an_upgrade_can_be_repeated(place: SourceLocation) -> None:
    for _ in range(2):
        upgrade(place.url)


def test_the_newest_schema_is_the_last_of_the_migrations() -> None:
    assert migrations.known()[0] == migrations.NEWEST


def test_a_file_that_is_up_to_date_is_opened_without_what_migrates_one(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'pantau.sqlite'}"
    upgrade(url)
    with patch.object(migrations, "_migrate", side_effect=AssertionError("is up to date")):
        upgrade(url)


def test_an_upgrade_that_is_broken_off_leaves_nothing_and_can_be_repeated(place: SourceLocation) -> None:
    with place.engine.begin() as connection:
        # In the way of one of the last tables: what was made before it must not stay behind.
        connection.execute(text("CREATE TABLE attempt (id INTEGER)"))
    with pytest.raises(DBAPIError, match="attempt"):
        upgrade(place.url)

    assert inspect(place.engine).get_table_names() == ["attempt"]
    with place.engine.begin() as connection:
        connection.execute(text("DROP TABLE attempt"))
    upgrade(place.url)
    assert {table.name for table in metadata.sorted_tables} < set(inspect(place.engine).get_table_names())


@pytest.mark.blind
def test_an_upgrade_that_is_killed_at_any_statement_changes_nothing_and_can_be_repeated(place: SourceLocation) -> None:
    """Defect: An index on a hundred million runs stops the service for an hour, and 32-bit ids end after two years.

    Pantau: The upgrade makes an empty table; rows move while the service runs, and a kill changes nothing.
    """
    upgrade(place.url, to=BEFORE)
    before = inspect(place.engine).get_table_names()
    with dying() as asked:
        upgrade(place.url, to=BEFORE)

    # At the very last: of all that came before it nothing is kept, wherever one migration ends and another begins.
    with dying(saying=f"'{migrations.NEWEST}'") as statements, pytest.raises(Killed):
        upgrade(place.url)
    assert stood(place) == (BEFORE, before)
    assert len(statements) > 100

    # And at each: where one of them was a transaction of its own, what it made would be there.
    fatal = 1
    for number in [number for number in reversed(migrations.known()) if number > BEFORE]:
        stands = stood(place)
        while True:
            with dying(fatal):
                try:
                    upgrade(place.url, to=number)
                except Killed:
                    fatal += 1
                else:
                    break
            assert stood(place) == stands
        # What is asked before the first statement of a migration is the same for all.
        fatal = len(asked) + 1
    with place.engine.connect() as connection:
        assert different(connection) == []


def stood(place: SourceLocation) -> tuple[str, list[str]]:
    """Return the number of the schema that is there, and its tables."""
    with place.engine.connect() as connection:
        number = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
        return number, inspect(connection).get_table_names()


class Killed(Exception):
    pass


@contextmanager
def dying(fatal: int | None = None, *, saying: str | None = None) -> Iterator[list[str]]:
    """Die after so many statements, or after one that says this; give those that were said."""
    statements: list[str] = []

    def note(_c: object, _k: object, statement: str, *_: object) -> None:
        statements.append(statement)
        if len(statements) == fatal or (saying is not None and saying in statement):
            raise Killed

    event.listen(Engine, "after_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(Engine, "after_cursor_execute", note)


async def test_a_store_that_a_newer_version_has_used_is_left_alone_and_says_what_to_do(place: SourceLocation) -> None:
    upgrade(place.url)
    with place.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(StoreTooNewError, match="install that version again, or put back the copy"):
        async with Database.open(place.directory, place.server):
            pass


async def test_a_database_in_which_a_copy_was_not_put_to_its_end_is_no_empty_one(place: SourceLocation) -> None:
    with place.engine.begin() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num TEXT)"))
        journal.create(connection)

    with pytest.raises(StoreBarredError, match="broken off: put it into an empty database again"):
        async with Database.open(place.directory, place.server):
            pass


# -- what older versions stored --------------------------------------------------------------------------------------


@cache
def released() -> dict[str, list[dict[str, Any]]]:
    """Return the rows of an open incident with a call under way, as the versions with these schemas wrote them."""
    rows: dict[str, list[dict[str, Any]]] = json.loads(
        (Path(__file__).parent / "released.json").read_text(encoding="utf-8")
    )
    return rows


def store_as_before(connection: Connection) -> None:
    for table, rows in released().items():
        for row in rows:
            values = {k: json.dumps(v) if isinstance(v, list | dict) else v for k, v in row.items()}
            columns, places = ", ".join(values), ", ".join(f":{name}" for name in values)
            connection.execute(text(f"INSERT INTO {table} ({columns}) VALUES ({places})"), values)
    moment = {"at": "2026-11-24 06:15:00+00:00" if connection.dialect.name == "postgresql" else "2026-11-24 06:15:00"}
    for token in ("came", "lost", "under-way"):
        sent = "INSERT INTO token (id, route, sent_at, deadline) VALUES (:id, 'JCM/internal', :at, :at)"
        connection.execute(text(sent), {"id": token, **moment})
    for token, outcome in (("came", "junk"), ("lost", "lost")):
        ended = (
            "INSERT INTO run (agency, route, token_id, started_at, duration, outcome, result)"
            " VALUES ('JCM', 'JCM/internal', :token, :at, 1.5, :outcome, '{}')"
        )
        connection.execute(text(ended), {"token": token, "outcome": outcome, **moment})
    connection.execute(text("INSERT INTO health VALUES ('JCM/internal', 'down', :at)"), moment)


@pytest.mark.parametrize("schema", ["0001", "0002"])
async def test_what_an_older_version_has_stored_is_there_after_the_upgrade(place: SourceLocation, schema: str) -> None:
    upgrade(place.url, to=schema)
    with place.engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL timezone = 'UTC'"))
        store_as_before(connection)
    (told,) = released()["notice"]

    async with Database.open(place.directory, place.server) as database:
        history = History(database)
        tokens = await history.tokens(AT + MINUTE)
        # Only the second schema can have known; the first learns it from the runs.
        assert {token: sent.came for token, sent in tokens.items()} == {
            "came": schema == "0001",
            "lost": False,
            "under-way": False,
        }
        assert {sent.at for sent in tokens.values()} == {AT}
        assert await history.healths() == {"JCM/internal": (Health.DOWN, AT)}
        keep = RetentionPolicy(delivered=MINUTE, failed=timedelta(days=1), hourly=timedelta(days=1))
        for _ in range(2):
            runs = await history.between("JCM", AT - MINUTE, AT + MINUTE)
            assert [(result.token_id, result.outcome) for result in runs] == [("came", "junk"), ("lost", "lost")]
            assert await Retention(database).dispose(keep, AT + MINUTE) == 0
        async with database.read() as connection:
            assert (await connection.execute(select(func.sum(hour.c.runs)))).scalar_one() == 2

        async with SqlStore(database).transaction() as ledger:
            (active,) = await ledger.active_incidents()
            opened = await ledger.incident(active)
            assert opened is not None
            assert (opened.number, opened.opened_at, opened.began_at) == ("JCM-01", AT, AT - MINUTE)
            assert (opened.matter_began_at, opened.told_began_at) == (None, AT - MINUTE)
            assert [c.name for step in opened.brief.escalation.steps for c in step.contacts] == [
                "Siti Contoh",
                "Siti Contoh",
                "Ravi Contoh",
            ]
            (notice,) = await ledger.notices(active)
            assert (notice.person, notice.facts.number, notice.created_at) == ("siti", "JCM-01", AT)
            assert [a.number for a in notice.addresses] == [a["number"] for a in told["addresses"]]
            (attempt,) = (a for d in notice.deliveries for a in d.attempts)
            assert (attempt.state, attempt.reference) == (AttemptState.CALLING, "p1-1-1795500900")
            # What comes new gets an id and a number of its own.
            assert (await ledger.add_incidents([replace(trigger(), dedup_key="other")]))[0].number == "JCM-02"
            await ledger.add_attempt(notice.deliveries[0], "sms", AT + MINUTE, look_at=AT + 2 * MINUTE)
            assert await ledger.claim(active, "utama", AT, MINUTE)


def opened_at(schema: str, place: SourceLocation, **changed: str) -> None:
    """Leave a store of *schema* with the incident of the first release, as far as it is not *changed*."""
    upgrade(place.url, to=schema)
    with place.engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL timezone = 'UTC'"))
        for row in released()["incident"]:
            values = {k: json.dumps(v) if isinstance(v, list | dict) else v for k, v in row.items()}
            values |= changed
            columns, places = ", ".join(values), ", ".join(f":{name}" for name in values)
            connection.execute(text(f"INSERT INTO incident ({columns}) VALUES ({places})"), values)


async def test_what_was_open_before_a_person_could_declare_an_outage_was_measured(place: SourceLocation) -> None:
    opened_at("0017", place)
    async with Database.open(place.directory, place.server) as database, SqlStore(database).transaction() as ledger:
        (active,) = await ledger.active_incidents()
        known = await ledger.incident(active)
    assert known is not None
    assert (known.measured, known.declared) == (known.matter, None)


async def test_who_had_acknowledged_before_it_could_expire_counts_as_heard_of_at_the_upgrade(
    place: SourceLocation,
) -> None:
    opened_at("0013", place, state="acknowledged", acknowledged_by="Siti Contoh")
    before = datetime.now(UTC)

    async with Database.open(place.directory, place.server) as database, SqlStore(database).transaction() as ledger:
        (active,) = await ledger.active_incidents()
        taken = await ledger.incident(active)
    assert taken is not None
    assert taken.heard_at is not None
    assert taken.heard_at >= before
    assert taken.acknowledged_until == taken.heard_at + timedelta(hours=1), "of a plan that says nothing of it"


async def test_advance_notices_that_the_journal_alone_had_are_there_after_the_upgrade(place: SourceLocation) -> None:
    upgrade(place.url, to="0033")
    begins = AT + timedelta(days=7)
    told = {
        "agency": "JCM",
        "number": "JCM-P261124-1415",
        "news": "maintenance",
        "from": begins.isoformat(),
        "until": (begins + MINUTE).isoformat(),
        "why": "Naik taraf",
        "before": "",
    }
    changed = told | {"number": "JKM-P261125-0900", "news": "maintenance_changed", "agency": "JKM"}
    said = (
        ("advance notice made", told),
        ("renamed", {"what": "agency", "old": "JCM", "new": "JKM", "runs": "0"}),
        ("advance notice made", changed | {"before": told["number"]}),
        ("advance notice downloaded", told),
    )
    with place.engine.begin() as connection:
        for number, (what, detail) in enumerate(said, 1):
            sealed = {"previous": f"{number:064}", "content": "0" * 64, "hash": "0" * 64}
            values = {"id": number, "at": AT, "actor": "Siti Contoh (siti)", "event": what, "detail": detail} | sealed
            connection.execute(insert(journal).values(**values))

    async with Database.open(place.directory, place.server) as database:
        found = await MaintenanceNoticeRecords(database).of("JKM", AT)
        async with database.read() as connection:
            entries = (
                (await connection.execute(select(advance_notice.c.entry).order_by(advance_notice.c.id))).scalars().all()
            )
    first, second = found.notices
    assert (first.number, second.number) == (told["number"], changed["number"])
    assert (first.begins, first.made_at, first.made_by) == (begins, AT, "Siti Contoh (siti)")
    assert (second.before, found.replaced, entries) == (first, {first.number}, [1, 3])


_DOCUMENT = """\
agency: JCM  # Jabatan
letterhead: {telephone: 03-0000 0100}
probing: {retry_interval: 30s}
escalation: {acknowledgement_timeout: 2h}
"""


async def test_migration_renames_keys_of_documents_and_policies(place: SourceLocation) -> None:
    """A store of the schema before holds old keys; what was replaced stays as its writer left it."""
    brief = replace(trigger().brief, escalation=EscalationPolicy(steps=(), acknowledgement_timeout=2 * HOUR))
    before = BRIEF.dump_json(brief).decode().replace('"acknowledgement_timeout"', '"acknowledgement_timeout"')
    before = before.replace('"release_offered_after"', '"release_offered_after"')
    assert before.count("acknowledgement_timeout") == before.count('"release_offered_after"') == 1
    opened_at("0049", place, brief=before)
    versions = "INSERT INTO document (agency, number, name, text, pen, written_by, written_at, replaced_at)"
    offers = "INSERT INTO offered_document (agency, name, text, offered_by, offered_at)"
    with place.engine.begin() as connection:
        for number, replaced_at in ((1, AT), (2, None)):
            row = {"number": number, "text": _DOCUMENT, "at": AT, "replaced_at": replaced_at}
            values = "VALUES ('JCM', :number, 'jcm.yaml', :text, 'files', 'Siti', :at, :replaced_at)"
            connection.execute(text(f"{versions} {values}"), row)
        offered = {"text": _DOCUMENT, "at": AT}
        connection.execute(text(f"{offers} VALUES ('JCM', 'jcm.yaml', :text, 'hub', :at)"), offered)

    async with Database.open(place.directory, place.server) as database:
        async with database.read() as connection:
            texts = await connection.execute(select(document.c.text).order_by(document.c.number))
            assert list(texts.scalars()) == [_DOCUMENT, rename_keys(_DOCUMENT)]
            assert (await connection.execute(select(offered_document.c.text))).scalar_one() == rename_keys(_DOCUMENT)
        async with SqlStore(database).transaction() as ledger:
            (active,) = await ledger.active_incidents()
            found = await ledger.incident(active)
    assert found is not None
    assert found.brief == brief
