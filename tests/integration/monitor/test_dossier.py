"""The dossier of an incident that was lived through, and what stays of it after a purge."""

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
from alerts.persistence.audit import ChainedEntry, compact
from alerts.persistence.store import AuditEntry
from monitor.audit.archive import Archive
from monitor.audit.chain import Chain
from monitor.audit.dossier import OPINIONS, OUTCOMES, PARTIES, PHASES, SITE_RUNS, evidence
from monitor.audit.lifecycle import Lifecycle
from monitor.config.service.store import RetentionSettings
from monitor.metrics import Metrics
from monitor.store.admin.purge import AT_ONCE
from monitor.store.backend.database import Database
from monitor.store.engine import audit
from monitor.store.engine.ledger import SqlStore
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
from tests.integration.alerts.station import Station
from tests.unit.alerts.documents.pages import OFFICE, text_of
from tests.unit.alerts.people import BRIEF, MINUTE, T0, trigger
from tests.unit.alerts.wording.situations import WORDING
from tests.unit.monitor.trial import agency_routes, arrived, failed

YEAR = timedelta(days=365)
OF_JCM = replace(BRIEF, office=OFFICE)


@dataclass(slots=True, kw_only=True)
class IssuingOffice:
    """A station, and the archive beside it."""

    station: Station
    archive: Archive
    database: Database
    history: History

    @property
    def lifecycle(self) -> Lifecycle:
        return Lifecycle(SqlStore(self.database), self.station.clock, "pantau@test")


@asynccontextmanager
async def office_at(
    place: Path, sites: Callable[[Incident, int], Awaitable[Sequence[SiteIncidentData]]] | None = None
) -> AsyncIterator[IssuingOffice]:
    async with Database.open(place) as database:
        station = Station(database)
        history = History(database)
        archive = Archive(
            database=database,
            history=history,
            clock=station.clock,
            wording=lambda: WORDING,
            retention=RetentionSettings().build,
            sites=sites,
        )
        yield IssuingOffice(station=station, archive=archive, database=database, history=history)


async def later(station: Station, by: timedelta) -> None:
    """Let time pass at once: who looks every minute into a tray does so only at the end."""
    station.clock.moment += by
    await station.settle()


async def live_through_an_outage(office: IssuingOffice, at: datetime = T0) -> None:
    """Let an outage be told, acknowledged, released and over. The fax machine is busy at first."""
    station = office.station
    station.clock.moment = at
    station.fax.happens.append(ErrorClass.TRANSIENT)
    await station.submit(trigger(at=at, brief=OF_JCM))
    await later(station, 2 * MINUTE)
    incident_id = (await station.active())[-1]
    await station.acknowledge(incident_id)
    await later(station, 30 * MINUTE)
    await station.release(incident_id)
    await later(station, 10 * MINUTE)
    await station.resolve()
    await later(station, timedelta(days=10))


async def probe(office: IssuingOffice, *, at: datetime, works: bool) -> None:
    route = agency_routes("JCM")[0]
    result = arrived(route, at) if works else failed(route, at, Outcome.REJECTED, Phase.SUBMIT)
    await office.history.record_run(result, "JCM", {})
    await office.database.together.drain()


def sha256(octets: bytes) -> str:
    return hashlib.sha256(octets).hexdigest()


async def made(office: IssuingOffice, number: str = "JCM-01") -> Mapping[str, bytes]:
    files = await office.archive.incident_record(number, "Puan Arkib Contoh")
    assert files is not None
    return files


