"""Files of an incident record: a PDF in Malay to print and file, and data by which a third party can verify it.

The audit log is a hash chain. Its *head* is number and hash of the last entry; a *link* is number and content hash of
an entry; a *checkpoint* is an entry that confirms the chain before it, so that a proof may skip the earlier links.
A *measurement* is a probe run in the form of the record. Names with `_ms` are for texts in Malay.
"""

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
from alerts.persistence.audit import INITIAL_HASH, ChainedEntry, canonical_json, entry_to_json, format_time
from alerts.wording.source import sections
from alerts.wording.texts import Wording
from monitor.store.engine.audit import ChainLinks
from monitor.views.overview import failure_text
from monitor.views.site_report import SiteIncidentData, SiteReport
from probes.model.result import Outcome, Phase, ProbeResult

#: The record includes the probe runs from this long before the incident, to show the last successful ones.
RUNS_LEAD_TIME = timedelta(minutes=15)
#: Maximum number of probe runs of each other site; the latest are included.
MAX_SITE_RUNS = 2000

#: Name of the file with the audit entry that authenticates all other files.
SEAL = "seal.json"

_INCIDENT = TypeAdapter(Incident)
_NOTIFICATIONS = TypeAdapter(tuple[Notification, ...])

# Malay texts by the values of the enumerations.
_TEXTS = sections(Path(__file__).with_suffix(".yaml"))
OUTCOMES: Mapping[str, str] = _TEXTS["outcomes"]
PHASES: Mapping[str, str] = _TEXTS["phases"]
PARTIES: Mapping[str, str] = _TEXTS["parties"]
#: Malay texts of `SiteVerdict`.
SITE_VERDICTS: Mapping[str, str] = _TEXTS["site_verdicts"]
_DIRECTIONS: Mapping[str, str] = _TEXTS["directions"]
#: Text file that describes the other files and how to verify them.
_README = Path(__file__).with_name("BACA-SAYA.txt").read_text(encoding="utf-8")


def build_measurements(results: Iterable[ProbeResult]) -> Sequence[Measurement]:
    """Return probe runs in the form of the record, in the order of their end."""
    runs = (
        Measurement(
            at=result.started_at + result.duration,
            subject=result.route,
            subject_ms=_route_text_ms(result.route),
            outcome=result.outcome,
            outcome_ms=OUTCOMES[result.outcome],
            reason=failure_text(result),
            reason_ms=_failure_text_ms(result),
            transit_seconds=None if (transit := result.phases.get(Phase.TRANSIT)) is None else transit.total_seconds(),
            is_delivered=result.outcome is Outcome.DELIVERED,
            reference=result.token_id,
        )
        for result in results
    )
    return sorted(runs, key=lambda each: each.at)


def build_site_findings(site_data: SiteIncidentData) -> SiteFindings:
    """Return a site's status and failed runs in the form of the record."""
    return SiteFindings(
        site=site_data.site,
        status="" if site_data.report is None else site_data.report.says,
        status_ms="" if site_data.report is None else _report_text_ms(site_data.report),
        failed=build_measurements(site_data.failed_runs),
        latest_failed=build_measurements(site_data.last_failures)[::-1],
        implausible_count=site_data.implausible_count,
    )


def _report_text_ms(report: SiteReport) -> str:
    if report.type is None or report.since is None:
        return SITE_VERDICTS[report.says]
    return f"{INCIDENT_TYPES[report.type]}, sejak {stamp(report.since)}"


def _route_text_ms(name: str) -> str:
    """Return the displayed name of a route: "keluar, rujukan-a"."""
    _, _, route_part = name.partition("/")
    direction, _, suffix = route_part.partition("/")
    return ", ".join(filter(None, (_DIRECTIONS.get(direction, direction), suffix)))


def _failure_text_ms(result: ProbeResult) -> str:
    """Return phase, server and code of a run's failure, or that its message arrived unconfirmed; "" if neither."""
    failure = result.failure
    if failure is None:
        return "pelayan pengirim tidak menjawab, walaupun mesej diterima" if result.uncertain else ""
    code = " ".join(filter(None, (str(failure.code or ""), failure.status or "")))
    return f"{PHASES[failure.phase]}, {PARTIES[failure.party]}" + (f": kod {code}" if code else "")


