"""Files of an incident record: the record on paper, and the data for its verification."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from alerts.documents.incident_record import IncidentRecord, Measurement, SiteFindings
from alerts.documents.phrase import INCIDENT_TYPES, stamp
from alerts.documents.render import incident_record as render
from alerts.model.delivery import Notification
from alerts.model.incident import Incident
from alerts.persistence.audit import BEGINNING, ChainedEntry, compact, entry_to_json, moment
from alerts.wording.source import sections
from alerts.wording.texts import Wording
from monitor.store.engine.audit import ChainLinks
from monitor.views.overview import failure_text
from monitor.views.site_report import SiteIncidentData, SiteReport
from probes.model.result import Outcome, Phase, ProbeResult

#: Runs are included from this long before the incident: the last successful ones.
LEAD_TIME = timedelta(minutes=15)
#: Maximum of runs of each other site, the last ones.
SITE_RUNS = 2000

#: The file with the audit entry that authenticates all other files.
SEAL = "seal.json"

_INCIDENT = TypeAdapter(Incident)
_NOTIFICATIONS = TypeAdapter(tuple[Notification, ...])

_TEXTS = sections(Path(__file__).with_suffix(".yaml"))
OUTCOMES: Mapping[str, str] = _TEXTS["outcomes"]
PHASES: Mapping[str, str] = _TEXTS["phases"]
PARTIES: Mapping[str, str] = _TEXTS["parties"]
#: A site's verdict as a word.
OPINIONS: Mapping[str, str] = _TEXTS["opinions"]
_DIRECTIONS: Mapping[str, str] = _TEXTS["directions"]
#: Description of the files, and how to verify them.
_README = Path(__file__).with_name("BACA-SAYA.txt").read_text(encoding="utf-8")


def evidence(results: Iterable[ProbeResult]) -> Sequence[Measurement]:
    """Return the runs in the form of an incident record, by their outcome."""
    runs = (
        Measurement(
            at=result.started_at + result.duration,
            subject=result.route,
            subject_ms=_route_text(result.route),
            outcome=result.outcome,
            outcome_ms=OUTCOMES[result.outcome],
            why=failure_text(result),
            why_ms=_failure_text(result),
            transit=None if (transit := result.phases.get(Phase.TRANSIT)) is None else transit.total_seconds(),
            good=result.outcome is Outcome.DELIVERED,
            reference=result.token_id,
        )
        for result in results
    )
    return sorted(runs, key=lambda each: each.at)


def site_evidence(site_data: SiteIncidentData) -> SiteFindings:
    """Return a site's status and runs in the form of an incident record."""
    return SiteFindings(
        site=site_data.site,
        says="" if site_data.report is None else site_data.report.says,
        says_ms="" if site_data.report is None else _report_text(site_data.report),
        failed=evidence(site_data.results),
        last=evidence(site_data.last)[::-1],
        unclear=site_data.unclear,
    )


def _report_text(report: SiteReport) -> str:
    if report.type is None or report.since is None:
        return OPINIONS[report.says]
    return f"{INCIDENT_TYPES[report.type]}, sejak {stamp(report.since)}"


def _route_text(name: str) -> str:
    """Return the displayed name of a route: "keluar, rujukan-a"."""
    _, _, route_part = name.partition("/")
    direction, _, suffix = route_part.partition("/")
    return ", ".join(filter(None, (_DIRECTIONS.get(direction, direction), suffix)))


def _failure_text(result: ProbeResult) -> str:
    """Return where a run failed and with what code; the server's reply is in the data."""
    failure = result.failure
    if failure is None:
        return "pelayan pengirim tidak menjawab, walaupun mesej diterima" if result.uncertain else ""
    code = " ".join(filter(None, (str(failure.code or ""), failure.status or "")))
    return f"{PHASES[failure.phase]}, {PARTIES[failure.party]}" + (f": kod {code}" if code else "")


