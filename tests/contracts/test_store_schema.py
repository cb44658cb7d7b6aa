"""Migrations on both stores: resulting tables, interrupted upgrades, and data of older versions."""

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
from sqlalchemy import (
    JSON,
    URL,
    Boolean,
    Connection,
    DateTime,
    Engine,
    MetaData,
    create_engine,
    event,
    insert,
    inspect,
    make_url,
    text,
    update,
)
from sqlalchemy.exc import DBAPIError

from alerts.decide.drill import DrillState
from alerts.model.delivery import AttemptState, NotificationState
from alerts.model.gateway import SubmissionState
from alerts.model.incident import IncidentState
from alerts.model.notification import Cause, IncidentType
from alerts.persistence.store import AuditEntry
from monitor.access.encryption import SecretPurpose
from monitor.model.health import Health
from monitor.store.admin.documents import read_documents
from monitor.store.admin.duty import read_duty
from monitor.store.admin.secrets import read_secrets
from monitor.store.backend.database import Database
from monitor.store.backend.postgres import PostgresServer
from monitor.store.engine import audit
from monitor.store.engine.drills import Drills
from monitor.store.engine.unit_of_work import SqlStore
from monitor.store.probing.history import History
from monitor.store.probing.retention import Retention, RetentionPolicy
from monitor.store.schema import migrations
from monitor.store.schema.migrations import StoreBlockedError, StoreTooNewError, upgrade
from monitor.store.schema.tables import audit_log, metadata
from tests.integration.alerts.dispatcher_env import DispatcherEnv
from tests.real.postgres import Postgres
from tests.unit.alerts.people import trigger

AT = datetime(2026, 11, 24, 6, 15, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
#: The schema of release 0.2.0.
RELEASED = "0018"


@dataclass(frozen=True, slots=True, kw_only=True)
class EmptyDatabase:
    """An empty database."""

    directory: Path
    server: PostgresServer | None
    url: URL
    engine: Engine


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.real)])
def server(request: pytest.FixtureRequest) -> PostgresServer | None:
    """Return the server with an empty database, or None for the SQLite file."""
    if request.param == "sqlite":
        return None
    postgres: Postgres = request.getfixturevalue("postgres")
    return postgres.database()


@pytest.fixture
def empty_database(server: PostgresServer | None, tmp_path: Path) -> Iterator[EmptyDatabase]:
    url = make_url(f"sqlite:///{tmp_path / 'pantau.sqlite'}") if server is None else server.url()
    engine = create_engine(url)
    yield EmptyDatabase(directory=tmp_path, server=server, url=url, engine=engine)
    engine.dispose()


def test_migrations_create_the_tables_of_metadata(empty_database: EmptyDatabase) -> None:
    upgrade(empty_database.url)

    with empty_database.engine.connect() as connection:
        assert differences(connection) == []


def differences(connection: Connection) -> list[Any]:
    """Return the differences between a database and the metadata, which has no partitions."""

    def is_included(name: str | None, kind: str, _: object) -> bool:
        return kind != "table" or not (name or "").startswith("rest_of_")

    opts = {"compare_type": True, "compare_server_default": True, "include_name": is_included}
    return list(compare_metadata(MigrationContext.configure(connection, opts=opts), metadata))


def test_upgrade_can_be_repeated(empty_database: EmptyDatabase) -> None:
    for _ in range(2):
        upgrade(empty_database.url)


def test_newest_revision_is_last_migration() -> None:
    assert migrations.known_revisions()[0] == migrations.NEWEST


def test_upgrade_current_file_does_not_load_migrations(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'pantau.sqlite'}"
    upgrade(url)
    with patch.object(migrations, "_migrate", side_effect=AssertionError("is up to date")):
        upgrade(url)


