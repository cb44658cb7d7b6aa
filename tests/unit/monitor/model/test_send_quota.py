"""Send quota of accounts: need of a configuration, and remaining quota at run time."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from monitor.model.mail_provider import KNOWN_PROVIDERS, MailProvider, MailProviders
from monitor.model.route import Direction, MonitoredRoute, ProbingPolicy
from monitor.model.send_quota import SendQuota, accounts_over_quota
from monitor.model.window import Hours, Recurring
from probes.model.mailbox import Mailbox
from tests.unit.monitor.world import MINUTE, SECOND, T0, mailbox, route

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
OFFICE = Recurring("0 7 * * mon-fri", 12 * HOUR, ZoneInfo("Asia/Kuala_Lumpur"))


def at(host: str, name: str = "JCM/utama", address: str = "pantau@jabatan-contoh.gov.my") -> Mailbox:
    box = mailbox(name)
    assert box.smtp is not None
    return replace(box, address=address, smtp=replace(box.smtp, host=host))


def routes(sender: Mailbox, count: int, interval: timedelta, hours: Hours | None = None) -> list[MonitoredRoute]:
    probing = ProbingPolicy(interval=interval, hours=hours or Hours())
    found = [route("JCM", Direction.OUTBOUND, sender.name, f"rujukan-{n}", probing) for n in range(count)]
    return [replace(each, route=replace(each.route, sender=sender)) for each in found]


# -- who is which ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "address", "mail_provider"),
    [
        ("smtp.gmail.com", "pantau@jabatan-contoh.gov.my", "google"),
        ("SMTP.Gmail.com.", "pantau@jabatan-contoh.gov.my", "google"),
        ("smtp-relay.gmail.com", "pantau@jabatan-contoh.gov.my", "google"),
        ("smtp.gmail.com", "pantau.contoh@gmail.com", "gmail"),
        ("smtp.office365.com", "pantau@jabatan-contoh.gov.my", "microsoft"),
        ("mel.jabatan-contoh.gov.my", "pantau@jabatan-contoh.gov.my", None),
        ("evilsmtp.gmail.com.contoh.gov.my", "pantau@jabatan-contoh.gov.my", None),
        ("notsmtp.office365.com", "pantau@jabatan-contoh.gov.my", None),
    ],
)
def test_sending_provider_is_found_by_server_and_address(host: str, address: str, mail_provider: str | None) -> None:
    found = MailProviders().sending_provider(at(host, address=address))
    assert (found.name if found else None) == mail_provider


def test_provider_of_read_only_mailbox_is_none() -> None:
    box = replace(at("smtp.gmail.com"), smtp=None)
    assert MailProviders().sending_provider(box) is None
    assert MailProviders().limit_names(box) == ()


def test_limit_names_are_server_or_account_and_provider() -> None:
    assert MailProviders().limit_names(at("mel.contoh.gov.my")) == ("server mel.contoh.gov.my:993",)
    assert MailProviders().limit_names(at("smtp.gmail.com")) == ("account JCM/utama", "provider google")
    room = MailProviders().session_limits([at("smtp.gmail.com"), at("mel.contoh.gov.my", "MDC/utama")])
    assert room == {"provider gmail": 10, "provider google": 20, "provider microsoft": 20, "account JCM/utama": 10}


def test_documentation_lists_provider_limits() -> None:
    page = (Path(__file__).parents[4] / "docs/how-to/agency-officer/probe-times.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")] for line in page.splitlines() if line.startswith("| `")]
    told = {row[1].strip("`"): [int(cell.replace(",", "") or 0) for cell in row[3:7]] for row in rows}
    assert told == {
        p.name: [p.messages_per_day or 0, p.messages_per_minute or 0, p.concurrency, p.account_concurrency]
        for p in KNOWN_PROVIDERS
    }


# -- what a configuration needs -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "count", "interval", "hours", "found"),
    [
        # 2,880 a day, plus a tenth for confirmations.
        ("smtp.gmail.com", 1, 30 * SECOND, None, (3168, 50 * SECOND)),
        ("smtp.gmail.com", 1, 50 * SECOND, None, None),
        ("smtp.gmail.com", 5, 5 * MINUTE, None, None),
        ("smtp.gmail.com", 7, 5 * MINUTE, None, (2218, 6 * MINUTE)),
        ("mel.jabatan-contoh.gov.my", 1, 30 * SECOND, None, None),
        # Office hours halve the number.
        ("smtp.gmail.com", 1, 30 * SECOND, Hours(active_windows=[OFFICE]), None),
        ("smtp.gmail.com", 2, 30 * SECOND, Hours(active_windows=[OFFICE]), (3168, 50 * SECOND)),
        # The limit of thirty a minute applies however few hours are active.
        ("smtp.office365.com", 6, MINUTE, None, None),
        ("smtp.office365.com", 7, MINUTE, None, (11088, 70 * SECOND)),
        (
            "smtp.office365.com",
            15,
            30 * SECOND,
            Hours(active_windows=[Recurring("0 7 * * *", HOUR, ZoneInfo("Asia/Kuala_Lumpur"))]),
            (1980, 40 * SECOND),
        ),
    ],
)
def test_accounts_over_quota_gives_messages_and_interval(
    host: str, count: int, interval: timedelta, hours: Hours | None, found: tuple[int, timedelta] | None
) -> None:
    overdrawn = accounts_over_quota(routes(at(host), count, interval, hours), MailProviders())
    assert [(one.messages_per_day, one.interval) for one in overdrawn] == ([] if found is None else [found])


@pytest.mark.parametrize("count", [1, 2, 3, 7, 40, 1000])
@pytest.mark.parametrize("host", ["smtp.gmail.com", "smtp.office365.com"])
def test_accounts_over_quota_proposed_interval_is_sufficient(host: str, count: int) -> None:
    (overdrawn,) = accounts_over_quota(routes(at(host), count, SECOND), MailProviders())
    assert accounts_over_quota(routes(at(host), count, overdrawn.interval), MailProviders()) == []


def test_accounts_over_quota_counts_each_account_separately() -> None:
    one, other = at("smtp.gmail.com"), at("smtp.gmail.com", "MDC/utama", "pantau@majlis-contoh.gov.my")
    assert accounts_over_quota(routes(one, 4, 5 * MINUTE) + routes(other, 4, 5 * MINUTE), MailProviders()) == []


def test_accounts_over_quota_gives_allowed_limits() -> None:
    allowed = {
        host: accounts_over_quota(routes(at(host), 100, MINUTE), MailProviders())[0].allowed
        for host in ("smtp.gmail.com", "smtp.office365.com")
    }
    assert allowed == {"smtp.gmail.com": "2000 a day", "smtp.office365.com": "10000 a day and 30 a minute"}


# -- what is left ---------------------------------------------------------------------------------------------------

TIGHT = MailProvider(name="ketat", hosts=("mel.contoh.gov.my",), messages_per_day=10, concurrency=1)
FAST_TIMING = MailProvider(name="deras", hosts=("mel.contoh.gov.my",), messages_per_minute=3, concurrency=1)


def followed(sender: Mailbox, mail_providers: MailProviders) -> SendQuota:
    left = SendQuota()
    left.set_senders([sender], mail_providers)
    return left


def budget(mail_provider: MailProvider) -> SendQuota:
    return followed(at("mel.contoh.gov.my"), MailProviders([mail_provider, *KNOWN_PROVIDERS]))


def test_next_send_at_day_quota_used_waits_one_day() -> None:
    left = budget(TIGHT)
    for hour in range(10):
        assert left.next_send_at("JCM/utama", T0 + hour * HOUR) == T0 + hour * HOUR
        left.record("JCM/utama", T0 + hour * HOUR)

    next_send_at = left.next_send_at("JCM/utama", T0 + 11 * HOUR)
    assert T0 + DAY <= next_send_at <= T0 + DAY + 10 * MINUTE
    assert left.next_send_at("JCM/utama", next_send_at - SECOND) == next_send_at
    assert left.next_send_at("JCM/utama", next_send_at) == next_send_at
    left.record("JCM/utama", next_send_at)
    assert left.next_send_at("JCM/utama", next_send_at) > next_send_at


def test_next_send_at_minute_quota_used_waits_for_next_minute() -> None:
    left = budget(FAST_TIMING)
    for second in (0, 10, 20):
        assert left.next_send_at("JCM/utama", T0 + second * SECOND) == T0 + second * SECOND
        left.record("JCM/utama", T0 + second * SECOND)

    assert left.next_send_at("JCM/utama", T0 + 21 * SECOND) == T0 + MINUTE
    assert left.next_send_at("JCM/utama", T0 + MINUTE) == T0 + MINUTE
    left.record("JCM/utama", T0 + MINUTE)
    assert left.next_send_at("JCM/utama", T0 + MINUTE) == T0 + MINUTE + 10 * SECOND


def test_record_earlier_counts_each_message_once() -> None:
    left = budget(TIGHT)
    minutes = [T0 + number * MINUTE for number in range(6)]
    for _ in range(3):
        for at in minutes:
            left.record_earlier("JCM/utama", at, "JCM/inbound/rujukan-a")
    assert left.next_send_at("JCM/utama", minutes[-1]) == minutes[-1]
    # The same time on another route is another message.
    for at in minutes:
        left.record_earlier("JCM/utama", at, "MDC/inbound/rujukan-a")
    assert left.next_send_at("JCM/utama", minutes[-1]) > minutes[-1]


def test_record_earlier_old_messages_do_not_replace_recent() -> None:
    left = budget(FAST_TIMING)
    for second in range(3):
        left.record("JCM/utama", T0 + second * SECOND, "JCM/inbound/rujukan-a")
        left.record_earlier("JCM/utama", T0 - (3 - second) * HOUR, "MDC/inbound/rujukan-a")
    assert left.next_send_at("JCM/utama", T0 + 3 * SECOND) == T0 + MINUTE


@pytest.mark.parametrize(("provider", "messages", "wait"), [(TIGHT, 10, DAY + MINUTE * 10), (FAST_TIMING, 3, MINUTE)])
def test_record_earlier_future_messages_count_as_just_sent(
    provider: MailProvider, messages: int, wait: timedelta
) -> None:
    left, ahead = budget(provider), T0 + 30 * DAY
    for second in range(messages):
        left.record_earlier("JCM/utama", ahead + second * SECOND, "JCM/inbound/rujukan-a")
    assert T0 < left.next_send_at("JCM/utama", T0) <= T0 + wait
    assert left.next_send_at("JCM/utama", T0 + wait) == T0 + wait

    # Messages after the clock correction are new.
    for second in range(messages):
        left.record_earlier("JCM/utama", T0 + wait + second * SECOND, "JCM/inbound/rujukan-a")
    later = T0 + wait + messages * SECOND
    assert left.next_send_at("JCM/utama", later) > later


def test_next_send_at_without_limit_is_now() -> None:
    left = followed(at("mel.contoh.gov.my"), MailProviders())
    for _ in range(100):
        left.record("JCM/utama", T0)
    left.record("nobody that is known", T0)
    assert left.next_send_at("JCM/utama", T0) == T0


def test_next_send_at_account_within_quota_never_waits() -> None:
    box = at("smtp.gmail.com")
    (each,) = routes(box, 1, 50 * SECOND)
    assert accounts_over_quota([each], MailProviders()) == []
    left, now = followed(box, MailProviders()), T0
    while now < T0 + 3 * DAY:
        assert left.next_send_at(box.name, now) == now
        left.record(box.name, now)
        now += each.probing.interval
