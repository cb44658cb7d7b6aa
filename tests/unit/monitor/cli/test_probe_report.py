"""The output of `pantau probe`: 80 columns, aligned, wrapped between words, printable text only."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from monitor.cli.operation.report import format_report
from monitor.model.route import Direction
from probes.model.reply import Reason, shared_mailbox_failure
from probes.model.result import Failure, Hop, Outcome, Party, Path, Phase, ProbeResult
from tests.unit.monitor.world import SECOND, T0, arrived, forwarded, route

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


def test_format_report_failed_run_is_short_by_default() -> None:
    assert (
        shown(bounced())
        == """\
JCM/outbound/JCM/utama/a
  jcm-utama@contoh.gov.my -> a@contoh.gov.my
  dns              4.2 ms
  submit       1,250.0 ms
  total        1,500.0 ms

BOUNCED: a non-delivery report came back
  Where   a@contoh.gov.my, phase transit: returned to sender
  Detail  550 5.1.1 no such user here

  Means   The message came back: there is no mailbox a@contoh.gov.my.
  Do      Check the address; if it is right, the mailbox or its alias was
          removed, and everybody's mail to it comes back."""
    )


def test_format_report_adds_reply_code_missing_in_detail() -> None:
    assert "  Detail  550 5.1.1 no such user here\n" in shown(bounced("no such user here"))


def test_format_report_explain_names_responsible_party_and_checks() -> None:
    text = shown(bounced(), explain=True)
    assert "\n  Who     Whoever runs our reference mailbox a.\n" in text
    assert "\nCheck these, in this order:\n  1. The address in the configuration, letter by letter.\n  2. " in text


def test_format_report_explain_or_verbose_shows_relays() -> None:
    path = Path(hops=(Hop(by="mel.contoh.gov.my", delay=1 * SECOND), Hop(by="", delay=75 * SECOND)), skew=-90 * SECOND)
    run = replace(arrived(OUTBOUND, T0), path=path)
    assert "relay" not in shown(run)
    for text in (shown(run, explain=True), shown(run, verbose=True)):
        assert "  relay              1 s   mel.contoh.gov.my\n" in text
        assert "  relay             75 s   (nameless)\n" in text
        assert "  a relay's clock is at least 90 s behind ours\n" in text


def test_format_report_forwarded_route_names_searched_mailbox() -> None:
    of = forwarded("JCM")
    text = format_report(of, arrived(of, T0), (), explain=False, verbose=False, width=80)
    assert "  a@contoh.gov.my -> pro@jcm.contoh.gov.my\n  looked for in b@contoh.gov.my\n" in text


def test_format_report_shared_mailbox_names_login() -> None:
    of = replace(INBOUND.route, recipient=replace(INBOUND.route.recipient, inbox="shared/pro"))
    watched = replace(INBOUND, route=of)
    text = format_report(watched, arrived(watched, T0), (), explain=False, verbose=False, width=80)
    login = of.recipient.login.username
    assert f"  looked for in shared/pro as {login}\n" in text

    refused = shared_mailbox_failure("[NONEXISTENT] tiada")
    run = replace(arrived(watched, T0), outcome=refused.outcome, failure=refused.failure)
    text = format_report(watched, run, (), explain=False, verbose=False, width=80)
    assert "AUTH: the mailbox was not opened\n" in text
    assert f"accepted the sign-in of {login} but does not give it access to shared/pro" in " ".join(text.split())


@pytest.mark.parametrize("width", [40, 80, 200])
def test_format_report_wraps_between_words_and_keeps_commands_whole(width: int) -> None:
    for reason in Reason:
        failure = Failure(phase=Phase.CONNECT, party=Party.SENDER, reason=reason, detail="x " * 149)
        run = replace(arrived(OUTBOUND, T0), outcome=Outcome.CONNECT, failure=failure)
        for line in shown(run, explain=True, width=width).splitlines()[2:]:
            # Only one word that is too long may exceed the width.
            assert len(line) <= min(width, 100) or len(line.split(". ", 1)[-1].split()) <= 2, line
            assert line == line.rstrip()
            assert line.isprintable()