async def test_a_dossier_holds_what_each_site_says_and_saw_fail(tmp_path: Path) -> None:
    async def sites(incident: Incident, most: int) -> list[SiteIncidentData]:
        assert (incident.number, most) == ("JCM-01", SITE_RUNS)
        report = SiteReport(site="johor", says=SiteVerdict.WRONG, type=IncidentType.SENDING, since=T0)
        seen = [failed(route, T0, Outcome.REJECTED, Phase.SUBMIT) for route in agency_routes("JCM")[:2]]
        formula = replace(seen[0], failure=replace(seen[0].failure, detail="=1+1")) if seen[0].failure else seen[0]
        return [SiteIncidentData(site="noc"), SiteIncidentData(site="johor", report=report, results=[formula, seen[1]])]

    async with office_at(tmp_path, sites) as office:
        await probe(office, at=T0 - 1 * MINUTE, works=False)
        await office.station.submit(trigger(at=T0, brief=OF_JCM))
        files = await made(office)
    rows = list(csv.DictReader(io.StringIO(files["sites.csv"].decode())))
    assert [(row["site"], row["outcome"]) for row in rows] == [("noc", "rejected"), *[("johor", "rejected")] * 2]
    assert sha256(files["sites.csv"]) in files["SHA256SUMS"].decode()
    said = text_of(files["JCM-01.pdf"])
    assert "TAPAK" in said
    assert f"johor {INCIDENT_TYPES[IncidentType.SENDING]}, sejak 24/11/2026 14:15:00" in said
    assert "menurut jam setiap tapak" in said


async def test_of_an_incident_that_is_over_a_dossier_has_what_each_site_said_then(tmp_path: Path) -> None:
    async def sites(_: Incident, __: int) -> list[SiteIncidentData]:
        return [SiteIncidentData(site="noc"), SiteIncidentData(site="johor")]

    async with office_at(tmp_path, sites) as office:
        await office.station.submit(trigger(at=T0, brief=OF_JCM))
        (incident_id,) = await office.station.active()
        report = SiteReport(site="johor", says=SiteVerdict.WRONG, type=IncidentType.SENDING, since=T0)
        detail = {SITES_DETAIL: f"johor: {format_report(report)}; noc: well"}
        await office.lifecycle.record("pantau@test", SITES_EVENT, detail, incident_id)
        await office.station.resolve()
        files = await made(office)
    said = text_of(files["JCM-01.pdf"])
    assert f"johor {INCIDENT_TYPES[IncidentType.SENDING]}, sejak 24/11/2026 14:15:00" in said
    assert "noc berfungsi" in said
    assert "Laporan tapak" not in said, "each step stands in audit-log.jsonl"
    assert SITES_EVENT in files["audit-log.jsonl"].decode()


async def test_a_dossier_tells_who_was_told_by_which_channel_when_and_with_what_result(tmp_path: Path) -> None:
    async with office_at(tmp_path) as office:
        await probe(office, at=T0 - 5 * MINUTE, works=True)
        await probe(office, at=T0 - 1 * MINUTE, works=False)
        await live_through_an_outage(office)
        files = await made(office)

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


async def test_it_is_made_for_the_archive_and_marked_on_every_page(tmp_path: Path) -> None:
    async with office_at(tmp_path) as office:
        await live_through_an_outage(office)
        files = await made(office)

    pdf = PdfReader(io.BytesIO(files["JCM-01.pdf"]))
    metadata = str(pdf.xmp_metadata.stream.get_data()) if pdf.xmp_metadata else ""
    assert "<pdfaid:part>2</pdfaid:part>" in metadata
    assert "<pdfaid:conformance>A</pdfaid:conformance>" in metadata
    assert all(page.extract_text().count("TERHAD") == 2 for page in pdf.pages)
    assert all("No. Notis: JCM-01" in page.extract_text() for page in pdf.pages)


async def test_a_third_person_can_verify_the_data_with_nothing_of_ours(tmp_path: Path) -> None:
    async with office_at(tmp_path) as office:
        await office.lifecycle.record_start(version="1", user="uid 1")
        await live_through_an_outage(office)
        await office.lifecycle.record_stop()
        files = await made(office)

    for line in files["SHA256SUMS"].decode().splitlines():
        digest, name = line.split("  ")
        assert sha256(files[name]) == digest
    assert {"JCM-01.pdf", "incident.json", "audit-log.jsonl", "links.csv"} < set(files)
    data = json.loads(files["incident.json"])
    entries = [json.loads(line) for line in files["audit-log.jsonl"].decode().splitlines()]
    links = list(csv.DictReader(io.StringIO(files["links.csv"].decode())))

    # As BACA-SAYA.txt says: through the entries of others, of which nothing but a hash is there.
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
        assert sha256(compact(entry).encode()) == content
    assert hashed in files["BACA-SAYA.txt"].decode()


