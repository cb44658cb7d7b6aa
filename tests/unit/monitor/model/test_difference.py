"""Difference between two configurations of routes."""

from __future__ import annotations

import ssl
from dataclasses import replace
from datetime import timedelta

import pytest

from monitor.model.difference import Difference, changes_path, difference, replaced_mailboxes
from monitor.model.route import Direction, MonitoredRoute, ProbingPolicy
from monitor.model.window import Hours, OneTimeWindow, WindowOccurrence
from probes.credentials.oauth_local import TokenFile
from probes.model.mailbox import Mailbox, OAuth, Password
from tests.unit.monitor.world import T0, agency_routes, mailbox, route

JCM = agency_routes("JCM")
MDC = agency_routes("MDC")
OUT = route("JCM", Direction.OUTBOUND, "JCM/utama", "a")


def named(routes: list[MonitoredRoute]) -> dict[str, MonitoredRoute]:
    return {each.name: each for each in routes}


def test_difference_equal_routes_is_empty() -> None:
    assert difference(named(JCM), named(agency_routes("JCM"))) == Difference()


def test_difference_lists_added_and_removed_agencies() -> None:
    found = difference(named([*JCM]), named([*MDC]))

    assert (found.removed, found.added, found.changed) == (tuple(JCM), tuple(MDC), ())
    assert found.agencies == {"JCM", "MDC"}


def test_difference_changed_interval_does_not_change_path() -> None:
    seldom = [replace(each, probing=ProbingPolicy(interval=timedelta(minutes=9))) for each in JCM]

    found = difference(named([*JCM, *MDC]), named([*seldom, *MDC]))

    assert found == Difference(changed=tuple(seldom))
    assert not any(changes_path(was, now) for was, now in zip(JCM, seldom, strict=True))


def with_sender(sender: Mailbox) -> MonitoredRoute:
    return replace(OUT, route=replace(OUT.route, sender=sender))


def with_server(**changes: object) -> MonitoredRoute:
    sender = OUT.route.sender
    assert sender.smtp is not None
    return with_sender(replace(sender, smtp=replace(sender.smtp, **changes)))  # type: ignore[arg-type]


@pytest.mark.blind
@pytest.mark.parametrize(
    "after",
    [
        with_sender(replace(OUT.route.sender, address="lain@contoh.gov.my")),
        with_sender(replace(OUT.route.sender, login=Password(username="JCM/utama", secret="kata-laluan-baharu"))),
        with_sender(replace(OUT.route.sender, login=OAuth(username="JCM/utama", tokens=TokenFile("token")))),  # type: ignore[arg-type]
        with_sender(replace(OUT.route.sender, junk_folders=("E-mel Remeh",))),
        with_server(host="mel-baharu.contoh.gov.my"),
        with_server(tls=ssl.create_default_context()),
        replace(OUT, route=replace(OUT.route, to="pro@contoh.gov.my")),
        replace(OUT, forwarded=True),
    ],
    ids=["address", "password", "sign-in", "folder", "server", "authorities", "to", "forward"],
)
def test_difference_changed_mailbox_of_same_name_changes_path(after: MonitoredRoute) -> None:
    """Defect: A mailbox with another password, trust or token source looks unchanged.

    Pantau: It is another path, and begins anew.
    """
    assert difference(named([OUT]), named([after])) == Difference(changed=(after,))
    assert changes_path(OUT, after)


def test_changes_path_other_token_source_is_change() -> None:
    one, other = (OAuth(username="JCM/utama", tokens=TokenFile("token")) for _ in range(2))  # type: ignore[arg-type]
    assert changes_path(
        with_sender(replace(OUT.route.sender, login=one)), with_sender(replace(OUT.route.sender, login=other))
    )


def test_replaced_mailboxes_lists_changed_mailbox_only() -> None:
    assert replaced_mailboxes(OUT, with_sender(replace(mailbox("JCM/utama"), inbox="Kongsi"))) == {"JCM/utama"}
    assert replaced_mailboxes(OUT, with_sender(mailbox("JCM/kedua"))) == frozenset(), "the mailbox is new"


def test_changes_path_new_maintenance_is_no_change() -> None:
    hours = Hours(maintenance=[OneTimeWindow(WindowOccurrence(T0, T0 + timedelta(hours=2), "Naik taraf"))])
    assert not changes_path(OUT, replace(OUT, probing=replace(OUT.probing, hours=hours)))
