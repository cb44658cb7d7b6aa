"""Replication from sites to a hub on real PostgreSQL servers, also after cuts, and the commands for it."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from multiprocessing.context import ForkProcess
from pathlib import Path

import psycopg
import pytest
import trustme
from typer.testing import CliRunner

from alerts.model.notification import IncidentType
from monitor.cli.store.site import app
from monitor.evaluation.joint.freshness import SiteHeartbeat
from monitor.evaluation.joint.replication import ReplicationState
from monitor.evaluation.joint.site_status import SiteStatus
from monitor.evaluation.monitoring_faults import ActiveProblem
from monitor.model.desired_document import SiteDocumentChanges
from monitor.model.document import EditSource, WrittenDocument
from monitor.store.admin.desired_documents import DesiredDocuments
from monitor.store.admin.documents import Documents
from monitor.store.backend.database import Database
from monitor.store.probing.history import History
from monitor.store.probing.probe_requests import ProbeRequests
from monitor.store.probing.processes import Processes
from monitor.store.probing.site_runs import SiteRunWriter
from monitor.store.probing.statuses import SiteStatuses
from monitor.store.schema.lock import LOCK_CLASS, Lock
from monitor.store.schema.migrations import upgrade
from monitor.store.sites import joining, publisher, subscriber
from monitor.store.sites.desired_documents import write_desired_documents
from monitor.store.sites.joining import SiteLinkStatus, add, check, rejoin, remove
from monitor.store.sites.link import SiteConnection, SiteRefusedError
from monitor.store.sites.probe_requests import SiteOutdatedError, request_run
from probes.model.result import Outcome
from tests.real.sitecluster import CALLER, OWNER, PASSWORD, Cluster, SiteWorld, site_world
from tests.unit.alerts.people import MINUTE, T0
from tests.unit.monitor.store.probing.test_history import ended

pytestmark = [pytest.mark.real, pytest.mark.site]

SITES = ("johor", "kuching")
STALE_AFTER = timedelta(seconds=30)
#: Enough for a busy machine.
TIMEOUT_SECONDS = 90.0
EMPTY = "TRUNCATE site_status, site_heartbeat, site_run, site_hour, run, hour, probe_request"
ROUTE = "JCM/outbound/rujukan-a"
UP = SiteStatus(up_since=T0)
DOWN = SiteStatus(trouble=ActiveProblem(type=IncidentType.BOTH, since=T0))


@pytest.fixture(scope="module")
def world() -> Iterator[SiteWorld]:
    if os.geteuid() != 0:
        pytest.fail("needs root: a site is cut off in a network namespace of its own")
    with site_world(*SITES) as world:
        yield world


@pytest.fixture(autouse=True)
def clean_up(world: SiteWorld, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # In this test the hub's server reconnects ten times a second.
    monkeypatch.setattr(joining, "_RECONNECT_SECONDS", 2.0)
    yield
    for each in SITES:
        world.sites[each].reconnect()
        remove(site_link(world, each), is_offline=False)
        world.sites[each].order(EMPTY)
    world.hub.order(EMPTY)


def site_link(world: SiteWorld, site: str = "johor", *, certificate: Path | None = None) -> SiteConnection:
    server = world.sites[site].reached(certificate)
    return SiteConnection(site=site, server=server, hub="noc", store=world.store)


def write_status(world: SiteWorld, site: str, *, tmp: Path, **levels: SiteStatus) -> None:
    async def write() -> None:
        async with Database.open(tmp / site, world.stores[site], name=site) as database:
            site_statuses = SiteStatuses(database, site)
            await History(database, site_statuses).record_run(ended(1), "JCM", {}, statuses=levels)
            monotonic = timedelta(seconds=time.monotonic())
            await site_statuses.write_heartbeat(
                SiteHeartbeat(at=datetime.now(UTC), monotonic=monotonic, incarnation=site)
            )

    asyncio.run(write())


def read_statuses(world: SiteWorld, tmp: Path) -> tuple[dict[str, dict[str, SiteStatus]], dict[str, datetime]]:
    async def read() -> tuple[dict[str, dict[str, SiteStatus]], dict[str, datetime]]:
        async with Database.open(tmp / "noc", world.store, name="noc") as database:
            site_statuses = SiteStatuses(database, "noc")
            said, _ = await site_statuses.changed(None)
            return {site: dict(of) for site, of in said.items()}, {
                site: beat.at for site, beat in (await site_statuses.heartbeats()).items()
            }

    return asyncio.run(read())


def record_failures(world: SiteWorld, site: str, *numbers: int, tmp: Path) -> None:
    """Record failed runs and one delivered run of a site; publish them and their hour if it has a hub."""

    async def write() -> None:
        async with Database.open(tmp / site, world.stores[site], name=site) as database:
            history, writer = History(database), SiteRunWriter(database, site)
            for number in numbers:
                await history.record_run(ended(number, Outcome.LOST, T0, ROUTE), "JCM", {})
            await history.record_run(ended(0, at=T0, route=ROUTE), "JCM", {})
            if await writer.has_hub():
                await writer.publish_failed(0, await writer.latest_run_id(), T0)
                await writer.publish_hour(T0.replace(minute=0), T0 + timedelta(minutes=len(numbers)))

    asyncio.run(write())


def site_sees_hub(world: SiteWorld, site: str, *, tmp: Path) -> bool:
    async def ask() -> bool:
        async with Database.open(tmp / site, world.stores[site], name=site) as database:
            return await SiteRunWriter(database, site).is_read_by_hub()

    return asyncio.run(ask())


def count(at: Cluster, table: str) -> int:
    ((rows,),) = at.order(f"SELECT count(*) FROM {table}")
    return int(rows)


def wait_until(what: Callable[[], bool]) -> float:
    """Wait until a condition holds; return the seconds waited."""
    begun = time.monotonic()
    while not what():
        assert time.monotonic() - begun < TIMEOUT_SECONDS
        time.sleep(0.02)
    return time.monotonic() - begun


def hub_has_status(world: SiteWorld, site: str, subject: str, type_: IncidentType | None) -> bool:
    rows = world.hub.order(f"SELECT type FROM site_status WHERE site = '{site}' AND subject = '{subject}'")
    return rows == [(type_,)]


def delay_hub(world: SiteWorld, by: str = "pg_sleep(0.5)") -> None:
    """Delay rows of johor at the hub until the function `lambat` is dropped."""
    world.hub.order(
        f"CREATE FUNCTION lambat() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM {by}; RETURN new; END'",
        "CREATE TRIGGER lambat BEFORE INSERT OR UPDATE ON site_status_johor FOR EACH ROW EXECUTE FUNCTION lambat()",
        "ALTER TABLE site_status_johor ENABLE ALWAYS TRIGGER lambat",
    )


def link_state(world: SiteWorld, site: str = "johor") -> SiteLinkStatus:
    return check(site_link(world, site), STALE_AFTER)


def test_status_reaches_hub_within_a_second_including_earlier_ones(world: SiteWorld, tmp_path: Path) -> None:
    write_status(world, "johor", tmp=tmp_path, JCM=UP, MDC=DOWN)
    assert add(site_link(world))
    assert read_statuses(world, tmp_path)[0] == {"johor": {"JCM": UP, "MDC": DOWN}}

    def seconds_until_received(status: SiteStatus, type_: IncidentType | None) -> float:
        write_status(world, "johor", tmp=tmp_path, JCM=status)
        return wait_until(lambda: hub_has_status(world, "johor", "JCM", type_))

    # A busy machine delays some; a pause in replication would delay all.
    assert any(seconds_until_received(*said) < 1 for _ in range(5) for said in ((DOWN, IncidentType.BOTH), (UP, None)))
    found = link_state(world)
    assert (found.is_fresh, found.problems, found.errors) == (True, (), 0)
    assert found.heartbeat_age is not None
    assert timedelta(0) < found.heartbeat_age < STALE_AFTER
    assert not add(site_link(world)), "johor was added before"


def test_status_arrives_before_later_heartbeat_after_cut(world: SiteWorld, tmp_path: Path) -> None:
    write_status(world, "johor", tmp=tmp_path, JCM=UP)
    add(site_link(world))
    world.sites["johor"].disconnect()
    (before,) = world.hub.order("SELECT at FROM site_heartbeat")
    write_status(world, "johor", tmp=tmp_path, JCM=DOWN)
    time.sleep(2)
    assert world.hub.order("SELECT at FROM site_heartbeat") == [before]
    found = link_state(world)
    assert "cannot be reached" in found.problems[0]
    assert found.lag_bytes is None
    assert joining.read_replication(site_link(world)).state(None) is ReplicationState.UNREACHABLE
    world.sites["johor"].reconnect()
    seen = list[tuple[bool, str | None]]()

    def has_beaten() -> bool:
        asked = "SELECT site_heartbeat.at, type FROM site_heartbeat JOIN site_status USING (site)"
        ((at, type_),) = world.hub.order(asked)
        seen.append((at != before[0], type_))
        return seen[-1][0]

    assert wait_until(has_beaten) < 30
    assert (True, None) not in seen
    assert seen[-1] == (True, IncidentType.BOTH)


def test_site_detects_whether_hub_reads_it(world: SiteWorld, tmp_path: Path) -> None:
    write_status(world, "johor", tmp=tmp_path, JCM=UP)
    assert not site_sees_hub(world, "johor", tmp=tmp_path)
    add(site_link(world))
    wait_until(lambda: site_sees_hub(world, "johor", tmp=tmp_path))
    world.sites["johor"].disconnect()
    # Neither end is notified of a cut: the site's server drops a connection after ten seconds without an answer.
    wait_until(lambda: not site_sees_hub(world, "johor", tmp=tmp_path))
    world.sites["johor"].reconnect()
    wait_until(lambda: site_sees_hub(world, "johor", tmp=tmp_path))


def test_rejoin_heartbeat_never_visible_before_statuses(world: SiteWorld, tmp_path: Path) -> None:
    write_status(world, "johor", tmp=tmp_path, JCM=DOWN)
    add(site_link(world))
    delay_hub(world, by="pg_advisory_xact_lock(1)")
    world.hub.order("SELECT pg_advisory_lock(1)")
    seen = set[tuple[int, int]]()

    def read_replication() -> None:
        # In the order of the TRUNCATE: otherwise a deadlock.
        seen.update(world.hub.order("SELECT (SELECT count(*) FROM site_status), (SELECT count(*) FROM site_heartbeat)"))

    def is_delayed() -> bool:
        read_replication()
        return world.hub.order("SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted") != []

    with ThreadPoolExecutor() as pool:
        rejoining = pool.submit(rejoin, site_link(world))
        wait_until(lambda: is_delayed() or rejoining.done())
        # A heartbeat that does not wait for the delayed rows would arrive now.
        ends = time.monotonic() + 1
        while time.monotonic() < ends:
            read_replication()
        world.hub.order("SELECT pg_advisory_unlock_all()")
        while not rejoining.done():
            read_replication()
        rejoining.result()
    world.hub.order("DROP FUNCTION lambat CASCADE")
    assert hub_has_status(world, "johor", "JCM", IncidentType.BOTH)
    assert (0, 0) in seen
    assert (0, 1) not in seen


def test_broken_connection_is_reestablished(world: SiteWorld, tmp_path: Path) -> None:
    write_status(world, "johor", tmp=tmp_path, JCM=UP)
    add(site_link(world))
    world.sites["johor"].order("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots")
    write_status(world, "johor", tmp=tmp_path, JCM=DOWN)
    wait_until(lambda: hub_has_status(world, "johor", "JCM", IncidentType.BOTH))
    assert link_state(world).problems == ()


def test_row_for_another_site_is_refused_and_stops_that_site_only(world: SiteWorld, tmp_path: Path) -> None:
    for each in SITES:
        write_status(world, each, tmp=tmp_path, JCM=UP)
        add(site_link(world, each))
    wrong_site = world.sites["johor"]
    wrong_site.order(
        "ALTER TABLE site_status DETACH PARTITION site_status_johor",
        "UPDATE site_status_johor SET site = 'kuching', type = 'both'",
    )
    errors = "SELECT apply_error_count > 0 FROM pg_stat_subscription_stats WHERE subname = 'pantau_johor'"
    wait_until(lambda: world.hub.order(errors) == [(True,)])
    write_status(world, "kuching", tmp=tmp_path, MDC=DOWN)
    wait_until(lambda: hub_has_status(world, "kuching", "MDC", IncidentType.BOTH))
    assert hub_has_status(world, "kuching", "JCM", None)
    assert link_state(world, "kuching").problems == ()
    # Each attempt takes some milliseconds, or longer on a busy machine.
    states = list[SiteLinkStatus]()

    def has_two_problems() -> bool:
        states.append(link_state(world))
        return len(states[-1].problems) == 2

    wait_until(has_two_problems)
    found = states[-1]
    assert found.errors > 0
    assert "it publishes rows of kuching, and the hub refuses them" in found.problems[0]
    assert "and retries: the log of the hub's PostgreSQL has the reason (pantau_johor)" in found.problems[1]
    # The error is counted before it is logged.
    wait_until(lambda: "violates partition constraint" in world.hub.said())

    wrong_site.order(
        "DELETE FROM site_status_johor",
        "ALTER TABLE site_status ATTACH PARTITION site_status_johor FOR VALUES IN ('johor')",
    )
    rejoin(site_link(world))
    write_status(world, "johor", tmp=tmp_path, JCM=DOWN)
    wait_until(lambda: hub_has_status(world, "johor", "JCM", IncidentType.BOTH))
    assert link_state(world).problems == ()


def test_lost_slot_is_reported_and_rejoin_resends_everything(world: SiteWorld, tmp_path: Path) -> None:
    write_status(world, "johor", tmp=tmp_path, JCM=UP, MDC=DOWN)
    add(site_link(world))
    site = world.sites["johor"]
    site.order("ALTER SYSTEM SET max_slot_wal_keep_size = '16MB'", "SELECT pg_reload_conf()")
    site.disconnect()
    write_status(world, "johor", tmp=tmp_path, JCM=DOWN)
    for _ in range(5):
        site.order("SELECT pg_switch_wal()", "CREATE TABLE filling (x int)", "DROP TABLE filling")

    def is_lost() -> bool:
        # Each process of the server reloads the settings in its own time.
        site.order("CHECKPOINT")
        return site.order("SELECT wal_status FROM pg_replication_slots") == [("lost",)]

    wait_until(is_lost)
    site.reconnect()
    assert "its slot pantau_noc is lost: the hub was away for too long" in link_state(world).problems[0]
    assert link_state(world).lag_bytes is None
    assert joining.read_replication(site_link(world)).state(None) is ReplicationState.SLOT_LOST
    rejoin(site_link(world))
    assert read_statuses(world, tmp_path)[0] == {"johor": {"JCM": DOWN, "MDC": DOWN}}
    assert link_state(world).problems == ()
    site.order("ALTER SYSTEM RESET max_slot_wal_keep_size", "SELECT pg_reload_conf()")


def test_missing_slot_is_reported_and_add_is_refused(world: SiteWorld, tmp_path: Path) -> None:
    write_status(world, "johor", tmp=tmp_path, JCM=UP)
    add(site_link(world))
    world.hub.order("ALTER SUBSCRIPTION pantau_johor DISABLE")
    wait_until(lambda: world.sites["johor"].order("SELECT active FROM pg_replication_slots") == [(False,)])
    world.sites["johor"].order("SELECT pg_drop_replication_slot('pantau_noc')")
    assert "its slot pantau_noc is gone" in link_state(world).problems[0]
    with pytest.raises(SiteRefusedError, match="`pantau site rejoin johor` if it is the same site"):
        add(site_link(world))


def test_rows_missing_after_standby_promotion_are_reported_and_rejoin_resends(world: SiteWorld, tmp_path: Path) -> None:
    write_status(world, "johor", tmp=tmp_path, JCM=UP)
    add(site_link(world))
    wait_until(lambda: joining.read_replication(site_link(world)).is_complete is True)
    # As in a standby that had not received this row, although its primary confirmed it to the site.
    world.hub.order("DELETE FROM site_status_johor")
    write_status(world, "johor", tmp=tmp_path, MDC=UP)
    wait_until(lambda: hub_has_status(world, "johor", "MDC", None))
    found = link_state(world)
    assert found.is_fresh, "no other check shows it"
    assert "some of its rows are missing at the hub" in found.problems[0]
    assert joining.read_replication(site_link(world)).state(None) is ReplicationState.INCOMPLETE
    rejoin(site_link(world))
    assert hub_has_status(world, "johor", "JCM", None)
    assert (link_state(world).problems, joining.read_replication(site_link(world)).state(None)) == (
        (),
        ReplicationState.WORKS,
    )


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ({"by": trustme.CA()}, "it does not trust the authority that issued our certificate"),
        ({"ahead": 10 * MINUTE}, "by its clock the certificate is not valid yet"),
        ({"ago": MINUTE}, r"our certificate in .* has expired on"),
        ({"name": "orang-lain"}, "our certificate in .* is for orang-lain, and must be for pantau_hub"),
        (None, "it requires a certificate"),
    ],
)
def test_wrong_certificate_is_refused_with_reason(world: SiteWorld, made: dict[str, object] | None, words: str) -> None:
    cluster, wanted = world.sites["johor"], site_link(world)
    file = None if made is None else cluster.certificate(**made)  # type: ignore[arg-type]
    wanted = replace(wanted, server=replace(wanted.server, cert_file=file, key_file=file))
    with pytest.raises(SiteRefusedError, match=words) as refused:
        add(wanted)
    assert PASSWORD not in str(refused.value)


def test_site_publishing_other_tables_is_refused_and_writes_nothing(world: SiteWorld) -> None:
    world.hub.order("CREATE TABLE site_heartbeat_kuching PARTITION OF site_heartbeat FOR VALUES IN ('kuching')")
    wrong_site = world.sites["johor"]
    wrong_site.order(
        "CREATE TABLE site_heartbeat_kuching (LIKE site_heartbeat INCLUDING ALL)",
        "CREATE FUNCTION lagi() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN"
        " IF NOT EXISTS (SELECT FROM pg_publication_tables WHERE tablename = ''site_heartbeat_kuching'') THEN"
        " ALTER PUBLICATION pantau_site ADD TABLE site_heartbeat_kuching; END IF; END'",
        "CREATE EVENT TRIGGER lagi ON ddl_command_end WHEN TAG IN ('ALTER PUBLICATION') EXECUTE FUNCTION lagi()",
    )
    try:
        with pytest.raises(
            SiteRefusedError, match=r"site johor publishes other tables than its own: .*site_heartbeat_kuching"
        ):
            add(site_link(world))
    finally:
        wrong_site.order("DROP EVENT TRIGGER lagi", "DROP FUNCTION lagi", "DROP TABLE site_heartbeat_kuching")
    assert world.hub.order("SELECT subname FROM pg_subscription") == []


def test_site_accepting_connection_without_certificate_is_not_added(world: SiteWorld) -> None:
    site = world.sites["johor"]
    rules = site.directory / "data" / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text(f"hostssl all all 0.0.0.0/0 scram-sha-256\n{before}")
    site.order("SELECT pg_reload_conf()")
    try:
        wait_until(
            lambda: any(
                "it accepts our connection without our certificate" in each for each in link_state(world).problems
            )
        )
        with pytest.raises(SiteRefusedError, match="put ours first"):
            add(site_link(world))
    finally:
        rules.write_text(before)
        site.order("SELECT pg_reload_conf()")
    wait_until(lambda: not any("without our certificate" in each for each in link_state(world).problems))


def test_site_certificate_of_unknown_authority_is_refused(world: SiteWorld, tmp_path: Path) -> None:
    wanted = site_link(world)
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    with pytest.raises(SiteRefusedError, match="no authority in ca_file has issued its certificate"):
        add(replace(wanted, server=replace(wanted.server, ca_file=other)))


def test_request_run_is_stored_at_site_and_failure_is_reported_at_once(world: SiteWorld, tmp_path: Path) -> None:
    site = world.sites["johor"]

    async def called() -> list[str]:
        async with Database.open(tmp_path / "johor", world.stores["johor"], name="johor") as database:
            return list(await ProbeRequests(database).list_current(database.clock.now()))

    assert request_run(site_link(world), "JCM")
    assert not request_run(site_link(world), "JCM"), "the request is pending"
    assert asyncio.run(called()) == ["JCM"]
    site.order("UPDATE probe_request SET requested_at = requested_at - interval '61 s'")
    assert asyncio.run(called()) == []
    assert request_run(site_link(world), "JCM")

    site.order("ALTER TABLE probe_request RENAME TO other")
    with pytest.raises(SiteOutdatedError, match="site johor runs an older version of Pantau: upgrade it"):
        request_run(site_link(world), "JCM")
    site.order("ALTER TABLE other RENAME TO probe_request")
    site.disconnect()
    with pytest.raises(SiteRefusedError, match=r"site johor .* cannot be reached"):
        request_run(site_link(world), "MDC")


def test_add_missing_prerequisites_are_listed_together_and_nothing_starts(world: SiteWorld, tmp_path: Path) -> None:
    site, hub = world.sites["johor"], world.hub
    site.order(f"ALTER ROLE {CALLER} NOREPLICATION", f"REVOKE {OWNER} FROM {CALLER}")
    hub.order(f"REVOKE pg_create_subscription FROM {OWNER}")
    others = [f"lain_{number}" for number in range(20)]
    hub.order(
        *(
            f"CREATE SUBSCRIPTION {each} CONNECTION '' PUBLICATION x WITH (connect = false, slot_name = NONE)"
            for each in others
        )
    )
    try:
        with pytest.raises(SiteRefusedError) as refused:
            add(site_link(world))
    finally:
        site.order(f"ALTER ROLE {CALLER} REPLICATION", f"GRANT {OWNER} TO {CALLER}")
        hub.order(f"GRANT pg_create_subscription TO {OWNER}", *(f"DROP SUBSCRIPTION {each}" for each in others))
    assert str(refused.value).splitlines() == [
        f"the hub's role may not subscribe: GRANT pg_create_subscription TO {OWNER}",
        "the hub's PostgreSQL cannot have more than its 20 subscriptions: raise max_logical_replication_workers there, and restart it",
        f"site johor: the role may not replicate: ALTER ROLE {CALLER} REPLICATION",
        f"site johor: the role may not use the store: GRANT {OWNER} TO {CALLER}",
    ]
    assert world.sites["johor"].order("SELECT FROM pg_publication") == []


def test_site_command_reports_result_state_and_problems(world: SiteWorld, tmp_path: Path) -> None:
    wanted = site_link(world).server
    config, secret = tmp_path / "pantau.yaml", tmp_path / "kata-laluan"
    secret.write_text(PASSWORD)
    secret.chmod(0o600)
    files = f"cert_file: {wanted.cert_file}, key_file: {wanted.key_file}, ca_file: {wanted.ca_file}, password_file: {secret}"
    config.write_text(
        f"site: noc\nstore: {{url: 'postgresql://{OWNER}@:{world.hub.port}/pantau?host={world.hub.directory}'}}\n"
        f"hub: {{sites: {{johor: {{url: 'postgresql://{CALLER}@{wanted.host}:{wanted.port}/pantau', {files}}}}}}}\n"
    )
    write_status(world, "johor", tmp=tmp_path, JCM=DOWN)

    def site(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, [*words, "--config", str(config)])
        # These servers run without fsync, which gives warnings.
        return done.exit_code, re.sub(r"^.*\[warning .*\n", "", done.output)

    def audited() -> list[tuple[str, str]]:
        return [(row[0], row[1]) for row in world.hub.order("SELECT event, actor FROM audit_log ORDER BY id")]

    assert site("add", "johor", "--by", "Siti") == (0, "johor was added; its results are here.\n")
    assert site("add", "johor") == (0, "johor was added before.\n")
    code, said = site("check")
    assert (code, re.sub(r"[\d.,]*\d", "N", said)) == (0, "johor: fresh, heartbeat N s ago, N bytes lag, N errors\n")
    assert site("rejoin", "johor", "--by", "Ali")[0] == 0
    code, said = site("add", "muar")
    assert (code, "no site 'muar' below `hub: sites:`; there is johor" in said) == (2, True)
    world.hub.order("ALTER SUBSCRIPTION pantau_johor DISABLE")
    code, said = site("check", "johor")
    assert (code, "the subscription pantau_johor was disabled manually" in said) == (1, True)
    assert joining.read_replication(site_link(world)).state(None) is ReplicationState.STOPPED
    secret.write_text("lain-sekali")
    code, said = site("remove", "johor")
    assert (code, "it refuses the role's password" in said, "lain-sekali" in said) == (1, True, False)
    code, said = site("remove", "johor", "--offline", "--by", "Siti")
    # No entries for a repeated add or a refused command.
    assert audited() == [("site joined", "Siti"), ("site joined anew", "Ali"), ("site left", "Siti")]
    assert world.hub.order("SELECT detail FROM audit_log ORDER BY id DESC LIMIT 1")[0][0] == (
        {"site": "johor", "at": wanted.host, "gone": "for good"}
    )
    assert (code, "SELECT pg_drop_replication_slot('pantau_noc')" in said) == (0, True)


def test_incompatible_versions_are_reported(world: SiteWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_status(world, "johor", tmp=tmp_path, JCM=UP)
    add(site_link(world))
    ((hub_revision,),) = world.hub.order("SELECT version_num FROM alembic_version")
    for site_revision, words in (("0035", "upgrade the site"), ("9999", "upgrade the hub first")):
        world.sites["johor"].order(f"UPDATE alembic_version SET version_num = '{site_revision}'")
        assert link_state(world).problems == (f"its schema is {site_revision}, and the hub's {hub_revision}: {words}",)
    with pytest.raises(SiteRefusedError, match="upgrade the hub first"):
        rejoin(site_link(world))
    for each in (world.sites["johor"], world.hub):
        each.order("DELETE FROM alembic_version")
        [trouble] = link_state(world).problems
        assert trouble.startswith("database pantau at ")
        assert "has tables and no schema revision, as after an interrupted" in trouble
        with pytest.raises(SiteRefusedError, match="no schema revision"):
            rejoin(site_link(world))
        each.order(f"INSERT INTO alembic_version VALUES ('{hub_revision}')")
    for end in (publisher, subscriber):
        monkeypatch.setattr(end, "_MIN_VERSION", 99)
    with pytest.raises(SiteRefusedError) as refused:
        rejoin(site_link(world))
    assert re.sub(r"1\d", "N", str(refused.value)).splitlines() == [
        "the hub's PostgreSQL is version N; 99 or newer is needed there",
        "site johor: its PostgreSQL is version N; 99 or newer is needed",
    ]


def test_site_upgraded_first_is_refused_and_continues_after_hub_upgrade(world: SiteWorld, tmp_path: Path) -> None:
    write_status(world, "johor", tmp=tmp_path, JCM=UP)
    add(site_link(world))
    ends = (world.sites["johor"], world.hub)
    errors = "SELECT apply_error_count > 0 FROM pg_stat_subscription_stats WHERE subname = 'pantau_johor'"
    try:
        for each in ends:
            each.order("ALTER TABLE site_status ADD COLUMN baru text")
            if each is ends[0]:
                write_status(world, "johor", tmp=tmp_path, JCM=DOWN)
                wait_until(lambda: world.hub.order(errors) == [(True,)])
                wait_until(lambda: "missing replicated column" in world.hub.said())
        wait_until(lambda: hub_has_status(world, "johor", "JCM", IncidentType.BOTH))
    finally:
        for each in ends:
            each.order("ALTER TABLE site_status DROP COLUMN IF EXISTS baru")


@pytest.mark.parametrize("first", ["site", "hub"])
def test_upgrade_renaming_tables_site_first_continues_hub_first_needs_rejoin(
    world: SiteWorld, tmp_path: Path, first: str
) -> None:
    site, hub = world.sites["johor"], world.hub

    def rename(end: Cluster, *, back: bool = False) -> None:
        names = ("standing_johor", "site_status_johor")
        old, new = reversed(names) if back else names
        end.order(f"ALTER TABLE {old} RENAME TO {new}")

    write_status(world, "johor", tmp=tmp_path, JCM=UP)
    add(site_link(world))
    try:
        for end in (site, hub):
            rename(end, back=True)
        write_status(world, "johor", tmp=tmp_path, JCM=DOWN)
        wait_until(lambda: hub_has_status(world, "johor", "JCM", IncidentType.BOTH))
        rename(site if first == "site" else hub)
        write_status(world, "johor", tmp=tmp_path, JCM=UP)
        wait_until(lambda: "logical replication target relation" in hub.said())
        rename(hub if first == "site" else site)
        if first == "hub":
            # What the site sent under the old name stays in its WAL.
            time.sleep(2)
            assert hub_has_status(world, "johor", "JCM", IncidentType.BOTH)
            rejoin(site_link(world))
        wait_until(lambda: hub_has_status(world, "johor", "JCM", None))
        assert link_state(world).problems == ()
    finally:
        for end in (site, hub):
            with suppress(psycopg.errors.UndefinedTable):
                rename(end)


def test_hub_server_unable_to_read_certificate_is_reported(world: SiteWorld) -> None:
    wanted = site_link(world, certificate=world.sites["johor"].certificate())
    assert wanted.server.key_file is not None
    shutil.chown(wanted.server.key_file, "root", "root")
    with pytest.raises(SiteRefusedError, match=r"cannot reach site johor: .*may its user \(postgres\) read them\?"):
        add(wanted)
    assert world.hub.order("SELECT FROM pg_subscription") == []
    assert world.sites["johor"].order("SELECT FROM pg_replication_slots") == []


def test_site_name_is_unique(world: SiteWorld, tmp_path: Path) -> None:
    with pytest.raises(SiteRefusedError, match="the hub itself has the name johor"):
        add(replace(site_link(world), hub="johor"))
    write_status(world, "johor", tmp=tmp_path, JCM=UP)
    world.sites["johor"].order("UPDATE site_status SET site = 'muar'", "UPDATE site_heartbeat SET site = 'muar'")
    with pytest.raises(SiteRefusedError, match="its name is muar: write `site: johor`"):
        add(site_link(world))


def test_failed_runs_and_hours_are_replicated_delivered_runs_are_not(world: SiteWorld, tmp_path: Path) -> None:
    for each in SITES:
        write_status(world, each, tmp=tmp_path, JCM=DOWN)
        add(site_link(world, each))
        # The same tokens at both sites and at the hub: rows stay separate.
        record_failures(world, each, 1, 2, tmp=tmp_path)
    wait_until(lambda: count(world.hub, "site_run") == count(world.hub, "site_hour") == 4)
    tokens = "SELECT site, token_id FROM site_run ORDER BY 1, 2"
    assert world.hub.order(tokens) == [(site, f"{n:016x}") for site in SITES for n in (1, 2)]
    assert count(world.hub, "run") == count(world.hub, "hour") == 0
    assert count(world.sites["johor"], "run WHERE outcome = 'delivered'") == 2

    # The hub keeps rows that the site deletes, and a repeated row stops nothing.
    world.sites["johor"].order("DELETE FROM site_run", "DELETE FROM site_hour")
    world.hub.order("DELETE FROM site_run WHERE site = 'kuching'")
    record_failures(world, "johor", 3, tmp=tmp_path)
    write_status(world, "johor", tmp=tmp_path, JCM=UP)
    wait_until(lambda: hub_has_status(world, "johor", "JCM", None))
    assert count(world.hub, "site_run WHERE site = 'johor'") == 5
    assert count(world.sites["kuching"], "site_run") == 2
    assert link_state(world).problems == ()

    # A rejoin keeps received rows, which are not sent again.
    rejoin(site_link(world))
    assert count(world.hub, "site_run WHERE site = 'johor'") == 5
    record_failures(world, "johor", 4, tmp=tmp_path)
    wait_until(lambda: count(world.hub, "site_run WHERE site = 'johor'") == 6)


def test_site_joined_before_run_publication_is_repaired_by_add(world: SiteWorld, tmp_path: Path) -> None:
    site = world.sites["johor"]
    apart = [f"ALTER TABLE {table} RENAME TO later_{table}" for table in ("site_run", "site_hour")]
    site.order(*apart)
    write_status(world, "johor", tmp=tmp_path / "before", JCM=DOWN)
    add(site_link(world))
    assert world.hub.order("SELECT subpublications FROM pg_subscription") == [(["pantau_site"],)]
    assert link_state(world).problems == ()
    site.order(*(f"ALTER TABLE later_{table} RENAME TO {table}" for table in ("site_run", "site_hour")))
    assert "it does not publish its runs: `pantau site add johor`" in link_state(world).problems[0]
    # Earlier rows are still in transit.
    delay_hub(world)
    write_status(world, "johor", tmp=tmp_path / "before", JCM=UP)
    assert not add(site_link(world))
    world.hub.order("DROP FUNCTION lambat CASCADE")
    record_failures(world, "johor", 1, tmp=tmp_path)
    wait_until(lambda: count(world.hub, "site_run") == 1)
    write_status(world, "johor", tmp=tmp_path, JCM=UP)
    wait_until(lambda: hub_has_status(world, "johor", "JCM", None))
    assert link_state(world).problems == ()


def test_add_interrupted_after_slot_continues(world: SiteWorld, tmp_path: Path) -> None:
    write_status(world, "johor", tmp=tmp_path, JCM=DOWN)
    world.sites["johor"].order("SELECT pg_create_logical_replication_slot('pantau_noc', 'pgoutput')")
    assert add(site_link(world))
    assert hub_has_status(world, "johor", "JCM", IncidentType.BOTH)


def test_add_interrupted_before_republish_continues(
    world: SiteWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_status(world, "johor", tmp=tmp_path, JCM=DOWN)

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(publisher.Publisher, "republish", interrupt)
        with pytest.raises(KeyboardInterrupt):
            add(site_link(world))
    assert not add(site_link(world))
    assert hub_has_status(world, "johor", "JCM", IncidentType.BOTH)


@pytest.mark.parametrize("step", ["check_server", "_execute", "_check_tables"])
def test_add_killed_at_any_step_continues(world: SiteWorld, tmp_path: Path, step: str) -> None:
    write_status(world, "johor", tmp=tmp_path, JCM=DOWN)
    adding = ForkProcess(target=_add_and_die_at, args=(step, site_link(world)))
    adding.start()
    adding.join()
    assert adding.exitcode == -signal.SIGKILL
    assert add(site_link(world))
    assert hub_has_status(world, "johor", "JCM", IncidentType.BOTH)


def _add_and_die_at(step: str, site: SiteConnection) -> None:
    setattr(subscriber.Subscriber, step, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    add(site)


def test_rejoin_and_remove_during_add_are_refused(
    world: SiteWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_status(world, "johor", tmp=tmp_path, JCM=DOWN)
    make_slot, refused = publisher.Publisher.make_slot, list[str]()
    monkeypatch.setattr(joining, "_LOCK_TIMEOUT_SECONDS", 0.0)

    def beside_another(site: publisher.Publisher) -> None:
        make_slot(site)
        for order in (rejoin, lambda each: remove(each, is_offline=True)):
            with pytest.raises(SiteRefusedError) as found:
                order(site_link(world))
            refused.append(str(found.value))

    monkeypatch.setattr(publisher.Publisher, "make_slot", beside_another)
    assert add(site_link(world))
    assert hub_has_status(world, "johor", "JCM", IncidentType.BOTH)
    assert refused == 2 * ["another command is adding or removing a site now: repeat this command when it has ended"]


def test_add_waits_for_command_that_has_just_ended(
    world: SiteWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "_LOCK_TIMEOUT_SECONDS", TIMEOUT_SECONDS)
    write_status(world, "johor", tmp=tmp_path, JCM=DOWN)
    with ThreadPoolExecutor() as pool:
        with psycopg.connect(world.hub.address("pantau"), autocommit=True) as ended:
            ended.execute("SELECT pg_advisory_lock(%s, %s)", [LOCK_CLASS, Lock.JOINING])
            adding = pool.submit(add, site_link(world))
            refused = "SELECT FROM pg_stat_activity WHERE state = 'idle' AND query LIKE 'SELECT pg_try_advisory_lock%'"
            wait_until(lambda: world.hub.order(refused) != [])
        assert adding.result()
    assert hub_has_status(world, "johor", "JCM", IncidentType.BOTH)


def test_remove_leaves_only_own_statuses_of_site(world: SiteWorld, tmp_path: Path) -> None:
    write_status(world, "johor", tmp=tmp_path, JCM=DOWN)
    add(site_link(world))
    record_failures(world, "johor", 1, tmp=tmp_path)
    wait_until(lambda: count(world.hub, "site_run") == 1)
    remove(site_link(world), is_offline=False)
    left = "SELECT relname FROM pg_class WHERE relname ~ 'johor' UNION SELECT pubname FROM pg_publication"
    for each in (world.hub, world.sites["johor"]):
        assert each.order(left, "SELECT slot_name FROM pg_replication_slots") == []
        assert each.order(left) == []
    assert world.hub.order("SELECT subname::text FROM pg_subscription UNION SELECT site FROM site_status") == []
    assert world.sites["johor"].order("SELECT site, subject FROM site_status") == [("johor", "JCM")]
    assert world.hub.order("SELECT site FROM site_run UNION SELECT site FROM site_hour") == []
    assert link_state(world).problems == ("the hub has no subscription to it: `pantau site add johor`",)
    assert joining.read_replication(site_link(world)).state(None) is ReplicationState.NOT_JOINED


@pytest.fixture
def second_hub(world: SiteWorld) -> Iterator[SiteConnection]:
    """Return johor's link from a second hub, whose store is another database of the same server."""
    world.hub.order(f"CREATE DATABASE ibu OWNER {OWNER}")
    store = replace(world.store, database="ibu")
    upgrade(store.url(), arguments=store.arguments())
    link_there = replace(site_link(world), hub="ibu-negara", store=store)
    yield link_there
    remove(link_there, is_offline=False)
    world.hub.order("DROP DATABASE ibu WITH (FORCE)")


