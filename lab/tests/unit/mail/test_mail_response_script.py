"""Scripted responses of a faulty server, without sockets."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from itertools import islice

import pytest

from pantau_lab.mail.faults import response_script
from pantau_lab.mail.faults.response_script import Delay, HalfClose, HangUp, ResponseBehavior, Send, Step

DRIP = timedelta(seconds=1)
SMTP = b"220 mail.jabatan-contoh.gov.my ESMTP\r\n"
IMAP = b"* OK mail.jabatan-contoh.gov.my is ready\r\n"
SELECTED = b"a1 OK [READ-WRITE] Selected mailbox.\r\n"
FETCHED = b"* 1 FETCH (UID 7 BODY[]<0> {5}\r\nhello)\r\n"


def octets_of(steps: Iterable[Step]) -> bytes:
    return b"".join(step.octets for step in steps if isinstance(step, Send))


def test_tarpit_pauses_after_each_byte() -> None:
    assert list(response_script.tarpit(DRIP)(b"hi")) == [Send(b"h"), Delay(DRIP), Send(b"i"), Delay(DRIP)]


def test_flood_smtp_has_no_last_line() -> None:
    lines = octets_of(islice(response_script.flood()(SMTP), 100)).split(b"\r\n")
    assert len(lines) > 10_000
    assert all(line.startswith(b"220-") for line in lines[:-1])


def test_flood_imap_has_no_line_end() -> None:
    flood = octets_of(islice(response_script.flood()(IMAP), 100))
    assert len(flood) > 1_000_000
    assert flood.startswith(b"* OK ")
    assert b"\n" not in flood


@pytest.mark.parametrize(
    ("behavior", "later_steps"),
    [(response_script.half_closed(), [[HalfClose()], [], []]), (response_script.mute(), [[], [], []])],
)
def test_half_closed_and_mute_send_only_greeting(behavior: ResponseBehavior, later_steps: list[list[Step]]) -> None:
    assert list(behavior(IMAP)) == [Send(IMAP)]
    assert [list(behavior(b"* more\r\n")) for _ in later_steps] == later_steps


def test_busy_and_bye_give_reason_before_hang_up() -> None:
    assert octets_of(response_script.busy()(SMTP)).startswith(b"421 4.3.2 ")
    assert octets_of(response_script.bye()(IMAP)).startswith(b"* BYE ")
    assert all(list(behavior(SMTP))[-1] == HangUp() for behavior in (response_script.busy(), response_script.bye()))


def test_bye_in_the_middle_follows_first_command() -> None:
    in_the_middle = response_script.bye_in_the_middle()
    assert octets_of(in_the_middle(IMAP)) == IMAP
    assert octets_of(in_the_middle(SELECTED)).startswith(b"* BYE ")


def test_burst_is_one_write_before_command_end() -> None:
    (burst,) = response_script.burst()(SELECTED)
    assert isinstance(burst, Send)
    assert burst.octets.count(b"\r\n") == 1501
    assert burst.octets.endswith(SELECTED)


@pytest.mark.parametrize("written", [IMAP, FETCHED, b"+ Idling.\r\n", b"Subject: a OK b\r\n\r\n"])
def test_burst_does_not_change_messages_or_untagged_lines(written: bytes) -> None:
    assert list(response_script.burst()(written)) == [Send(written)]


def test_endless_starts_with_requested_message() -> None:
    endless = octets_of(islice(response_script.endless()(FETCHED), 50))
    assert endless.startswith(b"* 1 FETCH (UID 7 BODY[]<0> {4294967295}\r\nhello")
    assert len(endless) > 1_000_000
    assert octets_of(response_script.endless()(SELECTED)) == SELECTED


def test_together_applies_behaviors_in_order() -> None:
    both = response_script.chain([response_script.busy(), response_script.tarpit(DRIP)])
    assert both is not None
    steps = list(both(SMTP))
    assert octets_of(steps).startswith(b"421 4.3.2 ")
    assert steps.count(Delay(DRIP)) == len(octets_of(steps))
    assert steps[-1] == HangUp()


def test_together_without_behaviors_is_none() -> None:
    assert response_script.chain([]) is None
