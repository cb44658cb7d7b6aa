"""Probing, routes, escalation and gateways: values that contradict each other."""

from __future__ import annotations

import pytest

from tests.unit.monitor.config.ministry import Ministry

_AGENCY = "agencies/jabatan.yaml"

#: The edit (file, old text, new text) and its only problem.
MISTAKES = [
    # Time
    (
        ("jabatan", "after: 5m", "after: 9999999d"),
        f"{_AGENCY}:26: escalation.steps[1].after: is too long a span of time; write instead: 30s, 5m or 1h30m",
    ),
    (
        ("jabatan", "after: 5m", "after: 15d"),
        (
            f"{_AGENCY}:26: warning: escalation.steps[1].after: starts more than a day after the previous step; "
            "write instead: after: 15m"
        ),
    ),
    (
        ("jabatan", "escalation:\n", "escalation:\n  repeat_after: 2d\n"),
        (
            f"{_AGENCY}:24: warning: escalation.repeat_after: nobody is notified again for more than a day; "
            "write instead: repeat_after: 15m"
        ),
    ),
    (
        ("jabatan", "escalation:\n", "escalation:\n  repeat_interval: 2d\n"),
        (
            f"{_AGENCY}:24: warning: escalation.repeat_interval: nobody is notified again for more than a day; "
            "write instead: repeat_interval: 1h"
        ),
    ),
    (
        ("jabatan", "escalation:\n", "escalation:\n  repeat_interval: 5m\n  repeat_after: 5m\n"),
        (
            f"{_AGENCY}:24: warning: escalation.repeat_interval: people are called all night, as often as one "
            "telephone may be called; write instead: repeat_interval: 1h"
        ),
    ),
    (
        ("jabatan", "escalation:\n", "escalation:\n  repeat_after: 90m\n"),
        (
            f"{_AGENCY}:24: warning: escalation.repeat_after: is longer than repeat_interval, 1h: nobody is notified meanwhile; "
            "write instead: at most 1h, or a longer repeat_interval"
        ),
    ),
    (
        ("jabatan", "escalation:\n", "escalation:\n  acknowledgement_timeout: 4m\n"),
        (
            f"{_AGENCY}:24: escalation.acknowledgement_timeout: it expires before anybody could be reminded and answer; "
            "write instead: acknowledgement_timeout: 1h"
        ),
    ),
    (
        ("jabatan", "escalation:\n", "escalation:\n  acknowledgement_timeout: 2d\n"),
        (
            f"{_AGENCY}:24: warning: escalation.acknowledgement_timeout: nobody else is notified for more than a day after "
            "one person acknowledged; write instead: acknowledgement_timeout: 1h"
        ),
    ),
    (
        (
            "jabatan",
            "contacts: [rahim], channels: [sms]",
            "contacts: [rahim], channels: [sms], redial: {every: 2m}",
        ),
        (
            f"{_AGENCY}:26: warning: escalation.steps[1].redial: nobody is called in this step; "
            "write instead: voice among its channels, or no redial"
        ),
    ),
    (
        ("pantau", "state_dir: state", "flapping: {threshold: 1}"),
        (
            "pantau.yaml:2: flapping.threshold: 1 is not from 2 to 100; "
            "write instead: 2 to 100: an agency that goes down once is not flapping"
        ),
    ),
    (
        ("pantau", "state_dir: state", "flapping: {window: 365d}"),
        (
            "pantau.yaml:2: flapping.window: is longer than a day; "
            "write instead: 2h, at most 1d: meanwhile nobody is notified that mail works again"
        ),
    ),
    (
        ("jabatan", "escalation:", "probing: {interval: 20s, retry_interval: 10s}\nescalation:"),
        (
            f"{_AGENCY}:23: probing.interval: the interval is shorter than the session timeout: pending tokens may overlap "
            "(interval 20s, session_timeout 30s); write instead: at least 30s"
        ),
    ),
    (
        ("pantau", "state_dir: state", "probing: {slow_threshold: 5m}"),
        (
            "pantau.yaml:2: probing.slow_threshold: a message would be lost before it is slow "
            "(arrival_timeout 4m, slow_threshold 5m); write instead: at most 4m"
        ),
    ),
    (
        ("pantau", "state_dir: state", "probing: {deferral_timeout: 1m}"),
        (
            "pantau.yaml:2: probing.deferral_timeout: a deferral would time out before the next probe "
            "(deferral_timeout 1m, interval 5m); write instead: at least 5m"
        ),
    ),
    (
        ("pantau", "state_dir: state", "probing: {retry_interval: 6m}"),
        (
            "pantau.yaml:2: probing.retry_interval: a retry is meant to come sooner than the next probe "
            "(interval 5m, retry_interval 6m); write instead: at most 5m"
        ),
    ),
    # Routes
    (
        ("jabatan", "escalation:", "routes: [{direction: outbound, reference: rujukan-c}]\nescalation:"),
        f"{_AGENCY}:23: routes[0].reference: there is no reference mailbox 'rujukan-c'; write instead: rujukan-b",
    ),
    (
        ("jabatan", "escalation:", "routes: [{direction: inbound}]\nescalation:"),
        f"{_AGENCY}:23: routes[0]: an inbound route needs a reference; write instead: reference: rujukan-a or rujukan-b",
    ),
    (
        ("jabatan", "escalation:", "routes: [{direction: internal, mailbox: kedua}]\nescalation:"),
        f"{_AGENCY}:23: routes[0].mailbox: the agency has no mailbox 'kedua'; write instead: one of utama",
    ),
    (
        ("jabatan", "escalation:", "routes: [{direction: internal, reference: rujukan-a}]\nescalation:"),
        (
            f"{_AGENCY}:23: routes[0].reference: an internal route has no reference; "
            "write instead: recipient: a mailbox of the agency"
        ),
    ),
    (
        (
            "jabatan",
            "escalation:",
            "routes:\n- {direction: internal}\n- {direction: internal, mailbox: utama}\nescalation:",
        ),
        f"{_AGENCY}:25: routes[1]: the route 'JCONTOH/internal' is also at {_AGENCY}:24; write instead: it once",
    ),
    (
        ("jabatan", "escalation:", "routes: []\nescalation:"),
        f"{_AGENCY}:23: routes: no route is probed; write instead: at least one route, or leave the key out",
    ),
    # Gateways
    (
        ("pantau", "gateway: telex", "gateway: telek"),
        "pantau.yaml:18: gateways.fax[0].gateway: 'telek' is no known gateway; write instead: telex",
    ),
    (
        ("pantau", "gateway: telex", "gateway: runner, name: lain"),
        "pantau.yaml:18: gateways.fax[0].gateway: 'runner' sends letter and not fax; write instead: one of telex",
    ),
    (
        ("pantau", "fax: [{gateway: telex}]", "fax: [{gateway: telex}, {gateway: telex}]"),
        (
            "pantau.yaml:18: gateways.fax[1].name: the gateway at pantau.yaml:18 is called 'telex' too; "
            "write instead: name: another name"
        ),
    ),
    (
        ("pantau", "fax: [{gateway: telex}]", "fax: [{gateway: telex}]\n  e-mel: [{gateway: telex}]"),
        (
            "pantau.yaml:19: gateways.e-mel: 'e-mel' is no sanctioned channel; "
            "write instead: sms, voice, fax or letter (circular of 1 June 2007, paragraph 4)"
        ),
    ),
    (
        ("pantau", "gateway: telex", "gateway: telex, speed: 9600"),
        "pantau.yaml:18: gateways.fax[0].speed: is no known key; write instead: nothing: no key belongs here",
    ),
]


