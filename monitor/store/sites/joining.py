"""Commands of a hub to add, remove and check sites. A repeated call resumes an interrupted one.

A *site* probes mail; a *hub* combines the results of several sites, and subscribes to their tables by PostgreSQL's
logical replication. The *link* of a site and its hub has two ends: a publication and a replication slot at the site,
and a subscription at the hub.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from monitor.evaluation.joint.replication import Replication
from monitor.store.schema.lock import LOCK_CLASS, Lock
from monitor.store.sites.desired_documents import delete_desired_documents, desired_document_problems
from monitor.store.sites.link import (
    Connection,
    SiteConnection,
    SiteRefusedError,
    SiteSilentError,
    accepts_missing_certificate,
    connect_to_store,
    fetch_one,
    schema_of,
    time_of,
)
from monitor.store.sites.partition import content_checksum
from monitor.store.sites.publisher import Publisher, slot_of
from monitor.store.sites.subscriber import Subscriber, subscription_of

__all__ = ["SiteLinkStatus", "add", "check", "read_replication", "rejoin", "remove", "slot_of"]

#: Time limit within which the hub receives the statuses that a site publishes again.
_REPUBLISH_TIMEOUT_SECONDS = 15.0
#: Maximum time until PostgreSQL reconnects by itself.
_RECONNECT_SECONDS = 15.0
#: Time that a connection must last to count as working. PostgreSQL ends a connection if it cannot write a row.
_MIN_CONNECTION_SECONDS = 0.5
#: Time limit for comparing both ends, and the pause between two attempts.
_COMPARE_TIMEOUT_SECONDS, _RETRY_INTERVAL_SECONDS = 3.0, 0.2
#: Time limit for the lock of commands: the hub's server may hold it for some time after a command was killed.
_LOCK_TIMEOUT_SECONDS = 5.0
#: A larger difference between the clocks of a site and the hub is reported.
MAX_CLOCK_DIFFERENCE = timedelta(seconds=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteLinkStatus:
    """State of a link to a site, from both ends."""

    site: str
    #: Time since the site's last heartbeat; `None`: there was none.
    heartbeat_age: timedelta | None
    #: Whether the last heartbeat is recent enough for the hub to use the site's statuses.
    is_fresh: bool
    #: Bytes of the write-ahead log that the site retains for the hub; `None`: unknown.
    lag_bytes: int | None
    #: Number of the site's rows that the hub could not write.
    errors: int
    #: Messages about problems, each with its remedy.
    problems: tuple[str, ...]
    #: Hints about settings that may cause problems later.
    advice: tuple[str, ...] = ()


def add(site_config: SiteConnection, *, allow_second_hub: bool = False) -> bool:
    """Add a site to the hub; return `False` if it had joined before. Raise `SiteRefusedError`.

    *allow_second_hub*: join even if another hub reads the site. If both hubs notify the same people, each person is
    notified twice.
    """
    with _both_ends(site_config) as (hub, site):
        subscription = hub.subscription()
        if subscription is not None and not subscription.is_enabled and hub.last_heartbeat() is None:
            # An earlier call was interrupted before the subscription was enabled.
            hub.unsubscribe()
            subscription = None
        if subscription is not None:
            if site.slot() is None:
                raise SiteRefusedError(
                    f"the hub has a subscription to a site {site_config.site} already, and {site_config.server} has no "
                    f"slot for it: `pantau site rejoin {site_config.site}` if it is the same site, otherwise give one of "
                    "them another name"
                )
            if not subscription.includes_runs and site.has_run_tables():
                # The site joined with a version that published no runs. Subscribe again, because an active
                # subscription would write rows before its tables are verified.
                hub.unsubscribe()
                _join(site_config, hub, site)
            elif hub.last_heartbeat() is None:
                # An earlier call was interrupted before the site had published its statuses again, or no process has
                # run at the site yet.
                _republish_and_wait(site_config, site)
            return False
        _refuse_same_hub_name(site)
        if (other_readers := site.other_readers()) and not allow_second_hub:
            raise SiteRefusedError(
                f"site {site.site}: another hub reads it ({', '.join(other_readers)}), and people would be notified "
                f"twice: `pantau site remove {site.site}` there first. If only one of the two has `mode: notify`, or they "
                f"notify different people: `pantau site add {site.site} --allow-second-hub`"
            )
        _join(site_config, hub, site)
    return True


def rejoin(site_config: SiteConnection) -> None:
    """Add a site again, in any state of the link; it publishes its statuses again. Raise `SiteRefusedError`."""
    with _both_ends(site_config) as (hub, site):
        hub.unsubscribe()
        _join(site_config, hub, site)


def remove(site_config: SiteConnection, *, is_offline: bool) -> None:
    """Remove a site with all its data at the hub. Raise `SiteRefusedError`.

    *is_offline*: the site is unreachable, so that its end of the link stays.
    """
    with connect_to_store(site_config.store, "the hub's store") as connection:
        _lock_commands(connection)
        hub = Subscriber(connection, site_config.site, site_config.hub)
        if not is_offline:
            with connect_to_store(site_config.server, f"site {site_config.site}") as site_connection:
                hub.unsubscribe()
                Publisher(site_connection, site_config.site, site_config.hub).withdraw()
                delete_desired_documents(site_connection, site_config.hub)
        hub.remove_site()


def check(site_config: SiteConnection, stale_after: timedelta) -> SiteLinkStatus:
    """Return the state of the link with messages for people. *stale_after*: maximum age of a fresh heartbeat.

    Raise `SiteRefusedError` if the hub's own database is unavailable.
    """
    problems: list[str] = []
    lag_bytes, advice = None, list[str]()
    with connect_to_store(site_config.store, "the hub's store") as connection:
        hub = Subscriber(connection, site_config.site, site_config.hub)
        subscription, last_heartbeat, now = hub.subscription(), hub.last_heartbeat(), time_of(hub.connection)
        if subscription is None:
            problems.append(f"the hub has no subscription to it: `pantau site add {site_config.site}`")
        try:
            with connect_to_store(site_config.server, f"site {site_config.site}") as site_connection:
                site = Publisher(site_connection, site_config.site, site_config.hub)
                problems += [*_connection_problems(site_config), *_link_problems(hub, site)]
                # The heartbeat has the time of the site's clock: compare it with this clock, not the hub's.
                last_heartbeat, now = hub.last_heartbeat(), time_of(site.connection)
                slot, advice = site.slot(), site.advice()
                lag_bytes = None if slot is None or slot.is_lost else slot.lag_bytes
        except SiteRefusedError as error:
            problems.append(str(error))
    if subscription is not None and not subscription.is_enabled:
        problems.append(
            f"the subscription {subscription_of(site_config.site)} was disabled manually: "
            f"`pantau site rejoin {site_config.site}`"
        )
    elif subscription is not None and last_heartbeat is None and not problems:
        problems.append(f"it has never sent a heartbeat: does a service run there, with `site: {site_config.site}`?")
    age = None if last_heartbeat is None else now - last_heartbeat
    return SiteLinkStatus(
        site=site_config.site,
        heartbeat_age=age,
        is_fresh=age is not None and age < stale_after,
        lag_bytes=lag_bytes,
        errors=0 if subscription is None else subscription.errors,
        problems=tuple(problems),
        advice=tuple(advice),
    )


def read_replication(site_config: SiteConnection) -> Replication:
    """Return the state of the link from both ends, without messages for people.

    Raise `SiteRefusedError` if the hub's own database is unavailable.
    """
    with connect_to_store(site_config.store, "the hub's store") as connection:
        hub = Subscriber(connection, site_config.site, site_config.hub)
        subscription = hub.subscription()
        is_reachable, is_complete, slot, other_hubs = False, None, None, list[str]()
        if subscription is not None and subscription.is_enabled:
            with (
                suppress(SiteRefusedError),
                connect_to_store(site_config.server, f"site {site_config.site}") as site_connection,
            ):
                site = Publisher(site_connection, site_config.site, site_config.hub)
                slot, other_hubs, is_reachable = site.slot(), site.other_readers(), True
                if slot is not None and not slot.is_lost and schema_of(hub.connection) == schema_of(site.connection):
                    is_complete = _is_complete(hub, site, _COMPARE_TIMEOUT_SECONDS)
    # Whether the site retains its log for the hub.
    is_retained = slot is not None and not slot.is_lost
    return Replication(
        is_joined=subscription is not None,
        is_enabled=subscription is not None and subscription.is_enabled,
        is_reachable=is_reachable,
        is_retained=is_retained,
        lag_bytes=slot.lag_bytes if slot is not None and is_retained else None,
        errors=0 if subscription is None else subscription.errors,
        is_complete=is_complete,
        other_hubs=tuple(other_hubs),
    )


def _is_complete(hub: Subscriber, site: Publisher, within: float) -> bool | None:
    """Return whether the hub has all statuses of the site. *within*: time limit in seconds.

    `None`: unknown, because the statuses kept changing, or the hub had not received them in time.
    """
    deadline = time.monotonic() + within
    while True:
        published, lsn = content_checksum(site.connection, site.site), site.log_position()
        if site.has_received(lsn):
            if content_checksum(hub.connection, site.site) == published:
                return True
            # If the site has changed since, the change may be in transit: compare again.
            if content_checksum(site.connection, site.site) == published:
                return False
        if time.monotonic() > deadline:
            return None
        time.sleep(_RETRY_INTERVAL_SECONDS)


def _connection_problems(site_config: SiteConnection) -> Iterator[str]:
    if accepts_missing_certificate(site_config.server):
        yield (
            "it accepts our connection without our certificate: in its pg_hba.conf a more general line precedes ours, "
            "and the first line that matches is used; put ours first, and reload it"
        )


def _link_problems(hub: Subscriber, site: Publisher) -> Iterator[str]:
    """Yield messages about problems of the link. "It" is the site."""
    problems = site.requirement_problems()
    yield from problems
    if problems:
        return
    if (schema_problem := _schema_problem(hub, site)) is not None:
        yield schema_problem
    # Read the hub's clock before and after the site's, so that the transfer time does not count as a difference.
    before, site_time, after = (time_of(each) for each in (hub.connection, site.connection, hub.connection))
    yield from clock_problems(before, site_time, after)
    slot, subscription = site.slot(), hub.subscription()
    if subscription is None:
        return
    yield from desired_document_problems(site.connection)
    if not subscription.includes_runs and site.has_run_tables():
        yield (
            f"it does not publish its runs: `pantau site add {site.site}` makes it publish failed runs and hourly "
            "counts"
        )
    if slot is None or slot.is_lost:
        slot_state = "gone" if slot is None else "lost: the hub was away for too long"
        yield (
            f"its slot {slot_of(site.hub)} is {slot_state}; "
            f"`pantau site rejoin {site.site}` makes it publish everything again"
        )
        return
    if other_sites := site.foreign_sites():
        yield (
            f"it publishes rows of {', '.join(other_sites)}, and the hub refuses them: find out who wrote them there, "
            f"delete them, and `pantau site rejoin {site.site}`"
        )
    if not _is_read_continuously(site):
        yield (
            f"the hub cannot write some of its rows, and retries: the log of the hub's PostgreSQL has the reason "
            f"({subscription_of(site.site)}). It continues when the cause is repaired; "
            f"`pantau site rejoin {site.site}` skips what was refused"
        )
    elif schema_problem is None and _is_complete(hub, site, _RECONNECT_SECONDS) is False:
        yield (
            "some of its rows are missing at the hub, and will not arrive any more: a standby of the hub's PostgreSQL "
            "was promoted that had not received them, or an older copy was restored; "
            f"`pantau site rejoin {site.site}` makes it publish everything again"
        )


def clock_problems(before: datetime, site_time: datetime, after: datetime) -> Iterator[str]:
    """Yield a problem if a site's clock is wrong.

    *site_time*: time by the site's clock, read between the times *before* and *after* by the hub's clock.
    """
    for offset, direction in ((site_time - after, "ahead"), (before - site_time, "behind")):
        if offset > MAX_CLOCK_DIFFERENCE:
            yield f"its clock is {offset.total_seconds():.0f} s {direction}: set it"


def _is_read_continuously(site: Publisher) -> bool:
    """Return whether the hub reads the site's slot without interruption, now or within `_RECONNECT_SECONDS` seconds."""
    deadline = time.monotonic() + _RECONNECT_SECONDS
    while True:
        before = site.slot()
        time.sleep(_MIN_CONNECTION_SECONDS)
        after = site.slot()
        if before is not None and after is not None and before.reader is not None and before.reader == after.reader:
            return True
        if time.monotonic() > deadline:
            return False


