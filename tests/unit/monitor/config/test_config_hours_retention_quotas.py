"""Active hours, maintenance, retention and quotas: the settings and their problems."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from monitor.config.model.registry import Registry
from monitor.model.window import Hours
from tests.unit.monitor.config.ministry import Ministry, second_agency

_AGENCY = "agencies/jabatan.yaml"


def insert(ministry: Ministry, file: str, text: str) -> None:
    """Insert *text* into a file before its last section."""
    before = "escalation:\n  steps" if file == "jabatan" else "noc:\n"
    ministry.edit(file, before, f"{text}\n{before}")


def registry(ministry: Ministry) -> Registry:
    loaded = ministry.load()
    assert loaded.configuration is not None, [str(problem) for problem in loaded.problems]
    return loaded.configuration.registry


def hours(ministry: Ministry, agency: str = "JCONTOH") -> Hours:
    (found,) = {id(r.probing.hours): r.probing.hours for r in registry(ministry).routes_for(agency)}.values()
    return found


def at(*when: int) -> datetime:
    return datetime(*when, tzinfo=UTC)  # type: ignore[arg-type, misc]


# -- valid settings -------------------------------------------------------------------------------------------------


def test_active_hours_unset_means_always(ministry: Ministry) -> None:
    assert hours(ministry) == Hours()


def test_active_hours_of_service_use_time_zone_of_agency(ministry: Ministry) -> None:
    insert(ministry, "pantau", 'probing: {active_hours: [{cron: "0 7 * * mon-fri", for: 12h}]}')
    ministry.write("kedua", second_agency(("escalation:\n", "time_zone: Asia/Tokyo\nescalation:\n")))

    saturday = at(2026, 11, 28, 4)
    assert hours(ministry).next_active_at(saturday) == at(2026, 11, 29, 23)
    assert hours(ministry, "MPCONTOH").next_active_at(saturday) == at(2026, 11, 29, 22)
    # References are probed in the same hours.
    assert hours(ministry, "").next_active_at(saturday) == at(2026, 11, 29, 23)


def test_active_hours_of_agency_override_service(ministry: Ministry) -> None:
    insert(ministry, "pantau", 'probing: {active_hours: [{cron: "0 7 * * mon-fri", for: 12h}]}')
    insert(ministry, "jabatan", 'probing: {interval: 10m, active_hours: [{cron: "0 0 * * *", for: 24h}]}')

    assert hours(ministry).next_active_at(at(2026, 11, 28, 4)) == at(2026, 11, 28, 4)
    assert registry(ministry).routes_for("JCONTOH")[0].probing.interval == timedelta(minutes=10)


@pytest.mark.parametrize(
    "until", ["2026-12-02 04:00", "2026-12-02T04:00:00", "2026-12-01T20:00Z", "2026-12-02T05:00+09:00"]
)
def test_maintenance_is_in_local_time_unless_offset_given(ministry: Ministry, until: str) -> None:
    insert(ministry, "jabatan", f"maintenance: [{{from: 2026-12-01 22:00, until: {until}, reason: Naik taraf}}]")
    found = hours(ministry).maintenance_at(at(2026, 12, 1, 15))

    assert found is not None
    assert (found.starts_at, found.ends_at, found.reason) == (at(2026, 12, 1, 14), at(2026, 12, 1, 20), "Naik taraf")


def test_maintenance_recurs_by_cron(ministry: Ministry) -> None:
    insert(ministry, "jabatan", 'maintenance: [{cron: "0 2 * * sun", for: 2h, reason: Sandaran mingguan}]')

    assert hours(ministry).next_active_at(at(2026, 11, 28, 19)) == at(2026, 11, 28, 20)
    assert hours(ministry, "") == Hours()


def test_maintenance_of_service_applies_to_all(ministry: Ministry) -> None:
    insert(
        ministry, "pantau", "maintenance: [{from: 2026-12-01 22:00, until: 2026-12-02 04:00, reason: Pindah pejabat}]"
    )

    for agency in ("JCONTOH", ""):
        assert hours(ministry, agency).next_active_at(at(2026, 12, 1, 15)) == at(2026, 12, 1, 20)


def retention_days(ministry: Ministry, written: str) -> tuple[int, int, int]:
    insert(ministry, "pantau", written)
    keep = ministry.load().require_configuration().settings.retention.build()
    return keep.delivered.days, keep.failed.days, keep.hourly.days


def test_retention_defaults_and_overrides_of_runs(
    ministry: Ministry,
) -> None:
    assert retention_days(ministry, "flapping: {threshold: 3}") == (30, 365, 365)
    assert ministry.load().problems == ()
    assert retention_days(ministry, "retention: {delivered: 7d, hourly: 730d}") == (7, 365, 730)


def test_retention_daily_default_and_override(ministry: Ministry) -> None:
    assert ministry.load().require_configuration().settings.retention.build().daily.days == 1096
    insert(ministry, "pantau", "retention: {daily: 400d}")
    assert ministry.load().require_configuration().settings.retention.build().daily.days == 400


def test_retention_daily_below_400_days_is_refused(ministry: Ministry) -> None:
    insert(ministry, "pantau", "retention: {daily: 90d}")
    (problem,) = ministry.load().problems
    assert "compare a year with the one before; write instead: 400d or longer" in str(problem)


def test_retention_single_duration_applies_to_all_runs_with_warning(ministry: Ministry) -> None:
    assert retention_days(ministry, "retention: 90d") == (90, 90, 365)
    (problem,) = ministry.load().problems
    assert problem.severity == "warning"
    assert "hundreds of times more; write instead: {delivered: 30d, failed: 90d, hourly: 365d}" in str(problem)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("retention: 90", "retention: '90' has no unit"),
        ("retention: 'soon'", "retention: is no span of time; write instead: {delivered: 30d"),
        ("retention: 12h", "retention: 12h is shorter than a day"),
        ("retention: {delivered: 12h}", "retention.delivered: 12h is shorter than a day"),
        ("retention: {delivered: 90d, failed: 30d}", "kept for longer than failed ones; write instead: failed: 90d"),
        ("retention: {all: 90d}", "retention.all: is no known key"),
    ],
)
def test_retention_invalid_is_refused_with_remedy(ministry: Ministry, written: str, message: str) -> None:
    insert(ministry, "pantau", written)
    assert message in "\n".join(map(str, ministry.load().errors))


# -- problems -------------------------------------------------------------------------------------------------------

_CRON = 'write instead: "0 7 * * mon-fri" (minute hour day month weekday)'

#: The inserted text with its file, and its only problem.
MISTAKES = [
    (
        ("jabatan", "probing: {active_hours: [{cron: 0 25 * * *, for: 1h}]}"),
        f"{_AGENCY}:23: probing.active_hours[0].cron: is no cron expression (bad hour); {_CRON}",
    ),
    (
        ("jabatan", "probing: {active_hours: [{cron: 0 0 31 2 *, for: 1h}]}"),
        f"{_AGENCY}:23: probing.active_hours[0].cron: is no cron expression (bad day-of-month); {_CRON}",
    ),
    (
        ("jabatan", "probing: {active_hours: [{cron: 7am, for: 1h}]}"),
        f"{_AGENCY}:23: probing.active_hours[0].cron: has 1 fields and not five: minute hour day month weekday; {_CRON}",
    ),
    (
        ("jabatan", "probing: {active_hours: [{cron: 0 7 * * *, for: 12}]}"),
        f"{_AGENCY}:23: probing.active_hours[0].for: '12' has no unit; write instead: 12s or 12m",
    ),
    (
        ("jabatan", "probing: {active_hours: [{cron: 0 7 * * *}]}"),
        f"{_AGENCY}:23: probing.active_hours[0].for: is missing; write instead: for: 12h",
    ),
    (
        ("jabatan", "probing: {active_hours: []}"),
        (
            f"{_AGENCY}:23: probing.active_hours: no window is named: nothing would be probed; "
            "write instead: a window, or leave the key out"
        ),
    ),
    (
        ("jabatan", "time_zone: Malaysia"),
        (f"{_AGENCY}:23: time_zone: 'Malaysia' is no time zone of this machine; write instead: Asia/Kuala_Lumpur"),
    ),
    (
        ("jabatan", "time_zone: ../../etc/passwd"),
        (
            f"{_AGENCY}:23: time_zone: '../../etc/passwd' is no time zone of this machine; "
            "write instead: Asia/Kuala_Lumpur"
        ),
    ),
    (
        ("jabatan", "maintenance: [{from: 2026-12-01 22:00, until: 2026-12-01 21:00, reason: Naik taraf}]"),
        f"{_AGENCY}:23: maintenance[0].until: the window ends before it begins; write instead: a later time",
    ),
    (
        ("jabatan", "maintenance: [{from: 2026-12-01T22:00+08:00, until: 2026-12-01T14:00Z, reason: Naik taraf}]"),
        f"{_AGENCY}:23: maintenance[0].until: the window ends before it begins; write instead: a later time",
    ),
    (
        ("jabatan", "maintenance: [{from: 2026-12-01, until: 2026-12-02 04:00, reason: Naik taraf}]"),
        (
            f"{_AGENCY}:23: maintenance[0].from: is no date with a time; "
            "write instead: 2026-12-01 22:00, or 2026-12-01T22:00+08:00"
        ),
    ),
    *(
        (
            ("jabatan", f"maintenance: [{{from: {at}, until: 2026-12-02 04:00, reason: Naik taraf}}]"),
            (
                f"{_AGENCY}:23: maintenance[0].from: is in the year {int(at[:4])}; "
                "write instead: 2026-12-01 22:00, or 2026-12-01T22:00+08:00"
            ),
        )
        for at in ("0001-01-01 00:00", "1999-12-31 23:59", "2200-01-01 00:00", "9999-12-31T23:59-12:00")
    ),
    (
        ("jabatan", "maintenance: [{from: 1 Dis 2026, until: 2026-12-02 04:00, reason: Naik taraf}]"),
        (
            f"{_AGENCY}:23: maintenance[0].from: is no date with a time; "
            "write instead: 2026-12-01 22:00, or 2026-12-01T22:00+08:00"
        ),
    ),
    (
        ("jabatan", "maintenance: [{from: 2026-12-01 22:00, reason: Naik taraf}]"),
        (
            f"{_AGENCY}:23: maintenance[0]: is not one kind of window; "
            "write instead: from: and until:, or cron: and for:"
        ),
    ),
    (
        ("jabatan", "maintenance: [{cron: 0 2 * * *, until: 2026-12-02 04:00, for: 1h, reason: Naik taraf}]"),
        (
            f"{_AGENCY}:23: maintenance[0]: is not one kind of window; "
            "write instead: from: and until:, or cron: and for:"
        ),
    ),
    (
        ("pantau", "maintenance: [{reason: Naik taraf}]"),
        (
            "pantau.yaml:24: maintenance[0]: is not one kind of window; "
            "write instead: from: and until:, or cron: and for:"
        ),
    ),
    (
        ("jabatan", 'maintenance: [{cron: "0 0 * * *", for: 24h, reason: Selalu}]'),
        (
            f"{_AGENCY}:23: maintenance: leaves no time in which mail is probed; "
            "write instead: hours that maintenance does not cover"
        ),
    ),
    (
        (
            "jabatan",
            'probing: {active_hours: [{cron: "0 2 * * *", for: 1h}]}\nmaintenance: [{cron: "0 1 * * *", for: 3h, reason: Sandaran}]',
        ),
        (
            f"{_AGENCY}:23: probing.active_hours: leaves no time in which mail is probed; "
            "write instead: hours that maintenance does not cover"
        ),
    ),
    # Quotas
    (
        ("jabatan", "probing: {interval: 30s, retry_interval: 15s}"),
        (
            f"{_AGENCY}:23: probing.interval: pantau@jabatan-contoh.gov.my would send up to 9504 messages a day, and "
            "google allows an account 2000 a day; write instead: an interval of 2m30s or longer on all routes from it, "
            "or another account for some of them"
        ),
    ),
    (
        ("pantau", "probing: {interval: 30s, retry_interval: 15s}"),
        (
            f"{_AGENCY}:12: mailboxes.utama: pantau@jabatan-contoh.gov.my would send up to 9504 messages a day, and "
            "google allows an account 2000 a day; write instead: an interval of 2m30s or longer on all routes from it, "
            "or another account for some of them"
        ),
    ),
    (
        ("pantau", "mail_providers: {google: {messages_per_day: 900}}"),
        (
            f"{_AGENCY}:12: mailboxes.utama: pantau@jabatan-contoh.gov.my would send up to 951 messages a day, and "
            "google allows an account 900 a day; write instead: an interval of 6m or longer on all routes from it, "
            "or another account for some of them"
        ),
    ),
    (
        ("pantau", "mail_providers: {rujukan: {hosts: [rujukan-a.gov.my], messages_per_day: 600}}"),
        (
            "pantau.yaml:5: references.rujukan-a: pantau@rujukan-a.gov.my would send up to 634 messages a day, and "
            "rujukan allows an account 600 a day; write instead: an interval of 6m or longer on all routes from it, "
            "or another account for some of them"
        ),
    ),
    (
        ("pantau", "mail_providers: {gogle: {messages_per_day: 900}}"),
        "pantau.yaml:24: mail_providers.gogle: is no provider that is known, and has no hosts; write instead: google",
    ),
    (
        ("pantau", "mail_providers: {pos: {concurrency: 5}}"),
        (
            "pantau.yaml:24: mail_providers.pos: is no provider that is known, and has no hosts; "
            "write instead: hosts: [mel.contoh.gov.my]"
        ),
    ),
    (
        ("pantau", "mail_providers: {google: {messages_per_day: 0}}"),
        "pantau.yaml:24: mail_providers.google.messages_per_day: must be at least 1; write instead: a number that is at least 1",
    ),
]


@pytest.mark.parametrize(("written", "problem"), MISTAKES, ids=[mistake[0][1][:60] for mistake in MISTAKES])
def test_hours_or_quota_mistake_is_only_problem(ministry: Ministry, written: tuple[str, str], problem: str) -> None:
    insert(ministry, *written)
    assert ministry.problems() == [problem]


def test_quota_larger_limit_is_accepted(ministry: Ministry) -> None:
    insert(ministry, "jabatan", "probing: {interval: 30s, retry_interval: 15s}")
    insert(ministry, "pantau", "mail_providers: {google: {messages_per_day: 10000, concurrency: 5}}")
    assert ministry.problems() == []


def test_quota_of_reference_sums_routes_of_all_agencies(ministry: Ministry) -> None:
    ministry.edit("pantau", "smtp: {host: mel.rujukan-a.gov.my}", "smtp: {host: smtp.office365.com}")
    for n in range(40):
        code = "MP" + chr(ord("A") + n // 20) + chr(ord("A") + n % 20)
        text = second_agency(("agency: MPCONTOH", f"agency: {code}"), ("kedua@", f"{code.lower()}@"))
        ministry.write(code.lower(), text)
    # Ignore the warning that Microsoft will stop password logins.
    (problem,) = (line for line in ministry.problems() if "warning: " not in line)
    assert problem == (
        "pantau.yaml:5: references.rujukan-a: pantau@rujukan-a.gov.my would send up to 13306 messages a day, and "
        "microsoft allows an account 10000 a day and 30 a minute; write instead: an interval of 7m or longer on all "
        "routes from it, or another account for some of them"
    )
