"""Rotas, contact addresses, calendars and office hours."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from alerts.hours.calendar import Calendar, State
from alerts.hours.office_hours import OfficeHours
from alerts.model.channel import Channel
from alerts.model.contact import Address
from alerts.model.oncall import Days
from alerts.model.policy_snapshot import PolicySnapshot, RedialPolicy
from monitor.config.loading import load
from tests.unit.monitor.config.ministry import KINDS, Ministry

FILE = "agencies/jabatan.yaml"
MALAYSIA = ZoneInfo("Asia/Kuala_Lumpur")
#: A Thursday, noon in Malaysia.
NOW = datetime(2026, 11, 26, 4, 0, tzinfo=UTC)

ROTAS = """\
rotas:
  bertugas:
    handover: "07:30"
    layers:
      - {days: workdays, every: weekly, from: 2026-01-05, people: [siti, rahim]}
      - {days: rest, every: 2d, from: 2026-01-03, people: [rahim]}
"""
FIRST_STEP = "    - {contacts: [siti], channels: [sms, voice]}\n"


@pytest.fixture
def rota_ministry(ministry: Ministry) -> Ministry:
    """Return a configuration whose first step notifies a rota."""
    ministry.edit("jabatan", "escalation:\n", ROTAS + "escalation:\n")
    ministry.edit("jabatan", FIRST_STEP, "    - {rotas: [bertugas], channels: [sms]}\n")
    return ministry


def snapshot(ministry: Ministry) -> PolicySnapshot:
    configuration = ministry.load().require_configuration()
    return configuration.registry.agencies["JCONTOH"].build_policy(configuration.settings.build_shared())


def check_problems(ministry: Ministry, now: datetime = NOW) -> list[str]:
    """Return the problems of `pantau check` at *now*, with relative paths."""
    found = load(ministry.path("pantau"), ministry.environ, kinds=KINDS, now=now).problems
    return [str(problem).replace(f"{ministry.directory}/", "") for problem in found]


# -- rotas ----------------------------------------------------------------------------------------------------------


def test_rota_is_copied_into_policy_snapshot(rota_ministry: Ministry) -> None:
    policy = snapshot(rota_ministry).escalation
    (rota,) = policy.rotas
    first, second = rota.layers

    assert policy.steps[0].rotas == (rota.name,) == ("JCONTOH/bertugas",)
    assert (rota.zone, rota.handover, rota.calendar) == (MALAYSIA, time(7, 30), Calendar())
    assert [person.key for person in first.people] == ["siti", "rahim"]
    assert (first.days, first.shift_days, first.starts_on) == (Days.WORKDAYS, 7, date(2026, 1, 5))
    assert (second.days, second.shift_days) == (Days.REST, 2)


def test_rota_of_settings_is_shared_under_its_key(ministry: Ministry) -> None:
    shared = "rotas:\n  pusat:\n    layers: [{every: daily, from: 2026-01-05, people: [rahim]}]\n"
    ministry.edit("pantau", "noc:\n", shared + "noc:\n")
    ministry.edit("pantau", "{contacts: [rahim], channels: [sms]}", "{rotas: [pusat], channels: [sms]}")
    ministry.edit("jabatan", FIRST_STEP, "    - {rotas: [pusat], channels: [sms]}\n")

    noc = ministry.load().require_configuration().settings.build_noc_policy(subject="x", subject_en="x")
    assert [rota.name for rota in noc.escalation.rotas] == ["pusat"]
    assert [rota.name for rota in snapshot(ministry).escalation.rotas] == ["pusat"]


def test_rota_time_zone_and_state_default_to_file(rota_ministry: Ministry) -> None:
    rota_ministry.edit("jabatan", "rotas:\n  bertugas:\n", "calendar: {state: kedah}\nrotas:\n  bertugas:\n")
    rota_ministry.edit("pantau", "state_dir: state", "state_dir: state\ntime_zone: Europe/London")
    (rota,) = snapshot(rota_ministry).escalation.rotas
    assert (rota.zone.key, rota.calendar.state) == ("Europe/London", State.KEDAH)

    rota_ministry.edit("jabatan", "  bertugas:\n", "  bertugas:\n    time_zone: Asia/Kuala_Lumpur\n    state: johor\n")
    (rota,) = snapshot(rota_ministry).escalation.rotas
    assert (rota.zone.key, rota.calendar.state) == ("Asia/Kuala_Lumpur", State.JOHOR)


def test_policy_snapshot_has_fallback_and_redial(rota_ministry: Ministry) -> None:
    rota_ministry.edit("jabatan", "escalation:\n", "escalation:\n  fallback: rahim\n")
    rota_ministry.edit(
        "jabatan", "channels: [sms]}\n    - {after", "channels: [sms], redial: {every: 2m, times: 4}}\n    - {after"
    )
    policy = snapshot(rota_ministry).escalation

    assert policy.fallback is not None
    assert policy.fallback.key == "rahim"
    assert [step.redial for step in policy.steps] == [RedialPolicy(interval=timedelta(minutes=2), times=4), None]


#: The edit of the agency's file, and its only problem.
MISTAKES = [
    (
        ("rotas: [bertugas]", "rotas: [bertuga]"),
        f"{FILE}:31: escalation.steps[0].rotas[0]: there is no rota 'bertuga'; write instead: bertugas",
    ),
    (
        ("rotas: [bertugas]", "rotas: [bertugas, bertugas]"),
        f"{FILE}:31: escalation.steps[0].rotas[1]: 'bertugas' is named twice; write instead: it once",
    ),
    (
        ("people: [siti, rahim]", "people: [siti, rahin]"),
        f"{FILE}:27: rotas.bertugas.layers[0].people[1]: there is no contact 'rahin'; write instead: rahim",
    ),
    (
        ("people: [siti, rahim]", "people: []"),
        (
            f"{FILE}:27: rotas.bertugas.layers[0].people: nobody has a shift; "
            "write instead: the key of at least one contact"
        ),
    ),
    (
        ("channels: [sms]}\n    - {after", "channels: [voice]}\n    - {after"),
        (
            f"{FILE}:31: escalation.steps[0].rotas[0]: the step does not reach 'rahim', who has no address for voice; "
            "write instead: voice: 03-1234 5678 for rahim"
        ),
    ),
    (
        ("every: 2d", "every: fortnightly"),
        (
            f"{FILE}:28: rotas.bertugas.layers[1].every: 'fortnightly' is no shift of whole days; "
            "write instead: daily, weekly, or a number of days up to 92: 3d"
        ),
    ),
    (
        ("every: 2d", "every: 36h"),
        (
            f"{FILE}:28: rotas.bertugas.layers[1].every: '36h' is no shift of whole days; "
            "write instead: daily, weekly, or a number of days up to 92: 3d"
        ),
    ),
    (
        ("from: 2026-01-03", "from: 3.1.2026"),
        f"{FILE}:28: rotas.bertugas.layers[1].from: '3.1.2026' is no day; write instead: year-month-day: 2026-12-01",
    ),
    (
        ("days: rest", "days: weekend"),
        (
            f"{FILE}:28: rotas.bertugas.layers[1].days: 'weekend' is not possible here; "
            "write instead: all or workdays or rest"
        ),
    ),
    (
        ('handover: "07:30"', 'handover: "7.30 pagi"'),
        f"{FILE}:25: rotas.bertugas.handover: '7.30 pagi' is no time of the day; write instead: 08:00, or 17:30",
    ),
    (
        ("rotas:\n  bertugas:\n", "calendar: {state: kedahh}\nrotas:\n  bertugas:\n"),
        f"{FILE}:23: calendar.state: 'kedahh' is not possible here; write instead: kedah",
    ),
    (
        ("escalation:\n", "escalation:\n  fallback: rahin\n"),
        f"{FILE}:30: escalation.fallback: there is no contact 'rahin'; write instead: rahim",
    ),
    (
        (
            "escalation:\n  steps:\n    - {rotas: [bertugas], channels: [sms]}",
            "escalation:\n  fallback: rahim\n  steps:\n    - {contacts: [siti], channels: [sms]}",
        ),
        (
            f"{FILE}:30: escalation.fallback: is never notified: no step names a rota; "
            "write instead: rotas: [KEY] in a step, or no fallback"
        ),
    ),
]


@pytest.mark.parametrize(("edit", "problem"), MISTAKES, ids=[mistake[0][1][:30] for mistake in MISTAKES])
def test_rota_mistake_is_only_problem(rota_ministry: Ministry, edit: tuple[str, str], problem: str) -> None:
    assert rota_ministry.problems() == []
    rota_ministry.edit("jabatan", *edit)
    assert rota_ministry.problems() == [problem]


def test_rota_of_agency_with_name_of_shared_rota_is_refused(rota_ministry: Ministry) -> None:
    shared = "rotas:\n  bertugas:\n    layers: [{every: daily, from: 2026-01-05, people: [rahim]}]\n"
    rota_ministry.edit("pantau", "noc:\n", shared + "noc:\n")
    (problem,) = rota_ministry.problems()
    assert "rotas.bertugas: the rota 'bertugas' is also at pantau.yaml:" in problem


# -- contact addresses ----------------------------------------------------------------------------------------------

SHORT = """\
    sms: "+1 202-555-0102"
    voice: "+44 20 7946 0103"
    extension: "103"