@pytest.mark.blind
async def test_a_dossier_leads_to_the_head_over_a_link_a_day_and_not_over_all_that_happened_since(
    tmp_path: Path,
) -> None:
    """Defect: An incident record reads the audit log from the incident to its end, and all agencies' runs.

    Pantau: It goes from checkpoint to checkpoint and reads its agency's runs by an index.
    """
    async with office_at(tmp_path / "state") as office:
        chain = Chain(office.database, Metrics(version="1", now=office.station.clock.now), office.station.clock, "x")
        await live_through_an_outage(office)
        for _ in range(5):
            office.station.clock.moment += timedelta(days=1)
            async with SqlStore(office.database).transaction() as uow:
                for _ in range(100):
                    await uow.add_audit_entry(AuditEntry(at=T0, actor="x", event="configuration taken up"))
            await chain.verify_if_due()
        # That it was made is an entry about the incident, too: it is led to like the others.
        first = await made(office)
        files = await made(office)

    links = list(csv.DictReader(io.StringIO(files["links.csv"].decode())))
    entries = [json.loads(line) for line in files["audit-log.jsonl"].decode().splitlines()]
    checkpoints = [json.loads(line) for line in files["checkpoints.jsonl"].decode().splitlines()]
    assert {entry["event"] for entry in checkpoints} == {"journal followed"}
    assert len(checkpoints) == 4
    assert len(links) == len(entries) + 100 + 5, "of five days, the rest of the first"
    assert {link["number"] for link in links} > {str(entry["number"]) for entry in entries}
    assert checked(tmp_path, first).startswith("whole: ")
    assert checked(tmp_path, files) == f"whole: {sealed_by(files)}\n"
    # What is left out, or vouches for something else, leads nowhere.
    text = files["checkpoints.jsonl"]
    for changed in (
        text.splitlines(keepends=True)[0],
        text.replace(checkpoints[1]["detail"]["hash"].encode(), b"f" * 64),
    ):
        assert "whole" not in checked(tmp_path, {**files, "checkpoints.jsonl": changed})
    less = files["links.csv"].replace(links[-2]["content"].encode(), b"0" * 64)
    assert "whole" not in checked(tmp_path, {**files, "links.csv": less})


