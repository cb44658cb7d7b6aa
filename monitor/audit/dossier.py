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
from alerts.documents.phrase import MATTERS, stamp
from alerts.documents.render import dossier as render
from alerts.model.delivery import Notification
from alerts.model.incident import Incident
from alerts.persistence.audit import BEGINNING, ChainedEntry, as_json, compact, moment
from alerts.wording.source import sections
from alerts.wording.texts import Wording
from monitor.store.engine.audit import ChainLinks
from monitor.views.overview import why_failed
from monitor.views.site_report import SiteIncidentData, SiteReport
from probes.model.result import Outcome, Phase, ProbeResult

#: Runs are included from this long before the incident: the last successful ones.
BEFORE = timedelta(minutes=15)
#: Maximum of runs of each other site, the last ones.
SITE_RUNS = 2000

#: The file with the audit entry that authenticates all other files.
SEAL = "seal.json"

_INCIDENT = TypeAdapter(Incident)
_NOTICES = TypeAdapter(tuple[Notification, ...])

_WORDS = sections(Path(__file__).with_suffix(".yaml"))
OUTCOMES: Mapping[str, str] = _WORDS["outcomes"]
PHASES: Mapping[str, str] = _WORDS["phases"]
PARTIES: Mapping[str, str] = _WORDS["parties"]
#: A site's verdict as a word.
OPINIONS: Mapping[str, str] = _WORDS["opinions"]
_DIRECTIONS: Mapping[str, str] = _WORDS["directions"]
#: Description of the files, and how to verify them.
_READ_ME = Path(__file__).with_name("BACA-SAYA.txt").read_text(encoding="utf-8")


def evidence(results: Iterable[ProbeResult]) -> Sequence[Measurement]:
    """Return the runs in the form of an incident record, by their outcome."""
    told = (
        Measurement(
            at=result.started_at + result.duration,
            subject=result.route,
            subject_ms=_route(result.route),
            outcome=result.outcome,
            outcome_ms=OUTCOMES[result.outcome],
            why=why_failed(result),
            why_ms=_why(result),
            transit=None if (transit := result.phases.get(Phase.TRANSIT)) is None else transit.total_seconds(),
            good=result.outcome is Outcome.DELIVERED,
            reference=result.token_id,
        )
        for result in results
    )
    return sorted(told, key=lambda each: each.at)


def site_word(told: SiteIncidentData) -> SiteFindings:
    """Return a site's status and runs in the form of an incident record."""
    return SiteFindings(
        site=told.site,
        says="" if told.report is None else told.report.says,
        says_ms="" if told.report is None else _says(told.report),
        failed=evidence(told.results),
        last=evidence(told.last)[::-1],
        unclear=told.unclear,
    )


def _says(report: SiteReport) -> str:
    if report.type is None or report.since is None:
        return OPINIONS[report.says]
    return f"{MATTERS[report.type]}, sejak {stamp(report.since)}"


def _route(name: str) -> str:
    """Return the displayed name of a route: "keluar, rujukan-a"."""
    _, _, way = name.partition("/")
    direction, _, rest = way.partition("/")
    return ", ".join(filter(None, (_DIRECTIONS.get(direction, direction), rest)))


def _why(result: ProbeResult) -> str:
    """Return where a run failed and with what code; the server's reply is in the data."""
    failure = result.failure
    if failure is None:
        return "pelayan pengirim tidak menjawab, walaupun mesej diterima" if result.uncertain else ""
    code = " ".join(filter(None, (str(failure.code or ""), failure.status or "")))
    return f"{PHASES[failure.phase]}, {PARTIES[failure.party]}" + (f": kod {code}" if code else "")