def _schema_problem(hub: Subscriber, site: Publisher) -> str | None:
    hub_schema, site_schema = schema_of(hub.connection), schema_of(site.connection)
    if hub_schema == site_schema:
        return None
    if site_schema > hub_schema:
        return f"its schema is {site_schema}, and the hub's {hub_schema}: upgrade the hub first"
    return f"its schema is {site_schema}, and the hub's {hub_schema}: upgrade the site"


@contextmanager
def _both_ends(site_config: SiteConnection) -> Iterator[tuple[Subscriber, Publisher]]:
    """Connect to both ends, check that they meet the requirements, and lock out other commands.

    Raise `SiteRefusedError`.
    """
    with (
        connect_to_store(site_config.store, "the hub's store") as hub_connection,
        connect_to_store(site_config.server, f"site {site_config.site}") as site_connection,
    ):
        hub, site = (
            Subscriber(hub_connection, site_config.site, site_config.hub),
            Publisher(site_connection, site_config.site, site_config.hub),
        )
        site_problems = [*site.requirement_problems(), *_connection_problems(site_config)]
        problems = [*hub.requirement_problems(), *(f"site {site_config.site}: {each}" for each in site_problems)]
        if not problems and schema_of(site_connection) > schema_of(hub_connection):
            problems.append(f"site {site_config.site}: {_schema_problem(hub, site)}")
        if problems:
            raise SiteRefusedError("\n".join(problems))
        _lock_commands(hub_connection)
        yield hub, site


