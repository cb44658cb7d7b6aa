"""Whether people are told: what may be left out where nobody is, and what is checked all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.monitor.config.ministry import SETTINGS, Ministry

#: All that tells people, from the settings and from the agency's file.
_TELLING = "gateways:"
WATCHING = "mode: monitor_only\n" + SETTINGS[: SETTINGS.index(_TELLING)]
ALONE = """\
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


def test_who_only_watches_needs_neither_gateways_nor_people(ministry: Ministry) -> None:
    ministry.write("pantau", WATCHING)
    ministry.write("jabatan", ALONE)

    assert ministry.problems() == []
    loaded = ministry.load().accepted()
    settings, agency = loaded.settings, loaded.registry.agencies["JCONTOH"]
    brief = settings.effective_policy(agency.build_policy(settings.build_shared()))
    assert brief.has_nobody_to_notify
    assert settings.effective_policy(settings.build_noc_policy(subject="x", subject_en="x")).has_nobody_to_notify


def test_one_mailbox_that_sends_to_itself_is_enough_to_watch(ministry: Ministry) -> None:
    ministry.write("pantau", "mode: monitor_only\nagencies: agencies/\nstate_dir: state\n")
    ministry.write("jabatan", ALONE + "routes: [{direction: internal}]\n")

    assert ministry.problems() == []
    [route] = ministry.load().accepted().registry.routes
    assert (route.name, route.route.sender) == ("JCONTOH/internal", route.route.recipient)


def test_who_tells_people_is_told_of_each_thing_that_is_missing(ministry: Ministry) -> None:
    ministry.write("pantau", WATCHING.replace("mode: monitor_only\n", ""))
    ministry.write("jabatan", ALONE)

    assert ministry.problems() == [
        (
            "pantau.yaml:1: gateways: there is none, so nobody could be told; "
            "write instead: gateways, or mode: monitor_only to tell nobody"
        ),
        "pantau.yaml:1: noc: is missing; write instead: noc: (keys below it, indented)",
        "agencies/jabatan.yaml:1: escalation: is missing; write instead: escalation: (keys below it, indented)",
    ]


def test_the_operations_centre_has_an_escalation_where_people_are_told(ministry: Ministry) -> None:
    text = SETTINGS[: SETTINGS.index("  escalation:")]
    ministry.write("pantau", text)
    [problem] = ministry.problems()
    assert problem.endswith("noc.escalation: is missing; write instead: escalation: (keys below it, indented)")
    ministry.write("pantau", "mode: monitor_only\n" + text)
    assert ministry.problems() == []


def test_nobody_is_told_of_anybody_who_is_written_down_either(ministry: Ministry) -> None:
    ministry.edit("pantau", "agencies: agencies/", "mode: monitor_only\nagencies: agencies/")

    loaded = ministry.load().accepted()
    settings, agency = loaded.settings, loaded.registry.agencies["JCONTOH"]
    brief = agency.build_policy(settings.build_shared())
    assert brief.announcement.recipients, "a letter can be looked at"
    assert settings.effective_policy(brief).has_nobody_to_notify
    assert not settings.effective_policy(brief).announcement.recipients


def test_what_is_written_is_checked_all_the_same(ministry: Ministry) -> None:
    ministry.edit("pantau", "agencies: agencies/", "mode: monitor_only\nagencies: agencies/")
    ministry.edit("jabatan", "contacts: [siti]", "contacts: [sitti]")
    ministry.edit("pantau", "name: Pusat Operasi Contoh", "nama: Pusat Operasi Contoh")

    said = "\n".join(ministry.problems())
    assert "there is no contact 'sitti'" in said
    assert "noc.nama: is no known key" in said
    assert "noc.name: is missing" in said


def test_what_sleeps_while_nobody_is_told_is_named(ministry: Ministry) -> None:
    ministry.edit("pantau", "agencies: agencies/", "mode: monitor_only\nagencies: agencies/")
    ministry.edit("pantau", "noc:\n", "heartbeat: {url: https://suis.contoh.gov.my/pantau}\nnoc:\n")

    [problem] = ministry.problems()
    assert "warning: heartbeat: sleeps while nobody is told (mode: monitor_only)" in problem


def test_a_mode_that_is_none_is_refused(ministry: Ministry) -> None:
    ministry.edit("pantau", "agencies: agencies/", "mode: monitor_olny\nagencies: agencies/")
    [problem] = ministry.problems()
    assert problem.endswith("mode: 'monitor_olny' is not possible here; write instead: monitor_only")