def files(dossier: IncidentRecord, trail: ChainLinks, wording: Wording) -> Mapping[str, bytes]:
    """Return the files by name, the PDF first. Typesetting takes up to some seconds: call it in a thread."""
    number = dossier.incident.number
    before = dossier.entries[0].previous if dossier.entries else BEGINNING
    data = {
        "incident.json": _json(dossier),
        "audit-log.jsonl": "".join(f"{compact(as_json(entry))}\n" for entry in dossier.entries),
        "links.csv": csv_of(("number", "content"), trail.links),
        "checkpoints.jsonl": "".join(f"{compact(as_json(entry))}\n" for entry in trail.checkpoints),
        "notifications.csv": csv_of(_NOTICE_COLUMNS, _tries(dossier)),
        "evidence.csv": csv_of(_EVIDENCE_COLUMNS, (_evidence_row(each) for each in dossier.evidence)),
        **_of_sites(dossier),
        "BACA-SAYA.txt": _READ_ME.format(
            number=number, before=before, head=f"{dossier.head.number}:{dossier.head.hash}"
        ),
    }
    octets = {name: text.encode() for name, text in data.items()}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in octets.items()}
    pdf = render(dossier, digests, wording).pdf
    digests = {f"{number}.pdf": hashlib.sha256(pdf).hexdigest(), **digests}
    sums = "".join(f"{digest}  {name}\n" for name, digest in digests.items())
    return {f"{number}.pdf": pdf, **octets, "SHA256SUMS": sums.encode()}


def seal(entry: ChainedEntry, links: Sequence[tuple[int, str]]) -> bytes:
    """Return the seal: *entry* of the audit log, which contains the digest of SHA256SUMS, and *links* from the head to it."""
    return f"{compact({'entry': as_json(entry), 'links': [list(link) for link in links]})}\n".encode()


def since(incident: Incident) -> datetime:
    """Return from when on runs belong to an incident's record."""
    return incident.began_at - BEFORE


_NOTICE_COLUMNS = (
    *("notice", "plan", "purpose", "person", "name", "channel", "number", "state"),
    *("attempt", "gateway", "reference", "attempt_state", "started_at", "ended_at", "error", "code", "detail"),
)
_EVIDENCE_COLUMNS = ("ended_at", "route", "outcome", "transit_seconds", "reason", "token")


def _json(dossier: IncidentRecord) -> str:
    values: dict[str, Any] = {
        "format": "pantau-incident-record-2",
        "made_at": moment(dossier.made_at),
        "made_by": dossier.made_by,
        "head": {"number": dossier.head.number, "hash": dossier.head.hash},
        "incident": _INCIDENT.dump_python(dossier.incident, mode="json"),
        "notifications": _NOTICES.dump_python(tuple(dossier.notices), mode="json"),
    }
    return json.dumps(values, ensure_ascii=False, indent=1) + "\n"


def _tries(dossier: IncidentRecord) -> Iterable[Sequence[object]]:
    for notice in dossier.notices:
        about = (notice.id, notice.plan, notice.purpose, notice.person, dossier.incident.reader(notice))
        if not notice.attempts:
            yield (*about, notice.channel, "", notice.state, *[""] * 9)
        for delivery in notice.deliveries:
            for a in delivery.attempts:
                yield (
                    *(*about, delivery.address.channel, delivery.address.number, notice.state, a.n, a.gateway),
                    *(a.reference, a.state, moment(a.started_at), moment(a.ended_at) if a.ended_at else ""),
                    *(a.error or "", a.code, a.detail),
                )


def _evidence_row(each: Measurement) -> Sequence[object]:
    transit = "" if each.transit is None else f"{each.transit:.3f}"
    return moment(each.at), each.subject, each.outcome, transit, each.why, each.reference


def _of_sites(dossier: IncidentRecord) -> Mapping[str, str]:
    """Return the undelivered runs of each site; empty if there is only one site."""
    if not dossier.sites:
        return {}
    rows = ((word.site, *_evidence_row(each)) for word in dossier.sites for each in word.failed)
    return {"sites.csv": csv_of(("site", *_EVIDENCE_COLUMNS), rows)}


def csv_of(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table as a file."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows([_harmless(str(value)) for value in row] for row in rows)
    return text.getvalue()


def _harmless(text: str) -> str:
    """Return a cell that no spreadsheet interprets as a formula: some contain replies of mail servers."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