def test_upgrade_failed_leaves_nothing_and_can_be_repeated(empty_database: EmptyDatabase) -> None:
    with empty_database.engine.begin() as connection:
        # Conflicts with one of the last tables: tables created before it must not remain.
        connection.execute(text("CREATE TABLE attempt (id INTEGER)"))
    with pytest.raises(DBAPIError, match="attempt"):
        upgrade(empty_database.url)

    assert inspect(empty_database.engine).get_table_names() == ["attempt"]
    with empty_database.engine.begin() as connection:
        connection.execute(text("DROP TABLE attempt"))
    upgrade(empty_database.url)
    assert {table.name for table in metadata.sorted_tables} < set(inspect(empty_database.engine).get_table_names())


@pytest.mark.blind
def test_upgrade_killed_at_any_statement_changes_nothing_and_can_be_repeated(empty_database: EmptyDatabase) -> None:
    """Defect: An index on a hundred million runs stops the service for an hour, and 32-bit ids end after two years.

    Pantau: The upgrade makes an empty table; rows move while the service runs, and a kill changes nothing.
    """
    upgrade(empty_database.url, to=RELEASED)
    before = inspect(empty_database.engine).get_table_names()
    with dying_after() as checks:
        upgrade(empty_database.url, to=RELEASED)

    # Killed at the last statement: nothing of any earlier migration is kept.
    with dying_after(saying=f"'{migrations.NEWEST}'") as statements, pytest.raises(Killed):
        upgrade(empty_database.url)
    assert schema_state(empty_database) == (RELEASED, before)
    assert len(statements) > 100

    # Killed at each statement: a migration with a transaction of its own would leave changes.
    fatal = 1
    for number in [number for number in reversed(migrations.known_revisions()) if number > RELEASED]:
        state_before = schema_state(empty_database)
        while True:
            with dying_after(fatal):
                try:
                    upgrade(empty_database.url, to=number)
                except Killed:
                    fatal += 1
                else:
                    break
            assert schema_state(empty_database) == state_before
        # The checks before the first statement of a migration are the same for all.
        fatal = len(checks) + 1
    with empty_database.engine.connect() as connection:
        assert differences(connection) == []


def schema_state(empty_database: EmptyDatabase) -> tuple[str, list[str]]:
    """Return the revision of the schema, and its tables."""
    with empty_database.engine.connect() as connection:
        number = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
        return number, inspect(connection).get_table_names()


class Killed(Exception):
    pass


@contextmanager
def dying_after(fatal: int | None = None, *, saying: str | None = None) -> Iterator[list[str]]:
    """Raise Killed after *fatal* statements or after one that contains *saying*; yield the statements."""
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


async def test_store_of_newer_version_is_refused_with_remedy(empty_database: EmptyDatabase) -> None:
    upgrade(empty_database.url)
    with empty_database.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(StoreTooNewError, match="install that version again, or restore the backup"):
        async with Database.open(empty_database.directory, empty_database.server):
            pass


@pytest.mark.parametrize("revision", ["0017", "0019", "0054"])
async def test_store_of_unreleased_version_is_refused_with_remedy(empty_database: EmptyDatabase, revision: str) -> None:
    upgrade(empty_database.url, to=RELEASED)
    with empty_database.engine.begin() as connection:
        connection.execute(text(f"UPDATE alembic_version SET version_num = '{revision}'"))

    with pytest.raises(StoreBlockedError, match=f"the schema {revision} .* belongs to no release: start"):
        async with Database.open(empty_database.directory, empty_database.server):
            pass


async def test_interrupted_restore_is_not_an_empty_database(empty_database: EmptyDatabase) -> None:
    with empty_database.engine.begin() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num TEXT)"))
        audit_log.create(connection)

    with pytest.raises(StoreBlockedError, match="interrupted restore: restore the copy into an empty database"):
        async with Database.open(empty_database.directory, empty_database.server):
            pass


# -- data of older versions ------------------------------------------------------------------------------------------


