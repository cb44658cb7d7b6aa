"""Seventeen defects of other probers, read in their code, and what ours does instead.

Each shows green without proof, or red for nothing. Each docstring says which defect, and what Pantau does.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from monitor.cli import app as command_line
from monitor.runtime.token_key import token_key
from pantau_lab.mail import Fault
from pantau_lab.world import AGENCIES
from probes.mail.message import compose
from probes.mail.token import TokenSigner
from tests.stories.lookout import AGENCY, NEIGHBOUR, SWIFT, Lookout, Scraped, lookout
from tests.stories.theatre import theatre

pytestmark = pytest.mark.falsegreen

OUT = f"{AGENCY}/outbound/rujukan-a"
IN = f"{AGENCY}/inbound/rujukan-a"


async def proven(watching: Lookout, *routes: str) -> Scraped:
    """Wait until these routes show green, so that a red afterwards is a change; return the scrape that shows it."""
    return await watching.when(
        lambda now: all(now.value("probe_success", route=route) == 1 for route in routes), f"{routes} are green"
    )


async def turns_red(watching: Lookout, green: Scraped, route: str, outcome: str) -> None:
    """Wait until runs have ended so, and the route's success is 0, on the labels that it had when it was *green*."""
    labels = {"outcome": outcome, "direction": route.split("/")[1]}
    seen = green.total("probe_outcomes_total", **labels)
    after = await watching.when(
        lambda now: now.total("probe_outcomes_total", **labels) > seen and now.value("probe_success", route=route) == 0,
        f"{route} is red, and runs have ended {outcome}",
    )
    assert after.all("probe_success", route=route).keys() == green.all("probe_success", route=route).keys()


async def test_01_a_message_that_is_refused_leaves_no_success_behind(tmp_path: Path) -> None:
    """Defect: The success gauge stays 1 when sending fails.

    Pantau: A refused message sets it to 0.
    """
    async with lookout(tmp_path) as watching:
        green = await proven(watching, OUT)
        await watching.break_(Fault.REFUSE)
        await turns_red(watching, green, OUT, "rejected")


async def test_02_a_message_that_never_arrives_turns_the_same_series_to_0(tmp_path: Path) -> None:
    """Defect: A receiving time-out writes 0 to another label.

    Pantau: The same series becomes 0.
    """
    async with lookout(tmp_path) as watching:
        green = await proven(watching, OUT)
        await watching.break_(Fault.LOSE)
        await turns_red(watching, green, OUT, "lost")


async def test_03_a_mailbox_that_does_not_let_us_in_is_a_failure_with_its_reason(tmp_path: Path) -> None:
    """Defect: A failed sign-in is ignored.

    Pantau: It is an outcome with a reason.
    """
    async with lookout(tmp_path) as watching:
        green = await proven(watching, IN)
        await watching.break_(Fault.PASSWORD)
        await turns_red(watching, green, IN, "auth")


async def test_04_before_the_first_result_nothing_is_green(tmp_path: Path) -> None:
    """Defect: The gauge starts at 1.

    Pantau: It is absent before the first result.
    """
    # Each route has its place in the interval: of a shorter one a first run might fall between the start and the look.
    patient = replace(SWIFT, interval="30d", deferral_timeout="30d")
    async with lookout(tmp_path, timing=patient) as watching:
        scraped = await watching.scrape()
        for name in ("probe_success", "mail_up", "mail_degraded", "probe_success_timestamp_seconds"):
            assert scraped.all(name) == {}
        assert scraped.value("config_routes") == 7  # five of the agency, two between the references


async def test_05_sending_and_receiving_do_not_share_a_gauge(tmp_path: Path) -> None:
    """Defect: Sending and receiving share a gauge.

    Pantau: Each direction has its own.
    """
    async with lookout(tmp_path) as watching:
        green = await proven(watching, OUT, IN)
        await watching.break_(Fault.NO_STARTTLS)  # nobody can send
        await turns_red(watching, green, OUT, "tls")

        def receives_alone(now: Scraped) -> bool:
            directions = [now.value("mail_up", agency=AGENCY, direction=each) for each in ("outbound", "inbound")]
            return directions == [0, 1] and now.value("probe_success", route=IN) == 1

        await watching.when(receives_alone, "sending is down, and receiving is up and green")