"""
LIST = """\
    addresses:
      - {mobile: "+1 202-555-0102", verified: 2026-11-01}
      - {landline: "+44 20 7946 0103", extension: "103", hours: office}
      - {mobile: "+1 202-555-0105"}
      - {fax: "+44 20 7946 0106", hours: office}
"""
OFFICE = OfficeHours(calendar=Calendar(), zone=MALAYSIA)


def addresses(ministry: Ministry) -> tuple[Address, ...]:
    return snapshot(ministry).escalation.steps[0].contacts[0].addresses


def test_contact_addresses_keep_list_order(ministry: Ministry) -> None:
    ministry.edit("jabatan", SHORT, LIST)
    ministry.edit("jabatan", FIRST_STEP, "    - {contacts: [siti], channels: [voice, sms, fax]}\n")
    siti = snapshot(ministry).escalation.steps[0].contacts[0]

    assert [(a.channel, a.number) for a in siti.addresses_on([Channel.VOICE, Channel.SMS])] == [
        (Channel.VOICE, "+12025550102"),
        (Channel.VOICE, "+442079460103"),
        (Channel.VOICE, "+12025550105"),
        (Channel.SMS, "+12025550102"),
        (Channel.SMS, "+12025550105"),
    ]
    by_number = {a.number: (a.extension, a.hours, a.verified) for a in siti.addresses}
    assert by_number == {
        "+12025550102": ("", None, date(2026, 11, 1)),
        "+442079460103": ("W103#", OFFICE, None),
        "+12025550105": ("", None, None),
        "+442079460106": ("", OFFICE, None),
    }


def test_contact_short_form_gives_same_addresses(ministry: Ministry) -> None:
    ministry.edit("jabatan", SHORT, SHORT + "    verified: 2026-11-01\n")

    assert addresses(ministry) == (
        Address(channel=Channel.SMS, number="+12025550102"),
        Address(channel=Channel.VOICE, number="+442079460103", extension="W103#"),
    )
    assert {(a.hours, a.verified) for a in addresses(ministry)} == {(None, date(2026, 11, 1))}


def test_contact_office_hours_use_agency_calendar(ministry: Ministry) -> None:
    ministry.edit("jabatan", SHORT, LIST)
    ministry.edit(
        "jabatan",
        "contacts:\n",
        'calendar: {state: kelantan, office_hours: ["08:00-13:00", "14:00-17:00"]}\ncontacts:\n',
    )
    spans = ((time(8), time(13)), (time(14), time(17)))
    hours = {a.hours for a in addresses(ministry)} - {None}
    assert hours == {replace(OFFICE, calendar=Calendar(state=State.KELANTAN), spans=spans)}


ENTRY_PLACE = "agencies/jabatan.yaml:22: contacts.siti.addresses[1]"
ENTRY = '{landline: "+44 20 7946 0103", extension: "103", hours: office}'
NUMBER_MISTAKES = [
    (
        ENTRY,
        "{hours: office}",
        (
            f"{ENTRY_PLACE}: holds no number: an address is one number; write instead: "
            "mobile: 010-000 0000, landline: 03-1234 5678 or fax: 03-1234 5678"
        ),
    ),
    (
        ENTRY,
        '{mobile: "+1 202-555-0107", fax: "+44 20 7946 0107"}',
        (
            f"{ENTRY_PLACE}: holds mobile and fax: an address is one number; write instead: "
            "mobile: 010-000 0000, landline: 03-1234 5678 or fax: 03-1234 5678"
        ),
    ),
    (
        ENTRY,
        '{mobile: "+44 20 7946 0103"}',
        (
            f"{ENTRY_PLACE}.mobile: is no mobile number, and an SMS to a fixed line is lost; "
            "write instead: a mobile number, or voice:"
        ),
    ),
    (
        ENTRY,
        '{mobile: "+1 202-555-0107", extension: "103"}',
        f"{ENTRY_PLACE}.extension: belongs to no line; write instead: landline: 03-1234 5678 beside it",
    ),
    (
        ENTRY,
        '{landline: "+44 20 7946 0103", extension: "WWWWWWWWWWWWW103"}',
        (
            f'{ENTRY_PLACE}.extension: is no extension; write instead: the digits to press after the line answers, as "1234"'
        ),
    ),
    (
        ENTRY,
        '{landline: "+44 20 7946 0103", hours: night}',
        f"{ENTRY_PLACE}.hours: 'night' is not possible here; write instead: always or office",
    ),
]


@pytest.mark.parametrize(("old", "new", "problem"), NUMBER_MISTAKES, ids=[m[1][:40] for m in NUMBER_MISTAKES])
def test_contact_address_mistake_is_only_problem(ministry: Ministry, old: str, new: str, problem: str) -> None:
    ministry.edit("jabatan", SHORT, LIST)
    ministry.edit("jabatan", old, new)
    assert ministry.problems() == [problem]


def test_contact_short_form_beside_addresses_is_refused(ministry: Ministry) -> None:
    ministry.edit("jabatan", SHORT, LIST + '    sms: "+1 202-555-0108"\n')
    assert ministry.problems() == [
        (
            f"{FILE}:25: contacts.siti.sms: cannot be combined with addresses; "
            "write instead: it in the list, with mobile, landline or fax"
        )
    ]


# -- recipients -----------------------------------------------------------------------------------------------------


def test_recipient_office_hours_apply_to_fax_only_when_set(ministry: Ministry) -> None:
    (ministry_,) = snapshot(ministry).announcement.recipients
    assert [a.hours for a in ministry_.addresses] == [None, None]

    ministry.edit(
        "jabatan",
        "      channels: [fax, letter]",
        "      channels: [fax, letter]\n      hours: office\n      state: kedah",
    )
    (ministry_,) = snapshot(ministry).announcement.recipients
    assert [a.hours for a in ministry_.addresses] == [replace(OFFICE, calendar=Calendar(state=State.KEDAH)), None]


# -- calendar file --------------------------------------------------------------------------------------------------

CALENDAR_FILE = """\
holidays:
  - {date: 2026-12-07, what: Cuti peristiwa, states: [selangor, putrajaya]}
  - {date: 2026-12-08, what: Cuti khas, states: [selangor]}
