"""What `pantau probe` prints: at eighty columns, aligned, wrapped by words, and without anything but text."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from monitor.cli.operation.report import format_report
from monitor.model.route import Direction
from probes.model.reply import Reason, shared_mailbox_failure
from probes.model.result import Failure, Hop, Outcome, Party, Path, Phase, ProbeResult
from tests.unit.monitor.trial import SECOND, T0, arrived, forwarded, route

OUTBOUND = route("JCM", Direction.OUTBOUND, "JCM/utama", "a")
INBOUND = route("JCM", Direction.INBOUND, "a", "JCM/utama")


def bounced(detail: str = "550 5.1.1 no such user here") -> ProbeResult:
    failure = Failure(
        phase=Phase.TRANSIT, party=Party.RECIPIENT, reason=Reason.RETURNED, detail=detail, code=550, status="5.1.1"
    )
    return ProbeResult(
        route=OUTBOUND.name,
        token_id="00c0ffee",
        started_at=T0,
        duration=timedelta(seconds=1.5),
        outcome=Outcome.BOUNCED,
        phases={Phase.DNS: timedelta(milliseconds=4.2), Phase.SUBMIT: timedelta(seconds=1.25)},
        failure=failure,
    )


def shown(result: ProbeResult, *, explain: bool = False, verbose: bool = False, width: int = 80) -> str:
    return format_report(OUTBOUND, result, (), explain=explain, verbose=verbose, width=width)


def test_a_failed_run_is_told_in_short() -> None:
    assert (
        shown(bounced())
        == """\
JCM/outbound/JCM/utama/a
  jcm-utama@contoh.gov.my -> a@contoh.gov.my
  dns              4.2 ms
  submit       1,250.0 ms
  whole        1,500.0 ms

BOUNCED: a report of failed delivery came back
  Where   a@contoh.gov.my, phase transit: returned to sender
  Detail  550 5.1.1 no such user here

  Means   The message came back: there is no mailbox a@contoh.gov.my.
  Do      Check the address; if it is right, the mailbox or its alias was
          removed, and everybody's mail to it comes back."""
    )


def test_a_code_that_the_server_does_not_repeat_is_put_before_its_words() -> None:
    assert "  Detail  550 5.1.1 no such user here\n" in shown(bounced("no such user here"))


def test_an_explanation_says_who_and_in_which_order() -> None:
    text = shown(bounced(), explain=True)
    assert "\n  Who     Whoever runs our reference mailbox a.\n" in text
    assert "\nCheck these, in this order:\n  1. The address in the configuration, letter by letter.\n  2. " in text


def test_the_way_of_a_message_is_shown_when_asked_for() -> None:
    path = Path(hops=(Hop(by="mel.contoh.gov.my", delay=1 * SECOND), Hop(by="", delay=75 * SECOND)), skew=-90 * SECOND)
    run = replace(arrived(OUTBOUND, T0), path=path)
    assert "relay" not in shown(run)
    for text in (shown(run, explain=True), shown(run, verbose=True)):
        assert "  relay              1 s   mel.contoh.gov.my\n" in text
        assert "  relay             75 s   (nameless)\n" in text
        assert "  a relay's clock is at least 90 s behind ours\n" in text


def test_a_forwarded_message_is_shown_with_where_it_is_looked_for() -> None:
    of = forwarded("JCM")
    text = format_report(of, arrived(of, T0), (), explain=False, verbose=False, width=80)
    assert "  a@contoh.gov.my -> pro@jcm.contoh.gov.my\n  looked for in b@contoh.gov.my\n" in text


def test_a_shared_mailbox_is_shown_with_who_looks_into_it() -> None:
    of = replace(INBOUND.route, recipient=replace(INBOUND.route.recipient, inbox="shared/pro"))
    watched = replace(INBOUND, route=of)
    text = format_report(watched, arrived(watched, T0), (), explain=False, verbose=False, width=80)
    login = of.recipient.login.username
    assert f"  looked for in shared/pro as {login}\n" in text

    refused = shared_mailbox_failure("[NONEXISTENT] tiada")
    run = replace(arrived(watched, T0), outcome=refused.outcome, failure=refused.failure)
    text = format_report(watched, run, (), explain=False, verbose=False, width=80)
    assert "AUTH: the mailbox was not opened\n" in text
    assert f"let {login} in and does not show it shared/pro" in " ".join(text.split())


@pytest.mark.parametrize("width", [40, 80, 200])
def test_lines_are_wrapped_by_words_and_commands_are_not_broken(width: int) -> None:
    for reason in Reason:
        failure = Failure(phase=Phase.CONNECT, party=Party.SENDER, reason=reason, detail="x " * 149)
        run = replace(arrived(OUTBOUND, T0), outcome=Outcome.CONNECT, failure=failure)
        for line in shown(run, explain=True, width=width).splitlines()[2:]:
            # Only one word that is too long by itself may stick out.
            assert len(line) <= min(width, 100) or len(line.split(". ", 1)[-1].split()) <= 2, line
            assert line == line.rstrip()
            assert line.isprintable()