@cache
def released_rows() -> dict[str, list[dict[str, Any]]]:
    """Return the rows of an open incident with a call under way, as release 0.2.0 wrote them."""
    rows: dict[str, list[dict[str, Any]]] = json.loads(
        (Path(__file__).parent / "released.json").read_text(encoding="utf-8")
    )
    return rows


def store_released_rows(connection: Connection) -> None:
    for table, rows in released_rows().items():
        for row in rows:
            values = {k: json.dumps(v) if isinstance(v, list | dict) else v for k, v in row.items()}
            columns, places = ", ".join(values), ", ".join(f":{name}" for name in values)
            connection.execute(text(f"INSERT INTO {table} ({columns}) VALUES ({places})"), values)
    moment = {"at": "2026-11-24 06:15:00+00:00" if connection.dialect.name == "postgresql" else "2026-11-24 06:15:00"}
    for token in ("came", "lost", "under-way"):
        sent = (
            "INSERT INTO token (id, route, sent_at, deadline, came_at) VALUES (:id, 'JCM/internal', :at, :at, :came_at)"
        )
        connection.execute(text(sent), {"id": token, "came_at": moment["at"] if token == "came" else None, **moment})
    # Release 0.2.0 keeps runs of earlier versions in `run_before`.
    for table, token, outcome in (("run", "came", "junk"), ("run_before", "lost", "lost")):
        ended = (
            f"INSERT INTO {table} (agency, route, token_id, started_at, duration, outcome, result)"
            " VALUES ('JCM', 'JCM/internal', :token, :at, 1.5, :outcome, '{}')"
        )
        connection.execute(text(ended), {"token": token, "outcome": outcome, **moment})
    connection.execute(text("INSERT INTO health VALUES ('JCM/internal', 'down', :at)"), moment)


async def test_upgrade_keeps_data_of_release(empty_database: EmptyDatabase) -> None:
    upgrade(empty_database.url, to=RELEASED)
    with empty_database.engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL timezone = 'UTC'"))
        store_released_rows(connection)
    (told,) = released_rows()["notice"]

    async with Database.open(empty_database.directory, empty_database.server) as database:
        history = History(database)
        tokens = await history.tokens(AT + MINUTE)
        assert {token: sent.has_arrived for token, sent in tokens.items()} == {
            "came": True,
            "lost": False,
            "under-way": False,
        }
        assert {sent.at for sent in tokens.values()} == {AT}
        assert await history.healths() == {"JCM/internal": (Health.DOWN, AT)}
        keep = RetentionPolicy(delivered=MINUTE, failed=timedelta(days=1), hourly=timedelta(days=1))
        for _ in range(2):
            runs = await history.between("JCM", AT - MINUTE, AT + MINUTE)
            assert [(result.token_id, result.outcome) for result in runs] == [("came", "junk"), ("lost", "lost")]
            assert await Retention(database).delete_expired(keep, AT + MINUTE) == 0
        async with SqlStore(database).transaction() as uow:
            (active,) = await uow.active_incidents()
            opened = await uow.incident(active)
            assert opened is not None
            assert (opened.number, opened.opened_at, opened.began_at) == ("JCM-01", AT, AT - MINUTE)
            assert (opened.type_began_at, opened.reported_type_began_at) == (None, AT - MINUTE)
            assert [c.name for step in opened.policy.escalation.steps for c in step.contacts] == [
                "Siti Contoh",
                "Siti Contoh",
                "Ravi Contoh",
            ]
            (notice,) = await uow.notifications(active)
            assert (notice.person, notice.facts.number, notice.created_at) == ("siti", "JCM-01", AT)
            assert [a.number for a in notice.addresses] == [a["number"] for a in told["addresses"]]
            (attempt,) = (a for d in notice.deliveries for a in d.attempts)
            assert (attempt.state, attempt.reference) == (AttemptState.CALLING, "p1-1-1795500900")
            # New rows get new ids and numbers.
            assert (await uow.add_incidents([replace(trigger(), dedup_key="other")]))[0].number == "JCM-02"
            await uow.add_attempt(notice.deliveries[0], "sms", AT + MINUTE, query_at=AT + 2 * MINUTE)
            assert await uow.claim_incident(active, "utama", AT, MINUTE)


