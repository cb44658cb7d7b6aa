"""The section `alertmanager`: routes to contacts, and URLs."""

from __future__ import annotations

import pytest

from tests.unit.monitor.config.ministry import Ministry
from tests.unit.monitor.config.test_config_self_monitoring import errors, with_section

TOKEN = "rahsia-olok-olok-alertmanager"
ONE = "{steps: [{contacts: [rahim], channels: [sms]}]}"


def receiving(ministry: Ministry, routes: str = "{}") -> Ministry:
    (ministry.directory / "secrets" / "alertmanager").write_text(f"{TOKEN}\n")
    return with_section(ministry, f"alertmanager: {{receive: {{token_file: secrets/alertmanager, routes: {routes}}}}}")


def test_alertmanager_first_route_matching_all_labels_applies(ministry: Ministry) -> None:
    routes = f"{{a: {{match: {{team: net, severity: critical}}, escalation: {ONE}}}, b: {{match: {{team: net}}, escalation: {ONE}}}}}"
    settings = receiving(ministry, routes).load().require_configuration().settings
    assert settings.alertmanager is not None
    assert settings.alertmanager.receive is not None
    match_route = settings.alertmanager.receive.match_route
    assert match_route({"team": "net", "severity": "critical", "x": "y"}) == "a"
    assert match_route({"team": "net", "severity": "warning"}) == "b"
    assert [match_route(labels) for labels in ({}, {"team": "network"}, {"team": ""}, {"severity": "critical"})] == [
        ""
    ] * 4
    assert settings.build_noc_policy(subject="", subject_en="", policy_name="a").policy_name == "a"
    # The configuration no longer has that route.
    gone = settings.build_noc_policy(subject="", subject_en="", policy_name="gone").escalation
    assert gone == settings.build_noc_policy(subject="", subject_en="").escalation
    assert TOKEN not in repr(settings)


@pytest.mark.parametrize(
    ("routes", "problem"),
    [
        (
            f"{{a: {{match: {{}}, escalation: {ONE}}}}}",
            "alertmanager.receive.routes.a.match: every alert matches; write instead: {severity: critical}; alerts that no route",
        ),
        (
            "{a: {match: {team: net}, escalation: {steps: [{contacts: [tiada], channels: [sms]}]}}}",
            "alertmanager.receive.routes.a.escalation.steps[0].contacts[0]: there is no contact 'tiada'",
        ),
        ("{a: {match: {team: net}}}", "alertmanager.receive.routes.a.escalation"),
    ],
)
def test_alertmanager_route_without_labels_or_contacts_is_an_error(
    ministry: Ministry, routes: str, problem: str
) -> None:
    assert any(problem in error for error in errors(receiving(ministry, routes))), errors(ministry)


def test_alertmanager_unreachable_route_is_a_warning(ministry: Ministry) -> None:
    routes = f"{{a: {{match: {{team: net}}, escalation: {ONE}}}, b: {{match: {{team: net, x: y}}, escalation: {ONE}}}}}"
    warnings = [str(problem) for problem in receiving(ministry, routes).load().problems]
    assert any("routes.b: never applies" in warning for warning in warnings), warnings


def test_alertmanager_short_token_or_empty_section_is_an_error(ministry: Ministry) -> None:
    assert "alertmanager: has no effect" in " ".join(errors(with_section(ministry, "alertmanager: {}")))
    (ministry.directory / "secrets" / "alertmanager").write_text("pendek\n")
    ministry.edit("pantau", "alertmanager: {}", "alertmanager: {receive: {token_file: secrets/alertmanager}}")
    [error] = errors(ministry)
    assert "alertmanager.receive.token_file" in error
    assert ("at least 24 characters" in error, "pendek" in error) == (True, False)


@pytest.mark.parametrize(
    ("send", "problem"),
    [
        ("{urls: []}", "alertmanager.send.urls: nobody is notified"),
        ("{urls: [am1]}", "alertmanager.send.urls[0]: is no address; write instead: http://127.0.0.1:9093"),
        ("{urls: ['http://a:b@am1:9093']}", "alertmanager.send.urls[0]: contains more than scheme, host and path"),
        ("{urls: ['http://am1:9093'], username: pantau}", "alertmanager.send: a user name and a password go together"),
        (
            "{urls: ['http://am1:9093'], token_file: secrets/mail}",
            "alertmanager.send.urls[0]: would receive the secret unencrypted; write instead: https://...",
        ),
        (
            "{urls: ['https://am1:9093'], token_file: secrets/mail, username: x, password_file: secrets/mail}",
            "alertmanager.send.token_file: cannot be combined with a user name",
        ),
    ],
)
def test_alertmanager_send_invalid_url_or_unencrypted_secret_is_refused(
    ministry: Ministry, send: str, problem: str
) -> None:
    [error] = errors(with_section(ministry, f"alertmanager: {{send: {send}}}"))
    assert problem in error


def test_alertmanager_send_accepts_several_urls(ministry: Ministry) -> None:
    send = "{urls: ['http://am1:9093', 'https://am2.contoh.gov.my/alertmanager/']}"
    settings = with_section(ministry, f"alertmanager: {{send: {send}}}").load().require_configuration().settings
    assert settings.alertmanager is not None
    assert settings.alertmanager.send is not None
    assert settings.alertmanager.send.urls == ("http://am1:9093", "https://am2.contoh.gov.my/alertmanager")
