"""Phrases of the incident record."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import alerts
from alerts.decide.auditor import MissedAction
from alerts.decide.gateway.rate_limit import RateLimitScope
from alerts.documents import phrase
from alerts.engine.gateway_call import CallKind
from alerts.model.channel import Channel
from alerts.model.delivery import AttemptState, NotificationState
from alerts.model.gateway import NO_KEY
from alerts.model.notification import IncidentType, Purpose
from tests.unit.alerts.people import attempt


def test_every_enum_member_has_phrase() -> None:
    assert set(phrase.INCIDENT_TYPES) == set(IncidentType)
    assert set(phrase.CHANNELS) == set(Channel)
    assert set(phrase.PURPOSES) == set(Purpose)
    assert set(phrase.STATES) == {*AttemptState, *NotificationState}
    assert set(phrase.MISSED_ACTIONS) == set(MissedAction)
    assert set(phrase.RATE_LIMITS) == set(RateLimitScope)


@pytest.mark.parametrize(
    ("event", "phrase_text"),
    [
        ("incident opened", "Insiden dibuka"),
        ("ask: no_trace", "Pertanyaan kepada pembekal: tiada kesan"),
        ("send: accepted", "Penghantaran: diambil oleh pembekal"),
        ("reported: delivered", "Laporan pembekal: diterima"),
        ("notice failed", "Notis: gagal"),
        ("outage notice decided", "Notis gangguan diputuskan"),
        ("step overdue", "Langkah: lewat"),
        ("recovery overdue no more", "Notis pemulihan: tidak lewat lagi"),
        ("something of a later version", "something of a later version"),
    ],
)
def test_event_is_in_malay_or_unchanged(event: str, phrase_text: str) -> None:
    assert phrase.event(event) == phrase_text


@pytest.mark.parametrize("channel", Channel)
@pytest.mark.parametrize("state", AttemptState)
def test_result_of_every_state_and_channel_has_phrase(channel: Channel, state: AttemptState) -> None:
    result = phrase.result(channel, attempt(state))
    assert result
    assert result not in set(AttemptState)
    assert phrase.result(Channel.VOICE, replace(attempt(state), code=NO_KEY)) == "dijawab, tetapi tiada kekunci ditekan"


def test_delivery_steps_are_excluded_from_chronology_and_actions_are_not() -> None:
    steps = [f"{kind}: {state}" for kind in (*CallKind, "reported") for state in AttemptState]
    steps += [f"notice {state}" for state in NotificationState] + [f"{purpose} notice decided" for purpose in Purpose]
    assert [event for event in (*steps, "attempt written") if not phrase.is_delivery_step(event)] == []
    actions = set(phrase.EVENTS) - {"attempt written"}
    assert [event for event in sorted(actions) if phrase.is_delivery_step(event)] == []


def test_every_call_and_notification_event_is_in_malay() -> None:
    events = [f"{kind}: {state}" for kind in CallKind for state in AttemptState]
    events += [f"notice {state}" for state in NotificationState] + [f"{purpose} notice decided" for purpose in Purpose]
    assert [event for event in events if phrase.event(event) == event] == []


def test_known_details_are_in_malay_and_others_unchanged() -> None:
    assert phrase.detail("channel", "voice") == "Panggilan"
    assert phrase.detail("purpose", "recovery") == "pemulihan"
    assert phrase.detail("brake", "contact") == "had bagi seorang penerima"
    assert phrase.detail("until", "2026-11-24T06:15:09.5+00:00") == "hingga 24/11/2026 14:15:09"
    assert phrase.detail("since", "2026-11-24T06:15:09+00:00") == "sejak 24/11/2026 14:15:09"
    assert phrase.detail("until", "then") == "then"
    assert phrase.detail("gateway", "voice") == "voice"


def audited() -> Iterator[str]:
    """Yield every literal audit event of the engine's source."""
    for file in sorted(Path(alerts.__path__[0]).rglob("*.py")):
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and ast.unparse(call.func).rpartition(".")[2] in {
                "AuditEntry",
                "_add_audit_entry",
            }:
                arguments = [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg == "event")]
                parts = [part for each in arguments if not isinstance(each, ast.JoinedStr) for part in ast.walk(each)]
                texts = [part.value for part in parts if isinstance(part, ast.Constant)]
                yield from (text for text in texts if isinstance(text, str) and " " in text)


def test_every_audit_event_is_in_malay() -> None:
    events = set(audited())

    assert {"attempt written", "letter dispatched", "PIN proven", "nobody is on call"} <= events
    assert [event for event in sorted(events) if phrase.event(event) == event] == []