workdays:
  - {date: 2026-12-25, what: Hari bekerja}
"""


def write_calendar_file(ministry: Ministry, text: str) -> None:
    (ministry.directory / "hari.yaml").write_text(text, encoding="utf-8")
    ministry.edit("pantau", "state_dir: state", "state_dir: state\ncalendar: {file: hari.yaml}")


def test_calendar_file_days_apply_to_gazetted_states(rota_ministry: Ministry) -> None:
    write_calendar_file(rota_ministry, CALENDAR_FILE)
    (rota,) = snapshot(rota_ministry).escalation.rotas
    assert rota.calendar == Calendar(holidays=(date(2026, 12, 7),), workdays=(date(2026, 12, 25),))
    assert rota_ministry.load().require_configuration().files == 3


def test_calendar_days_are_read_from_settings(rota_ministry: Ministry) -> None:
    rota_ministry.edit(
        "pantau", "state_dir: state", "state_dir: state\ncalendar:\n  holidays: [{date: 2026-12-07, what: Cuti}]"
    )
    (rota,) = snapshot(rota_ministry).escalation.rotas
    assert rota.calendar.holidays == (date(2026, 12, 7),)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "holidays: [{date: 7 Disember, what: Cuti}]",
            "hari.yaml:1: holidays[0].date: '7 Disember' is no day; write instead: year-month-day: 2026-12-01",
        ),
        (
            "holidays: [{date: 2026-12-07, what: Cuti}]\nworkdays: [{date: 2026-12-07, what: Kerja, states: [johor]}]",
            (
                "hari.yaml:1: holidays[0].date: 2026-12-07 is also one of the workdays; "
                "write instead: it in one of the two"
            ),
        ),
        (
            "cuti: []",
            "hari.yaml:1: cuti: is no known key; write instead: one of holidays, workdays",
        ),
    ],
)
def test_calendar_file_mistake_is_reported_in_that_file(ministry: Ministry, text: str, problem: str) -> None:
    write_calendar_file(ministry, text)
    assert ministry.problems() == [problem]


def test_calendar_file_missing_is_a_problem(ministry: Ministry) -> None:
    ministry.edit("pantau", "state_dir: state", "state_dir: state\ncalendar: {file: hari.yaml}")
    why = "calendar.file: hari.yaml cannot be read: No such file or directory"
    remedy = "a file of text, or another path where it is named"
    assert ministry.problems() == [f"pantau.yaml:3: {why}; write instead: {remedy}"]


def test_office_hours_invalid_spans_are_refused(ministry: Ministry) -> None:
    ministry.edit("pantau", "state_dir: state", 'state_dir: state\ncalendar: {office_hours: ["17:00-08:00"]}')
    assert ministry.problems() == [
        "pantau.yaml:3: calendar.office_hours[0]: '17:00-08:00' ends before it begins; write instead: 08:00-17:00"
    ]
    ministry.edit("pantau", '["17:00-08:00"]', '["08:00-13:00", "12:00-17:00"]')
    run_together = [
        (
            "pantau.yaml:3: calendar.office_hours[1]: does not begin after the end of the one before; "
            "write instead: later hours, or one span"
        )
    ]
    assert ministry.problems() == run_together
    ministry.edit("pantau", '"12:00-17:00"', '"13:00-17:00"')
    assert ministry.problems() == run_together
    ministry.edit("pantau", '"13:00-17:00"', '"14:00-17:00"')
    assert ministry.problems() == []


# -- warnings for the next days -------------------------------------------------------------------------------------


def verify(ministry: Ministry, day: str) -> None:
    ministry.edit("jabatan", SHORT, f"{SHORT}    verified: {day}\n")
    ministry.edit("pantau", 'sms: "+1 202-555-0101"', f'sms: "+1 202-555-0101"\n    verified: {day}')


def test_rota_gap_in_next_seven_days_is_a_warning_of_check_only(rota_ministry: Ministry) -> None:
    verify(rota_ministry, "2026-11-20")
    rota_ministry.edit("jabatan", "      - {days: rest, every: 2d, from: 2026-01-03, people: [rahim]}\n", "")
    assert check_problems(rota_ministry) == [
        (
            f"{FILE}:25: warning: rotas.bertugas: nobody is on call from Sat 2026-11-28 07:30 to Mon 2026-11-30 07:30; "
            "write instead: a layer for those days, or a `pantau override add` each time"
        )
    ]
    assert rota_ministry.problems() == []
    assert rota_ministry.load().require_configuration()


def test_rota_gap_on_holiday_is_counted(rota_ministry: Ministry) -> None:
    verify(rota_ministry, "2026-11-20")
    rota_ministry.edit("jabatan", "      - {days: rest, every: 2d, from: 2026-01-03, people: [rahim]}\n", "")
    rota_ministry.edit(
        "pantau", "state_dir: state", "state_dir: state\ncalendar: {holidays: [{date: 2026-12-01, what: Cuti}]}"
    )
    (problem,) = check_problems(rota_ministry)
    assert "to Mon 2026-11-30 07:30, and 1 more in the next 7 days" in problem


def test_rota_without_gap_and_verified_numbers_have_no_warnings(rota_ministry: Ministry) -> None:
    verify(rota_ministry, "2026-11-20")
    assert check_problems(rota_ministry) == []


def test_number_unverified_is_a_warning(ministry: Ministry) -> None:
    ministry.edit("jabatan", SHORT, LIST)
    said = "warning: {}: is not verified: nobody is known to have answered there; write instead: verified: 2026-11-26, once"
    found = check_problems(ministry)
    assert [problem.rpartition(" somebody")[0] for problem in found] == [
        f"pantau.yaml:21: {said.format('contacts.rahim')}",
        *(f"{FILE}:{21 + n}: {said.format(f'contacts.siti.addresses[{n}]')}" for n in (1, 2, 3)),
    ]
    assert not any("202" in problem.replace("2026", "") or "7946" in problem for problem in found)


def test_number_verified_too_long_ago_or_in_future_is_a_warning(ministry: Ministry) -> None:
    ministry.edit("pantau", "state_dir: state", "state_dir: state\nreverify_after: 30d")
    verify(ministry, "2026-10-26")
    old, _ = check_problems(ministry)
    assert old == (
        "pantau.yaml:25: warning: contacts.rahim.verified: somebody last answered there on 2026-10-26, longer ago than "
        "reverify_after (30d); write instead: verified: 2026-11-26, once somebody has answered there"
    )
    ministry.edit("jabatan", "verified: 2026-10-26", "verified: 2026-10-27")
    ministry.edit("pantau", "verified: 2026-10-26", "verified: 2026-11-27")
    (future,) = check_problems(ministry)
    assert "2026-11-27 is in the future" in future