def build_files(record: IncidentRecord, chain_links: ChainLinks, wording: Wording) -> Mapping[str, bytes]:
    """Return the files by name, the PDF first. Typesetting may take some seconds, so call it in a thread."""
    number = record.incident.number
    previous_hash = record.entries[0].previous if record.entries else INITIAL_HASH
    data = {
        "incident.json": _format_incident(record),
        "audit-log.jsonl": "".join(f"{canonical_json(entry_to_json(entry))}\n" for entry in record.entries),
        "links.csv": format_csv(("number", "content"), chain_links.links),
        "checkpoints.jsonl": "".join(f"{canonical_json(entry_to_json(entry))}\n" for entry in chain_links.checkpoints),
        "notifications.csv": format_csv(_NOTIFICATION_COLUMNS, _attempt_rows(record)),
        "evidence.csv": format_csv(_EVIDENCE_COLUMNS, (_evidence_row(each) for each in record.evidence)),
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


def serialize_seal(entry: ChainedEntry, links: Sequence[tuple[int, str]]) -> bytes:
    """Return the content of `SEAL`.

    *entry*: the audit entry that contains the digest of SHA256SUMS. *links*: the links from the record's head to it.
    """
    return f"{canonical_json({'entry': entry_to_json(entry), 'links': [list(link) for link in links]})}\n".encode()


def runs_start(incident: Incident) -> datetime:
    """Return the time from which probe runs belong to the record of *incident*."""
    return incident.began_at - RUNS_LEAD_TIME


#: Columns of `notifications.csv`: first those of the notification, then those of the attempt to deliver it. `number` is
#: the telephone or fax number, or the organisation for a letter; `reference` is Pantau's own id of the attempt.
_NOTIFICATION_COLUMNS = (
    *("notice", "plan", "purpose", "person", "name", "channel", "number", "state"),
    *("attempt", "gateway", "reference", "attempt_state", "started_at", "ended_at", "error", "code", "detail"),
)
#: Columns of `evidence.csv` and, after the site, of `sites.csv`: one row per probe run. `token`
#: is the id of the token in the probe message.
_EVIDENCE_COLUMNS = ("ended_at", "route", "outcome", "transit_seconds", "reason", "token")


def _format_incident(record: IncidentRecord) -> str:
    values: dict[str, Any] = {
        "format": "pantau-incident-record-2",
        "made_at": format_time(record.made_at),
        "made_by": record.made_by,
        "head": {"number": record.head.number, "hash": record.head.hash},
        "incident": _INCIDENT.dump_python(record.incident, mode="json"),
        "notifications": _NOTIFICATIONS.dump_python(tuple(record.notifications), mode="json"),
    }
    return json.dumps(values, ensure_ascii=False, indent=1) + "\n"


def _attempt_rows(record: IncidentRecord) -> Iterable[Sequence[object]]:
    """Yield a row per delivery attempt, and one for each notification without an attempt."""
    for notification in record.notifications:
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
                    *columns,
                    delivery.address.channel,
                    delivery.address.number,
                    notification.state,
                    attempt.n,
                    attempt.gateway,
                    attempt.reference,
                    attempt.state,
                    format_time(attempt.started_at),
                    format_time(attempt.ended_at) if attempt.ended_at else "",
                    attempt.error or "",
                    attempt.code,
                    attempt.detail,
                )


def _evidence_row(measurement: Measurement) -> Sequence[object]:
    transit = "" if measurement.transit_seconds is None else f"{measurement.transit_seconds:.3f}"
    return (
        format_time(measurement.at),
        measurement.subject,
        measurement.outcome,
        transit,
        measurement.reason,
        measurement.reference,
    )


def _site_files(record: IncidentRecord) -> Mapping[str, str]:
    """Return `sites.csv` with the failed runs of each site; no file if there is only one site."""
    if not record.sites:
        return {}
    rows = ((findings.site, *_evidence_row(each)) for findings in record.sites for each in findings.failed)
    return {"sites.csv": format_csv(("site", *_EVIDENCE_COLUMNS), rows)}


def format_csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table as CSV."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows([_safe_cell(str(value)) for value in row] for row in rows)
    return text.getvalue()


def _safe_cell(text: str) -> str:
    """Return a cell that no spreadsheet interprets as a formula: a mail server may put one into its reply."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
