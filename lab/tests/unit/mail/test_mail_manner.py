"""What becomes of what a server writes, decided without a socket."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from itertools import islice

import pytest

from pantau_lab.mail.faults import response_script
from pantau_lab.mail.faults.response_script import Delay, HalfClose, HangUp, Manner, Say, Step

DRIP = timedelta(seconds=1)
SMTP = b"220 mail.jabatan-contoh.gov.my ESMTP\r\n"
IMAP = b"* OK mail.jabatan-contoh.gov.my is ready\r\n"
SELECTED = b"a1 OK [READ-WRITE] Selected mailbox.\r\n"
FETCHED = b"* 1 FETCH (UID 7 BODY[]<0> {5}\r\nhello)\r\n"


def said(steps: Iterable[Step]) -> bytes:
    return b"".join(step.octets for step in steps if isinstance(step, Say))


def test_a_tarpit_pauses_after_each_byte() -> None:
    assert list(response_script.tarpit(DRIP)(b"hi")) == [Say(b"h"), Delay(DRIP), Say(b"i"), Delay(DRIP)]


def test_a_flood_of_smtp_has_no_last_line() -> None:
    lines = said(islice(response_script.flood()(SMTP), 100)).split(b"\r\n")
    assert len(lines) > 10_000
    assert all(line.startswith(b"220-") for line in lines[:-1])


def test_a_flood_of_imap_has_no_end_of_line() -> None:
    flood = said(islice(response_script.flood()(IMAP), 100))
    assert len(flood) > 1_000_000
    assert flood.startswith(b"* OK ")
    assert b"\n" not in flood


@pytest.mark.parametrize(
    ("speak", "then"),
    [(response_script.half_closed(), [[HalfClose()], [], []]), (response_script.mute(), [[], [], []])],
)
def test_after_the_greeting_nothing_is_said(speak: Manner, then: list[list[Step]]) -> None:
    assert list(speak(IMAP)) == [Say(IMAP)]
    assert [list(speak(b"* more\r\n")) for _ in then] == then


def test_whoever_is_turned_away_hears_why() -> None:
    assert said(response_script.busy()(SMTP)).startswith(b"421 4.3.2 ")
    assert said(response_script.bye()(IMAP)).startswith(b"* BYE ")
    assert all(list(speak(SMTP))[-1] == HangUp() for speak in (response_script.busy(), response_script.bye()))


def test_bye_comes_where_it_is_wanted() -> None:
    in_the_middle = response_script.bye_in_the_middle()
    assert said(in_the_middle(IMAP)) == IMAP
    assert said(in_the_middle(SELECTED)).startswith(b"* BYE ")


def test_a_burst_is_one_write_before_the_end_of_a_command() -> None:
    (burst,) = response_script.burst()(SELECTED)
    assert isinstance(burst, Say)
    assert burst.octets.count(b"\r\n") == 1501
    assert burst.octets.endswith(SELECTED)


@pytest.mark.parametrize("written", [IMAP, FETCHED, b"+ Idling.\r\n", b"Subject: a OK b\r\n\r\n"])
def test_a_burst_leaves_messages_and_untagged_lines_alone(written: bytes) -> None:
    assert list(response_script.burst()(written)) == [Say(written)]


def test_a_mail_without_end_begins_like_the_one_asked_for() -> None:
    endless = said(islice(response_script.endless()(FETCHED), 50))
    assert endless.startswith(b"* 1 FETCH (UID 7 BODY[]<0> {4294967295}\r\nhello")
    assert len(endless) > 1_000_000
    assert said(response_script.endless()(SELECTED)) == SELECTED


def test_manners_work_on_what_the_one_before_has_made() -> None:
    both = response_script.together([response_script.busy(), response_script.tarpit(DRIP)])
    assert both is not None
    steps = list(both(SMTP))
    assert said(steps).startswith(b"421 4.3.2 ")
    assert steps.count(Delay(DRIP)) == len(said(steps))
    assert steps[-1] == HangUp()


def test_without_a_manner_there_is_none() -> None:
    assert response_script.together([]) is None
