"""Receive quota of reference mailboxes."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from monitor.model.mail_provider import MailProvider, MailProviders
from monitor.model.pool import SINGLE_SITE, Spread
from monitor.model.receive_quota import ReceiveQuotaExceeded, overloaded_references
from monitor.model.route import Direction, MonitoredRoute, ProbingPolicy
from monitor.model.send_quota import accounts_over_quota
from probes.model.mailbox import Mailbox
from tests.unit.monitor.world import MINUTE, SECOND, mailbox, route

HOUR = timedelta(hours=1)
REFERENCE = "rujukan-a"


def read_at(host: str, address: str = "pantau@rujukan-a.gov.my") -> Mailbox:
    box = mailbox(REFERENCE)
    assert box.imap is not None
    return replace(box, address=address, imap=replace(box.imap, host=host))


def to(
    box: Mailbox, agencies: int, interval: timedelta, *, direction: Direction = Direction.OUTBOUND
) -> list[MonitoredRoute]:
    """Return routes of *agencies* agencies to a mailbox."""
    probing = ProbingPolicy(interval=interval)
    each = route("JCM", direction, "JCM/utama", REFERENCE, probing)
    return [
        replace(each, agency=f"A{n}", route=replace(each.route, name=f"A{n}/outbound/{REFERENCE}", recipient=box))
        for n in range(agencies)
    ]


def control(box: Mailbox, interval: timedelta) -> MonitoredRoute:
    (each,) = to(box, 1, interval, direction=Direction.CONTROL)
    return replace(each, agency="")


def _a_day(messages: int, sender: Mailbox) -> MailProviders:
    """Return a provider of *sender* that allows *messages* a day."""
    assert sender.smtp is not None
    one = MailProvider(name="pos", hosts=(sender.smtp.host,), messages_per_day=messages, concurrency=5)
    return MailProviders([one])


def flood(
    routes: list[MonitoredRoute], spread: Spread = SINGLE_SITE, providers: MailProviders | None = None
) -> ReceiveQuotaExceeded | None:
    found = overloaded_references(routes, providers or MailProviders(), spread)
    return found[0] if found else None


@pytest.mark.parametrize(
    ("host", "address", "provider"),
    [
        ("imap.gmail.com", "pantau@rujukan-a.gov.my", "google"),
        ("POP.Gmail.com.", "pantau@rujukan-a.gov.my", "google"),
        ("imap.gmail.com", "pantau.contoh@gmail.com", "gmail"),
        ("outlook.office365.com", "pantau@rujukan-a.gov.my", "microsoft"),
        ("mel.rujukan-a.gov.my", "pantau@rujukan-a.gov.my", None),
        ("imap.gmail.com.contoh.gov.my", "pantau@rujukan-a.gov.my", None),
    ],
)
def test_receiving_provider_is_found_by_read_server(host: str, address: str, provider: str | None) -> None:
    found = MailProviders().receiving_provider(read_at(host, address))
    assert (found.name if found else None) == provider


@pytest.mark.parametrize(
    ("host", "agencies", "said"),
    [
        # A thousand agencies every five minutes send 200 a minute, plus a tenth.
        ("imap.gmail.com", 1000, (MINUTE, 265, 60)),
        # 41 a minute are 60 in the busiest minute.
        ("imap.gmail.com", 186, (MINUTE, 61, 60)),
        ("imap.gmail.com", 185, None),
        ("outlook.office365.com", 1000, (HOUR, 13545, 3600)),
        ("outlook.office365.com", 260, (HOUR, 3608, 3600)),
        ("outlook.office365.com", 259, None),
        ("mel.rujukan-a.gov.my", 5000, None),
    ],
)
def test_overloaded_references_compares_busiest_minute_and_hour(
    host: str, agencies: int, said: tuple[timedelta, int, int] | None
) -> None:
    found = flood(to(read_at(host), agencies, 5 * MINUTE))
    assert (found and (found.span, found.messages, found.allowed)) == said


@pytest.mark.parametrize("host", ["imap.gmail.com", "outlook.office365.com"])
@pytest.mark.parametrize("agencies", [300, 3000])
def test_overloaded_references_proposal_is_sufficient_and_minimal(host: str, agencies: int) -> None:
    box = read_at(host)
    routes = [*to(box, agencies, 5 * MINUTE), control(box, 5 * MINUTE)]
    found = flood(routes)
    assert found is not None
    assert found.mailboxes is not None
    assert flood([*to(box, agencies, found.interval), control(box, found.interval)]) is None
    assert flood(routes, Spread(pools={REFERENCE: found.mailboxes})) is None
    assert flood(routes, Spread(pools={REFERENCE: found.mailboxes - 1})) is not None
    # The proposal does not depend on the present number.
    again = flood(routes, Spread(pools={REFERENCE: found.mailboxes - 1}))
    assert again is not None
    assert again.mailboxes == found.mailboxes


def test_overloaded_references_control_runs_are_not_reduced_by_pool() -> None:
    box = read_at("imap.gmail.com")
    found = flood([*to(box, 10, 5 * MINUTE), *(control(box, SECOND) for _ in range(2))], Spread(pools={REFERENCE: 9}))
    assert found is not None
    assert found.mailboxes is None


def test_quotas_count_messages_of_all_sites() -> None:
    box = read_at("imap.gmail.com")
    routes = to(box, 100, 5 * MINUTE)
    assert flood(routes) is None
    assert flood(routes, Spread(sites=2)) is not None
    assert flood(routes, Spread(sites=2, pools={REFERENCE: 2})) is None

    strict = _a_day(400, routes[0].route.sender)
    assert accounts_over_quota(routes[:1], strict) == []
    (overdrawn,) = accounts_over_quota(routes[:1], strict, Spread(sites=2))
    assert overdrawn.messages_per_day == 634
    assert accounts_over_quota(to(box, 1, overdrawn.interval), strict, Spread(sites=2)) == []


def test_accounts_over_quota_pool_shares_messages() -> None:
    sender = read_at("imap.gmail.com")
    strict = _a_day(1000, sender)
    probing = ProbingPolicy(interval=5 * MINUTE)
    each = route("JCM", Direction.INBOUND, REFERENCE, "JCM/utama", probing)
    inbound = [replace(each, agency=f"A{n}") for n in range(6)]
    assert [found.messages_per_day for found in accounts_over_quota(inbound, strict)] == [1901]
    assert accounts_over_quota(inbound, strict, Spread(pools={REFERENCE: 2})) == []
    # Each process runs the control routes itself.
    ours = replace(each, agency="", direction=Direction.CONTROL)
    assert accounts_over_quota([*inbound, ours], strict, Spread(pools={REFERENCE: 2})) != []


def test_overloaded_references_counts_forwarded_copies_only() -> None:
    box = read_at("imap.gmail.com")
    assert flood([replace(each, forwarded=True) for each in to(box, 1000, 5 * MINUTE, direction=Direction.INBOUND)])
    assert not flood(to(box, 1000, 5 * MINUTE, direction=Direction.INBOUND))
    assert not flood(to(box, 1000, 5 * MINUTE, direction=Direction.INTERNAL))


def test_overloaded_references_reports_stricter_limit() -> None:
    providers = MailProviders(
        [MailProvider(name="pos", hosts=("mel.pos",), received_per_minute=60, received_per_hour=600, concurrency=5)]
    )
    found = flood(to(read_at("mel.pos"), 1000, 5 * MINUTE), providers=providers)
    assert found is not None
    assert (found.span, found.allowed) == (HOUR, 600)