async def test_07_a_mailbox_that_was_never_reached_has_received_nothing(tmp_path: Path) -> None:
    """Defect: Received is 1 although the mailbox was never reached.

    Pantau: An unreachable mailbox is a failure.
    """
    async with lookout(tmp_path) as watching:
        green = await proven(watching, IN)
        await watching.break_(Fault.IMAP)
        await turns_red(watching, green, IN, "connect")


async def test_08_an_older_probe_in_the_mailbox_does_not_satisfy_a_new_one(tmp_path: Path) -> None:
    """Defect: Any recent message counts.

    Pantau: Only the one with this run's signed token does.
    """
    async with lookout(tmp_path) as watching:
        green = await proven(watching, IN)
        await watching.break_(Fault.LOSE)
        await turns_red(watching, green, IN, "lost")
        # Signed with the service's own key, on this very route, a minute ago.
        signer = TokenSigner(token_key(tmp_path / "state"), "demo")
        old = signer.issue(IN, datetime.now(UTC) - timedelta(minutes=1))
        message = compose(old, sender="pantau@rujukan-satu.gov.my", recipient=watching.address, now=datetime.now(UTC))
        before = (await watching.scrape()).total("probe_arrivals_total")
        await watching.agency.put(watching.address, message)
        after = await watching.until("probe_arrivals_total", before + 1)
        lost = after.total("probe_outcomes_total", outcome="lost", direction="inbound")
        later = await watching.until("probe_outcomes_total", lost + 2, outcome="lost", direction="inbound")
        assert later.value("probe_success", route=IN) == 0


def test_09_a_configuration_that_is_missing_or_empty_does_not_start(tmp_path: Path) -> None:
    """Defect: A healthy process without configuration does nothing.

    Pantau: It does not start; the number of routes is a metric.
    """
    (tmp_path / "kosong.yaml").write_text("")
    for name in ("tiada.yaml", "kosong.yaml"):
        result = CliRunner().invoke(command_line, ["run", "--config", str(tmp_path / name)])
        assert result.exit_code == 78, "EX_CONFIG: systemd does not try it again"
        assert name in result.output


async def test_10_a_server_that_hangs_fails_by_the_deadline(tmp_path: Path) -> None:
    """Defect: A peer that hangs stops its target for ever.

    Pantau: Each run ends by its deadline.
    """
    async with lookout(tmp_path) as watching:
        green = await proven(watching, OUT)
        await watching.break_(Fault.TARPIT)
        await turns_red(watching, green, OUT, "timeout")


async def test_11_the_delay_of_what_did_not_arrive_is_not_observed(tmp_path: Path) -> None:
    """Defect: The delay is observed on failure too.

    Pantau: The histogram counts arrived mail only.
    """
    async with lookout(tmp_path) as watching:
        green = await proven(watching, OUT)
        await watching.break_(Fault.LOSE)
        await turns_red(watching, green, OUT, "lost")
        count = (await watching.scrape()).total("mail_transit_seconds_count", direction="outbound")
        lost = (await watching.scrape()).total("probe_outcomes_total", outcome="lost", direction="outbound")
        after = await watching.until("probe_outcomes_total", lost + 4, outcome="lost", direction="outbound")
        delivered = sum(
            after.total("probe_outcomes_total", outcome=one, direction="outbound") for one in ("delivered", "junk")
        )
        assert after.total("mail_transit_seconds_count", direction="outbound") == count == delivered


