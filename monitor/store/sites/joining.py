"""Joining and leaving of sites. A repeated call resumes an interrupted one.

A *site* probes mail; a *hub* combines the results of several sites, and subscribes to their tables by PostgreSQL's
logical replication. The *link* has two ends: a publication and a replication slot at the site, a subscription at the
hub.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from monitor.evaluation.joint.replication import Replication
from monitor.store.schema.lock import LOCKS, Lock
from monitor.store.sites.link import (
    Connection,
    SiteConnection,
    SiteRefusedError,
    SiteUnheardError,
    dialled,
    is_let_in_without_certificate,
    one,
    schema_of,
    time_of,
)
from monitor.store.sites.offering import offer_problems, withdraw_offers
from monitor.store.sites.partition import content_checksum
from monitor.store.sites.publisher import Publisher, slot_of
from monitor.store.sites.subscriber import Subscriber, subscription_of

__all__ = ["SiteLinkStatus", "add", "check", "look", "rejoin", "remove", "slot_of"]

#: In seconds: time limit within which the hub receives all rows that a site publishes again.
_PATIENCE = 15.0
#: In seconds: the maximum time until PostgreSQL reconnects by itself, and the time that a connection must last to count
#: as working. A connection ends if the hub refuses a row.
_AGAIN, _GOES_ON = 15.0, 0.5
#: In seconds: time limit for comparing both ends, and the pause between two attempts.
_SETTLES, _LOOKS_AGAIN = 3.0, 0.2
#: In seconds: the hub's server may hold the lock of a command for this long after the command was killed.
_LET_GO_WITHIN = 5.0
#: A larger difference of the clocks is reported.
APART = timedelta(seconds=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteLinkStatus:
    """State of a link to a site, from both ends."""

    site: str
    #: Time since the site's last heartbeat; `None`: there was none.
    beat_age: timedelta | None
    is_fresh: bool
    #: Bytes of its log that the site retains for the hub; `None`: unknown.
    behind: int | None
    #: Number of the site's rows that the hub could not write.
    errors: int
    #: Problems, each with its remedy.
    troubles: tuple[str, ...]
    #: Hints that are no problems.
    advice: tuple[str, ...] = ()


def add(member: SiteConnection, *, beside: bool = False) -> bool:
    """Let a site join; return `False` if the site had joined before. Raise `SiteRefusedError`.

    *beside*: join even if another hub reads the site. If both hubs notify the same people, each person is notified
    twice.
    """
    with _both_ends(member) as (hub, site):
        subscription = hub.subscription()
        if subscription is not None and not subscription.is_enabled and hub.beat() is None:
            # An earlier call was interrupted before the subscription was enabled.
            hub.unsubscribe()
            subscription = None
        if subscription is not None:
            if site.slot() is None:
                raise SiteRefusedError(
                    f"the hub listens to a site {member.site} already, and there is no slot for it at {member.server}: "
                    f"`pantau site rejoin {member.site}` if it is the same, else name one of them otherwise"
                )
            if not subscription.hears_of_runs and site.can_tell_of_runs():
                # The site joined with a version that published no runs. Subscribe anew: an active subscription would
                # write rows before its tables are verified.
                hub.unsubscribe()
                _join(member, hub, site)
            elif hub.beat() is None:
                # An earlier call was interrupted before the site had published all rows again, or no process has run at
                # the site yet.
                _require_received(member, site)
            return False
        _require_slot(site)
        if (other_readers := site.other_readers()) and not beside:
            raise SiteRefusedError(
                f"site {site.site}: another hub reads it ({', '.join(other_readers)}), and people would be told twice: `pantau site "
                f"remove {site.site}` there first. Where only one of the two has `mode: notify`, or they tell other people: "
                f"`pantau site add {site.site} --allow-second-hub`"
            )
        _join(member, hub, site)
    return True


def rejoin(member: SiteConnection) -> None:
    """Let a site join again in any state of the link; all rows are published again. Raise `SiteRefusedError`."""
    with _both_ends(member) as (hub, site):
        hub.unsubscribe()
        _join(member, hub, site)


def remove(member: SiteConnection, *, gone: bool) -> None:
    """Remove all data of a site at the hub; *gone*: without connecting to the site. Raise `SiteRefusedError`."""
    with dialled(member.store, "the hub's store") as connection:
        _lock_joining(connection)
        hub = Subscriber(connection, member.site, member.hub)
        if not gone:
            with dialled(member.server, f"site {member.site}") as there:
                hub.unsubscribe()
                Publisher(there, member.site, member.hub).withdraw()
                withdraw_offers(there, member.hub)
        hub.forget()


def check(member: SiteConnection, stale_after: timedelta) -> SiteLinkStatus:
    """Return the state of both ends of the link. Raise `SiteRefusedError` if the hub's own database is unavailable."""
    troubles: list[str] = []
    behind, advice = None, list[str]()
    with dialled(member.store, "the hub's store") as connection:
        hub = Subscriber(connection, member.site, member.hub)
        subscription, beat, now = hub.subscription(), hub.beat(), time_of(hub.connection)
        if subscription is None:
            troubles.append(f"the hub does not listen to it: `pantau site add {member.site}`")
        try:
            with dialled(member.server, f"site {member.site}") as there:
                site = Publisher(there, member.site, member.hub)
                troubles += [*_connection_problems(member), *_link_problems(hub, site)]
                # Compare the heartbeat with the site's clock, by which it was written.
                beat, now = hub.beat(), time_of(site.connection)
                slot, advice = site.slot(), site.advice()
                behind = None if slot is None or slot.is_lost else slot.behind
        except SiteRefusedError as refused:
            troubles.append(str(refused))
    if subscription is not None and not subscription.is_enabled:
        troubles.append(
            f"the subscription {subscription_of(member.site)} was disabled by somebody: `pantau site rejoin {member.site}`"
        )
    elif subscription is not None and beat is None and not troubles:
        troubles.append(f"it has never said that it lives: does a service run there, with `site: {member.site}`?")
    age = None if beat is None else now - beat
    return SiteLinkStatus(
        site=member.site,
        beat_age=age,
        is_fresh=age is not None and age < stale_after,
        behind=behind,
        errors=0 if subscription is None else subscription.errors,
        troubles=tuple(troubles),
        advice=tuple(advice),
    )