@pytest.mark.parametrize(("edit", "problem"), MISTAKES, ids=[mistake[0][2][:40] for mistake in MISTAKES])
def test_probing_or_escalation_mistake_is_only_problem(
    ministry: Ministry, edit: tuple[str, str, str], problem: str
) -> None:
    ministry.edit(*edit)
    assert ministry.problems() == [problem]


def test_references_single_one_is_refused_when_used(ministry: Ministry) -> None:
    text = ministry.path("pantau").read_text()
    start, end = text.index("  rujukan-b:"), text.index("gateways:")
    ministry.write("pantau", text[:start] + text[end:])
    (problem,) = ministry.problems()
    assert problem == (
        "pantau.yaml:4: references: there is only one, and one alone cannot show which side is at fault; "
        "write instead: at least two reference mailboxes with different providers"
    )
    ministry.edit("jabatan", "escalation:", "routes: [{direction: internal}]\nescalation:")
    assert ministry.problems() == []


def test_references_on_same_hosts_are_refused(ministry: Ministry) -> None:
    ministry.edit("pantau", "rujukan-b.edu.my", "rujukan-a.gov.my")
    ministry.edit("pantau", "{username: pantau, password_env", "{username: dua, password_env")
    ministry.edit("pantau", "    address: pantau@rujukan-a.gov.my\n    smtp: {host: mel.rujukan-a.gov.my}\n", "@")
    first, second, third = ministry.path("pantau").read_text().split("@")
    block = "    address: {}@rujukan-a.gov.my\n    smtp: {{host: mel.rujukan-a.gov.my}}\n"
    ministry.write("pantau", first + block.format("satu") + second + block.format("dua") + third)
    assert ministry.problems() == [
        (
            "pantau.yaml:4: references: all reference mailboxes are on the same hosts and in the same domain: "
            "they would fail together; write instead: at least one with another provider"
        )
    ]


@pytest.mark.parametrize("after", ["5m", "1h"])
def test_announcement_release_before_first_step_is_refused(ministry: Ministry, after: str) -> None:
    ministry.edit("jabatan", "  recipients:", "  release: automatic\n  release_offered_after: 5m\n  recipients:")
    assert ministry.problems() == []

    ministry.edit("jabatan", "{contacts: [siti]", f"{{after: {after}, contacts: [siti]")
    problem = (
        f"{_AGENCY}:29: announcement.release_offered_after: would notify recipients before staff; "
        f"write instead: more than the {after} after which the first step notifies staff, or release: manual"
    )
    assert ministry.problems() == [problem]