@pytest.mark.blind
def test_remove_at_second_hub_leaves_first_connected(
    world: SiteWorld, second_hub: SiteConnection, tmp_path: Path
) -> None:
    """Defect: Removing a site at a second hub removes the publication that the first hub uses.

    Pantau: The last hub that leaves removes it.
    """
    write_status(world, "johor", tmp=tmp_path, JCM=UP)
    add(site_link(world))
    add(second_hub, allow_second_hub=True)
    remove(second_hub, is_offline=False)
    write_status(world, "johor", tmp=tmp_path, JCM=DOWN)
    wait_until(lambda: hub_has_status(world, "johor", "JCM", IncidentType.BOTH))
    assert link_state(world).problems == ()
    # The last hub that leaves removes the publication.
    remove(site_link(world), is_offline=False)
    assert world.sites["johor"].order("SELECT pubname FROM pg_publication") == []


def test_add_second_hub_is_refused_unless_allowed(world: SiteWorld, second_hub: SiteConnection, tmp_path: Path) -> None:
    write_status(world, "johor", tmp=tmp_path, JCM=UP)
    add(site_link(world))
    with pytest.raises(
        SiteRefusedError, match=r"another hub reads it \(pantau_noc\), and people would be notified twice"
    ):
        add(second_hub)
    assert world.sites["johor"].order("SELECT slot_name FROM pg_replication_slots") == [("pantau_noc",)]
    assert add(second_hub, allow_second_hub=True)
    assert not add(second_hub)
    for one, other in ((site_link(world), "pantau_ibu_negara"), (second_hub, "pantau_noc")):
        found = check(one, STALE_AFTER)
        assert found.problems == ()
        assert any(f"another hub reads it, too ({other})" in each for each in found.advice)
        assert joining.read_replication(one).other_hubs == (other,)


