"""Audit log and incident record: complete, protected against changes, and kept for their time."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from pypdf import PdfReader

from alerts.inbound.pin import PinStore, hash_pin
from alerts.model.channel import Channel
from alerts.model.policy_snapshot import AnnouncementPlan, EscalationPolicy, Step
from alerts.persistence.audit import ChainedEntry
from monitor.audit.archive import Archive
from monitor.config.service.store import RetentionSettings
from monitor.store.engine import audit
from monitor.store.probing.history import History
from probes.model.result import Outcome, Phase
from tests.integration.alerts.simulated_env import WORDING, SimulatedEnv
from tests.unit.alerts.documents.pages import OFFICE, text_of
from tests.unit.alerts.people import LONG, MINISTRY, MINUTE, RAVI, SITI, SNAPSHOT, trigger
from tests.unit.monitor.world import agency_routes, failed

pytestmark = pytest.mark.story

YEAR, DAY = timedelta(days=365), timedelta(days=1)
PIN = "280146"
CLERK, ARCHIVIST = "Kerani Contoh", "Puan Arkib Contoh"
STEPS = (
    Step(after=timedelta(0), contacts=(SITI,), channels=(Channel.SMS,)),
    Step(after=5 * MINUTE, contacts=(RAVI,), channels=(Channel.VOICE,)),
)
OUTAGE = replace(
    SNAPSHOT,
    office=OFFICE,
    escalation=EscalationPolicy(steps=STEPS, rounds=1, repeat_interval=LONG),
    announcement=AnnouncementPlan(recipients=(MINISTRY,)),
)


def archive_of(env: SimulatedEnv) -> Archive:
    return Archive(
        database=env.database,
        history=History(env.database),
        clock=env.clock,
        wording=lambda: WORDING,
        retention=RetentionSettings().build,
    )


async def entries(env: SimulatedEnv) -> Sequence[ChainedEntry]:
    async with env.database.read() as connection:
        return [entry for entry in await audit.entries(connection) if isinstance(entry, ChainedEntry)]


async def run_outage(env: SimulatedEnv) -> None:
    """Run an outage: SMS, call, key press, release by PIN, fax, letter, clerk, recovery."""
    run = failed(agency_routes("JCM")[0], env.clock.now() - MINUTE, Outcome.REJECTED, Phase.SUBMIT)
    await History(env.database).record_run(run, "JCM", {})
    env.pins = PinStore({("JCM", "ravi"): hash_pin(PIN)})
    await env.submit(trigger(at=env.clock.now(), snapshot=OUTAGE))
    await env.siti.gets("JCM-01")
    env.ravi.presses("1")
    await env.advance(5 * MINUTE)
    await env.ravi.is_called(keys="1")
    await env.siti.gets("JCM-01 telah disahkan oleh Ravi Contoh")
    env.ravi.presses("5", f"{PIN}#", "1")
    await env.advance(25 * MINUTE)
    await env.ravi.is_called(keys=f"5{PIN}1")
    env.gets_fax("JCM-01")
    env.gets_letter("JCM-01")
    letter = next(n for n in await env.notifications() if n.channel is Channel.LETTER)
    assert await env.posts(letter.id, CLERK)
    await env.resolve()
    for person in (env.siti, env.ravi):
        await person.gets("PULIH")
    env.gets_fax("pulih")
    env.gets_letter("pulih")


def missing_in_order(told: Sequence[tuple[str, str]], *expected: tuple[str, str]) -> Iterator[tuple[str, str]]:
    """Yield each of *expected* that is not after the one before it."""
    rest = iter(told)
    for each in expected:
        if each not in rest:
            yield each
            rest = iter(told)


async def test_audit_log_has_every_decision_delivery_and_author_in_intact_chain(
    either_env: SimulatedEnv,
) -> None:
    """The audit log has every decision, message, answer and author, and its chain is whole."""
    env = either_env
    await run_outage(env)
    told = [(entry.actor, entry.event) for entry in await entries(env)]

    missing = missing_in_order(
        told,
        ("engine", "incident opened"),
        ("engine", "outage notice decided"),
        ("engine", "attempt written"),
        ("sms", "send: accepted"),
        ("suara", "send: accepted"),
        ("Ravi Contoh", "incident acknowledged"),
        ("Ravi Contoh", "PIN proven"),
        ("Ravi Contoh", "announcement released"),
        ("engine", "outage notice decided"),
        (CLERK, "letter dispatched"),
        ("engine", "incident resolved"),
        ("engine", "recovery notice decided"),
    )
    assert list(missing) == []
    assert {("sms", "reported: delivered"), ("suara", "reported: delivered"), ("faks", "reported: delivered")} <= {
        *told
    }
    verifier = await audit.verify(env.database.read)
    assert (verifier.violations, verifier.entries) == ([], len(told))


async def test_audit_log_has_digest_of_each_text_and_no_pin(env: SimulatedEnv) -> None:
    """The audit log has the digest of each text and page, and no PIN."""
    await run_outage(env)
    details = [entry.detail for entry in await entries(env)]

    digests = {detail["sha256"] for detail in details if detail.get("sha256")}
    for sms in env.carrier.messages:
        assert hashlib.sha256(sms.body.encode()).hexdigest() in digests
    for _, _, pdf in env.outside.faxes():
        assert hashlib.sha256(pdf).hexdigest() in digests
    assert PIN not in str(details)
    assert env.siti.phone.number not in str(details)


#: English words of the data, which must not be on paper.
ENGLISH = re.compile(
    r"\b(?:accepted|acknowledged?|announcement|attempt|automatic|calling|connect|delivered|engine|evidence|failed|inbound"
    r"|incident|internal|letter|lost|notice|outage|outbound|recipient|recovery|rejected|release[d]?|resolved|sender|sent"
    r"|submit|summary|told|triggered|unknown|voice|withdrawn)\b",
    re.IGNORECASE,
)


async def test_incident_record_of_short_outage_has_four_malay_pages_at_most(env: SimulatedEnv) -> None:
    """The incident record of a short outage has at most four pages, in Malay."""
    began = env.clock.now() - MINUTE
    for n in range(1500):
        # Four minutes, six runs a second.
        run = failed(agency_routes("JCM")[n % 3], began + timedelta(seconds=n // 6), Outcome.REJECTED, Phase.SUBMIT)
        await History(env.database).record_run(run, "JCM", {})
    await run_outage(env)
    files = await archive_of(env).incident_record("JCM-01", ARCHIVIST)
    assert files is not None
    pdf = PdfReader(io.BytesIO(files["JCM-01.pdf"]))
    assert len(pdf.pages) <= 4
    page = text_of(files["JCM-01.pdf"])
    for name in files:
        page = page.replace(name, "")
    assert ENGLISH.findall(page) == []
    for said in ("sampai ke telefon", "dijawab, kekunci ditekan", "diterima oleh mesin faks", "telah dipos"):
        assert said in page
    # A letter is named by its reference, and a time by what it is.
    assert "Kerani Contoh Surat telah dipos gangguan (JCM-01/1), Ketua Setiausaha, Kementerian Contoh" in page
    assert "Ravi Contoh Penerimaan disahkan hingga 24/11/2026 15:20:00" in page
    # The data has what is not on paper.
    assert len(files["evidence.csv"].splitlines()) > 700
    events = [json.loads(line)["event"] for line in files["audit-log.jsonl"].splitlines()]
    assert events.count("attempt written") == events.count("send: accepted") > 5


async def test_incident_record_lists_events_in_order_with_data(env: SimulatedEnv) -> None:
    """The incident record tells events in order and includes the data."""
    await run_outage(env)
    files = await archive_of(env).incident_record("JCM-01", ARCHIVIST)
    assert files is not None
    page = text_of(files["JCM-01.pdf"])

    order = [
        "Penerimaan disahkan : 24 November 2026 (Selasa), pukul 2.20 petang, oleh Ravi Contoh",
        "SIAPA YANG DIMAKLUMKAN",
        "Siti Contoh gangguan SMS +60100000101",
        "Ravi Contoh gangguan Panggilan",
        "Ketua Setiausaha, Kementerian Contoh gangguan (JCM-01/1) Faks +60300000201",
        "KRONOLOGI",
        "Insiden dibuka",
        "Pemakluman kepada pihak luar dikeluarkan",
        "Insiden berakhir",
        "BUKTI",
        "ditolak",
    ]
    place = 0
    for part in order:
        assert part in page[place:], part
        place = page.index(part, place)
    for line in files["SHA256SUMS"].decode().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256(files[name]).hexdigest() == digest
    rows = list(csv.DictReader(io.StringIO(files["notifications.csv"].decode())))
    assert {row["channel"] for row in rows} == {"sms", "voice", "fax", "letter"}


CHANGES: Mapping[str, str] = {
    "another name": "UPDATE audit_log SET actor = 'Siti Contoh' WHERE actor = 'Ravi Contoh'",
    "another time": "UPDATE audit_log SET at = '2026-11-24 06:15:00.000000' WHERE event = 'announcement released'",
    "one taken out": "DELETE FROM audit_log WHERE event = 'letter dispatched'",
    "the last taken out": "DELETE FROM audit_log WHERE id = (SELECT max(id) FROM audit_log)",
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
async def test_audit_log_change_is_refused_and_detected(env: SimulatedEnv, change: str) -> None:
    """A change of the audit log is refused, and found when the triggers are removed."""
    await run_outage(env)
    kept = (await audit.verify(env.database.read)).head  # A copy is kept elsewhere.
    with pytest.raises(Exception, match="append-only"):
        async with env.database.write() as connection:
            await connection.exec_driver_sql(change)
    # An attacker with the file removes the triggers first.
    async with env.database.write() as connection:
        guards = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'audit_log'"
        for (guard,) in (await connection.exec_driver_sql(guards)).all():
            await connection.exec_driver_sql(f"DROP TRIGGER {guard}")
        await connection.exec_driver_sql(change)

    assert (await audit.verify(env.database.read, kept)).violations != []


async def test_audit_log_insertion_is_detected(env: SimulatedEnv) -> None:
    """An entry inserted into the audit log is found."""
    await run_outage(env)
    async with env.database.write() as connection:
        await connection.exec_driver_sql(
            "INSERT INTO audit_log (at, actor, event, detail, previous, content, hash) SELECT at, 'Siti Contoh', event,"
            " detail, (SELECT hash FROM audit_log ORDER BY id DESC LIMIT 1), content, hash FROM audit_log"
            " WHERE event = 'announcement released'"
        )

    assert (await audit.verify(env.database.read)).violations != []


async def test_purge_keeps_early_and_owed_records_and_names_authority(
    env: SimulatedEnv,
) -> None:
    """A purge removes nothing early or still owed, and names its authority."""
    await run_outage(env)
    archive = archive_of(env)
    await env.later(2 * YEAR)
    authority = "ANM.600-1/7/3 (12)"
    # The letter about the recovery is still in the tray.
    assert await archive.purge(env.clock.now() - YEAR, authority, ARCHIVIST) == "0/0/0"
    assert await archive.incident_record("JCM-01", ARCHIVIST) is not None
    letter = [n for n in await env.notifications() if n.channel is Channel.LETTER][-1]
    assert await env.posts(letter.id, CLERK)
    await env.advance(DAY)
    await env.ravi.gets("PERINGATAN", "1 surat bagi JCM-01 belum dipos")
    assert await archive.purge(trigger().at - YEAR, authority, ARCHIVIST) == "0/0/0"

    taken = await archive.purge(env.clock.now() - YEAR, authority, ARCHIVIST)
    assert taken.startswith("1/")
    assert await archive.incident_record("JCM-01", ARCHIVIST) is None
    last = (await entries(env))[-1]
    assert (last.actor, last.event, last.detail["authority"]) == (ARCHIVIST, "records purged", authority)
    verifier = await audit.verify(env.database.read)
    assert verifier.violations == []
    assert verifier.tombstones > 10