def files(record: IncidentRecord, read_chain_links: ChainLinks, wording: Wording) -> Mapping[str, bytes]:
    """Return the files by name, the PDF first. Typesetting takes up to some seconds: call it in a thread."""
    number = record.incident.number
    previous_hash = record.entries[0].previous if record.entries else BEGINNING
    data = {
        "incident.json": _json(record),
        "audit-log.jsonl": "".join(f"{compact(entry_to_json(entry))}\n" for entry in record.entries),
        "links.csv": csv_of(("number", "content"), read_chain_links.links),
        "checkpoints.jsonl": "".join(f"{compact(entry_to_json(entry))}\n" for entry in read_chain_links.checkpoints),
        "notifications.csv": csv_of(_NOTIFICATION_COLUMNS, _attempt_rows(record)),
        "evidence.csv": csv_of(_EVIDENCE_COLUMNS, (_evidence_row(each) for each in record.evidence)),
        **_site_files(record),
        "BACA-SAYA.txt": _README.format(
            number=number, before=previous_hash, head=f"{record.head.number}:{record.head.hash}"
        ),
    }
    octets = {name: text.encode() for name, text in data.items()}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in octets.items()}
    pdf = render(record, digests, wording).pdf
    digests = {f"{number}.pdf": hashlib.sha256(pdf).hexdigest(), **digests}
    sums = "".join(f"{digest}  {name}\n" for name, digest in digests.items())
    return {f"{number}.pdf": pdf, **octets, "SHA256SUMS": sums.encode()}


def seal(entry: ChainedEntry, links: Sequence[tuple[int, str]]) -> bytes:
    """Return the seal: *entry* of the audit log, which contains the digest of SHA256SUMS, and *links* from the head to it."""
    return f"{compact({'entry': entry_to_json(entry), 'links': [list(link) for link in links]})}\n".encode()


def since(incident: Incident) -> datetime:
    """Return from when on runs belong to an incident's record."""
    return incident.began_at - LEAD_TIME


_NOTIFICATION_COLUMNS = (
    *("notice", "plan", "purpose", "person", "name", "channel", "number", "state"),
    *("attempt", "gateway", "reference", "attempt_state", "started_at", "ended_at", "error", "code", "detail"),
)
_EVIDENCE_COLUMNS = ("ended_at", "route", "outcome", "transit_seconds", "reason", "token")


def _json(record: IncidentRecord) -> str:
    values: dict[str, Any] = {
        "format": "pantau-incident-record-2",
        "made_at": moment(record.made_at),
        "made_by": record.made_by,
        "head": {"number": record.head.number, "hash": record.head.hash},
        "incident": _INCIDENT.dump_python(record.incident, mode="json"),
        "notifications": _NOTIFICATIONS.dump_python(tuple(record.notices), mode="json"),
    }
    return json.dumps(values, ensure_ascii=False, indent=1) + "\n"


def _attempt_rows(record: IncidentRecord) -> Iterable[Sequence[object]]:
    for notification in record.notices:
        columns = (
            notification.id,
            notification.plan,
            notification.purpose,
            notification.person,
            record.incident.reader_name(notification),
        )
        if not notification.attempts:
            yield (*columns, notification.channel, "", notification.state, *[""] * 9)
        for delivery in notification.deliveries:
            for attempt in delivery.attempts:
                yield (
                    *(
                        *columns,
                        delivery.address.channel,
                        delivery.address.number,
                        notification.state,
                        attempt.n,
                        attempt.gateway,
                    ),
                    *(
                        attempt.reference,
                        attempt.state,
                        moment(attempt.started_at),
                        moment(attempt.ended_at) if attempt.ended_at else "",
                    ),
                    *(attempt.error or "", attempt.code, attempt.detail),
                )


def _evidence_row(measurement: Measurement) -> Sequence[object]:
    transit = "" if measurement.transit is None else f"{measurement.transit:.3f}"
    return (
        moment(measurement.at),
        measurement.subject,
        measurement.outcome,
        transit,
        measurement.why,
        measurement.reference,
    )


def _site_files(record: IncidentRecord) -> Mapping[str, str]:
    """Return the undelivered runs of each site; empty if there is only one site."""
    if not record.sites:
        return {}
    rows = ((report.site, *_evidence_row(each)) for report in record.sites for each in report.failed)
    return {"sites.csv": csv_of(("site", *_EVIDENCE_COLUMNS), rows)}


def csv_of(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table as a file."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows([_safe_cell(str(value)) for value in row] for row in rows)
    return text.getvalue()


def _safe_cell(text: str) -> str:
    """Return a cell that no spreadsheet interprets as a formula: some contain replies of mail servers."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
