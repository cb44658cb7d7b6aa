"""Seventeen defects found in the code of other probers, and what Pantau does instead.

Each shows green without proof, or red without cause. Each docstring names the defect, and what Pantau does.
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
from tests.stories.in_process_service import (
    AGENCY,
    FASTEST_TIMING,
    NEIGHBOUR,
    InProcessService,
    Scraped,
    in_process_service,
)
from tests.stories.running_service import running_service

pytestmark = pytest.mark.falsegreen

OUT = f"{AGENCY}/outbound/rujukan-a"
IN = f"{AGENCY}/inbound/rujukan-a"


async def until_green(env: InProcessService, *routes: str) -> Scraped:
    """Wait until these routes are green, so that a later red is a change; return the scrape."""
    return await env.when(
        lambda now: all(now.value("probe_success", route=route) == 1 for route in routes), f"{routes} are green"
    )


async def until_red(env: InProcessService, green: Scraped, route: str, outcome: str) -> None:
    """Wait until runs had this outcome, and the route's success is 0, on the labels that it had when it was *green*."""
    labels = {"outcome": outcome, "direction": route.split("/")[1]}
    seen = green.total("probe_outcomes_total", **labels)
    after = await env.when(
        lambda now: now.total("probe_outcomes_total", **labels) > seen and now.value("probe_success", route=route) == 0,
        f"{route} is red, and runs have ended {outcome}",
    )
    assert after.all("probe_success", route=route).keys() == green.all("probe_success", route=route).keys()


async def test_01_refused_message_resets_success(tmp_path: Path) -> None:
    """Defect: The success gauge stays 1 when sending fails.

    Pantau: A refused message sets it to 0.
    """
    async with in_process_service(tmp_path) as env:
        green = await until_green(env, OUT)
        await env.break_(Fault.REFUSE)
        await until_red(env, green, OUT, "rejected")


async def test_02_lost_message_sets_same_series_to_0(tmp_path: Path) -> None:
    """Defect: A receiving time-out writes 0 to another label.

    Pantau: The same series becomes 0.
    """
    async with in_process_service(tmp_path) as env:
        green = await until_green(env, OUT)
        await env.break_(Fault.LOSE)
        await until_red(env, green, OUT, "lost")


async def test_03_refused_sign_in_is_failure_with_reason(tmp_path: Path) -> None:
    """Defect: A failed sign-in is ignored.

    Pantau: It is an outcome with a reason.
    """
    async with in_process_service(tmp_path) as env:
        green = await until_green(env, IN)
        await env.break_(Fault.PASSWORD)
        await until_red(env, green, IN, "auth")


async def test_04_no_series_is_green_before_first_result(tmp_path: Path) -> None:
    """Defect: The gauge starts at 1.

    Pantau: It is absent before the first result.
    """
    # Each route has its offset in the interval: a short one might have a first run before the scrape.
    patient = replace(FASTEST_TIMING, interval="30d", deferral_timeout="30d")
    async with in_process_service(tmp_path, timing=patient) as env:
        scraped = await env.scrape()
        for name in ("probe_success", "mail_up", "mail_degraded", "probe_success_timestamp_seconds"):
            assert scraped.all(name) == {}
        assert scraped.value("config_routes") == 7  # five of the agency, two between the references


async def test_05_directions_have_separate_gauges(tmp_path: Path) -> None:
    """Defect: Sending and receiving share a gauge.

    Pantau: Each direction has its own.
    """
    async with in_process_service(tmp_path) as env:
        green = await until_green(env, OUT, IN)
        await env.break_(Fault.NO_STARTTLS)  # sending fails for everybody
        await until_red(env, green, OUT, "tls")

        def receives_alone(now: Scraped) -> bool:
            directions = [now.value("mail_up", agency=AGENCY, direction=each) for each in ("outbound", "inbound")]
            return directions == [0, 1] and now.value("probe_success", route=IN) == 1

        await env.when(receives_alone, "sending is down, and receiving is up and green")