def checked(place: Path, files: Mapping[str, bytes], head: str = "") -> str:
    """Return what the program says that the document gives a third person; *head*: the one that was kept apart."""
    dossier, program = place / "dossier", place / "check.py"
    shutil.rmtree(dossier, ignore_errors=True)
    dossier.mkdir(parents=True)
    for name, content in files.items():
        (dossier / name).write_bytes(content)
    document = (Path(__file__).parents[3] / "docs/explanation/audit.md").read_text()
    program.write_text(document.split("```python\n")[2].partition("```")[0])
    command = [sys.executable, "-I", str(program), str(dossier), head or sealed_by(files)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def sealed_by(files: Mapping[str, bytes]) -> str:
    """Return the head that is printed when a dossier is made."""
    entry = json.loads(files["seal.json"])["entry"]
    return f"{entry['number']}:{entry['hash']}"


def without(octets: bytes, line: int) -> bytes:
    lines = octets.splitlines(keepends=True)
    return b"".join([*lines[:line], *lines[line + 1 :]])


#: What somebody may do to a dossier that they were handed, by what it is: a file, and its octets before and after.
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
async def test_documented_check_changed_dossier_is_never_whole(tmp_path: Path) -> None:
    """Defect: A record with removed entries or changed files passes its documented check.

    Pantau: The audit log seals the sums of all files; the head finds every change.
    """
    async with office_at(tmp_path / "state") as office:
        await probe(office, at=T0 - 1 * MINUTE, works=False)
        await live_through_an_outage(office)
        files = await made(office)
        head = await office.archive.head()
        forged = await made(office)

    kept = f"{head.number}:{head.hash}"
    assert kept == sealed_by(files)
    assert checked(tmp_path, files, kept) == f"whole: {kept}\n"
    assert [
        what
        for what, (name, change) in CHANGES.items()
        if "whole" in checked(tmp_path, {**files, name: change(files[name])}, kept)
    ] == []
    assert "whole" not in checked(tmp_path, {**files, "evidence-2.csv": b"another"}, kept)
    assert "whole" not in checked(tmp_path, {name: files[name] for name in files if name != "evidence.csv"}, kept)
    # Whoever makes all of it anew has another head, and not the one that was kept.
    assert checked(tmp_path, forged).startswith("whole: ")
    assert "whole" not in checked(tmp_path, forged, kept)


async def test_dossier_made_while_others_write_is_sealed_by_its_own_entry(tmp_path: Path) -> None:
    async def sites(_: Incident, __: int) -> list[SiteIncidentData]:
        await office.lifecycle.record_stop()
        return []

    async with office_at(tmp_path / "state", sites) as office:
        await live_through_an_outage(office)
        files = await made(office)

    assert len(json.loads(files["seal.json"])["links"]) == 2
    assert checked(tmp_path, files).startswith("whole: ")


async def test_the_data_has_every_attempt_with_its_number_in_full(tmp_path: Path) -> None:
    async with office_at(tmp_path) as office:
        await live_through_an_outage(office)
        files = await made(office)

    rows = list(csv.DictReader(io.StringIO(files["notifications.csv"].decode())))
    faxes = [(row["number"], row["attempt"], row["attempt_state"]) for row in rows if row["channel"] == "fax"]
    # An apostrophe keeps a spreadsheet from taking the number for a sum.
    assert faxes[:2] == [("'+60300000201", "1", "failed"), ("'+60300000201", "2", "accepted")]
    assert {row["name"] for row in rows if row["plan"] == "escalation"} == {"Siti Contoh"}


async def test_what_a_mail_server_says_is_no_formula_in_a_spreadsheet(tmp_path: Path) -> None:
    async with office_at(tmp_path) as office:
        route = agency_routes("JCM")[0]
        result = failed(route, T0, Outcome.REJECTED, Phase.SUBMIT)
        assert result.failure is not None
        await office.history.record_run(replace(result, route='=HYPERLINK("x")'), "JCM", {})
        await live_through_an_outage(office)
        files = await made(office)

    (row,) = csv.DictReader(io.StringIO(files["evidence.csv"].decode()))
    assert row["route"] == '\'=HYPERLINK("x")'


async def test_that_a_dossier_was_made_and_by_whom_is_in_the_journal(tmp_path: Path) -> None:
    async with office_at(tmp_path) as office:
        await live_through_an_outage(office)
        files = await made(office)
        async with office.database.read() as connection:
            entries = await audit.of_incident(connection, 1)

    assert (entries[-1].actor, entries[-1].event) == ("Puan Arkib Contoh", "dossier made")
    assert entries[-1].detail["sha256"] == sha256(files["SHA256SUMS"])


async def test_the_journal_tells_what_was_sent_and_what_the_provider_said_of_it(tmp_path: Path) -> None:
    async with office_at(tmp_path) as office:
        await office.station.submit(trigger(brief=OF_JCM))
        order = office.station.sms.orders[0]
        assert isinstance(order.content, SmsContent)
        arrived_there = CallbackEvent(
            reference=order.reference,
            event_id="1",
            report=DeliveryReport(progress=SubmissionState.DELIVERED, provider_id="SM1"),
        )
        for _ in range(2):  # Providers repeat themselves; what changes nothing is told once.
            await office.station.dispatcher.record_callback("sms", arrived_there)
        entries = await entries_of(office)

    told = {(entry.actor, entry.event): entry.detail for entry in entries}
    events = [event for _, event in told]
    assert events.index("attempt written") < events.index("send: accepted") < events.index("reported: delivered")
    assert told["engine", "attempt written"]["reference"] == order.reference
    assert told["sms", "send: accepted"]["sha256"] == sha256(order.content.text.encode())
    assert [entry.event for entry in entries].count("reported: delivered") == 1


async def test_a_key_that_came_too_late_is_told_with_whose_it_was(tmp_path: Path) -> None:
    async with office_at(tmp_path) as office:
        await office.station.submit(trigger(brief=OF_JCM))
        reference = office.station.sms.orders[0].reference
        await office.station.resolve()
        await office.station.dispatcher.record_callback(
            "sms", CallbackEvent(reference=reference, event_id="1", acknowledged=True)
        )
        last = (await entries_of(office))[-1]
    assert (last.actor, last.event) == ("siti", "receipt confirmed")


async def test_an_incident_that_is_not_there_has_no_dossier(tmp_path: Path) -> None:
    async with office_at(tmp_path) as office:
        assert await office.archive.incident_record("JCM-99", "Puan Arkib Contoh") is None


def test_evidence_is_told_by_the_end_of_each_run_and_says_why_it_failed() -> None:
    route = agency_routes("JCM")[0]
    slow, quick = arrived(route, T0, 5 * MINUTE), failed(route, T0 + MINUTE, Outcome.REJECTED, Phase.SUBMIT)
    told = evidence([slow, quick])

    assert [(each.outcome_ms, each.good, each.at) for each in told] == [
        ("ditolak", False, quick.started_at + quick.duration),
        ("diterima", True, slow.started_at + slow.duration),
    ]
    assert (told[0].transit, bool(told[0].why), told[1].why) == (None, True, "")


def test_every_outcome_and_every_place_of_a_failure_has_its_word() -> None:
    assert set(OUTCOMES) == set(Outcome)
    assert (set(PHASES), set(PARTIES)) == (set(Phase), set(Party))
    assert set(OPINIONS) == set(SiteVerdict)


def test_evidence_on_paper_is_malay_and_leaves_the_servers_words_to_the_data() -> None:
    run = failed(agency_routes("JCM")[0], T0, Outcome.REJECTED, Phase.SUBMIT)
    assert run.failure is not None
    said = replace(run.failure, code=550, status="5.7.1", detail="no relaying")
    (told,) = evidence([replace(run, failure=said, route="JCM/outbound/rujukan-a")])
    assert (told.subject, told.subject_ms) == ("JCM/outbound/rujukan-a", "keluar, rujukan-a")
    assert told.why_ms.startswith("penghantaran, pelayan ")
    assert told.why_ms.endswith(": kod 550 5.7.1")
    assert "no relaying" in told.why


async def test_an_incident_whose_raw_results_are_gone_says_so(tmp_path: Path) -> None:
    async with office_at(tmp_path) as office:
        await live_through_an_outage(office)
        page = text_of((await made(office))["JCM-01.pdf"])
    assert "Tiada keputusan ujian dalam simpanan." in page


# -- purges -----------------------------------------------------------------------------------------------------------


async def entries_of(office: IssuingOffice) -> list[ChainedEntry]:
    async with office.database.read() as connection:
        return [e for e in await audit.entries(connection, 0, 10_000) if isinstance(e, ChainedEntry)]


async def rows_in(office: IssuingOffice, name: str) -> int:
    async with office.database.read() as connection:
        query = select(func.count()).select_from(tables.metadata.tables[name])
        return int((await connection.execute(query)).scalar_one())


async def two_outages(office: IssuingOffice) -> None:
    """Live through one that is two years old, and one of yesterday."""
    async with SqlStore(office.database).transaction() as uow:
        await uow.add_audit_entry(AuditEntry(at=T0 - 2 * YEAR, actor="pantau@test", event="service started"))
    await live_through_an_outage(office, T0 - 2 * YEAR)
    await live_through_an_outage(office, T0)
    # Until the result of the release has gone to whoever released it.
    for passed in (30 * MINUTE, timedelta(days=10)):
        await later(office.station, passed)


async def test_a_dry_run_says_what_would_go_and_changes_nothing(tmp_path: Path) -> None:
    async with office_at(tmp_path) as office:
        await two_outages(office)
        before = await entries_of(office)
        purge_set = await office.archive.purge_set(T0 - YEAR)

        assert [number for _, number in purge_set.incidents] == ["JCM-01"]
        assert len(purge_set.notices) > 0
        assert await entries_of(office) == before
        assert await rows_in(office, "incident") == 2


async def test_a_purge_takes_what_is_old_and_leaves_a_chain_that_is_whole(tmp_path: Path) -> None:
    async with office_at(tmp_path) as office:
        await two_outages(office)
        before = await entries_of(office)
        purge_set = await office.archive.purge_set(T0 - YEAR)
        counts = await office.archive.purge(T0 - YEAR, "ANM.600-1/7/3 (12)", "Puan Arkib Contoh")
        assert counts == purge_set.counts

        after = await entries_of(office)
        assert await rows_in(office, "incident") == 1
        assert await rows_in(office, "notification") == len(await office.station.notifications(2))
        assert await office.archive.incident_record("JCM-02", "x") is not None
        verifier = await audit.verify(office.database.read)

    assert (verifier.flaws, verifier.tombstones) == ([], len(purge_set.entries))
    told = after[-1]
    assert (told.actor, told.event) == ("Puan Arkib Contoh", "records purged")
    assert (told.detail["authority"], told.detail["incidents"]) == ("ANM.600-1/7/3 (12)", "JCM-01")
    gone = set(purge_set.entries)
    for entry, was in zip(after, before, strict=False):
        assert (entry.number, entry.at, entry.hash) == (was.number, was.at, was.hash)
        assert (entry.event == "") is (entry.number in gone)


async def test_a_purge_is_not_undone_by_another_and_goes_on_from_it(tmp_path: Path) -> None:
    async with office_at(tmp_path) as office:
        await two_outages(office)
        await office.archive.purge(T0 - YEAR, "first", "Puan Arkib Contoh")
        assert await office.archive.purge(T0 - YEAR, "again", "Puan Arkib Contoh") == "0/0/0"
        await office.archive.purge(T0 + YEAR, "second", "Puan Arkib Contoh")

        events = [entry.event for entry in await entries_of(office) if entry.event]
        assert events == ["records purged", "records purged"]
        assert (await audit.verify(office.database.read)).flaws == []


async def test_a_long_purge_lets_others_write_in_between(tmp_path: Path) -> None:
    async with office_at(tmp_path) as office:
        async with SqlStore(office.database).transaction() as uow:
            for _ in range(2 * AT_ONCE + 1):
                await uow.add_audit_entry(AuditEntry(at=T0 - YEAR, actor="x", event="configuration taken up"))
        counts = await office.archive.purge(T0, "ANM.600-1/7/3 (12)", "Puan Arkib Contoh")
        told = [entry.detail["entries"] for entry in await entries_of(office) if entry.event]

    assert (counts, told) == (f"0/0/{2 * AT_ONCE + 1}", [f"{AT_ONCE}", f"{AT_ONCE}", "1"])


async def test_an_incident_that_still_owes_somebody_something_is_not_purged(tmp_path: Path) -> None:
    async with office_at(tmp_path) as office:
        office.station.clock.moment = T0 - 2 * YEAR
        await office.station.submit(trigger(at=T0 - 2 * YEAR))
        assert (await office.archive.purge_set(T0)).incidents == []
        await office.archive.purge(T0, "ANM.600-1/7/3 (12)", "Puan Arkib Contoh")
        assert await rows_in(office, "incident") == 1


async def test_what_was_purged_cannot_be_read_back_from_the_file(tmp_path: Path) -> None:
    async with office_at(tmp_path) as office:
        # Enough of them that whole pages come free.
        long = {"added": " ".join(["Encik Rahsia Contoh"] * 100)}
        async with SqlStore(office.database).transaction() as uow:
            for _ in range(50):
                await uow.add_audit_entry(
                    AuditEntry(at=T0 - YEAR, actor="x", event="configuration taken up", detail=long)
                )
        await office.archive.purge(T0, "ANM.600-1/7/3 (12)", "Puan Arkib Contoh")
    assert b"Encik Rahsia Contoh" not in (tmp_path / "pantau.sqlite").read_bytes()


@pytest.mark.parametrize(
    "cut", ["DELETE FROM audit_log WHERE id = 1", "UPDATE audit_log SET at = '2020-01-01 00:00:00' WHERE id = 1"]
)
async def test_a_tombstone_is_as_safe_as_an_entry(tmp_path: Path, cut: str) -> None:
    async with office_at(tmp_path) as office:
        await two_outages(office)
        await office.archive.purge(T0 - YEAR, "ANM.600-1/7/3 (12)", "Puan Arkib Contoh")
        async with office.database.write() as connection:
            for trigger_name in ("audit_log_is_not_deleted", "audit_log_is_not_changed"):
                await connection.exec_driver_sql(f"DROP TRIGGER {trigger_name}")
            await connection.exec_driver_sql(cut)
        assert (await audit.verify(office.database.read)).flaws
