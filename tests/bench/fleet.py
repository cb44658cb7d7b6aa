"""Routes, configuration and metrics of many agencies."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from alerts.engine.processing_result import OpenIncident
from monitor.evaluation.agency import CurrentCause
from monitor.metrics import AGENCY_DIRECTIONS, NO_AGENCY, Metrics
from monitor.model.route import Direction, MonitoredRoute, ProbingPolicy
from probes.model.check import Finding, Verdict
from probes.model.mailbox import Mailbox
from probes.model.probe import Route, Timeouts
from probes.model.result import Hop, Outcome, Party, Phase, ProbeResult
from probes.model.result import Path as MailPath
from tests.bench.mail_stub import MailStub
from tests.unit.monitor.cli.office import IssuingOffice

REFERENCES = ("rujukan-a", "rujukan-b")
PROBING = ProbingPolicy(
    interval=timedelta(seconds=60),
    timeouts=Timeouts(session=timedelta(seconds=15), arrival=timedelta(seconds=15)),
)
NOON = datetime(2026, 11, 24, 4, 0, tzinfo=UTC)

_PHASES = {phase: timedelta(milliseconds=12.3 * place) for place, phase in enumerate(Phase, 1)}
_PATH = MailPath(hops=(Hop(by=f"mel.{REFERENCES[0]}.example", delay=timedelta(seconds=1)),))
_DOMAIN = ("spf", "dkim", "dmarc", "mta_sts", "tls_rpt", "dane", "dnssec", "dnsbl")


def files(directory: Path, agencies: int) -> Path:
    """Write the sample configuration with many agencies like its first; return the settings file."""
    sample_office = IssuingOffice(directory)
    sample = (directory / "agencies" / "jabatan-contoh.yaml").read_text()
    for file in (directory / "agencies").iterdir():
        file.unlink()
    for number in range(agencies):
        # A code with digits and the notice number behind it would look like a telephone number in an SMS.
        code = "J" + "".join(chr(ord("A") + number // 26**place % 26) for place in (2, 1, 0))
        text = sample.replace("JCONTOH", code).replace("jabatan-contoh", f"jabatan-{code.lower()}")
        text = re.sub(r"(?<![\w-])(siti|ali)(?=[:,\]])", rf"\1-{number}", text)
        (directory / "agencies" / f"{code.lower()}.yaml").write_text(text)
        secret = directory / "secrets" / f"jabatan-{code.lower()}"
        secret.write_text("kata-laluan-contoh\n")
        secret.chmod(0o600)
    return sample_office.config


def codes(agencies: int) -> list[str]:
    """Return short codes of agencies."""
    return [f"JCM{number:04}" for number in range(agencies)]


def routes(server: MailStub, agencies: int) -> Mapping[str, MonitoredRoute]:
    """Return ten routes for each agency by name: two mailboxes, internal and both ways with two references."""
    references = {name: server.mailbox(name) for name in REFERENCES}
    return {route.name: route for code in codes(agencies) for route in _routes_of(code, server, references)}


def _routes_of(code: str, server: MailStub, references: Mapping[str, Mailbox]) -> Iterator[MonitoredRoute]:
    first, second = server.mailbox(f"{code}/utama"), server.mailbox(f"{code}/kedua")
    for own, other, suffix in ((first, second, ""), (second, first, "/kedua")):
        ends = [(Direction.INTERNAL, f"internal{suffix}", own, other)]
        for name, reference in references.items():
            ends.append((Direction.OUTBOUND, f"outbound/{name}{suffix}", own, reference))
            ends.append((Direction.INBOUND, f"inbound/{name}{suffix}", reference, own))
        for direction, name, sender, recipient in ends:
            route = Route(name=f"{code}/{name}", sender=sender, recipient=recipient)
            yield MonitoredRoute(route=route, agency=code, direction=direction, probing=PROBING)


def probed_every(
    interval: timedelta, watched: Mapping[str, MonitoredRoute], timeouts: Timeouts = PROBING.timeouts
) -> Mapping[str, MonitoredRoute]:
    """Return the routes with another interval, which is also the retry interval."""
    probing = replace(PROBING, interval=interval, retry_interval=interval, timeouts=timeouts)
    return {name: replace(route, probing=probing) for name, route in watched.items()}


def fleet_routes(
    server: MailStub, a_second: float, interval: timedelta, timeouts: Timeouts
) -> Mapping[str, MonitoredRoute]:
    """Return the routes for *a_second* runs a second at this interval, and the control routes."""
    agencies = max(1, round(a_second * interval.total_seconds() / 10))
    return probed_every(interval, {**routes(server, agencies), **controls(server)}, timeouts)


def fill(metrics: Metrics, watched: Mapping[str, MonitoredRoute]) -> None:
    """Fill *metrics* with every possible series of these routes and their agencies."""
    by_agency: dict[str, list[MonitoredRoute]] = defaultdict(list)
    for route in watched.values():
        by_agency[route.agency].append(route)
    for code, own in by_agency.items():
        metrics.register_agency(code, routes=[route.name for route in own])
        for route in own:
            metrics.record_run(delivered(route.name), agency=code, direction=route.direction, site="putrajaya")
        for direction in AGENCY_DIRECTIONS:
            # Down has the most series.
            metrics.set_mail_health(code, direction, up=False)
            metrics.set_failure_cause(code, direction, CurrentCause(Outcome.INCONCLUSIVE, Party.RECIPIENT))
            metrics.record_path(code, direction, _PATH)
        metrics.set_overdue_times(code, run_by=NOON, success_by=NOON)
        metrics.set_maintenance(code, active=False)
        metrics.set_token_expiry(f"{code}/utama", NOON)
        for kind, found in findings(f"jabatan-{code.lower()}.gov.my").items():
            metrics.record_check_run(code, kind, found, NOON)
    opened = [OpenIncident(agency=code, number=f"{code}-01", opened_at=NOON) for code in by_agency]
    metrics.record_cycle(NOON, None, opened)


def delivered(route: str) -> ProbeResult:
    """Return the result of a successful run."""
    return ProbeResult(
        route=route,
        token_id="00c0ffee00c0ffee",
        started_at=NOON,
        duration=timedelta(seconds=1.2345),
        outcome=Outcome.DELIVERED,
        phases=_PHASES,
        path=_PATH,
    )


def findings(domain: str) -> Mapping[str, Sequence[Finding]]:
    """Return the findings of the default checks for an agency with two servers."""
    servers = (f"mel.{domain}:465", f"mel.{domain}:993")
    return {
        "certificate": [_passed(aspect, server) for aspect in ("expiry", "name") for server in servers],
        "domain": [_passed(aspect, domain) for aspect in _DOMAIN],
    }


def _passed(aspect: str, subject: str) -> Finding:
    return Finding(
        aspect=aspect, subject=subject, verdict=Verdict.PASS, expires_at=NOON if aspect == "expiry" else None
    )


def controls(server: MailStub) -> Mapping[str, MonitoredRoute]:
    """Return the control routes between the references."""
    one, other = (server.mailbox(name) for name in REFERENCES)
    found = {}
    for sender, recipient in ((one, other), (other, one)):
        name = f"control/{sender.name}/{recipient.name}"
        route = Route(name=name, sender=sender, recipient=recipient)
        found[name] = MonitoredRoute(route=route, agency=NO_AGENCY, direction=Direction.CONTROL, probing=PROBING)
    return found
