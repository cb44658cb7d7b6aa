"""A dossier has a word for everything that can stand on record."""

from __future__ import annotations

import pytest

from alerts.channel import Channel
from alerts.delivery import AttemptState, NoticeState
from alerts.documents import phrase
from alerts.errand import Deed
from alerts.notice import Matter, Purpose


def test_every_member_of_a_closed_set_has_its_word() -> None:
    assert set(phrase.MATTERS) == set(Matter)
    assert set(phrase.CHANNELS) == set(Channel)
    assert set(phrase.PURPOSES) == set(Purpose)
    assert set(phrase.STATES) == {*AttemptState, *NoticeState}


@pytest.mark.parametrize(
    ("event", "told"),
    [
        ("incident opened", "Insiden dibuka"),
        ("send: accepted", "Penghantaran: diambil oleh pembekal"),
        ("reported: delivered", "Laporan pembekal: diterima"),
        ("notice failed", "Notis: gagal"),
        ("outage notice decided", "Notis gangguan diputuskan"),
        ("something of a later version", "something of a later version"),
    ],
)
def test_an_event_is_told_in_malay_or_as_it_stands(event: str, told: str) -> None:
    assert phrase.event(event) == told


def test_whatever_a_call_of_a_gateway_and_a_notice_come_to_is_told_in_malay() -> None:
    events = [f"{deed}: {state}" for deed in Deed for state in AttemptState]
    events += [f"notice {state}" for state in NoticeState] + [f"{purpose} notice decided" for purpose in Purpose]
    assert [event for event in events if phrase.event(event) == event] == []


def test_details_that_are_words_of_ours_are_told_in_malay_and_others_as_they_are() -> None:
    assert phrase.detail("channel", "voice") == "Panggilan"
    assert phrase.detail("purpose", "recovery") == "pemulihan"
    assert phrase.detail("gateway", "voice") == "voice"
