"""The sections `heartbeat`, `out_of_band` and `drills`."""

from __future__ import annotations

from datetime import timedelta

import pytest

from monitor.config.service.out_of_band import InvalidNumbersError, read_numbers
from tests.unit.monitor.config.ministry import SECRET, Ministry

#: The form of a mobile number and of a landline number.
MOBILE, FIXED = "010-000 0900", "03-0000 0900"


def with_section(ministry: Ministry, written: str, numbers: str = f"{MOBILE}  # pusat operasi\n") -> Ministry:
    (ministry.directory / "nombor").write_text(numbers)
    ministry.edit("pantau", "state_dir: state", f"state_dir: state\n{written}")
    return ministry


def errors(ministry: Ministry) -> list[str]:
    return [str(p).replace(f"{ministry.directory}/", "") for p in ministry.load().errors]


def test_self_monitoring_sections_default_to_none(ministry: Ministry) -> None:
    settings = ministry.load().require_configuration().settings
    assert (settings.heartbeat, settings.out_of_band, settings.drills) == (None, None, None)


def test_heartbeat_defaults_and_token_not_in_repr(ministry: Ministry) -> None:
    with_section(ministry, "heartbeat: {url: https://suis.contoh.gov.my/pantau, token_file: secrets/mail}")
    settings = ministry.load().require_configuration().settings
    assert settings.heartbeat is not None
    assert (settings.heartbeat.interval, settings.heartbeat.method) == (timedelta(minutes=1), "GET")
    assert settings.heartbeat.token is not None
    assert settings.heartbeat.token.get_secret_value() == SECRET
    assert SECRET not in repr(settings)


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("heartbeat: {interval: 30s}", "heartbeat: has no receiver; write instead: url: https://..., or file: PATH"),
        (
            "heartbeat: {url: http://suis.contoh.gov.my/x}",
            "heartbeat.url: must be https (plain http only to this machine); write instead: https://...",
        ),
        (
            "heartbeat: {url: suis}",
            "heartbeat.url: is no address; write instead: https://suis.kementerian-contoh.gov.my/pantau",
        ),
        (
            "heartbeat: {file: denyut, token_file: secrets/mail}",
            "heartbeat.token_file: has no receiver without url; write instead: url: beside it, or leave it out",
        ),
        (
            'heartbeat: {url: "https://suis.contoh.gov.my/{token}"}',
            "heartbeat.url: holds {token}, and there is no token; write instead: token_file: PATH beside it",
        ),
        (
            "out_of_band: {numbers_file: nombor, gateways: [crie]}",
            "out_of_band.gateways[0]: there is no gateway 'crie'; write instead: crier",
        ),
        (
            "out_of_band: {numbers_file: nombor, gateways: [telex]}",
            "out_of_band.gateways[0]: 'telex' sends faxes or letters, which nobody reads in time; write instead: voice or sms",
        ),
        (
            "out_of_band: {numbers_file: nombor, gateways: []}",
            "out_of_band.gateways: no gateway is named; write instead: one of",
        ),
        (
            "out_of_band: {numbers_file: tiada, gateways: [crier]}",
            "out_of_band.numbers_file: cannot be read: No such file or directory; write instead: the path of a file",
        ),
        (
            'drills: {when: {cron: "0 10 * * tue", for: 2d}}',
            "drills.when.for: is longer than a day: people would be called at night; write instead: 4h",
        ),
        ('drills: {when: {cron: "0 10 * *", for: 2h}}', "drills.when.cron: has 4 fields and not five"),
        (
            'drills: {when: {cron: "0 10 * * tue", for: 2h}, contacts: []}',
            "drills.contacts: names nobody; write instead: all, or the keys of contacts",
        ),
        (
            'drills: {when: {cron: "0 10 * * tue", for: 2h}, contacts: [rahmi]}',
            "drills.contacts[0]: there is no contact 'rahmi'; write instead: rahim",
        ),
    ],
)
def test_self_monitoring_mistake_is_only_problem(ministry: Ministry, written: str, problem: str) -> None:
    ministry.edit("pantau", "gateway: crier", "gateway: crier, name: crier")
    ministry.edit("pantau", "gateway: telex", "gateway: telex, name: telex")
    found = errors(with_section(ministry, written))
    assert [line for line in found if problem in line], found
    assert len(found) == 1


@pytest.mark.parametrize(("every", "warned"), [("10m", False), ("11m", True)])
def test_heartbeat_interval_too_long_is_a_warning(ministry: Ministry, every: str, *, warned: bool) -> None:
    with_section(ministry, f"heartbeat: {{url: https://suis.contoh.gov.my/pantau, interval: {every}}}")
    warnings = [str(p) for p in ministry.load().warnings if "heartbeat" in str(p)]
    assert ["is so long that a failure of Pantau is noticed late" in each for each in warnings] == [True] * warned


def test_drills_include_all_or_named_contacts(ministry: Ministry) -> None:
    with_section(ministry, 'drills: {when: {cron: "0 10 * * tue", for: 4h}, contacts: all}')
    drills = ministry.load().require_configuration().settings.drills
    assert drills is not None
    assert drills.includes("rahim")
    ministry.edit("pantau", "contacts: all", "contacts: [siti]")
    drills = ministry.load().require_configuration().settings.drills
    assert drills is not None
    assert (drills.includes("siti"), drills.includes("rahim")) == (True, False)


def test_drills_window_too_short_is_a_warning(ministry: Ministry) -> None:
    with_section(ministry, 'drills: {when: {cron: "0 10 * * tue", for: 1m}, pace: 1m}')
    warnings = [str(p) for p in ministry.load().warnings if "drills" in str(p)]
    assert len(warnings) == 1
    assert "leaves time for 1 of 2 drills by sms; the others are skipped each time" in warnings[0]
    ministry.edit("pantau", "for: 1m", "for: 2m")
    assert [str(p) for p in ministry.load().warnings if "drills" in str(p)] == []


def test_read_numbers_one_per_line_without_duplicates(ministry: Ministry) -> None:
    path = ministry.directory / "nombor"
    path.write_text(f"# Pusat operasi\n\n{MOBILE}  # Pegawai bertugas\n{FIXED}\n+60100000900\n")
    numbers = read_numbers(path)
    assert [(each.number, each.is_mobile) for each in numbers] == [("+60100000900", True), ("+60300000900", False)]
    assert "60100000900" not in repr(numbers)


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("", ("nombor holds no number; write instead: one a line: 010-000 0900",)),
        ("# hanya ulasan\n", ("nombor holds no number; write instead: one a line: 010-000 0900",)),
        (
            f"{MOBILE}\n999\nsiti\n",
            (
                "nombor:2: is no telephone number that can be called; write instead: 010-000 0900",
                "nombor:3: is no telephone number that can be called; write instead: 010-000 0900",
            ),
        ),
    ],
)
def test_read_numbers_invalid_file_names_lines_without_numbers(
    ministry: Ministry, text: str, problems: tuple[str, ...]
) -> None:
    path = ministry.directory / "nombor"
    path.write_text(text)
    with pytest.raises(InvalidNumbersError) as raised:
        read_numbers(path)
    assert raised.value.problems == problems
