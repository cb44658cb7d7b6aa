"""The record of an incident, its verification by third parties, and purges."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from pypdf import PdfReader
from sqlalchemy import func, select

from alerts.documents.phrase import INCIDENT_TYPES
from alerts.model.gateway import CallbackEvent, DeliveryReport, ErrorClass, SmsContent, SubmissionState
from alerts.model.incident import Incident
from alerts.model.notification import IncidentType
from alerts.persistence.audit import ChainedEntry, canonical_json
from alerts.persistence.store import AuditEntry
from monitor.audit.archive import Archive
from monitor.audit.chain import ChainMonitor
from monitor.audit.incident_record import MAX_SITE_RUNS, OUTCOMES, PARTIES, PHASES, SITE_VERDICTS, build_measurements
from monitor.audit.lifecycle import LifecycleRecorder
from monitor.config.service.store import RetentionSettings
from monitor.metrics import Metrics
from monitor.store.admin.purge import BATCH_SIZE
from monitor.store.backend.database import Database
from monitor.store.engine import audit
from monitor.store.engine.unit_of_work import SqlStore
from monitor.store.probing.history import History
from monitor.store.schema import tables
from monitor.views.site_report import (
    SITES_DETAIL,
    SITES_EVENT,
    SiteIncidentData,
    SiteReport,
    SiteVerdict,
    format_report,
)
from probes.model.result import Outcome, Party, Phase
from tests.integration.alerts.dispatcher_env import DispatcherEnv
from tests.unit.alerts.documents.pages import OFFICE, text_of
from tests.unit.alerts.people import MINUTE, SNAPSHOT, T0, trigger
from tests.unit.alerts.wording.situations import WORDING
from tests.unit.monitor.world import agency_routes, arrived, failed

YEAR = timedelta(days=365)
OF_JCM = replace(SNAPSHOT, office=OFFICE)


@dataclass(slots=True, kw_only=True)
class ArchiveEnv:
    """A station with its archive."""

    station: DispatcherEnv
    archive: Archive
    database: Database
    history: History

    @property
    def lifecycle(self) -> LifecycleRecorder:
        return LifecycleRecorder(SqlStore(self.database), self.station.clock, "pantau@test")


@asynccontextmanager
async def open_env(
    place: Path, sites: Callable[[Incident, int], Awaitable[Sequence[SiteIncidentData]]] | None = None
) -> AsyncIterator[ArchiveEnv]:
    async with Database.open(place) as database:
        station = DispatcherEnv(database)
        history = History(database)
        archive = Archive(
            database=database,
            history=history,
            clock=station.clock,
            wording=lambda: WORDING,
            retention=RetentionSettings().build,
            sites=sites,
        )
        yield ArchiveEnv(station=station, archive=archive, database=database, history=history)


async def advance_by(station: DispatcherEnv, by: timedelta) -> None:
    """Let time pass in one step, so that tasks which run each minute run once."""
    station.clock.moment += by
    await station.settle()


async def record_outage(env: ArchiveEnv, at: datetime = T0) -> None:
    """Let an outage be notified, acknowledged, released and resolved. The fax machine is busy at first."""
    station = env.station
    station.clock.moment = at
    station.fax.happens.append(ErrorClass.TRANSIENT)
    await station.submit(trigger(at=at, snapshot=OF_JCM))
    await advance_by(station, 2 * MINUTE)
    incident_id = (await station.active())[-1]
    await station.acknowledge(incident_id)
    await advance_by(station, 30 * MINUTE)
    await station.release(incident_id)
    await advance_by(station, 10 * MINUTE)
    await station.resolve()
    await advance_by(station, timedelta(days=10))


async def probe(env: ArchiveEnv, *, at: datetime, works: bool) -> None:
    route = agency_routes("JCM")[0]
    result = arrived(route, at) if works else failed(route, at, Outcome.REJECTED, Phase.SUBMIT)
    await env.history.record_run(result, "JCM", {})
    await env.database.group_commit.drain()


def sha256(octets: bytes) -> str:
    return hashlib.sha256(octets).hexdigest()


async def make_record(env: ArchiveEnv, number: str = "JCM-01") -> Mapping[str, bytes]:
    files = await env.archive.incident_record(number, "Puan Arkib Contoh")
    assert files is not None
    return files


async def test_incident_record_contains_status_and_failures_of_each_site(tmp_path: Path) -> None:
    async def sites(incident: Incident, most: int) -> list[SiteIncidentData]:
        assert (incident.number, most) == ("JCM-01", MAX_SITE_RUNS)
        report = SiteReport(site="johor", says=SiteVerdict.WRONG, type=IncidentType.SENDING, since=T0)
        seen = [failed(route, T0, Outcome.REJECTED, Phase.SUBMIT) for route in agency_routes("JCM")[:2]]
        formula = replace(seen[0], failure=replace(seen[0].failure, detail="=1+1")) if seen[0].failure else seen[0]
        return [
            SiteIncidentData(site="noc"),
            SiteIncidentData(site="johor", report=report, failed_runs=[formula, seen[1]]),
        ]

    async with open_env(tmp_path, sites) as env:
        await probe(env, at=T0 - 1 * MINUTE, works=False)
        await env.station.submit(trigger(at=T0, snapshot=OF_JCM))
        files = await make_record(env)
    rows = list(csv.DictReader(io.StringIO(files["sites.csv"].decode())))
    assert [(row["site"], row["outcome"]) for row in rows] == [("noc", "rejected"), *[("johor", "rejected")] * 2]
    assert sha256(files["sites.csv"]) in files["SHA256SUMS"].decode()
    said = text_of(files["JCM-01.pdf"])
    assert "TAPAK" in said
    assert f"johor {INCIDENT_TYPES[IncidentType.SENDING]}, sejak 24/11/2026 14:15:00" in said
    assert "menurut jam setiap tapak" in said


async def test_incident_record_resolved_incident_contains_site_statuses_of_that_time(tmp_path: Path) -> None:
    async def sites(_: Incident, __: int) -> list[SiteIncidentData]:
        return [SiteIncidentData(site="noc"), SiteIncidentData(site="johor")]

    async with open_env(tmp_path, sites) as env:
        await env.station.submit(trigger(at=T0, snapshot=OF_JCM))
        (incident_id,) = await env.station.active()
        report = SiteReport(site="johor", says=SiteVerdict.WRONG, type=IncidentType.SENDING, since=T0)
        detail = {SITES_DETAIL: f"johor: {format_report(report)}; noc: well"}
        await env.lifecycle.record("pantau@test", SITES_EVENT, detail, incident_id)
        await env.station.resolve()
        files = await make_record(env)
    said = text_of(files["JCM-01.pdf"])
    assert f"johor {INCIDENT_TYPES[IncidentType.SENDING]}, sejak 24/11/2026 14:15:00" in said
    assert "noc berfungsi" in said
    assert "Laporan tapak" not in said, "audit-log.jsonl has each step"
    assert SITES_EVENT in files["audit-log.jsonl"].decode()


async def test_incident_record_lists_recipients_channels_times_and_results(tmp_path: Path) -> None:
    async with open_env(tmp_path) as env:
        await probe(env, at=T0 - 5 * MINUTE, works=True)
        await probe(env, at=T0 - 1 * MINUTE, works=False)
        await record_outage(env)
        files = await make_record(env)

    page = text_of(files["JCM-01.pdf"])
    order = [
        "TERHAD",
        "Jabatan Contoh Malaysia",
        "REKOD INSIDEN GANGGUAN E-MEL RASMI",
        "RINGKASAN",
        "E-mel rasmi tidak dapat dihantar dan diterima",
        "Penerimaan disahkan : 24 November 2026 (Selasa), pukul 2.17 petang, oleh Siti Contoh",
        "SIAPA YANG DIMAKLUMKAN",
        "24/11/2026 14:15:00 Siti Contoh gangguan SMS +60100000101",
        "Ketua Setiausaha, Kementerian Contoh gangguan (JCM-01/1) Faks +60300000201",
        "tidak diterima oleh mesin faks",
        "KRONOLOGI",
        "Insiden dibuka",
        "Penerimaan disahkan",
        "Pemakluman kepada pihak luar dikeluarkan",
        "Insiden berakhir",
        "BUKTI",
        "diterima",
        "ditolak",
        "PENGESAHAN",
        sha256(files["audit-log.jsonl"]),
        "PERAKUAN",
    ]
    place = 0
    for part in order:
        assert part in page[place:], part
        place = page.index(part, place)


async def test_incident_record_pdf_is_pdfa_and_classified_on_every_page(tmp_path: Path) -> None:
    async with open_env(tmp_path) as env:
        await record_outage(env)
        files = await make_record(env)

    pdf = PdfReader(io.BytesIO(files["JCM-01.pdf"]))
    metadata = str(pdf.xmp_metadata.stream.get_data()) if pdf.xmp_metadata else ""
    assert "<pdfaid:part>2</pdfaid:part>" in metadata
    assert "<pdfaid:conformance>A</pdfaid:conformance>" in metadata
    assert all(page.extract_text().count("TERHAD") == 2 for page in pdf.pages)
    assert all("No. Notis: JCM-01" in page.extract_text() for page in pdf.pages)


async def test_incident_record_verifiable_by_third_party(tmp_path: Path) -> None:
    async with open_env(tmp_path) as env:
        await env.lifecycle.record_start(version="1", user="uid 1")
        await record_outage(env)
        await env.lifecycle.record_stop()
        files = await make_record(env)

    for line in files["SHA256SUMS"].decode().splitlines():
        digest, name = line.split("  ")
        assert sha256(files[name]) == digest
    assert {"JCM-01.pdf", "incident.json", "audit-log.jsonl", "links.csv"} < set(files)
    data = json.loads(files["incident.json"])
    entries = [json.loads(line) for line in files["audit-log.jsonl"].decode().splitlines()]
    links = list(csv.DictReader(io.StringIO(files["links.csv"].decode())))

    # As BACA-SAYA.txt says: entries of other incidents are present as hashes only.
    hashed, at = entries[0]["previous"], {}
    for link in links:
        hashed = sha256(f"{hashed} {link['content']}".encode())
        at[int(link["number"])] = (link["content"], hashed)
    assert hashed == data["head"]["hash"]
    assert int(links[-1]["number"]) == data["head"]["number"] > entries[-1]["number"]
    for entry in entries:
        content, told = entry.pop("content"), entry.pop("hash")
        del entry["previous"]
        assert at[entry["number"]] == (content, told)
        assert sha256(canonical_json(entry).encode()) == content
    assert hashed in files["BACA-SAYA.txt"].decode()


@pytest.mark.blind
async def test_incident_record_links_to_head_by_daily_checkpoints(
    tmp_path: Path,
) -> None:
    """Defect: An incident record reads the audit log from the incident to its end, and all agencies' runs.

    Pantau: It goes from checkpoint to checkpoint and reads its agency's runs by an index.
    """
    async with open_env(tmp_path / "state") as env:
        chain = ChainMonitor(env.database, Metrics(version="1", now=env.station.clock.now), env.station.clock, "x")
        await record_outage(env)
        for _ in range(5):
            env.station.clock.moment += timedelta(days=1)
            async with SqlStore(env.database).transaction() as uow:
                for _ in range(100):
                    await uow.add_audit_entry(AuditEntry(at=T0, actor="x", event="configuration taken up"))
            await chain.verify_if_due()
        # The entry about the first record belongs to the incident, too, and is linked like the others.
        first = await make_record(env)
        files = await make_record(env)

    links = list(csv.DictReader(io.StringIO(files["links.csv"].decode())))
    entries = [json.loads(line) for line in files["audit-log.jsonl"].decode().splitlines()]
    checkpoints = [json.loads(line) for line in files["checkpoints.jsonl"].decode().splitlines()]
    assert {entry["event"] for entry in checkpoints} == {"journal followed"}
    assert len(checkpoints) == 4
    assert len(links) == len(entries) + 100 + 5, "of five days, only the rest of the first"
    assert {link["number"] for link in links} > {str(entry["number"]) for entry in entries}
    assert run_documented_check(tmp_path, first).startswith("whole: ")
    assert run_documented_check(tmp_path, files) == f"whole: {sealed_head(files)}\n"
    # A missing or changed checkpoint or link breaks the chain.
    text = files["checkpoints.jsonl"]
    for changed in (
        text.splitlines(keepends=True)[0],
        text.replace(checkpoints[1]["detail"]["hash"].encode(), b"f" * 64),
    ):
        assert "whole" not in run_documented_check(tmp_path, {**files, "checkpoints.jsonl": changed})
    less = files["links.csv"].replace(links[-2]["content"].encode(), b"0" * 64)
    assert "whole" not in run_documented_check(tmp_path, {**files, "links.csv": less})


def run_documented_check(place: Path, files: Mapping[str, bytes], head: str = "") -> str:
    """Return the output of the check program in the documentation; *head*: a copy of the head that was kept apart."""
    record_directory, program = place / "dossier", place / "check.py"
    shutil.rmtree(record_directory, ignore_errors=True)
    record_directory.mkdir(parents=True)
    for name, content in files.items():
        (record_directory / name).write_bytes(content)
    document = (Path(__file__).parents[3] / "docs/explanation/audit.md").read_text()
    program.write_text(document.split("```python\n")[2].partition("```")[0])
    command = [sys.executable, "-I", str(program), str(record_directory), head or sealed_head(files)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def sealed_head(files: Mapping[str, bytes]) -> str:
    """Return the head that is printed when a record is made."""
    entry = json.loads(files["seal.json"])["entry"]
    return f"{entry['number']}:{entry['hash']}"


def without(octets: bytes, line: int) -> bytes:
    lines = octets.splitlines(keepends=True)
    return b"".join([*lines[:line], *lines[line + 1 :]])


#: Changes that somebody may make to a record, by name: a file and the change of its bytes.
CHANGES: Mapping[str, tuple[str, Callable[[bytes], bytes]]] = {
    "an entry in another name": ("audit-log.jsonl", lambda was: was.replace(b"Siti Contoh", b"Ravi Contoh", 1)),
    "the first entry left out": ("audit-log.jsonl", lambda was: without(was, 0)),
    "an entry left out": ("audit-log.jsonl", lambda was: without(was, 5)),
    "all but the first entry left out": ("audit-log.jsonl", lambda was: was.splitlines(keepends=True)[0]),
    "another incident": ("incident.json", lambda was: was.replace(b'"released_by": "', b'"released_by": "X', 1)),
    "a run left out": ("evidence.csv", lambda was: without(was, 1)),
    "an attempt left out": ("notifications.csv", lambda was: without(was, 1)),
    "another page": ("JCM-01.pdf", lambda was: was + b"\n"),
    "another link": ("links.csv", lambda was: was.replace(b"3,", b"3,0", 1)),
    "other sums": ("SHA256SUMS", lambda was: without(was, 1)),
    "another seal": ("seal.json", lambda was: was.replace(b"Puan Arkib Contoh", b"Encik Palsu", 1)),
}


@pytest.mark.falsegreen
async def test_documented_check_changed_record_is_never_whole(tmp_path: Path) -> None:
    """Defect: A record with removed entries or changed files passes its documented check.

    Pantau: The audit log seals the sums of all files; the head finds every change.
    """
    async with open_env(tmp_path / "state") as env:
        await probe(env, at=T0 - 1 * MINUTE, works=False)
        await record_outage(env)
        files = await make_record(env)
        head = await env.archive.head()
        forged = await make_record(env)

    kept = f"{head.number}:{head.hash}"
    assert kept == sealed_head(files)
    assert run_documented_check(tmp_path, files, kept) == f"whole: {kept}\n"
    assert [
        what
        for what, (name, change) in CHANGES.items()
        if "whole" in run_documented_check(tmp_path, {**files, name: change(files[name])}, kept)
    ] == []
    assert "whole" not in run_documented_check(tmp_path, {**files, "evidence-2.csv": b"another"}, kept)
    assert "whole" not in run_documented_check(
        tmp_path, {name: files[name] for name in files if name != "evidence.csv"}, kept
    )
    # A record that is made anew has another head than the kept copy.
    assert run_documented_check(tmp_path, forged).startswith("whole: ")
    assert "whole" not in run_documented_check(tmp_path, forged, kept)


async def test_incident_record_made_during_writes_is_sealed_by_own_entry(tmp_path: Path) -> None:
    async def sites(_: Incident, __: int) -> list[SiteIncidentData]:
        await env.lifecycle.record_stop()
        return []

    async with open_env(tmp_path / "state", sites) as env:
        await record_outage(env)
        files = await make_record(env)

    assert len(json.loads(files["seal.json"])["links"]) == 2
    assert run_documented_check(tmp_path, files).startswith("whole: ")


async def test_incident_record_data_has_every_attempt_with_full_number(tmp_path: Path) -> None:
    async with open_env(tmp_path) as env:
        await record_outage(env)
        files = await make_record(env)

    rows = list(csv.DictReader(io.StringIO(files["notifications.csv"].decode())))
    faxes = [(row["number"], row["attempt"], row["attempt_state"]) for row in rows if row["channel"] == "fax"]
    # The apostrophe keeps spreadsheets from reading the number as a formula.
    assert faxes[:2] == [("'+60300000201", "1", "failed"), ("'+60300000201", "2", "accepted")]
    assert {row["name"] for row in rows if row["plan"] == "escalation"} == {"Siti Contoh"}


async def test_incident_record_server_text_is_no_spreadsheet_formula(tmp_path: Path) -> None:
    async with open_env(tmp_path) as env:
        route = agency_routes("JCM")[0]
        result = failed(route, T0, Outcome.REJECTED, Phase.SUBMIT)
        assert result.failure is not None
        await env.history.record_run(replace(result, route='=HYPERLINK("x")'), "JCM", {})
        await record_outage(env)
        files = await make_record(env)

    (row,) = csv.DictReader(io.StringIO(files["evidence.csv"].decode()))
    assert row["route"] == '\'=HYPERLINK("x")'


async def test_incident_record_creation_and_creator_are_in_audit_log(tmp_path: Path) -> None:
    async with open_env(tmp_path) as env:
        await record_outage(env)
        files = await make_record(env)
        async with env.database.read() as connection:
            entries = await audit.entries_of_incident(connection, 1)

    assert (entries[-1].actor, entries[-1].event) == ("Puan Arkib Contoh", "dossier made")
    assert entries[-1].detail["sha256"] == sha256(files["SHA256SUMS"])


async def test_audit_log_contains_sent_content_and_provider_reports(tmp_path: Path) -> None:
    async with open_env(tmp_path) as env:
        await env.station.submit(trigger(snapshot=OF_JCM))
        order = env.station.sms.orders[0]
        assert isinstance(order.content, SmsContent)
        delivered = CallbackEvent(
            reference=order.reference,
            event_id="1",
            report=DeliveryReport(progress=SubmissionState.DELIVERED, provider_id="SM1"),
        )
        for _ in range(2):  # Providers repeat reports; a report that changes nothing is audited once.
            await env.station.dispatcher.record_callback("sms", delivered)
        entries = await audit_entries(env)

    told = {(entry.actor, entry.event): entry.detail for entry in entries}
    events = [event for _, event in told]
    assert events.index("attempt written") < events.index("send: accepted") < events.index("reported: delivered")
    assert told["engine", "attempt written"]["reference"] == order.reference
    assert told["sms", "send: accepted"]["sha256"] == sha256(order.content.text.encode())
    assert [entry.event for entry in entries].count("reported: delivered") == 1


async def test_late_receipt_confirmation_is_audited_with_its_person(tmp_path: Path) -> None:
    async with open_env(tmp_path) as env:
        await env.station.submit(trigger(snapshot=OF_JCM))
        reference = env.station.sms.orders[0].reference
        await env.station.resolve()
        await env.station.dispatcher.record_callback(
            "sms", CallbackEvent(reference=reference, event_id="1", acknowledged=True)
        )
        last = (await audit_entries(env))[-1]
    assert (last.actor, last.event) == ("siti", "receipt confirmed")


async def test_incident_record_unknown_incident_returns_none(tmp_path: Path) -> None:
    async with open_env(tmp_path) as env:
        assert await env.archive.incident_record("JCM-99", "Puan Arkib Contoh") is None


def test_measurements_ordered_by_end_of_run_with_failure_reason() -> None:
    route = agency_routes("JCM")[0]
    slow, quick = arrived(route, T0, 5 * MINUTE), failed(route, T0 + MINUTE, Outcome.REJECTED, Phase.SUBMIT)
    told = build_measurements([slow, quick])

    assert [(each.outcome_ms, each.is_delivered, each.at) for each in told] == [
        ("ditolak", False, quick.started_at + quick.duration),
        ("diterima", True, slow.started_at + slow.duration),
    ]
    assert (told[0].transit_seconds, bool(told[0].reason), told[1].reason) == (None, True, "")


def test_every_outcome_phase_party_and_site_verdict_has_text() -> None:
    assert set(OUTCOMES) == set(Outcome)
    assert (set(PHASES), set(PARTIES)) == (set(Phase), set(Party))
    assert set(SITE_VERDICTS) == set(SiteVerdict)


def test_measurements_on_paper_are_malay_without_server_text() -> None:
    run = failed(agency_routes("JCM")[0], T0, Outcome.REJECTED, Phase.SUBMIT)
    assert run.failure is not None
    said = replace(run.failure, code=550, status="5.7.1", detail="no relaying")
    (told,) = build_measurements([replace(run, failure=said, route="JCM/outbound/rujukan-a")])
    assert (told.subject, told.subject_ms) == ("JCM/outbound/rujukan-a", "keluar, rujukan-a")
    assert told.reason_ms.startswith("penghantaran, pelayan ")
    assert told.reason_ms.endswith(": kod 550 5.7.1")
    assert "no relaying" in told.reason


async def test_incident_record_purged_results_are_stated(tmp_path: Path) -> None:
    async with open_env(tmp_path) as env:
        await record_outage(env)
        page = text_of((await make_record(env))["JCM-01.pdf"])
    assert "Tiada keputusan ujian dalam simpanan." in page


# -- purges -----------------------------------------------------------------------------------------------------------


async def audit_entries(env: ArchiveEnv) -> list[ChainedEntry]:
    async with env.database.read() as connection:
        return [e for e in await audit.entries(connection, 0, 10_000) if isinstance(e, ChainedEntry)]


async def row_count(env: ArchiveEnv, name: str) -> int:
    async with env.database.read() as connection:
        query = select(func.count()).select_from(tables.metadata.tables[name])
        return int((await connection.execute(query)).scalar_one())


async def record_two_outages(env: ArchiveEnv) -> None:
    """Record an outage that is two years old and a recent one."""
    async with SqlStore(env.database).transaction() as uow:
        await uow.add_audit_entry(AuditEntry(at=T0 - 2 * YEAR, actor="pantau@test", event="service started"))
    await record_outage(env, T0 - 2 * YEAR)
    await record_outage(env, T0)
    # Wait until the result of the release has been sent to the person who released.
    for passed in (30 * MINUTE, timedelta(days=10)):
        await advance_by(env.station, passed)


async def test_purge_set_lists_what_would_go_and_changes_nothing(tmp_path: Path) -> None:
    async with open_env(tmp_path) as env:
        await record_two_outages(env)
        before = await audit_entries(env)
        purge_set = await env.archive.purge_set(T0 - YEAR)

        assert [number for _, number in purge_set.incidents] == ["JCM-01"]
        assert len(purge_set.notification_ids) > 0
        assert await audit_entries(env) == before
        assert await row_count(env, "incident") == 2


async def test_purge_deletes_old_records_and_keeps_chain_intact(tmp_path: Path) -> None:
    async with open_env(tmp_path) as env:
        await record_two_outages(env)
        before = await audit_entries(env)
        purge_set = await env.archive.purge_set(T0 - YEAR)
        counts = await env.archive.purge(T0 - YEAR, "ANM.600-1/7/3 (12)", "Puan Arkib Contoh")
        assert counts == purge_set.counts

        after = await audit_entries(env)
        assert await row_count(env, "incident") == 1
        assert await row_count(env, "notification") == len(await env.station.notifications(2))
        assert await env.archive.incident_record("JCM-02", "x") is not None
        verifier = await audit.verify(env.database.read)

    assert (verifier.violations, verifier.tombstones) == ([], len(purge_set.entry_ids))
    told = after[-1]
    assert (told.actor, told.event) == ("Puan Arkib Contoh", "records purged")
    assert (told.detail["authority"], told.detail["incidents"]) == ("ANM.600-1/7/3 (12)", "JCM-01")
    gone = set(purge_set.entry_ids)
    for entry, was in zip(after, before, strict=False):
        assert (entry.number, entry.at, entry.hash) == (was.number, was.at, was.hash)
        assert (entry.event == "") is (entry.number in gone)


async def test_purge_repeated_continues_from_earlier_purge(tmp_path: Path) -> None:
    async with open_env(tmp_path) as env:
        await record_two_outages(env)
        await env.archive.purge(T0 - YEAR, "first", "Puan Arkib Contoh")
        assert await env.archive.purge(T0 - YEAR, "again", "Puan Arkib Contoh") == "0/0/0"
        await env.archive.purge(T0 + YEAR, "second", "Puan Arkib Contoh")

        events = [entry.event for entry in await audit_entries(env) if entry.event]
        assert events == ["records purged", "records purged"]
        assert (await audit.verify(env.database.read)).violations == []


async def test_purge_long_writes_in_batches(tmp_path: Path) -> None:
    async with open_env(tmp_path) as env:
        async with SqlStore(env.database).transaction() as uow:
            for _ in range(2 * BATCH_SIZE + 1):
                await uow.add_audit_entry(AuditEntry(at=T0 - YEAR, actor="x", event="configuration taken up"))
        counts = await env.archive.purge(T0, "ANM.600-1/7/3 (12)", "Puan Arkib Contoh")
        told = [entry.detail["entries"] for entry in await audit_entries(env) if entry.event]

    assert (counts, told) == (f"0/0/{2 * BATCH_SIZE + 1}", [f"{BATCH_SIZE}", f"{BATCH_SIZE}", "1"])


async def test_purge_keeps_incident_with_pending_notifications(tmp_path: Path) -> None:
    async with open_env(tmp_path) as env:
        env.station.clock.moment = T0 - 2 * YEAR
        await env.station.submit(trigger(at=T0 - 2 * YEAR))
        assert (await env.archive.purge_set(T0)).incidents == []
        await env.archive.purge(T0, "ANM.600-1/7/3 (12)", "Puan Arkib Contoh")
        assert await row_count(env, "incident") == 1


async def test_purged_records_cannot_be_read_from_database_file(tmp_path: Path) -> None:
    async with open_env(tmp_path) as env:
        # Enough entries that whole database pages become free.
        long = {"added": " ".join(["Encik Rahsia Contoh"] * 100)}
        async with SqlStore(env.database).transaction() as uow:
            for _ in range(50):
                await uow.add_audit_entry(
                    AuditEntry(at=T0 - YEAR, actor="x", event="configuration taken up", detail=long)
                )
        await env.archive.purge(T0, "ANM.600-1/7/3 (12)", "Puan Arkib Contoh")
    assert b"Encik Rahsia Contoh" not in (tmp_path / "pantau.sqlite").read_bytes()


@pytest.mark.parametrize(
    "cut", ["DELETE FROM audit_log WHERE id = 1", "UPDATE audit_log SET at = '2020-01-01 00:00:00' WHERE id = 1"]
)
async def test_tombstone_changed_or_deleted_is_detected(tmp_path: Path, cut: str) -> None:
    async with open_env(tmp_path) as env:
        await record_two_outages(env)
        await env.archive.purge(T0 - YEAR, "ANM.600-1/7/3 (12)", "Puan Arkib Contoh")
        async with env.database.write() as connection:
            for trigger_name in ("audit_log_is_not_deleted", "audit_log_is_not_changed"):
                await connection.exec_driver_sql(f"DROP TRIGGER {trigger_name}")
            await connection.exec_driver_sql(cut)
        assert (await audit.verify(env.database.read)).violations
