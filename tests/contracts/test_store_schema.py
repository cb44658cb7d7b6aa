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
    func,
    insert,
    inspect,
    make_url,
    select,
    text,
    update,
)
from sqlalchemy.exc import DBAPIError

from alerts.decide.drill import DrillState
from alerts.model.delivery import AttemptState, NotificationState
from alerts.model.gateway import SubmissionState
from alerts.model.incident import IncidentState
from alerts.model.notification import Cause, IncidentType
from alerts.model.policy_snapshot import EscalationPolicy
from alerts.persistence.store import AuditEntry
from monitor.access.encryption import SecretPurpose
from monitor.model.health import Health
from monitor.model.renamed_keys import rename_keys
from monitor.store.admin.documents import read_documents
from monitor.store.admin.duty import read_duty
from monitor.store.admin.maintenance_notices import MaintenanceNoticeRecords
from monitor.store.admin.secrets import read_secrets
from monitor.store.backend.database import Database
from monitor.store.backend.postgres import PostgresServer
from monitor.store.engine import audit
from monitor.store.engine.drills import Drills
from monitor.store.engine.ledger import SqlStore
from monitor.store.probing.history import History
from monitor.store.probing.retention import Retention, RetentionPolicy
from monitor.store.probing.statuses import SiteStatuses
from monitor.store.schema import migrations
from monitor.store.schema.migrations import StoreBarredError, StoreTooNewError, upgrade
from monitor.store.schema.rows import POLICY
from monitor.store.schema.tables import audit_log, desired_document, document, hour, maintenance_notice, metadata
from tests.integration.alerts.station import Station
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
        audit_log.create(connection)

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
        assert {token: sent.has_arrived for token, sent in tokens.items()} == {
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
            # What comes new gets an id and a number of its own.
            assert (await uow.add_incidents([replace(trigger(), dedup_key="other")]))[0].number == "JCM-02"
            await uow.add_attempt(notice.deliveries[0], "sms", AT + MINUTE, query_at=AT + 2 * MINUTE)
            assert await uow.claim_incident(active, "utama", AT, MINUTE)


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
    async with Database.open(place.directory, place.server) as database, SqlStore(database).transaction() as uow:
        (active,) = await uow.active_incidents()
        known = await uow.incident(active)
    assert known is not None
    assert (known.detected, known.declared) == (known.type, None)


async def test_who_had_acknowledged_before_it_could_expire_counts_as_heard_of_at_the_upgrade(
    place: SourceLocation,
) -> None:
    opened_at("0013", place, state="acknowledged", acknowledged_by="Siti Contoh")
    before = datetime.now(UTC)

    async with Database.open(place.directory, place.server) as database, SqlStore(database).transaction() as uow:
        (active,) = await uow.active_incidents()
        taken = await uow.incident(active)
    assert taken is not None
    assert taken.last_response_at is not None
    assert taken.last_response_at >= before
    assert taken.acknowledged_until == taken.last_response_at + timedelta(hours=1), "of a plan that says nothing of it"


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
    journal_before = audit_log.to_metadata(MetaData(), name="journal")
    with place.engine.begin() as connection:
        for number, (what, detail) in enumerate(said, 1):
            sealed = {"previous": f"{number:064}", "content": "0" * 64, "hash": "0" * 64}
            values = {"id": number, "at": AT, "actor": "Siti Contoh (siti)", "event": what, "detail": detail} | sealed
            connection.execute(insert(journal_before).values(**values))

    async with Database.open(place.directory, place.server) as database:
        found = await MaintenanceNoticeRecords(database).of("JKM", AT)
        async with database.read() as connection:
            entries = (
                (await connection.execute(select(maintenance_notice.c.entry).order_by(maintenance_notice.c.id)))
                .scalars()
                .all()
            )
    first, second = found.notices
    assert (first.number, second.number) == (told["number"], changed["number"])
    assert (first.starts_at, first.made_at, first.made_by) == (begins, AT, "Siti Contoh (siti)")
    assert (second.before, found.replaced, entries) == (first, {first.number}, [1, 3])


_DOCUMENT = """\
agency: JCM  # Jabatan
office: {telephone: 03-0000 0100}
probing: {confirmation: 30s}
escalation: {acknowledge_for: 2h}
"""


async def test_migration_renames_keys_of_documents_and_policies(place: SourceLocation) -> None:
    """A store of the schema before holds old keys; what was replaced stays as its writer left it."""
    brief = replace(trigger().policy, escalation=EscalationPolicy(steps=(), acknowledgement_timeout=2 * HOUR))
    before = POLICY.dump_json(brief).decode().replace('"acknowledgement_timeout"', '"acknowledge_for"')
    before = before.replace('"release_offered_after"', '"offered_after"')
    assert before.count("acknowledge_for") == before.count('"offered_after"') == 1
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
            assert "acknowledge_for" in _DOCUMENT
            assert "acknowledge_for" not in rename_keys(_DOCUMENT)
            assert (await connection.execute(select(desired_document.c.text))).scalar_one() == rename_keys(_DOCUMENT)
        async with SqlStore(database).transaction() as uow:
            (active,) = await uow.active_incidents()
            found = await uow.incident(active)
    assert found is not None
    assert found.policy == brief


# -- a store of 0.2.0, from before tables, columns and values had standard names -----------------------------------------


def store_of_0049(place: SourceLocation) -> dict[str, list[dict[str, Any]]]:
    """Leave the store that an engine of 0.2.0 wrote: six incidents, sent and waiting notifications, a drill. Return its rows."""
    upgrade(place.url, to="0049")
    file = Path(__file__).parent / "schema_0049.json"
    rows: dict[str, list[dict[str, Any]]] = json.loads(file.read_text(encoding="utf-8"))
    tables = MetaData()
    tables.reflect(place.engine)
    with place.engine.begin() as connection:
        for table in tables.sorted_tables:
            for row in rows.get(table.name, ()):
                values = {name: _typed(table.c[name].type, value) for name, value in row.items()}
                # The head is there from the beginning.
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


async def test_store_of_0049_migrated_has_same_incidents_and_notifications(place: SourceLocation) -> None:
    rows = store_of_0049(place)
    async with Database.open(place.directory, place.server) as database, SqlStore(database).transaction() as uow:
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


async def test_store_of_0049_values_of_0_2_0_are_read_as_standard_values(place: SourceLocation) -> None:
    rows = store_of_0049(place)
    assert "own_fault" in {row["matter"] for row in rows["incident"]} & {row["matter"] for row in rows["standing"]}
    assert "refused" in {row["cause"] for row in rows["standing"]}
    async with Database.open(place.directory, place.server) as database:
        async with SqlStore(database).transaction() as uow:
            incidents = {found.number: found for number in range(1, 7) if (found := await uow.incident(number))}
            (notice,) = await uow.notifications(incidents["NOC-01"].id)
        said, _ = await SiteStatuses(database, "noc").changed(None)
    fault = incidents["NOC-01"]
    assert (fault.type, fault.current_type, fault.detected) == (IncidentType.MONITORING_FAULT,) * 3
    assert notice.facts.type is IncidentType.MONITORING_FAULT
    assert incidents["JCM-01"].policy.cause is Cause.CONNECT
    network, agency = said["johor"]["ours/network"], said["johor"]["JCM"]
    assert (network.trouble and network.trouble.type, agency.cause) == (
        IncidentType.MONITORING_FAULT,
        Cause.CONNECT,
    )


async def test_store_of_0049_audit_chain_verifies_and_continues(place: SourceLocation) -> None:
    rows = store_of_0049(place)
    async with Database.open(place.directory, place.server) as database:
        verifier = await audit.verify(database.read)
        assert (verifier.flaws, verifier.head.number) == ([], len(rows["journal"]))
        async with SqlStore(database).transaction() as uow:
            (opened,) = await uow.add_incidents([replace(trigger(), dedup_key="KLB")])
            assert opened.id == len(rows["incident"]) + 1
            await uow.add_audit_entry(AuditEntry(at=AT, actor="engine", event="incident opened", incident_id=opened.id))
        verifier = await audit.verify(database.read)
        assert (verifier.flaws, verifier.head.number) == ([], len(rows["journal"]) + 1)
    for statement in ("DELETE FROM audit_log", "UPDATE audit_log SET actor = 'x'", "DELETE FROM audit_head"):
        with place.engine.begin() as connection, pytest.raises(DBAPIError, match="append-only"):
            connection.execute(text(statement))


async def test_store_of_0049_engine_sends_what_was_due_and_nothing_again(place: SourceLocation) -> None:
    rows = store_of_0049(place)
    async with Database.open(place.directory, place.server) as database:
        station = Station(database)
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
            (override,) = await uow.duty.standing(station.clock.now())
    assert (drill.requested_by, record.contact, record.state) == ("Ali Contoh", "mei", DrillState.FAILED)
    assert (silence.target, silence.ends_at - silence.starts_at) == ("JKM", timedelta(hours=1))
    assert (override.rota, override.contact.name) == ("JCM/utama", "Ravi Contoh")


def test_store_of_0049_is_read_with_present_names_before_it_is_migrated(place: SourceLocation) -> None:
    """Defect: Secrets and documents are read before the store is opened, and the first start after an upgrade finds none."""
    store_of_0049(place)
    with place.engine.begin() as connection:
        at = {"at": AT if place.server else "2026-11-24 06:15:00.000000"}
        secret = "INSERT INTO kept_secret VALUES ('mailbox', 'JCM/a', 'k1', 'sulit', 'Siti', :at)"
        connection.execute(text(secret), at)
        written = (
            "INSERT INTO document (agency, number, name, text, pen, written_by, written_at)"
            " VALUES ('JCM', 1, 'jcm.yaml', :text, 'portal', 'Siti', :at)"
        )
        connection.execute(text(written), {**at, "text": _DOCUMENT})
    before = inspect(place.engine).get_table_names()

    secrets = read_secrets(place.directory, place.server, SecretPurpose.MAILBOX)
    documents = read_documents(place.directory, place.server)
    duty = read_duty(place.directory, place.server, AT + MINUTE)

    assert {owner: kept.text for owner, kept in secrets.items()} == {"JCM/a": "sulit"}
    assert [each.text for each in documents.values()] == [rename_keys(_DOCUMENT)]
    assert ([each.rota for each in duty.overrides], duty.unread) == (["JCM/utama"], "")
    assert inspect(place.engine).get_table_names() == before


async def test_store_of_0049_file_audit_chain_verifies_before_it_is_migrated(place: SourceLocation) -> None:
    rows = store_of_0049(place)
    if place.server is None:
        verifier = await audit.verify(lambda: audit.open_sqlite_file(place.directory / "pantau.sqlite"))
        assert (verifier.flaws, verifier.head.number) == ([], len(rows["journal"]))


_LATER = """\
agency: JCM
checks: {posture: off, negative: on}
probing: {when: []}
"""


async def test_migration_renames_keys_of_documents_once_more(place: SourceLocation) -> None:
    """A store whose documents have some of the new keys gets the others."""
    opened_at("0051", place)
    values = {"text": _LATER, "at": AT}
    with place.engine.begin() as connection:
        versions = "INSERT INTO document (agency, number, name, text, pen, written_by, written_at)"
        connection.execute(text(f"{versions} VALUES ('JCM', 1, 'jcm.yaml', :text, 'files', 'Siti', :at)"), values)
        desired = "INSERT INTO desired_document (agency, name, text, offered_by, offered_at)"
        connection.execute(text(f"{desired} VALUES ('JCM', 'jcm.yaml', :text, 'hub', :at)"), values)

    async with Database.open(place.directory, place.server) as database, database.read() as connection:
        (found,) = (await connection.execute(select(document.c.text))).scalars()
        (other,) = (await connection.execute(select(desired_document.c.text))).scalars()
    assert found == other == rename_keys(_LATER)
    assert "checks: {domain: off, hardening: on}\nprobing: {active_hours: []}\n" in found