def test_slow_link_is_not_reported_as_clock_offset(world: SiteWorld, tmp_path: Path) -> None:
    write_status(world, "johor", tmp=tmp_path, JCM=UP)
    add(site_link(world))
    site = world.sites["johor"]
    # Queries before that of the clock take longer than the permitted offset.
    site.wire.degrade(delay=0.3, loss=0, seed=1)
    try:
        assert [each for each in link_state(world).problems if "clock" in each] == []
    finally:
        site.wire.degrade(delay=0, loss=0, seed=1)


def test_remove_offline_site_is_removed_at_hub(world: SiteWorld, tmp_path: Path) -> None:
    write_status(world, "johor", tmp=tmp_path, JCM=DOWN)
    add(site_link(world))
    world.sites["johor"].disconnect()
    remove(site_link(world), is_offline=True)
    assert world.hub.order("SELECT subname::text FROM pg_subscription UNION SELECT site FROM site_status") == []


def test_logs_contain_no_password(world: SiteWorld) -> None:
    for each in (world.hub, *world.sites.values()):
        assert each.said().count(PASSWORD) == each.said().count(f"CREATE ROLE {CALLER} LOGIN REPLICATION PASSWORD")


def record_documents_revision(world: SiteWorld, tmp: Path, documents: int | None, *, site: str = "johor") -> None:
    """Let a process of a site use the documents in its store; `None`: files."""

    async def write() -> None:
        async with Database.open(tmp / site, world.stores[site], name=site) as database:
            processes = Processes(database, site)
            await processes.beat(T0, T0)
            await processes.record_documents_revision(documents)

    asyncio.run(write())