def _lock_commands(hub: Connection) -> None:
    """Lock out other commands, which would drop the slot of this one, until *hub* closes. Raise `SiteRefusedError`."""
    query, deadline = "SELECT pg_try_advisory_lock(%s, %s) AS is_ours", time.monotonic() + _LOCK_TIMEOUT_SECONDS
    while not fetch_one(hub, query, [LOCK_CLASS, Lock.JOINING]).is_ours:
        if time.monotonic() > deadline:
            raise SiteRefusedError(
                "another command is adding or removing a site now: repeat this command when it has ended"
            )
        time.sleep(_RETRY_INTERVAL_SECONDS)


def _refuse_same_hub_name(site: Publisher) -> None:
    """Raise `SiteRefusedError` if a hub reads the slot, although this one has no subscription: it has the same name."""
    slot = site.slot()
    if slot is not None and slot.reader is not None:
        raise SiteRefusedError(
            f"site {site.site}: another hub with the name {site.hub} reads it; give this one another name (`site:`)"
        )


def _join(site_config: SiteConnection, hub: Subscriber, site: Publisher) -> None:
    tables = site.publish()
    # A slot of an earlier attempt retains the log from an earlier position.
    site.drop_slot()
    hub.prepare_partitions()
    # `check_server` needs a slot, and drops it. `subscribe` creates another one.
    site.make_slot()
    try:
        hub.check_server(site_config.server)
        hub.subscribe(site_config.server, tables)
    except BaseException:
        site.drop_slot()
        raise
    _republish_and_wait(site_config, site)


def _republish_and_wait(site_config: SiteConnection, site: Publisher) -> None:
    """Publish the statuses of the site again, and wait until the hub has received them. Raise `SiteRefusedError`."""
    if (lsn := site.republish()) is not None:
        _wait_until_received(site_config, site, lsn)


def _wait_until_received(site_config: SiteConnection, site: Publisher, lsn: str) -> None:
    """Wait until the hub has received everything up to *lsn*. Raise `SiteRefusedError`."""
    deadline = time.monotonic() + _REPUBLISH_TIMEOUT_SECONDS
    while not site.has_received(lsn):
        if time.monotonic() > deadline:
            raise SiteSilentError(
                f"site {site_config.site} has joined, and nothing was received from it in "
                f"{_REPUBLISH_TIMEOUT_SECONDS:.0f} s: `pantau site check {site_config.site}` shows why"
            )
        time.sleep(0.05)