def look(member: SiteConnection) -> Replication:
    """Return the state of the link from both ends, without messages for people.

    Raise `SiteRefusedError` if the hub's own database is unavailable.
    """
    with dialled(member.store, "the hub's store") as connection:
        hub = Subscriber(connection, member.site, member.hub)
        subscription = hub.subscription()
        is_reached, is_whole, slot, other_hubs = False, None, None, list[str]()
        if subscription is not None and subscription.is_enabled:
            with suppress(SiteRefusedError), dialled(member.server, f"site {member.site}") as there:
                site = Publisher(there, member.site, member.hub)
                slot, other_hubs, is_reached = site.slot(), site.other_readers(), True
                if slot is not None and not slot.is_lost and schema_of(hub.connection) == schema_of(site.connection):
                    is_whole = _is_whole(hub, site, _SETTLES)
    is_kept = slot is not None and not slot.is_lost
    return Replication(
        is_joined=subscription is not None,
        is_enabled=subscription is not None and subscription.is_enabled,
        is_reachable=is_reached,
        is_retained=is_kept,
        lag_bytes=slot.behind if slot is not None and is_kept else None,
        errors=0 if subscription is None else subscription.errors,
        is_complete=is_whole,
        other_hubs=tuple(other_hubs),
    )


def _is_whole(hub: Subscriber, site: Publisher, within: float) -> bool | None:
    """Return whether the hub has all rows of the site.

    `None`: unknown, because the site kept changing or the hub received too little *within* that many seconds.
    """
    until = time.monotonic() + within
    while True:
        published, lsn = content_checksum(site.connection, site.site), site.place()
        if site.has_received(lsn):
            if content_checksum(hub.connection, site.site) == published:
                return True
            # The hub lacks rows only if the site has not changed since: a new change may be in transit.
            if content_checksum(site.connection, site.site) == published:
                return False
        if time.monotonic() > until:
            return None
        time.sleep(_LOOKS_AGAIN)


def _connection_problems(member: SiteConnection) -> Iterator[str]:
    if is_let_in_without_certificate(member.server):
        yield (
            "it lets us in without our certificate: in its pg_hba.conf a wider line stands before ours, and the first that "
            "fits counts; put ours first, and reload it"
        )


def _link_problems(hub: Subscriber, site: Publisher) -> Iterator[str]:
    objections = site.objections()
    yield from objections
    if objections:
        return
    if (schema_problem := _schema_problem(hub, site)) is not None:
        yield schema_problem
    # Read the hub's clock before and after the site's, so that the transfer time does not count as a difference.
    before, there, after = (time_of(each) for each in (hub.connection, site.connection, hub.connection))
    yield from clock_problems(before, there, after)
    slot, subscription = site.slot(), hub.subscription()
    if subscription is None:
        return
    yield from offer_problems(site.connection)
    if not subscription.hears_of_runs and site.can_tell_of_runs():
        yield f"it tells nothing of its runs: `pantau site add {site.site}` lets it tell of those that fail, and of its hours"
    if slot is None or slot.is_lost:
        yield (
            f"its slot {slot_of(site.hub)} is {'gone' if slot is None else 'lost: the hub was away for too long'}; "
            f"`pantau site rejoin {site.site}` lets it say everything anew"
        )
        return
    if other_sites := site.foreign_sites():
        yield (
            f"it speaks for {', '.join(other_sites)}, and the hub refuses that: find out who wrote it there, delete it, and "
            f"`pantau site rejoin {site.site}`"
        )
    if not _is_read(site):
        yield (
            f"the hub does not get on with what it sends, and tries again and again: why stands in the log of the hub's "
            f"PostgreSQL ({subscription_of(site.site)}). Once that is mended it goes on; `pantau site rejoin {site.site}` leaves "
            "out what was refused"
        )
    elif schema_problem is None and _is_whole(hub, site, _AGAIN) is False:
        yield (
            "part of what it says is not at the hub, and will not come any more: a standby of the hub's PostgreSQL was promoted "
            f"that had not heard it, or an older copy put back; `pantau site rejoin {site.site}` lets it say everything anew"
        )