# -- a store of 0.2.0, from before tables, columns and values had standard names -----------------------------------------


def store_of_release(empty_database: EmptyDatabase) -> dict[str, list[dict[str, Any]]]:
    """Leave the store that an engine of 0.2.0 wrote: six incidents, sent and waiting notifications, a drill. Return its rows."""
    upgrade(empty_database.url, to=RELEASED)
    file = Path(__file__).parent / "release_0_2_0.json"
    rows: dict[str, list[dict[str, Any]]] = json.loads(file.read_text(encoding="utf-8"))
    tables = MetaData()
    tables.reflect(empty_database.engine)
    with empty_database.engine.begin() as connection:
        for table in tables.sorted_tables:
            for row in rows.get(table.name, ()):
                values = {name: _typed(table.c[name].type, value) for name, value in row.items()}
                # The row of the head exists from the start.
                written = update(table) if table.name == "journal_head" else insert(table)
                connection.execute(written.values(**values))
            if connection.dialect.name == "postgresql" and table.name in rows and "id" in table.c:
                sequence = f"pg_get_serial_sequence('{table.name}', 'id')"
                newest = f"(SELECT max(id) FROM {table.name})"
                connection.execute(text(f"SELECT setval({sequence}, {newest}) WHERE {sequence} IS NOT NULL"))
    return rows


def _typed(kind: Any, value: Any) -> Any:
    match kind:
        case DateTime() if value is not None:
            return datetime.fromisoformat(value).replace(tzinfo=UTC)
        case Boolean() if value is not None:
            return bool(value)
        case JSON():
            return json.loads(value)
    return value


async def test_store_of_release_migrated_has_same_incidents_and_notifications(empty_database: EmptyDatabase) -> None:
    rows = store_of_release(empty_database)
    async with (
        Database.open(empty_database.directory, empty_database.server) as database,
        SqlStore(database).transaction() as uow,
    ):
        active = await uow.active_incidents()
        incidents = {found.number: found for number in active if (found := await uow.incident(number))}
        notices = {found.key: found for number in active for found in await uow.notifications(number)}
    assert {incident.id: str(incident.state) for incident in incidents.values()} == {
        row["id"]: row["state"] for row in rows["incident"]
    }
    waiting = incidents["JCM-01"]
    assert (waiting.state, waiting.acknowledged_by, waiting.released_at) == (
        IncidentState.ACKNOWLEDGED,
        "Ravi Contoh",
        None,
    )
    assert incidents["MDC-01"].released_by == "Siti Contoh"
    attempts = {row["delivery_id"]: row for row in rows["attempt"]}
    before = {
        row["key"]: (row["state"], [attempts[each["id"]]["reference"] for each in deliveries])
        for row in rows["notice"]
        for deliveries in [[each for each in rows["delivery"] if each["notice_id"] == row["id"]]]
    }
    assert {
        key: (str(notice.state), [attempt.reference for of in notice.deliveries for attempt in of.attempts])
        for key, notice in notices.items()
    } == before
    assert {AttemptState.ACCEPTED} == {a.state for n in notices.values() for d in n.deliveries for a in d.attempts}
    assert {notice.state for notice in notices.values()} == {NotificationState.SENT}


async def test_store_of_release_values_of_0_2_0_are_read_as_standard_values(empty_database: EmptyDatabase) -> None:
    rows = store_of_release(empty_database)
    assert "own_fault" in {row["matter"] for row in rows["incident"]}
    async with (
        Database.open(empty_database.directory, empty_database.server) as database,
        SqlStore(database).transaction() as uow,
    ):
        incidents = {found.number: found for number in range(1, 7) if (found := await uow.incident(number))}
        (notice,) = await uow.notifications(incidents["NOC-01"].id)
    fault = incidents["NOC-01"]
    assert (fault.type, fault.current_type, fault.detected) == (IncidentType.MONITORING_FAULT,) * 3
    assert notice.facts.type is IncidentType.MONITORING_FAULT
    assert incidents["JCM-01"].policy.cause is Cause.CONNECT