async def test_07_unreachable_mailbox_has_received_nothing(tmp_path: Path) -> None:
    """Defect: Received is 1 although the mailbox was never reached.

    Pantau: An unreachable mailbox is a failure.
    """
    async with in_process_service(tmp_path) as env:
        green = await until_green(env, IN)
        await env.break_(Fault.IMAP)
        await until_red(env, green, IN, "connect")


async def test_08_older_probe_message_does_not_satisfy_new_run(tmp_path: Path) -> None:
    """Defect: Any recent message counts.

    Pantau: Only the one with this run's signed token does.
    """
    async with in_process_service(tmp_path) as env:
        green = await until_green(env, IN)
        await env.break_(Fault.LOSE)
        await until_red(env, green, IN, "lost")
        # Signed with the service's own key, for the same route, a minute ago.
        signer = TokenSigner(token_key(tmp_path / "state"), "demo")
        old = signer.issue(IN, datetime.now(UTC) - timedelta(minutes=1))
        message = compose(old, sender="pantau@rujukan-satu.gov.my", recipient=env.address, now=datetime.now(UTC))
        before = (await env.scrape()).total("probe_arrivals_total")
        await env.agency.put(env.address, message)
        after = await env.until("probe_arrivals_total", before + 1)
        lost = after.total("probe_outcomes_total", outcome="lost", direction="inbound")
        later = await env.until("probe_outcomes_total", lost + 2, outcome="lost", direction="inbound")
        assert later.value("probe_success", route=IN) == 0


def test_09_missing_or_empty_configuration_does_not_start(tmp_path: Path) -> None:
    """Defect: A healthy process without configuration does nothing.

    Pantau: It does not start; the number of routes is a metric.
    """
    (tmp_path / "kosong.yaml").write_text("")
    for name in ("tiada.yaml", "kosong.yaml"):
        result = CliRunner().invoke(command_line, ["run", "--config", str(tmp_path / name)])
        assert result.exit_code == 78, "EX_CONFIG: systemd does not try it again"
        assert name in result.output


async def test_10_hanging_server_fails_by_deadline(tmp_path: Path) -> None:
    """Defect: A peer that hangs stops its target for ever.

    Pantau: Each run ends by its deadline.
    """
    async with in_process_service(tmp_path) as env:
        green = await until_green(env, OUT)
        await env.break_(Fault.TARPIT)
        await until_red(env, green, OUT, "timeout")


async def test_11_transit_time_is_not_observed_for_undelivered_mail(tmp_path: Path) -> None:
    """Defect: The delay is observed on failure too.

    Pantau: The histogram counts arrived mail only.
    """
    async with in_process_service(tmp_path) as env:
        green = await until_green(env, OUT)
        await env.break_(Fault.LOSE)
        await until_red(env, green, OUT, "lost")
        count = (await env.scrape()).total("mail_transit_seconds_count", direction="outbound")
        lost = (await env.scrape()).total("probe_outcomes_total", outcome="lost", direction="outbound")
        after = await env.until("probe_outcomes_total", lost + 4, outcome="lost", direction="outbound")
        delivered = sum(
            after.total("probe_outcomes_total", outcome=one, direction="outbound") for one in ("delivered", "junk")
        )
        assert after.total("mail_transit_seconds_count", direction="outbound") == count == delivered


