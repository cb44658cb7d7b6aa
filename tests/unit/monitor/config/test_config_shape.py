"""Files that are not of the right shape: each mistake is named where it stands, with what to write instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.monitor.config.ministry import AGENCY, Ministry, second_agency

_SANCTIONED = "sms, voice, fax or letter (circular of 1 June 2007, paragraph 4)"

#: What is replaced by what in which file, and the only problem there is then.
MISTAKES = [
    ("pantau", "site:", "sitte:", "pantau.yaml:3: sitte: is no known key; write instead: site"),
    (
        "pantau",
        "site: putrajaya",
        "site: Pusat A",
        "pantau.yaml:3: site: is no name; write instead: small letters, digits and hyphens: rujukan-a",
    ),
    ("pantau", "site: putrajaya", "site:", "pantau.yaml:3: site: has no value; write instead: site: TEXT"),
    ("pantau", "site: putrajaya", "site: [a]", "pantau.yaml:3: site: must be a text; write instead: TEXT"),
    (
        "pantau",
        "state: state\n",
        "state: state\nstate: lain\n",
        "pantau.yaml:3: state: is written twice, first on line 2; write instead: one of the two",
    ),
    ("pantau", "agencies: agencies/\n", "", "pantau.yaml:1: agencies: is missing; write instead: agencies: agencies/"),
    (
        "pantau",
        "smtp: {host: mel.rujukan-a.gov.my}",
        "smtp: {host: mel.rujukan-a.gov.my, port: enam}",
        "pantau.yaml:7: references.rujukan-a.smtp.port: must be a whole number; write instead: NUMBER",
    ),
    (
        "pantau",
        "smtp: {host: mel.rujukan-a.gov.my}",
        "smtp: {host: mel.rujukan-a.gov.my, port: 70000}",
        "pantau.yaml:7: references.rujukan-a.smtp.port: must be at most 65535",
    ),
    (
        "pantau",
        "smtp: {host: mel.rujukan-a.gov.my}",
        "smtp: {host: mel.rujukan-a.gov.my, security: starttl}",
        "pantau.yaml:7: references.rujukan-a.smtp.security: 'starttl' is not possible here; write instead: starttls",
    ),
    (
        "pantau",
        "smtp: {host: mel.rujukan-a.gov.my}",
        "smtp: {}",
        "pantau.yaml:7: references.rujukan-a.smtp.host: is missing; write instead: host: mel.jabatan-contoh.gov.my",
    ),
    (
        "pantau",
        "state: state",
        "listen: 8080",
        "pantau.yaml:2: listen: '8080' is no address with a port; write instead: 127.0.0.1:8080",
    ),
    (
        "pantau",
        "state: state",
        "callbacks: {public_url: http://pantau.contoh.gov.my}",
        (
            "pantau.yaml:2: callbacks.public_url: must be an https address, without a login, that providers can reach; "
            "write instead: https://pantau.contoh.gov.my"
        ),
    ),
    (
        "pantau",
        "state: state",
        "callbacks: {public_url: https://pantau_jpc.contoh.gov.my}",
        (
            "pantau.yaml:2: callbacks.public_url: must be an https address, without a login, that providers can reach; "
            "write instead: https://pantau.contoh.gov.my"
        ),
    ),
    (
        "pantau",
        "state: state",
        "probing: {interval: 300}",
        "pantau.yaml:2: probing.interval: '300' has no unit; write instead: 300s or 300m",
    ),
    (
        "pantau",
        "state: state",
        "probing: {interval: 0s}",
        "pantau.yaml:2: probing.interval: must be longer than nothing; write instead: 30s, 5m or 1h30m",
    ),
    (
        "pantau",
        "state: state",
        "keep_results: {delivered: 0s}",
        "pantau.yaml:2: keep_results.delivered: must be longer than nothing; write instead: 30s, 5m or 1h30m",
    ),
    (
        "pantau",
        "state: state",
        "store: {url: {host: pangkalan.contoh.gov.my}}",
        (
            "pantau.yaml:2: store.url: must be a text; "
            "write instead: postgresql://pantau@pangkalan.kementerian-contoh.gov.my/pantau"
        ),
    ),
    (
        "jabatan",
        "name: Jabatan Contoh Malaysia",
        "name:",
        "agencies/jabatan.yaml:2: name: has no value; write instead: name: Jabatan Contoh Malaysia",
    ),
    (
        "pantau",
        "  rujukan-b:",
        "  Rujukan B:",
        (
            "pantau.yaml:10: references.Rujukan B: is no name; "
            "write instead: small letters, digits and hyphens: rujukan-a"
        ),
    ),
    (
        "pantau",
        "state: state",
        "probing: {failures_to_down: 0}",
        "pantau.yaml:2: probing.failures_to_down: must be at least 1",
    ),
    (
        "jabatan",
        "agency: JCONTOH",
        "agency: Jabatan Contoh",
        "agencies/jabatan.yaml:1: agency: is no short code; write instead: 1 to 11 capital letters and digits: JCONTOH",
    ),
    (
        "jabatan",
        "agency: JCONTOH\nname: Jabatan Contoh Malaysia\n",
        "name: Jabatan Contoh Malaysia\nagency: JCONTOH\n",
        (
            "agencies/jabatan.yaml:2: warning: agency: is not the first key of the file; "
            "write instead: agency: CODE in the first line"
        ),
    ),
    (
        "jabatan",
        "agency: JCONTOH\n",
        "",
        "agencies/jabatan.yaml:1: agency: is missing; write instead: agency: JCONTOH",
    ),
    (
        "jabatan",
        "domains: [jabatan-contoh.gov.my]",
        "domains: jabatan-contoh.gov.my",
        "agencies/jabatan.yaml:3: domains: must be a list; write instead: [jabatan-contoh.gov.my]",
    ),
    (
        "jabatan",
        "address: pantau@jabatan-contoh.gov.my",
        "address: pantau",
        (
            "agencies/jabatan.yaml:13: mailboxes.utama.address: is no mail address; "
            "write instead: peti-pantau@jabatan-contoh.gov.my"
        ),
    ),
    (
        "jabatan",
        'voice: "+44 20 7946 0103"',
        "voice: [1, 2]",
        "agencies/jabatan.yaml:21: contacts.siti.voice: must be a text; write instead: TEXT",
    ),
    (
        "jabatan",
        'sms: "+1 202-555-0102"',
        'emel: siti@contoh.gov.my\n    sms: "+1 202-555-0102"',
        f"agencies/jabatan.yaml:20: contacts.siti.emel: 'emel' is no sanctioned channel; write instead: {_SANCTIONED}",
    ),
    (
        "jabatan",
        "channels: [fax, letter]",
        "channels: [fax, whatsapp]",
        (
            "agencies/jabatan.yaml:34: announcement.recipients.kementerian.channels[1]: 'whatsapp' is no sanctioned "
            f"channel; write instead: {_SANCTIONED}"
        ),
    ),
    (
        "jabatan",
        "after: 5m",
        "after: sekejap",
        "agencies/jabatan.yaml:26: escalation.steps[1].after: is no span of time; write instead: 30s, 5m or 1h30m",
    ),
    (
        "jabatan",
        "  recipients:",
        "  release: automatik\n  recipients:",
        "agencies/jabatan.yaml:28: announcement.release: 'automatik' is not possible here; write instead: automatic",
    ),
    (
        "jabatan",
        "name: Jabatan Contoh Malaysia",
        'name: "Jabatan\\nContoh"',
        "agencies/jabatan.yaml:2: name: is longer than one line; write instead: one line of text",
    ),
]


def test_the_small_configuration_is_right(ministry: Ministry) -> None:
    assert ministry.problems() == []


@pytest.mark.parametrize(("file", "old", "new", "problem"), MISTAKES, ids=[mistake[2][:40] for mistake in MISTAKES])
def test_a_mistake_is_named_where_it_stands(ministry: Ministry, file: str, old: str, new: str, problem: str) -> None:
    ministry.edit(file, old, new)
    assert ministry.problems() == [problem]


def test_every_mistake_of_every_file_is_found_in_one_run(ministry: Ministry) -> None:
    ministry.write("kedua", second_agency(("after: 5m", "after: lima"), ("[rahim]", "[rahin]")))
    ministry.write("ketiga", "agency: [")
    ministry.edit("pantau", "site:", "sitte:")
    ministry.edit("jabatan", "host: smtp.gmail.com", "hosst: smtp.gmail.com, port: x")
    ministry.edit("jabatan", "pantau@jabatan-contoh.gov.my", "pantau@gmail.com")
    assert [problem.split(": ")[:2] for problem in ministry.problems()] == [
        ["pantau.yaml:3", "sitte"],
        ["agencies/jabatan.yaml:13", "mailboxes.utama.address"],
        ["agencies/jabatan.yaml:14", "mailboxes.utama.smtp.host"],
        ["agencies/jabatan.yaml:14", "mailboxes.utama.smtp.hosst"],
        ["agencies/jabatan.yaml:14", "mailboxes.utama.smtp.port"],
        ["agencies/kedua.yaml:26", "escalation.steps[1].after"],
        ["agencies/kedua.yaml:26", "escalation.steps[1].contacts[0]"],
        ["agencies/ketiga.yaml:1", "a value is missing here, or a bracket before it is not closed; write instead"],
    ]


def test_a_key_that_may_not_be_written_hides_nothing_else(ministry: Ministry) -> None:
    ministry.edit("jabatan", "  utama:", "  Utama Besar:")
    ministry.edit("jabatan", "{host: smtp.gmail.com}", "{hosst: smtp.gmail.com}")
    ministry.edit("jabatan", "[jabatan-contoh.gov.my]", "[jabatan-contoh.com]")
    assert [problem.split(": ")[:2] for problem in ministry.problems()] == [
        ["agencies/jabatan.yaml:3", "domains[0]"],
        ["agencies/jabatan.yaml:12", "mailboxes.Utama Besar"],
        ["agencies/jabatan.yaml:14", "mailboxes.Utama Besar.smtp.host"],
        ["agencies/jabatan.yaml:14", "mailboxes.Utama Besar.smtp.hosst"],
    ]


def test_one_span_for_all_results_that_is_none_hides_nothing_else(ministry: Ministry) -> None:
    ministry.edit("pantau", "state: state", "keep_results: 0s")
    assert [problem.split(": ")[1] for problem in ministry.problems()] == [
        "keep_results.delivered",
        "keep_results.failed",
    ]


def test_a_settings_file_that_is_no_yaml_does_not_hide_what_is_wrong_with_agencies(ministry: Ministry) -> None:
    ministry.write("pantau", "site: [")
    ministry.edit("jabatan", "after: 5m", "after: 5")
    places = [problem.split(": ")[0] for problem in ministry.problems()]
    assert places == ["pantau.yaml:1", "agencies/jabatan.yaml:26"]


def test_a_file_that_is_not_there_is_a_problem_and_no_crash(ministry: Ministry) -> None:
    ministry.path("pantau").unlink()
    assert ministry.problems() == ["pantau.yaml: cannot be read: No such file or directory"]


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "- a\n", "just words\n", "\x00", "[" * 5000, "a: b: c", "? [a]\n: b"]
)
def test_a_file_without_keys_is_a_problem_and_no_crash(ministry: Ministry, text: str) -> None:
    ministry.write("jabatan", text)
    assert [problem for problem in ministry.problems() if problem.startswith("agencies/jabatan.yaml")]


def test_a_number_without_quotes_stays_the_text_that_was_written(ministry: Ministry) -> None:
    ministry.edit("jabatan", '"+44 20 7946 0103"', "+442079460103")
    registry = ministry.load().accepted().registry
    assert registry.agencies["JCONTOH"].contacts["siti"].voice == "+442079460103"


def test_a_problem_knows_its_place_beside_its_text(ministry: Ministry) -> None:
    ministry.edit("jabatan", "after: 5m", "after: 5")
    (problem,) = ministry.load().problems
    assert (problem.line, problem.column, problem.key) == (26, 8, "escalation.steps[1].after")
    assert Path(problem.file) == ministry.path("jabatan")
    assert AGENCY.splitlines()[problem.line - 1][problem.column - 1 :].startswith("after")