async def test_12_a_message_delivered_twice_is_one_success_and_one_duplicate(tmp_path: Path) -> None:
    """Defect: A message that arrives twice hangs or fails the probe.

    Pantau: It is one success and one duplicate.
    """
    # A run that fails for no duplicate, but because the machine stood still for two seconds, would be counted as well.
    unhurried = replace(
        SWIFT, interval="6s", session_timeout="6s", arrival_timeout="30s", slow_threshold="30s", deferral_timeout="6s"
    )
    async with lookout(tmp_path, timing=unhurried) as watching:
        await proven(watching, IN)
        await watching.break_(Fault.DUPLICATE)
        runs = (await watching.scrape()).total("probe_outcomes_total", outcome="delivered", direction="inbound")
        after = await watching.until("probe_outcomes_total", runs + 4, outcome="delivered", direction="inbound")
        assert after.value("probe_success", route=IN) == 1
        await watching.until("probe_arrivals_total", 2, arrival="duplicate")
        assert after.total("probe_runs_total", agency=AGENCY, verdict="failed") == 0


async def test_14_a_message_that_may_have_been_taken_is_never_sent_again(tmp_path: Path) -> None:
    """Defect: The same token is sent again after a time-out.

    Pantau: The message is searched for and never sent again; if it arrives, sending is degraded.
    """
    # One way only: relays that deliver to the agency do send again what was cut.
    async with lookout(tmp_path, routes=[{"direction": "outbound", "reference": "rujukan-a"}]) as watching:
        await proven(watching, OUT)
        await watching.break_(Fault.CUT_TAKEN)
        before = (await watching.scrape()).total("probe_outcomes_total", outcome="delivered", direction="outbound")

        def delivered(now: Scraped) -> bool:
            runs = now.total("probe_outcomes_total", outcome="delivered", direction="outbound")
            return runs >= before + 3 and now.value("probe_success", route=OUT) == 1

        after = await watching.when(delivered, "three more were delivered, and it is green")
        assert after.total("probe_arrivals_total", arrival="duplicate") == 0


async def test_15_a_forged_message_is_counted_and_makes_no_series(tmp_path: Path) -> None:
    """Defect: Whoever writes to the mailbox creates labels.

    Pantau: A forgery is only counted.
    """
    async with lookout(tmp_path) as watching:
        green = await proven(watching, IN)
        stranger = TokenSigner(b"kunci orang lain, bukan kita", "musuh")
        forged = stranger.issue("penyerang/label-baharu", datetime.now(UTC))
        message = compose(forged, sender="sesiapa@luar.example", recipient=watching.address, now=datetime.now(UTC))
        await watching.break_(Fault.LOSE)
        await turns_red(watching, green, IN, "lost")
        await watching.agency.put(watching.address, message)
        after = await watching.until("probe_arrivals_total", 1, arrival="forged")
        assert after.value("probe_success", route=IN) == 0
        series = [line for line in after.text.splitlines() if not line.startswith("#")]
        assert not [said for said in (forged.text, forged.id, "penyerang", "luar.example") if said in str(series)]
        assert watching.agency.messages(watching.address) == 1  # not ours to delete


async def test_16_a_slow_agency_does_not_delay_the_others(tmp_path: Path) -> None:
    """Defect: One slow route delays all others.

    Pantau: The others run on time.
    """
    async with lookout(tmp_path, agencies=AGENCIES[:2]) as watching:
        route = f"{NEIGHBOUR}/internal"
        green = await proven(watching, OUT, route)
        await watching.break_(Fault.MUTE)
        await turns_red(watching, green, OUT, "timeout")
        # Side by side: while three runs of the hanging agency wait for their deadlines, the neighbour's go on.
        runs: dict[str, set[float]] = {OUT: set(), route: set()}

        def seen(scraped: Scraped) -> bool:
            for one, ends in runs.items():
                ends.add(scraped.value("probe_run_timestamp_seconds", route=one) or 0)
            return len(runs[OUT]) > 3 and scraped.value("probe_success", route=route) == 1

        await watching.when(seen, "three more runs have hung, and the neighbour is green")
        # Each has its own times: at either end one more or less may be seen of it.
        assert len(runs[route]) >= len(runs[OUT]) - 1


async def test_17_the_installed_command_really_probes(tmp_path: Path) -> None:
    """Defect: As installed, it never probes.

    Pantau: The installed command proves mail.
    """
    async with theatre(tmp_path) as play:
        await play.everybody_is_up()