async def test_12_message_delivered_twice_is_one_success_and_one_duplicate(tmp_path: Path) -> None:
    """Defect: A message that arrives twice hangs or fails the probe.

    Pantau: It is one success and one duplicate.
    """
    # A run that fails because the machine stood still for two seconds must not be counted as a duplicate's failure.
    unhurried = replace(
        FASTEST_TIMING,
        interval="6s",
        session_timeout="6s",
        arrival_timeout="30s",
        slow_threshold="30s",
        deferral_timeout="6s",
    )
    async with in_process_service(tmp_path, timing=unhurried) as env:
        await until_green(env, IN)
        await env.break_(Fault.DUPLICATE)
        runs = (await env.scrape()).total("probe_outcomes_total", outcome="delivered", direction="inbound")
        after = await env.until("probe_outcomes_total", runs + 4, outcome="delivered", direction="inbound")
        assert after.value("probe_success", route=IN) == 1
        await env.until("probe_arrivals_total", 2, arrival="duplicate")
        assert after.total("probe_runs_total", agency=AGENCY, verdict="failed") == 0


async def test_14_message_possibly_accepted_is_never_resent(tmp_path: Path) -> None:
    """Defect: The same token is sent again after a time-out.

    Pantau: The message is searched for and never sent again; if it arrives, sending is degraded.
    """
    # Outbound only: relays that deliver to the agency do resend after a cut.
    async with in_process_service(tmp_path, routes=[{"direction": "outbound", "reference": "rujukan-a"}]) as env:
        await until_green(env, OUT)
        await env.break_(Fault.CUT_TAKEN)
        before = (await env.scrape()).total("probe_outcomes_total", outcome="delivered", direction="outbound")

        def delivered(now: Scraped) -> bool:
            runs = now.total("probe_outcomes_total", outcome="delivered", direction="outbound")
            return runs >= before + 3 and now.value("probe_success", route=OUT) == 1

        after = await env.when(delivered, "three more were delivered, and it is green")
        assert after.total("probe_arrivals_total", arrival="duplicate") == 0


async def test_15_forged_message_is_counted_and_creates_no_series(tmp_path: Path) -> None:
    """Defect: Whoever writes to the mailbox creates labels.

    Pantau: A forgery is only counted.
    """
    async with in_process_service(tmp_path) as env:
        green = await until_green(env, IN)
        stranger = TokenSigner(b"kunci orang lain, bukan kita", "musuh")
        forged = stranger.issue("penyerang/label-baharu", datetime.now(UTC))
        message = compose(forged, sender="sesiapa@luar.example", recipient=env.address, now=datetime.now(UTC))
        await env.break_(Fault.LOSE)
        await until_red(env, green, IN, "lost")
        await env.agency.put(env.address, message)
        after = await env.until("probe_arrivals_total", 1, arrival="forged")
        assert after.value("probe_success", route=IN) == 0
        series = [line for line in after.text.splitlines() if not line.startswith("#")]
        assert not [said for said in (forged.text, forged.id, "penyerang", "luar.example") if said in str(series)]
        assert env.agency.message_count(env.address) == 1  # not Pantau's to delete


async def test_16_slow_agency_does_not_delay_others(tmp_path: Path) -> None:
    """Defect: One slow route delays all others.

    Pantau: The others run on time.
    """
    async with in_process_service(tmp_path, agencies=AGENCIES[:2]) as env:
        route = f"{NEIGHBOUR}/internal"
        green = await until_green(env, OUT, route)
        await env.break_(Fault.MUTE)
        await until_red(env, green, OUT, "timeout")
        # Concurrent: while three runs of the hanging agency wait for their deadlines, the neighbour's continue.
        runs: dict[str, set[float]] = {OUT: set(), route: set()}

        def seen(scraped: Scraped) -> bool:
            for one, ends in runs.items():
                ends.add(scraped.value("probe_run_timestamp_seconds", route=one) or 0)
            return len(runs[OUT]) > 3 and scraped.value("probe_success", route=route) == 1

        await env.when(seen, "three more runs have hung, and the neighbour is green")
        # Each route has its own schedule: at either end one run more or less may be seen.
        assert len(runs[route]) >= len(runs[OUT]) - 1


async def test_17_installed_command_probes(tmp_path: Path) -> None:
    """Defect: As installed, it never probes.

    Pantau: The installed command proves mail.
    """
    async with running_service(tmp_path) as env:
        await env.wait_until_up()
