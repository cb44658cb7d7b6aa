"""Sites and their hub on real PostgreSQLs: what a site says arrives, also after its wire was cut, and nobody speaks for another."""

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
from monitor.model.desired_document import OfferDifference
from monitor.model.document import EditSource, WrittenDocument
from monitor.store.admin.documents import Documents
from monitor.store.admin.offers import Offers
from monitor.store.backend.database import Database
from monitor.store.probing.history import History
from monitor.store.probing.probe_calls import ProbeRequests
from monitor.store.probing.processes import Processes
from monitor.store.probing.site_runs import SiteRunWriter
from monitor.store.probing.statuses import SiteStatuses
from monitor.store.schema.lock import LOCKS, Lock
from monitor.store.schema.migrations import upgrade
from monitor.store.sites import joining, publisher, subscriber
from monitor.store.sites.joining import SiteLinkStatus, add, check, rejoin, remove
from monitor.store.sites.link import SiteConnection, SiteRefusedError
from monitor.store.sites.offering import offer
from monitor.store.sites.probe_calls import SiteOutdatedError, place_call
from probes.model.result import Outcome
from tests.real.sitecluster import CALLER, OWNER, PASSWORD, Cluster, SiteWorld, site_world
from tests.unit.alerts.people import MINUTE, T0
from tests.unit.monitor.store.probing.test_history import ended

pytestmark = [pytest.mark.real, pytest.mark.site]

SITES = ("johor", "kuching")
STALE_AFTER = timedelta(seconds=30)
#: In seconds, on a machine that is busy with other things.
PATIENCE = 90.0
EMPTY = "TRUNCATE site_status, site_heartbeat, site_run, site_hour, run, hour, probe_request"
ROUTE = "JCM/outbound/rujukan-a"
WELL = SiteStatus(up_since=T0)
DOWN = SiteStatus(trouble=ActiveProblem(type=IncidentType.BOTH, since=T0))


@pytest.fixture(scope="module")
def world() -> Iterator[SiteWorld]:
    if os.geteuid() != 0:
        pytest.fail("needs root: a site is cut off in a network namespace of its own")
    with site_world(*SITES) as world:
        yield world


