"""The mode `monitor_only`: optional sections, and checks that still apply."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.monitor.config.ministry import SETTINGS, Ministry

#: The first section about notification; the rest of the settings follows it.
_NOTIFICATION = "gateways:"
MONITOR_ONLY_SETTINGS = "mode: monitor_only\n" + SETTINGS[: SETTINGS.index(_NOTIFICATION)]
AGENCY_WITHOUT_PEOPLE = """\
agency: JCONTOH
name: Jabatan Contoh Malaysia
domains: [jabatan-contoh.gov.my]
mailboxes:
  utama:
    address: pantau@jabatan-contoh.gov.my
    smtp: {host: smtp.gmail.com}
    imap: {host: imap.gmail.com}
    login: {username: pantau, password_file: secrets/mail}
"""


@pytest.fixture
def ministry(tmp_path: Path) -> Ministry:
    return Ministry(tmp_path)


def test_monitor_only_needs_no_gateways_and_contacts(ministry: Ministry) -> None:
    ministry.write("pantau", MONITOR_ONLY_SETTINGS)
    ministry.write("jabatan", AGENCY_WITHOUT_PEOPLE)

    assert ministry.problems() == []
    loaded = ministry.load().require_configuration()
    settings, agency = loaded.settings, loaded.registry.agencies["JCONTOH"]
    snapshot = settings.effective_policy(agency.build_policy(settings.build_shared()))
    assert snapshot.has_nobody_to_notify
    assert settings.effective_policy(settings.build_noc_policy(subject="x", subject_en="x")).has_nobody_to_notify


def test_monitor_only_works_with_one_internal_route(ministry: Ministry) -> None:
    ministry.write("pantau", "mode: monitor_only\nagencies: agencies/\nstate_dir: state\n")
    ministry.write("jabatan", AGENCY_WITHOUT_PEOPLE + "routes: [{direction: internal}]\n")

    assert ministry.problems() == []
    [route] = ministry.load().require_configuration().registry.routes
    assert (route.name, route.route.sender) == ("JCONTOH/internal", route.route.recipient)


def test_notify_mode_reports_each_missing_section(ministry: Ministry) -> None:
    ministry.write("pantau", MONITOR_ONLY_SETTINGS.replace("mode: monitor_only\n", ""))
    ministry.write("jabatan", AGENCY_WITHOUT_PEOPLE)

    assert ministry.problems() == [
        (
            "pantau.yaml:1: gateways: there is no gateway, so nobody can be notified; "
            "write instead: gateways, or mode: monitor_only to notify nobody"
        ),
        "pantau.yaml:1: noc: is missing; write instead: noc: (keys below it, indented)",
        "agencies/jabatan.yaml:1: escalation: is missing; write instead: escalation: (keys below it, indented)",
    ]


def test_noc_escalation_is_required_in_notify_mode_only(ministry: Ministry) -> None:
    text = SETTINGS[: SETTINGS.index("  escalation:")]
    ministry.write("pantau", text)
    [problem] = ministry.problems()
    assert problem.endswith("noc.escalation: is missing; write instead: escalation: (keys below it, indented)")
    ministry.write("pantau", "mode: monitor_only\n" + text)
    assert ministry.problems() == []


def test_monitor_only_removes_configured_people_from_policy(ministry: Ministry) -> None:
    ministry.edit("pantau", "agencies: agencies/", "mode: monitor_only\nagencies: agencies/")

    loaded = ministry.load().require_configuration()
    settings, agency = loaded.settings, loaded.registry.agencies["JCONTOH"]
    snapshot = agency.build_policy(settings.build_shared())
    assert snapshot.announcement.recipients, "a letter can be looked at"
    assert settings.effective_policy(snapshot).has_nobody_to_notify
    assert not settings.effective_policy(snapshot).announcement.recipients


def test_monitor_only_still_checks_sections(ministry: Ministry) -> None:
    ministry.edit("pantau", "agencies: agencies/", "mode: monitor_only\nagencies: agencies/")
    ministry.edit("jabatan", "contacts: [siti]", "contacts: [sitti]")
    ministry.edit("pantau", "name: Pusat Operasi Contoh", "nama: Pusat Operasi Contoh")

    said = "\n".join(ministry.problems())
    assert "there is no contact 'sitti'" in said
    assert "noc.nama: is no known key" in said
    assert "noc.name: is missing" in said


def test_monitor_only_section_without_effect_is_a_warning(ministry: Ministry) -> None:
    ministry.edit("pantau", "agencies: agencies/", "mode: monitor_only\nagencies: agencies/")
    ministry.edit("pantau", "noc:\n", "heartbeat: {url: https://suis.contoh.gov.my/pantau}\nnoc:\n")

    [problem] = ministry.problems()
    assert "warning: heartbeat: has no effect, because nobody is notified (mode: monitor_only)" in problem


def test_mode_invalid_is_refused(ministry: Ministry) -> None:
    ministry.edit("pantau", "agencies: agencies/", "mode: monitor_olny\nagencies: agencies/")
    [problem] = ministry.problems()
    assert problem.endswith("mode: 'monitor_olny' is not possible here; write instead: monitor_only")