def process_offers(world: SiteWorld, tmp: Path, **refusals: str) -> dict[str, str | None]:
    """Let a site's service apply offered documents except *refusals*; return those that were due."""

    async def take() -> dict[str, str | None]:
        async with Database.open(tmp / "johor", world.stores["johor"], name="johor") as database:
            documents, offers = Documents(database), DesiredDocuments(database)
            due, now = await offers.due(datetime.now(UTC)), datetime.now(UTC)
            used = [each for each in due if each.agency not in refusals]
            wanted = [WrittenDocument(agency=each.agency, name=each.name, text=each.text) for each in used if each.text]
            is_offline = [each.agency for each in used if each.text is None]
            await documents.write(
                await documents.latest(), wanted, is_offline, edit_source=EditSource.HUB, by="noc", now=now
            )
            await offers.record_results(due, refusals, now)
            return {each.agency: each.text for each in due}

    return asyncio.run(take())


def test_offered_documents_sent_once_and_after_cut_and_rejections_reported(world: SiteWorld, tmp_path: Path) -> None:
    first_jcm, new, mdc = (
        WrittenDocument(agency=code, name=f"{code.lower()}.yaml", text=text)
        for code, text in (("JCM", "satu"), ("JCM", "dua"), ("MDC", "tiga"))
    )
    offers = partial(write_desired_documents, site_link(world))
    write_status(world, "johor", tmp=tmp_path, JCM=UP)
    record_documents_revision(world, tmp_path, 0)
    assert offers({"JCM": first_jcm}) is None, "the site has not joined"
    add(site_link(world))
    try:
        record_documents_revision(world, tmp_path, None)
        assert offers({"JCM": first_jcm}) is None, "the site has its agencies in files"
        record_documents_revision(world, tmp_path, 0)
        # Two processes of the hub at the same time, and a restarted one.
        with ThreadPoolExecutor() as pool:
            both = list(pool.map(lambda _: offers({"JCM": first_jcm, "MDC": mdc}), range(2)))
        assert [each and each.outdated for each in both] == [2, 2]
        assert offers({"JCM": first_jcm, "MDC": mdc}) == SiteDocumentChanges(outdated=2)
        assert process_offers(world, tmp_path, MDC="tiada kata laluan") == {"JCM": "satu", "MDC": "tiga"}
        assert offers({"JCM": first_jcm, "MDC": mdc}) == SiteDocumentChanges(
            outdated=1, rejected={"MDC": "tiada kata laluan"}
        )
        assert link_state(world).problems == (
            "it cannot use the hub's document of MDC, and uses the previous one: tiada kata laluan",
        )

        world.sites["johor"].disconnect()
        with pytest.raises(SiteRefusedError, match="cannot be reached"):
            offers({"JCM": new})
        world.sites["johor"].reconnect()
        wait_until(lambda: world.sites["johor"].order("SELECT 1") == [(1,)])
        assert offers({"JCM": new}) == SiteDocumentChanges(updated=(new,), withdrawn=("MDC",), outdated=1)
        assert process_offers(world, tmp_path) == {"JCM": "dua"}
        assert offers({"JCM": new}) == SiteDocumentChanges()
        written = "SELECT number, text, source, written_by FROM document ORDER BY number"
        assert world.sites["johor"].order(written) == [(1, "satu", "hub", "noc"), (2, "dua", "hub", "noc")]

        # An agency that the hub no longer monitors is removed at the site, too.
        assert offers({"MDC": mdc}) == SiteDocumentChanges(updated=(mdc,), removed=("JCM",), outdated=2)
        assert process_offers(world, tmp_path) == {"JCM": None, "MDC": "tiga"}
        assert offers({"MDC": mdc}) == SiteDocumentChanges(withdrawn=("JCM",))
        assert link_state(world).problems == ()
        remove(site_link(world), is_offline=False)
        assert count(world.sites["johor"], "desired_document") == 0
        world.sites["johor"].order("ALTER TABLE desired_document RENAME TO later_offered")
        add(site_link(world))
        assert (offers({"JCM": new}), link_state(world).problems) == (None, ()), "the site runs an older version"
        world.sites["johor"].order("ALTER TABLE later_offered RENAME TO desired_document")
    finally:
        world.sites["johor"].order("DELETE FROM document", "DELETE FROM process")