@pytest.fixture(autouse=True)
def afresh(world: SiteWorld, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # Here the hub's server tries again ten times a second.
    monkeypatch.setattr(joining, "_AGAIN", 2.0)
    yield
    for each in SITES:
        world.sites[each].mend()
        remove(member(world, each), gone=False)
        world.sites[each].order(EMPTY)
    world.hub.order(EMPTY)


def member(world: SiteWorld, site: str = "johor", *, certificate: Path | None = None) -> SiteConnection:
    server = world.sites[site].reached(certificate)
    return SiteConnection(site=site, server=server, hub="noc", store=world.store)


def say(world: SiteWorld, site: str, *, tmp: Path, **levels: SiteStatus) -> None:
    async def write() -> None:
        async with Database.open(tmp / site, world.stores[site], name=site) as database:
            standings = SiteStatuses(database, site)
            await History(database, standings).record_run(ended(1), "JCM", {}, statuses=levels)
            monotonic = timedelta(seconds=time.monotonic())
            await standings.write_heartbeat(SiteHeartbeat(at=datetime.now(UTC), monotonic=monotonic, incarnation=site))

    asyncio.run(write())


def heard(world: SiteWorld, tmp: Path) -> tuple[dict[str, dict[str, SiteStatus]], dict[str, datetime]]:
    async def read() -> tuple[dict[str, dict[str, SiteStatus]], dict[str, datetime]]:
        async with Database.open(tmp / "noc", world.store, name="noc") as database:
            standings = SiteStatuses(database, "noc")
            said, _ = await standings.changed(None)
            return {site: dict(of) for site, of in said.items()}, {
                site: beat.at for site, beat in (await standings.heartbeats()).items()
            }

    return asyncio.run(read())


def fail(world: SiteWorld, site: str, *numbers: int, tmp: Path) -> None:
    """Let runs of a site fail, and one be delivered; and let it tell of them, and of their hour."""

    async def write() -> None:
        async with Database.open(tmp / site, world.stores[site], name=site) as database:
            history, teller = History(database), SiteRunWriter(database, site)
            for number in numbers:
                await history.record_run(ended(number, Outcome.LOST, T0, ROUTE), "JCM", {})
            await history.record_run(ended(0, at=T0, route=ROUTE), "JCM", {})
            if await teller.has_hub():
                await teller.publish_failed(0, await teller.newest(), T0)
                await teller.publish_hour(T0.replace(minute=0), T0 + timedelta(minutes=len(numbers)))

    asyncio.run(write())


def knows_it_is_heard(world: SiteWorld, site: str, *, tmp: Path) -> bool:
    async def ask() -> bool:
        async with Database.open(tmp / site, world.stores[site], name=site) as database:
            return await SiteRunWriter(database, site).is_heard()

    return asyncio.run(ask())


def count(at: Cluster, table: str) -> int:
    ((rows,),) = at.order(f"SELECT count(*) FROM {table}")
    return int(rows)


def until(what: Callable[[], bool]) -> float:
    """Wait until something is so; return for how many seconds."""
    begun = time.monotonic()
    while not what():
        assert time.monotonic() - begun < PATIENCE
        time.sleep(0.02)
    return time.monotonic() - begun


def hears(world: SiteWorld, site: str, subject: str, matter: IncidentType | None) -> bool:
    rows = world.hub.order(f"SELECT type FROM site_status WHERE site = '{site}' AND subject = '{subject}'")
    return rows == [(matter,)]


def hold_up(world: SiteWorld, by: str = "pg_sleep(0.5)") -> None:
    """Let the hub take its time for what johor says, until the function `lambat` is dropped."""
    world.hub.order(
        f"CREATE FUNCTION lambat() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM {by}; RETURN new; END'",
        "CREATE TRIGGER lambat BEFORE INSERT OR UPDATE ON site_status_johor FOR EACH ROW EXECUTE FUNCTION lambat()",
        "ALTER TABLE site_status_johor ENABLE ALWAYS TRIGGER lambat",
    )


def state(world: SiteWorld, site: str = "johor") -> SiteLinkStatus:
    return check(member(world, site), STALE_AFTER)


def test_what_a_site_says_is_at_the_hub_within_a_second_and_so_is_what_it_said_before(
    world: SiteWorld, tmp_path: Path
) -> None:
    say(world, "johor", tmp=tmp_path, JCM=WELL, MDC=DOWN)
    assert add(member(world))
    assert heard(world, tmp_path)[0] == {"johor": {"JCM": WELL, "MDC": DOWN}}

    def took(says: SiteStatus, matter: IncidentType | None) -> float:
        say(world, "johor", tmp=tmp_path, JCM=says)
        return until(lambda: hears(world, "johor", "JCM", matter))

    # A machine that stands still holds up the one or the other; what had a pause of its own would hold up all.
    assert any(took(*said) < 1 for _ in range(5) for said in ((DOWN, IncidentType.BOTH), (WELL, None)))
    found = state(world)
    assert (found.is_fresh, found.troubles, found.errors) == (True, (), 0)
    assert found.beat_age is not None
    assert timedelta(0) < found.beat_age < STALE_AFTER
    assert not add(member(world)), "it is there already"


def test_after_a_cut_the_judgement_arrives_before_the_beat_that_followed_it(world: SiteWorld, tmp_path: Path) -> None:
    say(world, "johor", tmp=tmp_path, JCM=WELL)
    add(member(world))
    world.sites["johor"].cut()
    (before,) = world.hub.order("SELECT at FROM site_heartbeat")
    say(world, "johor", tmp=tmp_path, JCM=DOWN)
    time.sleep(2)
    assert world.hub.order("SELECT at FROM site_heartbeat") == [before]
    found = state(world)
    assert "cannot be reached" in found.troubles[0]
    assert found.behind is None
    assert joining.look(member(world)).state(None) is ReplicationState.UNREACHABLE
    world.sites["johor"].mend()
    seen = list[tuple[bool, str | None]]()

    def has_beaten() -> bool:
        asked = "SELECT site_heartbeat.at, type FROM site_heartbeat JOIN site_status USING (site)"
        ((at, matter),) = world.hub.order(asked)
        seen.append((at != before[0], matter))
        return seen[-1][0]

    assert until(has_beaten) < 30
    assert (True, None) not in seen
    assert seen[-1] == (True, IncidentType.BOTH)


def test_a_site_knows_whether_the_hub_hears_it(world: SiteWorld, tmp_path: Path) -> None:
    say(world, "johor", tmp=tmp_path, JCM=WELL)
    assert not knows_it_is_heard(world, "johor", tmp=tmp_path)
    add(member(world))
    until(lambda: knows_it_is_heard(world, "johor", tmp=tmp_path))
    world.sites["johor"].cut()
    # Neither end is told of a cut: the site's server lets go of who has not answered for ten seconds.
    until(lambda: not knows_it_is_heard(world, "johor", tmp=tmp_path))
    world.sites["johor"].mend()
    until(lambda: knows_it_is_heard(world, "johor", tmp=tmp_path))


def test_a_site_that_joins_anew_is_never_seen_to_live_before_it_has_said_what_it_knows(
    world: SiteWorld, tmp_path: Path
) -> None:
    say(world, "johor", tmp=tmp_path, JCM=DOWN)
    add(member(world))
    hold_up(world, by="pg_advisory_xact_lock(1)")
    world.hub.order("SELECT pg_advisory_lock(1)")
    seen = set[tuple[int, int]]()

    def look() -> None:
        # In the order in which these are emptied: each would wait for the other.
        seen.update(world.hub.order("SELECT (SELECT count(*) FROM site_status), (SELECT count(*) FROM site_heartbeat)"))

    def is_held_up() -> bool:
        look()
        return world.hub.order("SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted") != []

    with ThreadPoolExecutor() as pool:
        anew = pool.submit(rejoin, member(world))
        until(lambda: is_held_up() or anew.done())
        # A beat that does not wait for what is held up comes now.
        ends = time.monotonic() + 1
        while time.monotonic() < ends:
            look()
        world.hub.order("SELECT pg_advisory_unlock_all()")
        while not anew.done():
            look()
        anew.result()
    world.hub.order("DROP FUNCTION lambat CASCADE")
    assert hears(world, "johor", "JCM", IncidentType.BOTH)
    assert (0, 0) in seen
    assert (0, 1) not in seen


def test_a_connection_that_breaks_is_made_again_and_stops_nothing(world: SiteWorld, tmp_path: Path) -> None:
    say(world, "johor", tmp=tmp_path, JCM=WELL)
    add(member(world))
    world.sites["johor"].order("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots")
    say(world, "johor", tmp=tmp_path, JCM=DOWN)
    until(lambda: hears(world, "johor", "JCM", IncidentType.BOTH))
    assert state(world).troubles == ()


def test_a_row_for_another_site_is_refused_and_stops_that_site_alone(world: SiteWorld, tmp_path: Path) -> None:
    for each in SITES:
        say(world, each, tmp=tmp_path, JCM=WELL)
        add(member(world, each))
    rogue = world.sites["johor"]
    rogue.order(
        "ALTER TABLE site_status DETACH PARTITION site_status_johor",
        "UPDATE site_status_johor SET site = 'kuching', type = 'both'",
    )
    errors = "SELECT apply_error_count > 0 FROM pg_stat_subscription_stats WHERE subname = 'pantau_johor'"
    until(lambda: world.hub.order(errors) == [(True,)])
    say(world, "kuching", tmp=tmp_path, MDC=DOWN)
    until(lambda: hears(world, "kuching", "MDC", IncidentType.BOTH))
    assert hears(world, "kuching", "JCM", None)
    assert state(world, "kuching").troubles == ()
    # Each try lasts for some milliseconds, or longer on a machine that stands still in the middle of one.
    looks = list[SiteLinkStatus]()

    def is_told() -> bool:
        looks.append(state(world))
        return len(looks[-1].troubles) == 2

    until(is_told)
    found = looks[-1]
    assert found.errors > 0
    assert "it speaks for kuching, and the hub refuses that" in found.troubles[0]
    assert "tries again and again: why stands in the log of the hub's PostgreSQL (pantau_johor)" in found.troubles[1]
    # It counts an error before it says which.
    until(lambda: "violates partition constraint" in world.hub.said())

    rogue.order(
        "DELETE FROM site_status_johor",
        "ALTER TABLE site_status ATTACH PARTITION site_status_johor FOR VALUES IN ('johor')",
    )
    rejoin(member(world))
    say(world, "johor", tmp=tmp_path, JCM=DOWN)
    until(lambda: hears(world, "johor", "JCM", IncidentType.BOTH))
    assert state(world).troubles == ()


def test_a_site_whose_slot_is_lost_says_so_and_says_everything_anew(world: SiteWorld, tmp_path: Path) -> None:
    say(world, "johor", tmp=tmp_path, JCM=WELL, MDC=DOWN)
    add(member(world))
    site = world.sites["johor"]
    site.order("ALTER SYSTEM SET max_slot_wal_keep_size = '16MB'", "SELECT pg_reload_conf()")
    site.cut()
    say(world, "johor", tmp=tmp_path, JCM=DOWN)
    for _ in range(5):
        site.order("SELECT pg_switch_wal()", "CREATE TABLE filling (x int)", "DROP TABLE filling")

    def is_lost() -> bool:
        # Each of its processes reads the settings again in its own time.
        site.order("CHECKPOINT")
        return site.order("SELECT wal_status FROM pg_replication_slots") == [("lost",)]

    until(is_lost)
    site.mend()
    assert "its slot pantau_noc is lost: the hub was away for too long" in state(world).troubles[0]
    assert state(world).behind is None
    assert joining.look(member(world)).state(None) is ReplicationState.SLOT_LOST
    rejoin(member(world))
    assert heard(world, tmp_path)[0] == {"johor": {"JCM": DOWN, "MDC": DOWN}}
    assert state(world).troubles == ()
    site.order("ALTER SYSTEM RESET max_slot_wal_keep_size", "SELECT pg_reload_conf()")


def test_a_slot_that_is_gone_is_told_and_add_does_not_take_it_for_another_site(
    world: SiteWorld, tmp_path: Path
) -> None:
    say(world, "johor", tmp=tmp_path, JCM=WELL)
    add(member(world))
    world.hub.order("ALTER SUBSCRIPTION pantau_johor DISABLE")
    until(lambda: world.sites["johor"].order("SELECT active FROM pg_replication_slots") == [(False,)])
    world.sites["johor"].order("SELECT pg_drop_replication_slot('pantau_noc')")
    assert "its slot pantau_noc is gone" in state(world).troubles[0]
    with pytest.raises(SiteRefusedError, match="`pantau site rejoin johor` if it is the same"):
        add(member(world))


def test_what_a_promoted_standby_had_not_heard_is_missed_and_said_anew_by_rejoin(
    world: SiteWorld, tmp_path: Path
) -> None:
    say(world, "johor", tmp=tmp_path, JCM=WELL)
    add(member(world))
    until(lambda: joining.look(member(world)).is_complete is True)
    # As a standby has it that had not heard this yet, while the site was told that it is heard.
    world.hub.order("DELETE FROM site_status_johor")
    say(world, "johor", tmp=tmp_path, MDC=WELL)
    until(lambda: hears(world, "johor", "MDC", None))
    found = state(world)
    assert found.is_fresh, "nothing else shows it"
    assert "part of what it says is not at the hub" in found.troubles[0]
    assert joining.look(member(world)).state(None) is ReplicationState.INCOMPLETE
    rejoin(member(world))
    assert hears(world, "johor", "JCM", None)
    assert (state(world).troubles, joining.look(member(world)).state(None)) == ((), ReplicationState.WORKS)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ({"by": trustme.CA()}, "it does not know who made our certificate"),
        ({"ahead": 10 * MINUTE}, "by its clock it is not valid yet"),
        ({"ago": MINUTE}, r"our certificate in .* has expired on"),
        ({"name": "orang-lain"}, "our certificate in .* is for orang-lain, and must be for pantau_hub"),
        (None, "it wants a certificate"),
    ],
)
def test_a_wrong_certificate_is_refused_in_words(world: SiteWorld, made: dict[str, object] | None, words: str) -> None:
    cluster, wanted = world.sites["johor"], member(world)
    file = None if made is None else cluster.certificate(**made)  # type: ignore[arg-type]
    wanted = replace(wanted, server=replace(wanted.server, cert_file=file, key_file=file))
    with pytest.raises(SiteRefusedError, match=words) as refused:
        add(wanted)
    assert PASSWORD not in str(refused.value)


