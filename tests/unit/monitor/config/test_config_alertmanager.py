"""The section `alertmanager`: which alerts are told, and whom."""

from __future__ import annotations

import pytest

from tests.unit.monitor.config.ministry import Ministry
from tests.unit.monitor.config.test_config_vigil import errors, with_section

TOKEN = "rahsia-olok-olok-alertmanager"
ONE = "{steps: [{contacts: [rahim], channels: [sms]}]}"


def receiving(ministry: Ministry, tell: str = "{}") -> Ministry:
    (ministry.directory / "secrets" / "alertmanager").write_text(f"{TOKEN}\n")
    return with_section(ministry, f"alertmanager: {{receive: {{token_file: secrets/alertmanager, routes: {tell}}}}}")


def test_the_first_entry_whose_labels_an_alert_all_has_decides(ministry: Ministry) -> None:
    tell = f"{{a: {{match: {{team: net, severity: critical}}, escalation: {ONE}}}, b: {{match: {{team: net}}, escalation: {ONE}}}}}"
    settings = receiving(ministry, tell).load().accepted().settings
    assert settings.alertmanager is not None
    assert settings.alertmanager.receive is not None
    match_route = settings.alertmanager.receive.match_route
    assert match_route({"team": "net", "severity": "critical", "x": "y"}) == "a"
    assert match_route({"team": "net", "severity": "warning"}) == "b"
    assert [match_route(labels) for labels in ({}, {"team": "network"}, {"team": ""}, {"severity": "critical"})] == [
        ""
    ] * 4
    assert settings.build_noc_policy(subject="", subject_en="", policy_name="a").policy_name == "a"
    # Its entry has left the configuration since.
    gone = settings.build_noc_policy(subject="", subject_en="", policy_name="gone").escalation
    assert gone == settings.build_noc_policy(subject="", subject_en="").escalation
    assert TOKEN not in repr(settings)


@pytest.mark.parametrize(
    ("tell", "problem"),
    [
        (
            f"{{a: {{match: {{}}, escalation: {ONE}}}}}",
            "alertmanager.receive.routes.a.match: every alert matches; write instead: {severity: critical}; what none matches,",
        ),
        (
            "{a: {match: {team: net}, escalation: {steps: [{contacts: [tiada], channels: [sms]}]}}}",
            "alertmanager.receive.routes.a.escalation.steps[0].contacts[0]: there is no contact 'tiada'",
        ),
        ("{a: {match: {team: net}}}", "alertmanager.receive.routes.a.escalation"),
    ],
)
def test_what_would_tell_nobody_or_everything_is_an_error(ministry: Ministry, tell: str, problem: str) -> None:
    assert any(problem in error for error in errors(receiving(ministry, tell))), errors(ministry)


def test_an_entry_behind_one_that_takes_all_of_its_alerts_is_pointed_out(ministry: Ministry) -> None:
    tell = f"{{a: {{match: {{team: net}}, escalation: {ONE}}}, b: {{match: {{team: net, x: y}}, escalation: {ONE}}}}}"
    warnings = [str(problem) for problem in receiving(ministry, tell).load().problems]
    assert any("routes.b: decides about nothing" in warning for warning in warnings), warnings


def test_a_token_that_can_be_guessed_and_a_section_that_does_nothing_are_errors(ministry: Ministry) -> None:
    assert "alertmanager: does nothing" in " ".join(errors(with_section(ministry, "alertmanager: {}")))
    (ministry.directory / "secrets" / "alertmanager").write_text("pendek\n")
    ministry.edit("pantau", "alertmanager: {}", "alertmanager: {receive: {token_file: secrets/alertmanager}}")
    [error] = errors(ministry)
    assert "alertmanager.receive.token_file" in error
    assert ("at least 24 characters" in error, "pendek" in error) == (True, False)


@pytest.mark.parametrize(
    ("send", "problem"),
    [
        ("{urls: []}", "alertmanager.send.urls: nobody is told"),
        ("{urls: [am1]}", "alertmanager.send.urls[0]: is no address; write instead: http://127.0.0.1:9093"),
        ("{urls: ['http://a:b@am1:9093']}", "alertmanager.send.urls[0]: holds more than where it is"),
        ("{urls: ['http://am1:9093'], username: pantau}", "alertmanager.send: a user name and a password go together"),
        (
            "{urls: ['http://am1:9093'], token_file: secrets/mail}",
            "alertmanager.send.urls[0]: would be sent the secret unencrypted; write instead: https://...",
        ),
        (
            "{urls: ['https://am1:9093'], token_file: secrets/mail, username: x, password_file: secrets/mail}",
            "alertmanager.send.token_file: is one secret too many beside a user name",
        ),
    ],
)
def test_where_incidents_are_sent_is_an_address_and_no_secret_goes_unencrypted(
    ministry: Ministry, send: str, problem: str
) -> None:
    [error] = errors(with_section(ministry, f"alertmanager: {{send: {send}}}"))
    assert problem in error


def test_several_members_are_told_each(ministry: Ministry) -> None:
    send = "{urls: ['http://am1:9093', 'https://am2.contoh.gov.my/alertmanager/']}"
    settings = with_section(ministry, f"alertmanager: {{send: {send}}}").load().accepted().settings
    assert settings.alertmanager is not None
    assert settings.alertmanager.send is not None
    assert settings.alertmanager.send.urls == ("http://am1:9093", "https://am2.contoh.gov.my/alertmanager")