def clock_problems(before: datetime, there: datetime, after: datetime) -> Iterator[str]:
    """Yield a problem if a site's clock is wrong. It showed *there* between *before* and *after* by the hub's clock."""
    for offset, word in ((there - after, "ahead"), (before - there, "behind")):
        if offset > APART:
            yield f"its clock is {offset.total_seconds():.0f} s {word}: set it"


def _is_read(site: Publisher) -> bool:
    """Return whether the hub reads the site's slot without interruption, now or within `_AGAIN` seconds."""
    until = time.monotonic() + _AGAIN
    while True:
        before = site.slot()
        time.sleep(_GOES_ON)
        after = site.slot()
        if before is not None and after is not None and before.reader is not None and before.reader == after.reader:
            return True
        if time.monotonic() > until:
            return False


def _schema_problem(hub: Subscriber, site: Publisher) -> str | None:
    hub_schema, site_schema = schema_of(hub.connection), schema_of(site.connection)
    if hub_schema == site_schema:
        return None
    if site_schema > hub_schema:
        return f"its schema is {site_schema}, and the hub's {hub_schema}: upgrade the hub first"
    return f"its schema is {site_schema}, and the hub's {hub_schema}: upgrade the site"


@contextmanager
def _both_ends(member: SiteConnection) -> Iterator[tuple[Subscriber, Publisher]]:
    """Connect to both ends and check that they meet the requirements. Raise `SiteRefusedError`."""
    with (
        dialled(member.store, "the hub's store") as hub_connection,
        dialled(member.server, f"site {member.site}") as site_connection,
    ):
        hub, site = (
            Subscriber(hub_connection, member.site, member.hub),
            Publisher(site_connection, member.site, member.hub),
        )
        at_site = [*site.objections(), *_connection_problems(member)]
        objections = [*hub.objections(), *(f"site {member.site}: {each}" for each in at_site)]
        if not objections and schema_of(site_connection) > schema_of(hub_connection):
            objections.append(f"site {member.site}: {_schema_problem(hub, site)}")
        if objections:
            raise SiteRefusedError("\n".join(objections))
        _lock_joining(hub_connection)
        yield hub, site


def _lock_joining(hub: Connection) -> None:
    """Lock out other commands, which would drop this one's slot, until *hub* is closed. Raise `SiteRefusedError`."""
    query, until = "SELECT pg_try_advisory_lock(%s, %s) AS is_ours", time.monotonic() + _LET_GO_WITHIN
    while not one(hub, query, [LOCKS, Lock.JOINING]).is_ours:
        if time.monotonic() > until:
            raise SiteRefusedError(
                "somebody else lets a site join or leave just now: call this again when they have done"
            )
        time.sleep(_LOOKS_AGAIN)


def _require_slot(site: Publisher) -> None:
    slot = site.slot()
    if slot is not None and slot.reader is not None:
        raise SiteRefusedError(
            f"site {site.site}: another hub that is called {site.hub} reads it; call this one otherwise (`site:`)"
        )


def _join(member: SiteConnection, hub: Subscriber, site: Publisher) -> None:
    tables = site.publish()
    # A slot of an earlier attempt retains the log from a wrong position.
    site.drop_slot()
    hub.make_room()
    site.make_slot()
    try:
        hub.check_server(member.server)
        hub.subscribe(member.server, tables)
    except BaseException:
        site.drop_slot()
        raise
    _require_received(member, site)


def _require_received(member: SiteConnection, site: Publisher) -> None:
    """Let the site publish all rows again, and wait until the hub has received them. Raise `SiteRefusedError`."""
    if (lsn := site.publish_again()) is not None:
        _wait(member, site, lsn)


def _wait(member: SiteConnection, site: Publisher, lsn: str) -> None:
    """Wait until the hub has received everything up to *lsn*. Raise `SiteRefusedError`."""
    until = time.monotonic() + _PATIENCE
    while not site.has_received(lsn):
        if time.monotonic() > until:
            raise SiteUnheardError(
                f"site {member.site} has joined, and nothing was heard from it in {_PATIENCE:.0f} s: "
                f"`pantau site check {member.site}` says more"
            )
        time.sleep(0.05)