def test_a_site_that_publishes_more_than_its_own_is_refused_and_writes_nothing(world: SiteWorld) -> None:
    world.hub.order("CREATE TABLE site_heartbeat_kuching PARTITION OF site_heartbeat FOR VALUES IN ('kuching')")
    rogue = world.sites["johor"]
    rogue.order(
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
            add(member(world))
    finally:
        rogue.order("DROP EVENT TRIGGER lagi", "DROP FUNCTION lagi", "DROP TABLE site_heartbeat_kuching")
    assert world.hub.order("SELECT subname FROM pg_subscription") == []


def test_a_site_that_lets_in_without_a_certificate_is_told_and_not_added(world: SiteWorld) -> None:
    site = world.sites["johor"]
    rules = site.directory / "data" / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text(f"hostssl all all 0.0.0.0/0 scram-sha-256\n{before}")
    site.order("SELECT pg_reload_conf()")
    try:
        until(lambda: any("it lets us in without our certificate" in each for each in state(world).troubles))
        with pytest.raises(SiteRefusedError, match="put ours first"):
            add(member(world))
    finally:
        rules.write_text(before)
        site.order("SELECT pg_reload_conf()")
    until(lambda: not any("without our certificate" in each for each in state(world).troubles))


def test_a_site_that_is_not_the_one_it_says_is_not_believed(world: SiteWorld, tmp_path: Path) -> None:
    wanted = member(world)
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    with pytest.raises(SiteRefusedError, match="its certificate is none that ca_file vouches for"):
        add(replace(wanted, server=replace(wanted.server, ca_file=other)))


def test_a_hub_calls_for_probes_in_a_sites_store_and_hears_at_once_where_it_cannot(
    world: SiteWorld, tmp_path: Path
) -> None:
    site = world.sites["johor"]

    async def called() -> list[str]:
        async with Database.open(tmp_path / "johor", world.stores["johor"], name="johor") as database:
            return list(await ProbeRequests(database).fresh(database.clock.now()))

    assert place_call(member(world), "JCM")
    assert not place_call(member(world), "JCM"), "it is called for"
    assert asyncio.run(called()) == ["JCM"]
    site.order("UPDATE probe_request SET requested_at = requested_at - interval '61 s'")
    assert asyncio.run(called()) == []
    assert place_call(member(world), "JCM")

    site.order("ALTER TABLE probe_request RENAME TO other")
    with pytest.raises(SiteOutdatedError, match="site johor is of an older version: upgrade it"):
        place_call(member(world), "JCM")
    site.order("ALTER TABLE other RENAME TO probe_request")
    site.cut()
    with pytest.raises(SiteRefusedError, match=r"site johor .* cannot be reached"):
        place_call(member(world), "MDC")


def test_what_is_missing_is_said_all_at_once_and_nothing_is_begun(world: SiteWorld, tmp_path: Path) -> None:
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
            add(member(world))
    finally:
        site.order(f"ALTER ROLE {CALLER} REPLICATION", f"GRANT {OWNER} TO {CALLER}")
        hub.order(f"GRANT pg_create_subscription TO {OWNER}", *(f"DROP SUBSCRIPTION {each}" for each in others))
    assert str(refused.value).splitlines() == [
        f"the hub's role may not subscribe: GRANT pg_create_subscription TO {OWNER}",
        "the hub's PostgreSQL hears 20 sites and no more: raise max_logical_replication_workers there, and restart it",
        f"site johor: the role may not replicate: ALTER ROLE {CALLER} REPLICATION",
        f"site johor: the role may do nothing to the store: GRANT {OWNER} TO {CALLER}",
    ]
    assert world.sites["johor"].order("SELECT FROM pg_publication") == []


def test_the_command_says_what_it_did_how_it_stands_and_what_is_wrong(world: SiteWorld, tmp_path: Path) -> None:
    wanted = member(world).server
    config, secret = tmp_path / "pantau.yaml", tmp_path / "kata-laluan"
    secret.write_text(PASSWORD)
    secret.chmod(0o600)
    files = f"cert_file: {wanted.cert_file}, key_file: {wanted.key_file}, ca_file: {wanted.ca_file}, password_file: {secret}"
    config.write_text(
        f"site: noc\nstore: {{url: 'postgresql://{OWNER}@:{world.hub.port}/pantau?host={world.hub.directory}'}}\n"
        f"hub: {{sites: {{johor: {{url: 'postgresql://{CALLER}@{wanted.host}:{wanted.port}/pantau', {files}}}}}}}\n"
    )
    say(world, "johor", tmp=tmp_path, JCM=DOWN)

    def site(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, [*words, "--config", str(config)])
        # These servers do not wait for their disks, and that is remarked on.
        return done.exit_code, re.sub(r"^.*\[warning .*\n", "", done.output)

    def told() -> list[tuple[str, str]]:
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
    assert (code, "the subscription pantau_johor was disabled by somebody" in said) == (1, True)
    assert joining.look(member(world)).state(None) is ReplicationState.STOPPED
    secret.write_text("lain-sekali")
    code, said = site("remove", "johor")
    assert (code, "it refuses the role's password" in said, "lain-sekali" in said) == (1, True, False)
    code, said = site("remove", "johor", "--offline", "--by", "Siti")
    # Neither what was there already nor what was refused.
    assert told() == [("site joined", "Siti"), ("site joined anew", "Ali"), ("site left", "Siti")]
    assert world.hub.order("SELECT detail FROM audit_log ORDER BY id DESC LIMIT 1")[0][0] == (
        {"site": "johor", "at": wanted.host, "gone": "for good"}
    )
    assert (code, "SELECT pg_drop_replication_slot('pantau_noc')" in said) == (0, True)


def test_versions_that_do_not_go_together_are_told(
    world: SiteWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(world, "johor", tmp=tmp_path, JCM=WELL)
    add(member(world))
    ((ours,),) = world.hub.order("SELECT version_num FROM alembic_version")
    for theirs, words in (("0035", "upgrade the site"), ("9999", "upgrade the hub first")):
        world.sites["johor"].order(f"UPDATE alembic_version SET version_num = '{theirs}'")
        assert state(world).troubles == (f"its schema is {theirs}, and the hub's {ours}: {words}",)
    with pytest.raises(SiteRefusedError, match="upgrade the hub first"):
        rejoin(member(world))
    for each in (world.sites["johor"], world.hub):
        each.order("DELETE FROM alembic_version")
        [trouble] = state(world).troubles
        assert trouble.startswith("database pantau at ")
        assert "has tables and no number of their schema, as when a copy" in trouble
        with pytest.raises(SiteRefusedError, match="no number of their schema"):
            rejoin(member(world))
        each.order(f"INSERT INTO alembic_version VALUES ('{ours}')")
    for end in (publisher, subscriber):
        monkeypatch.setattr(end, "_OLDEST", 99)
    with pytest.raises(SiteRefusedError) as refused:
        rejoin(member(world))
    assert re.sub(r"1\d", "N", str(refused.value)).splitlines() == [
        "the hub's PostgreSQL is version N; 99 or newer is needed there",
        "site johor: its PostgreSQL is version N; 99 or newer is needed",
    ]


def test_a_site_that_was_upgraded_first_is_refused_and_goes_on_by_itself_once_the_hub_is(
    world: SiteWorld, tmp_path: Path
) -> None:
    say(world, "johor", tmp=tmp_path, JCM=WELL)
    add(member(world))
    ends = (world.sites["johor"], world.hub)
    errors = "SELECT apply_error_count > 0 FROM pg_stat_subscription_stats WHERE subname = 'pantau_johor'"
    try:
        for each in ends:
            each.order("ALTER TABLE site_status ADD COLUMN baru text")
            if each is ends[0]:
                say(world, "johor", tmp=tmp_path, JCM=DOWN)
                until(lambda: world.hub.order(errors) == [(True,)])
                until(lambda: "missing replicated column" in world.hub.said())
        until(lambda: hears(world, "johor", "JCM", IncidentType.BOTH))
    finally:
        for each in ends:
            each.order("ALTER TABLE site_status DROP COLUMN IF EXISTS baru")


@pytest.mark.parametrize("first", ["site", "hub"])
def test_upgrade_that_renames_replicated_tables_site_first_continues_and_hub_first_needs_rejoin(
    world: SiteWorld, tmp_path: Path, first: str
) -> None:
    site, hub = world.sites["johor"], world.hub

    def rename(end: Cluster, *, back: bool = False) -> None:
        names = ("standing_johor", "site_status_johor")
        old, new = reversed(names) if back else names
        end.order(f"ALTER TABLE {old} RENAME TO {new}")

    say(world, "johor", tmp=tmp_path, JCM=WELL)
    add(member(world))
    try:
        for end in (site, hub):
            rename(end, back=True)
        say(world, "johor", tmp=tmp_path, JCM=DOWN)
        until(lambda: hears(world, "johor", "JCM", IncidentType.BOTH))
        rename(site if first == "site" else hub)
        say(world, "johor", tmp=tmp_path, JCM=WELL)
        until(lambda: "logical replication target relation" in hub.said())
        rename(hub if first == "site" else site)
        if first == "hub":
            # What the site sent under the old name is in its log for good.
            time.sleep(2)
            assert hears(world, "johor", "JCM", IncidentType.BOTH)
            rejoin(member(world))
        until(lambda: hears(world, "johor", "JCM", None))
        assert state(world).troubles == ()
    finally:
        for end in (site, hub):
            with suppress(psycopg.errors.UndefinedTable):
                rename(end)


def test_the_hubs_own_server_says_when_it_cannot_read_the_certificate(world: SiteWorld) -> None:
    wanted = member(world, certificate=world.sites["johor"].certificate())
    assert wanted.server.key_file is not None
    shutil.chown(wanted.server.key_file, "root", "root")
    with pytest.raises(SiteRefusedError, match=r"cannot reach site johor: .*may its user \(postgres\) read them\?"):
        add(wanted)
    assert world.hub.order("SELECT FROM pg_subscription") == []
    assert world.sites["johor"].order("SELECT FROM pg_replication_slots") == []


def test_a_name_is_one_sites_alone(world: SiteWorld, tmp_path: Path) -> None:
    with pytest.raises(SiteRefusedError, match="the hub itself is called johor"):
        add(replace(member(world), hub="johor"))
    say(world, "johor", tmp=tmp_path, JCM=WELL)
    world.sites["johor"].order("UPDATE site_status SET site = 'muar'", "UPDATE site_heartbeat SET site = 'muar'")
    with pytest.raises(SiteRefusedError, match="it calls itself muar: write `site: johor`"):
        add(member(world))


def test_runs_that_fail_and_hours_come_to_the_hub_and_those_that_deliver_stay(world: SiteWorld, tmp_path: Path) -> None:
    for each in SITES:
        say(world, each, tmp=tmp_path, JCM=DOWN)
        add(member(world, each))
        # The same tokens at both, and at the hub: nobody's rows are anybody else's.
        fail(world, each, 1, 2, tmp=tmp_path)
    until(lambda: count(world.hub, "site_run") == count(world.hub, "site_hour") == 4)
    tokens = "SELECT site, token_id FROM site_run ORDER BY 1, 2"
    assert world.hub.order(tokens) == [(site, f"{n:016x}") for site in SITES for n in (1, 2)]
    assert count(world.hub, "run") == count(world.hub, "hour") == 0
    assert count(world.sites["johor"], "run WHERE outcome = 'delivered'") == 2

    # What the site keeps no more the hub keeps, and the very same once more holds up nothing.
    world.sites["johor"].order("DELETE FROM site_run", "DELETE FROM site_hour")
    world.hub.order("DELETE FROM site_run WHERE site = 'kuching'")
    fail(world, "johor", 3, tmp=tmp_path)
    say(world, "johor", tmp=tmp_path, JCM=WELL)
    until(lambda: hears(world, "johor", "JCM", None))
    assert count(world.hub, "site_run WHERE site = 'johor'") == 5
    assert count(world.sites["kuching"], "site_run") == 2
    assert state(world).troubles == ()

    # Joined anew it does not forget what it has heard, which is not told again.
    rejoin(member(world))
    assert count(world.hub, "site_run WHERE site = 'johor'") == 5
    fail(world, "johor", 4, tmp=tmp_path)
    until(lambda: count(world.hub, "site_run WHERE site = 'johor'") == 6)


def test_a_site_that_joined_before_it_told_of_runs_is_mended_by_adding_it_again(
    world: SiteWorld, tmp_path: Path
) -> None:
    site = world.sites["johor"]
    apart = [f"ALTER TABLE {table} RENAME TO later_{table}" for table in ("site_run", "site_hour")]
    site.order(*apart)
    say(world, "johor", tmp=tmp_path / "before", JCM=DOWN)
    add(member(world))
    assert world.hub.order("SELECT subpublications FROM pg_subscription") == [(["pantau_site"],)]
    assert state(world).troubles == ()
    site.order(*(f"ALTER TABLE later_{table} RENAME TO {table}" for table in ("site_run", "site_hour")))
    assert "it tells nothing of its runs: `pantau site add johor`" in state(world).troubles[0]
    # What it published before is still on its way meanwhile.
    hold_up(world)
    say(world, "johor", tmp=tmp_path / "before", JCM=WELL)
    assert not add(member(world))
    world.hub.order("DROP FUNCTION lambat CASCADE")
    fail(world, "johor", 1, tmp=tmp_path)
    until(lambda: count(world.hub, "site_run") == 1)
    say(world, "johor", tmp=tmp_path, JCM=WELL)
    until(lambda: hears(world, "johor", "JCM", None))
    assert state(world).troubles == ()


def test_what_was_broken_off_is_gone_on_with(world: SiteWorld, tmp_path: Path) -> None:
    say(world, "johor", tmp=tmp_path, JCM=DOWN)
    world.sites["johor"].order("SELECT pg_create_logical_replication_slot('pantau_noc', 'pgoutput')")
    assert add(member(world))
    assert hears(world, "johor", "JCM", IncidentType.BOTH)


def test_what_was_broken_off_before_the_site_spoke_is_gone_on_with(
    world: SiteWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(world, "johor", tmp=tmp_path, JCM=DOWN)

    def broken_off(_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(publisher.Publisher, "publish_again", broken_off)
        with pytest.raises(KeyboardInterrupt):
            add(member(world))
    assert not add(member(world))
    assert hears(world, "johor", "JCM", IncidentType.BOTH)


@pytest.mark.parametrize("step", ["check_server", "_of_it", "_see_tables"])
def test_what_was_killed_on_the_way_is_gone_on_with(world: SiteWorld, tmp_path: Path, step: str) -> None:
    say(world, "johor", tmp=tmp_path, JCM=DOWN)
    adding = ForkProcess(target=_killed_at, args=(step, member(world)))
    adding.start()
    adding.join()
    assert adding.exitcode == -signal.SIGKILL
    assert add(member(world))
    assert hears(world, "johor", "JCM", IncidentType.BOTH)


def _killed_at(step: str, site: SiteConnection) -> None:
    setattr(subscriber.Subscriber, step, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    add(site)


def test_while_one_lets_a_site_join_another_is_refused_what_would_take_it_apart(
    world: SiteWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(world, "johor", tmp=tmp_path, JCM=DOWN)
    make_slot, refused = publisher.Publisher.make_slot, list[str]()
    monkeypatch.setattr(joining, "_LET_GO_WITHIN", 0.0)

    def beside_another(site: publisher.Publisher) -> None:
        make_slot(site)
        for order in (rejoin, lambda each: remove(each, gone=True)):
            with pytest.raises(SiteRefusedError) as found:
                order(member(world))
            refused.append(str(found.value))

    monkeypatch.setattr(publisher.Publisher, "make_slot", beside_another)
    assert add(member(world))
    assert hears(world, "johor", "JCM", IncidentType.BOTH)
    assert refused == 2 * ["somebody else lets a site join or leave just now: call this again when they have done"]


def test_a_command_that_has_just_ended_and_is_still_known_to_the_hub_is_waited_for(
    world: SiteWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "_LET_GO_WITHIN", PATIENCE)
    say(world, "johor", tmp=tmp_path, JCM=DOWN)
    with ThreadPoolExecutor() as pool:
        with psycopg.connect(world.hub.address("pantau"), autocommit=True) as ended:
            ended.execute("SELECT pg_advisory_lock(%s, %s)", [LOCKS, Lock.JOINING])
            adding = pool.submit(add, member(world))
            refused = "SELECT FROM pg_stat_activity WHERE state = 'idle' AND query LIKE 'SELECT pg_try_advisory_lock%'"
            until(lambda: world.hub.order(refused) != [])
        assert adding.result()
    assert hears(world, "johor", "JCM", IncidentType.BOTH)


def test_a_site_that_leaves_leaves_nothing_but_what_it_says_to_itself(world: SiteWorld, tmp_path: Path) -> None:
    say(world, "johor", tmp=tmp_path, JCM=DOWN)
    add(member(world))
    fail(world, "johor", 1, tmp=tmp_path)
    until(lambda: count(world.hub, "site_run") == 1)
    remove(member(world), gone=False)
    left = "SELECT relname FROM pg_class WHERE relname ~ 'johor' UNION SELECT pubname FROM pg_publication"
    for each in (world.hub, world.sites["johor"]):
        assert each.order(left, "SELECT slot_name FROM pg_replication_slots") == []
        assert each.order(left) == []
    assert world.hub.order("SELECT subname::text FROM pg_subscription UNION SELECT site FROM site_status") == []
    assert world.sites["johor"].order("SELECT site, subject FROM site_status") == [("johor", "JCM")]
    assert world.hub.order("SELECT site FROM site_run UNION SELECT site FROM site_hour") == []
    assert state(world).troubles == ("the hub does not listen to it: `pantau site add johor`",)
    assert joining.look(member(world)).state(None) is ReplicationState.NOT_JOINED


@pytest.fixture
def second_hub(world: SiteWorld) -> Iterator[SiteConnection]:
    """Return johor as another hub has it, whose store is another database of the same server."""
    world.hub.order(f"CREATE DATABASE ibu OWNER {OWNER}")
    store = replace(world.store, database="ibu")
    upgrade(store.url(), arguments=store.arguments())
    member_there = replace(member(world), hub="ibu-negara", store=store)
    yield member_there
    remove(member_there, gone=False)
    world.hub.order("DROP DATABASE ibu WITH (FORCE)")


@pytest.mark.blind
def test_remove_at_a_second_hub_leaves_the_first_what_it_hears(
    world: SiteWorld, second_hub: SiteConnection, tmp_path: Path
) -> None:
    """Defect: Removing a site at a second hub removes the publication that the first hub uses.

    Pantau: The last hub that leaves removes it.
    """
    say(world, "johor", tmp=tmp_path, JCM=WELL)
    add(member(world))
    add(second_hub, beside=True)
    remove(second_hub, gone=False)
    say(world, "johor", tmp=tmp_path, JCM=DOWN)
    until(lambda: hears(world, "johor", "JCM", IncidentType.BOTH))
    assert state(world).troubles == ()
    # The last that leaves takes all away.
    remove(member(world), gone=False)
    assert world.sites["johor"].order("SELECT pubname FROM pg_publication") == []


def test_second_hub_is_refused_and_noticed_unless_it_is_meant(
    world: SiteWorld, second_hub: SiteConnection, tmp_path: Path
) -> None:
    say(world, "johor", tmp=tmp_path, JCM=WELL)
    add(member(world))
    with pytest.raises(SiteRefusedError, match=r"another hub reads it \(pantau_noc\), and people would be told twice"):
        add(second_hub)
    assert world.sites["johor"].order("SELECT slot_name FROM pg_replication_slots") == [("pantau_noc",)]
    assert add(second_hub, beside=True)
    assert not add(second_hub)
    for one, other in ((member(world), "pantau_ibu_negara"), (second_hub, "pantau_noc")):
        found = check(one, STALE_AFTER)
        assert found.troubles == ()
        assert any(f"another hub reads it, too ({other})" in each for each in found.advice)
        assert joining.look(one).other_hubs == (other,)


def test_slow_wire_is_not_taken_for_a_clock_that_is_wrong(world: SiteWorld, tmp_path: Path) -> None:
    say(world, "johor", tmp=tmp_path, JCM=WELL)
    add(member(world))
    site = world.sites["johor"]
    # What is asked before the clock takes longer than clocks may be apart.
    site.wire.worsen(delay=0.3, loss=0, seed=1)
    try:
        assert [each for each in state(world).troubles if "clock" in each] == []
    finally:
        site.wire.worsen(delay=0, loss=0, seed=1)


def test_a_site_that_is_gone_for_good_can_be_removed_without_it(world: SiteWorld, tmp_path: Path) -> None:
    say(world, "johor", tmp=tmp_path, JCM=DOWN)
    add(member(world))
    world.sites["johor"].cut()
    remove(member(world), gone=True)
    assert world.hub.order("SELECT subname::text FROM pg_subscription UNION SELECT site FROM site_status") == []


def test_no_log_of_ours_holds_a_password(world: SiteWorld) -> None:
    for each in (world.hub, *world.sites.values()):
        assert each.said().count(PASSWORD) == each.said().count(f"CREATE ROLE {CALLER} LOGIN REPLICATION PASSWORD")


def record_documents_level(world: SiteWorld, tmp: Path, documents: int | None, *, site: str = "johor") -> None:
    """Let a process of a site go by the documents in its store; `None`: by files."""

    async def write() -> None:
        async with Database.open(tmp / site, world.stores[site], name=site) as database:
            processes = Processes(database, site)
            await processes.beat(T0, T0)
            await processes.record_documents_level(documents)

    asyncio.run(write())


def look_at_offers(world: SiteWorld, tmp: Path, **refusals: str) -> dict[str, str | None]:
    """Let a site's service take up what it is offered but for what it refuses; return what it looked at."""

    async def take() -> dict[str, str | None]:
        async with Database.open(tmp / "johor", world.stores["johor"], name="johor") as database:
            documents, offers = Documents(database), Offers(database)
            due, now = await offers.due(datetime.now(UTC)), datetime.now(UTC)
            used = [each for each in due if each.agency not in refusals]
            wanted = [WrittenDocument(agency=each.agency, name=each.name, text=each.text) for each in used if each.text]
            gone = [each.agency for each in used if each.text is None]
            await documents.write(await documents.latest(), wanted, gone, edit_source=EditSource.HUB, by="noc", now=now)
            await offers.processed(due, refusals, now)
            return {each.agency: each.text for each in due}

    return asyncio.run(take())


def test_the_hubs_documents_go_down_to_a_site_once_and_after_a_cut_and_it_says_which_it_cannot_use(
    world: SiteWorld, tmp_path: Path
) -> None:
    jcm, new, mdc = (
        WrittenDocument(agency=code, name=f"{code.lower()}.yaml", text=text)
        for code, text in (("JCM", "satu"), ("JCM", "dua"), ("MDC", "tiga"))
    )
    offers = partial(offer, member(world))
    say(world, "johor", tmp=tmp_path, JCM=WELL)
    record_documents_level(world, tmp_path, 0)
    assert offers({"JCM": jcm}) is None, "it has not joined"
    add(member(world))
    try:
        record_documents_level(world, tmp_path, None)
        assert offers({"JCM": jcm}) is None, "it keeps its agencies in files"
        record_documents_level(world, tmp_path, 0)
        # Two processes of the hub at once, and one that was started again.
        with ThreadPoolExecutor() as pool:
            both = list(pool.map(lambda _: offers({"JCM": jcm, "MDC": mdc}), range(2)))
        assert [each and each.outdated for each in both] == [2, 2]
        assert offers({"JCM": jcm, "MDC": mdc}) == OfferDifference(outdated=2)
        assert look_at_offers(world, tmp_path, MDC="tiada kata laluan") == {"JCM": "satu", "MDC": "tiga"}
        assert offers({"JCM": jcm, "MDC": mdc}) == OfferDifference(outdated=1, rejected={"MDC": "tiada kata laluan"})
        assert state(world).troubles == (
            "it cannot use the hub's document of MDC, and goes by the one before: tiada kata laluan",
        )

        world.sites["johor"].cut()
        with pytest.raises(SiteRefusedError, match="cannot be reached"):
            offers({"JCM": new})
        world.sites["johor"].mend()
        until(lambda: world.sites["johor"].order("SELECT 1") == [(1,)])
        assert offers({"JCM": new}) == OfferDifference(offered=(new,), withdrawn=("MDC",), outdated=1)
        assert look_at_offers(world, tmp_path) == {"JCM": "dua"}
        assert offers({"JCM": new}) == OfferDifference()
        written = "SELECT number, text, source, written_by FROM document ORDER BY number"
        assert world.sites["johor"].order(written) == [(1, "satu", "hub", "noc"), (2, "dua", "hub", "noc")]

        # What the hub watches no more leaves, for it was the hub's; and nothing is left behind.
        assert offers({"MDC": mdc}) == OfferDifference(offered=(mdc,), removed=("JCM",), outdated=2)
        assert look_at_offers(world, tmp_path) == {"JCM": None, "MDC": "tiga"}
        assert offers({"MDC": mdc}) == OfferDifference(withdrawn=("JCM",))
        assert state(world).troubles == ()
        remove(member(world), gone=False)
        assert count(world.sites["johor"], "desired_document") == 0
        world.sites["johor"].order("ALTER TABLE desired_document RENAME TO later_offered")
        add(member(world))
        assert (offers({"JCM": new}), state(world).troubles) == (None, ()), "it is of an older Pantau"
        world.sites["johor"].order("ALTER TABLE later_offered RENAME TO desired_document")
    finally:
        world.sites["johor"].order("DELETE FROM document", "DELETE FROM process")
