"""Settings of checks. The kinds are made up, because the real ones may change."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from monitor.config.agency.checks import (
    OFF,
    ON,
    CheckSettings,
    ChecksSettings,
    ServiceChecksSettings,
    enabled_check_intervals,
    read_checks,
)
from monitor.config.files.document import parse_document
from monitor.config.files.findings import Findings
from monitor.config.files.reading import Reader
from monitor.config.files.secret import SecretResolver
from probes.model.check import Check, CheckKind, CheckScope, NameServers
from tests.unit.monitor.config.ministry import AGENCY, Ministry

HOUR = timedelta(hours=1)


def _build(check_scope: CheckScope, now: Callable[[], datetime]) -> Check:
    raise NotImplementedError


def _kind(name: str, *, opt_in: bool = False) -> CheckKind:
    return CheckKind(name=name, aspects=("x",), interval=HOUR, within=timedelta(minutes=1), build=_build, opt_in=opt_in)


KINDS = {kind.name: kind for kind in (_kind("locks"), _kind("roof"), _kind("burglar", opt_in=True))}


def read_service_checks(section: str) -> tuple[ServiceChecksSettings, list[str]]:
    """Return the section of the settings file and its problems."""
    reader = Reader(Findings(parse_document(section, "f.yaml")), SecretResolver(directory=Path(), environ={}))
    settings = read_checks(reader, ServiceChecksSettings, KINDS)
    return settings, [str(problem) for problem in reader.findings.problems]


def read_agency_checks(section: str) -> tuple[ChecksSettings, list[str]]:
    reader = Reader(Findings(parse_document(section, "f.yaml")), SecretResolver(directory=Path(), environ={}))
    settings = read_checks(reader, ChecksSettings, KINDS)
    return settings, [str(problem) for problem in reader.findings.problems]


@pytest.mark.parametrize(
    ("section", "running"),
    [
        ("{}", {"locks": HOUR, "roof": HOUR}),
        ("{roof: off}", {"locks": HOUR}),
        ("{roof: {interval: 6h}}", {"locks": HOUR, "roof": 6 * HOUR}),
        ("{burglar: on, locks: no, roof: FALSE}", {"burglar": HOUR}),
        ("{burglar: {interval: 2h}, locks: true, roof: 'yes'}", {"locks": HOUR, "roof": HOUR, "burglar": 2 * HOUR}),
    ],
)
def test_check_runs_unless_off_or_opt_in(section: str, running: dict[str, timedelta]) -> None:
    settings, problems = read_service_checks(f"checks: {section}")
    assert enabled_check_intervals(KINDS, settings.kinds, {}) == running
    assert problems == []


EVERY_SIX_HOURS, EVERY_TWO_HOURS = (CheckSettings(interval=hours * HOUR) for hours in (6, 2))


@pytest.mark.parametrize(
    ("everywhere", "here", "runs"),
    [
        (None, None, None),
        (None, ON, HOUR),
        (ON, None, HOUR),
        (ON, OFF, None),
        (OFF, ON, HOUR),
        (OFF, EVERY_SIX_HOURS, 6 * HOUR),
        (EVERY_SIX_HOURS, ON, 6 * HOUR),
        (EVERY_SIX_HOURS, EVERY_TWO_HOURS, 2 * HOUR),
        (EVERY_SIX_HOURS, OFF, None),
    ],
)
def test_checks_agency_setting_overrides_service(
    everywhere: CheckSettings | None, here: CheckSettings | None, runs: timedelta | None
) -> None:
    service = {} if everywhere is None else {"burglar": everywhere}
    agency = {} if here is None else {"burglar": here}
    assert enabled_check_intervals(KINDS, service, agency).get("burglar") == runs


@pytest.mark.parametrize(
    ("written", "expected"), [("{}", None), ("{ask_recipients: off}", False), ("{ask_recipients: on}", True)]
)
def test_ask_recipients_is_on_off_or_unset(written: str, expected: bool | None) -> None:  # noqa: FBT001
    for settings, problems in (read_service_checks(f"checks: {written}"), read_agency_checks(f"checks: {written}")):
        assert settings.ask_recipients is expected
        assert problems == []


@pytest.mark.parametrize(
    ("written", "servers"),
    [
        ("[192.0.2.53]", NameServers(addresses=("192.0.2.53",))),
        ("[127.0.0.1:5353, '[::1]:5353']", NameServers(addresses=("127.0.0.1", "::1"), port=5353)),
        ("['2001:db8::53', 192.0.2.53]", NameServers(addresses=("2001:db8::53", "192.0.2.53"))),
    ],
)
def test_name_servers_are_addresses_with_optional_port(written: str, servers: NameServers) -> None:
    settings, problems = read_service_checks(f"checks: {{name_servers: {written}}}")
    assert settings.build_name_servers() == servers
    assert problems == []


_ALL = "one of ask_recipients, name_servers, locks, roof, burglar"


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        ("checks: [roof]", "checks: must be kinds of checks; write instead: domain: on, off or {interval: 1h}"),
        ("checks: {rof: on}", "checks.rof: is no known key; write instead: roof"),
        ("checks: {nameservers: [192.0.2.1]}", "checks.nameservers: is no known key; write instead: name_servers"),
        ("checks: {chimney: on}", f"checks.chimney: is no known key; write instead: {_ALL}"),
        (
            "checks: {ask_recipients: sometimes}",
            "checks.ask_recipients: must be on or off; write instead: off: MX hosts are not asked whether they accept mail",
        ),
        ("checks: {roof: 6h}", "checks.roof: must be on, off or {interval: 1h}; write instead: on"),
        ("checks: {roof: }", "checks.roof: must be on, off or {interval: 1h}; write instead: on"),
        ("checks: {roof: {}}", "checks.roof.interval: is missing; write instead: interval: 30s | 5m | 1h30m"),
        ("checks: {roof: {interval: 6}}", "checks.roof.interval: '6' has no unit; write instead: 6s or 6m"),
        ("checks: {roof: {interval: 6h, on: yes}}", "checks.roof.on: is no known key; write instead: one of interval"),
        (
            "checks: {roof: {interval: 30s}}",
            "checks.roof.interval: one run may take 1m; write instead: at least 1m",
        ),
        (
            "checks: {name_servers: 192.0.2.1}",
            "checks.name_servers: must be a list; write instead: [192.0.2.53], or leave it out: those of this machine",
        ),
        (
            "checks: {name_servers: [ns.contoh.gov.my]}",
            (
                "checks.name_servers[0]: is no address of a name server; "
                "write instead: 192.0.2.53, 192.0.2.53:5353 or [2001:db8::53]:5353"
            ),
        ),
        (
            "checks: {name_servers: [192.0.2.1, 192.0.2.2:5353]}",
            "checks.name_servers: the name servers are on different ports; write instead: the same port for all of them",
        ),
    ],
)
def test_checks_invalid_value_is_reported_with_remedy(section: str, problem: str) -> None:
    assert read_service_checks(section)[1] == [f"f.yaml:1: {problem}"]


def test_checks_agency_name_servers_are_refused() -> None:
    assert read_agency_checks("checks: {name_servers: [192.0.2.1]}")[1] == [
        (
            "f.yaml:1: checks.name_servers: is set for the whole service; "
            "write instead: name_servers below checks in the settings file"
        )
    ]


def test_checks_problems_are_found_in_settings_and_agency_files(tmp_path: Path) -> None:
    ministry = Ministry(tmp_path)
    ministry.edit("pantau", "state_dir: state", "checks: {nothing-such: on}")
    ministry.write("jabatan", AGENCY + "checks:\n  certificate: perhaps\n  nothing-such: off\n")
    found = [problem.split(";", maxsplit=1)[0] for problem in ministry.problems()]
    assert found[0] == "pantau.yaml:2: checks.nothing-such: is no known key"
    assert found[-1] == "agencies/jabatan.yaml:37: checks.nothing-such: is no known key"