async def test_store_of_release_audit_chain_verifies_and_continues(empty_database: EmptyDatabase) -> None:
    rows = store_of_release(empty_database)
    async with Database.open(empty_database.directory, empty_database.server) as database:
        verifier = await audit.verify(database.read)
        assert (verifier.violations, verifier.head.number) == ([], len(rows["journal"]))
        async with SqlStore(database).transaction() as uow:
            (opened,) = await uow.add_incidents([replace(trigger(), dedup_key="KLB")])
            assert opened.id == len(rows["incident"]) + 1
            await uow.add_audit_entry(AuditEntry(at=AT, actor="engine", event="incident opened", incident_id=opened.id))
        verifier = await audit.verify(database.read)
        assert (verifier.violations, verifier.head.number) == ([], len(rows["journal"]) + 1)
    for statement in ("DELETE FROM audit_log", "UPDATE audit_log SET actor = 'x'", "DELETE FROM audit_head"):
        with empty_database.engine.begin() as connection, pytest.raises(DBAPIError, match="append-only"):
            connection.execute(text(statement))


async def test_store_of_release_engine_sends_what_was_due_and_nothing_again(empty_database: EmptyDatabase) -> None:
    rows = store_of_release(empty_database)
    async with Database.open(empty_database.directory, empty_database.server) as database:
        station = DispatcherEnv(database)
        for gateway in station.gateways:
            gateway.taken = {row["reference"]: SubmissionState.ACCEPTED for row in rows["attempt"]}
        station.clock.moment = AT + 5 * MINUTE
        for _ in range(2):
            await station.settle()
            assert [order for gateway in station.gateways for order in gateway.sent] == ["outage to +60100000101"]
        async with SqlStore(database).reading() as uow:
            (notice,) = await uow.notifications(6)
        assert (notice.facts.number, notice.state) == ("JLN-01", NotificationState.SENT)
        (drill,) = await Drills(database).under_way()
        (record,) = await Drills(database).notifications(drill.id)
        async with SqlStore(database).transaction() as uow:
            (silence,) = await uow.silences(station.clock.now())
            (override,) = await uow.oncall.list_overrides(station.clock.now())
    assert (drill.requested_by, record.contact, record.state) == ("Ali Contoh", "mei", DrillState.FAILED)
    assert (silence.target, silence.ends_at - silence.starts_at) == ("JKM", timedelta(hours=1))
    assert (override.rota, override.contact.name) == ("JCM/utama", "Ravi Contoh")


def test_store_of_release_is_read_with_present_names_before_migration(empty_database: EmptyDatabase) -> None:
    """The service reads secrets, documents and overrides before it opens, and so migrates, the store."""
    store_of_release(empty_database)
    before = inspect(empty_database.engine).get_table_names()

    secrets = read_secrets(empty_database.directory, empty_database.server, SecretPurpose.MAILBOX)
    documents = read_documents(empty_database.directory, empty_database.server)
    duty = read_duty(empty_database.directory, empty_database.server, AT + MINUTE)

    assert (dict(secrets), dict(documents)) == ({}, {})
    assert ([each.rota for each in duty.overrides], duty.unread) == (["JCM/utama"], "")
    assert inspect(empty_database.engine).get_table_names() == before


async def test_store_of_release_file_audit_chain_verifies_before_migration(empty_database: EmptyDatabase) -> None:
    rows = store_of_release(empty_database)
    if empty_database.server is None:
        verifier = await audit.verify(lambda: audit.open_sqlite_file(empty_database.directory / "pantau.sqlite"))
        assert (verifier.violations, verifier.head.number) == ([], len(rows["journal"]))
