"""Proof, told as stories: what reached somebody's telephone is in the journal, nobody can change it, nobody loses it."""

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
from tests.integration.alerts.town import WORDING, Town
from tests.unit.alerts.documents.pages import OFFICE, text_of
from tests.unit.alerts.people import BRIEF, LONG, MINISTRY, MINUTE, RAVI, SITI, trigger
from tests.unit.monitor.trial import agency_routes, failed

pytestmark = pytest.mark.story

YEAR, DAY = timedelta(days=365), timedelta(days=1)
PIN = "280146"
CLERK, ARCHIVIST = "Kerani Contoh", "Puan Arkib Contoh"
STEPS = (
    Step(after=timedelta(0), contacts=(SITI,), channels=(Channel.SMS,)),
    Step(after=5 * MINUTE, contacts=(RAVI,), channels=(Channel.VOICE,)),
)
OUTAGE = replace(
    BRIEF,
    office=OFFICE,
    escalation=EscalationPolicy(steps=STEPS, rounds=1, repeat_interval=LONG),
    announcement=AnnouncementPlan(recipients=(MINISTRY,)),
)


def archive_of(town: Town) -> Archive:
    return Archive(
        database=town.database,
        history=History(town.database),
        clock=town.clock,
        wording=lambda: WORDING,
        retention=RetentionSettings().build,
    )


async def entries(town: Town) -> Sequence[ChainedEntry]:
    async with town.database.read() as connection:
        return [entry for entry in await audit.entries(connection) if isinstance(entry, ChainedEntry)]


async def live_through_an_outage(town: Town) -> None:
    """SMS, call, key, release by PIN, fax, letter, a clerk, recovery."""
    run = failed(agency_routes("JCM")[0], town.clock.now() - MINUTE, Outcome.REJECTED, Phase.SUBMIT)
    await History(town.database).record_run(run, "JCM", {})
    town.pins = PinStore({("JCM", "ravi"): hash_pin(PIN)})
    await town.submit(trigger(at=town.clock.now(), brief=OUTAGE))
    await town.siti.gets("JCM-01")
    town.ravi.presses("1")
    await town.advance(5 * MINUTE)
    await town.ravi.is_called(keys="1")
    await town.siti.gets("JCM-01 telah disahkan oleh Ravi Contoh")
    town.ravi.presses("5", f"{PIN}#", "1")
    await town.advance(25 * MINUTE)
    await town.ravi.is_called(keys=f"5{PIN}1")
    town.gets_fax("JCM-01")
    town.gets_letter("JCM-01")
    letter = next(n for n in await town.notifications() if n.channel is Channel.LETTER)
    assert await town.posts(letter.id, CLERK)
    await town.resolve()
    for person in (town.siti, town.ravi):
        await person.gets("PULIH")
    town.gets_fax("pulih")
    town.gets_letter("pulih")


def in_order(told: Sequence[tuple[str, str]], *expected: tuple[str, str]) -> Iterator[tuple[str, str]]:
    """Yield what of *expected* was not told after what comes before it."""
    rest = iter(told)
    for each in expected:
        if each not in rest:
            yield each
            rest = iter(told)


async def test_what_was_decided_sent_received_and_by_whom_stands_in_the_journal_and_the_chain_is_whole(
    either_town: Town,
) -> None:
    """The audit log has every decision, message, answer and author, and its chain is whole."""
    town = either_town
    await live_through_an_outage(town)
    told = [(entry.actor, entry.event) for entry in await entries(town)]

    missing = in_order(
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
    verifier = await audit.verify(town.database.read)
    assert (verifier.flaws, verifier.entries) == ([], len(told))


async def test_the_journal_holds_the_digest_of_every_text_that_reached_a_telephone_and_no_pin(town: Town) -> None:
    """The audit log has the digest of each text and page, and no PIN."""
    await live_through_an_outage(town)
    details = [entry.detail for entry in await entries(town)]

    digests = {detail["sha256"] for detail in details if detail.get("sha256")}
    for sms in town.carrier.messages:
        assert hashlib.sha256(sms.body.encode()).hexdigest() in digests
    for _, _, pdf in town.outside.faxes():
        assert hashlib.sha256(pdf).hexdigest() in digests
    assert PIN not in str(details)
    assert town.siti.phone.number not in str(details)


#: Words of the data that have no place on paper.
ENGLISH = re.compile(
    r"\b(?:accepted|acknowledged?|announcement|attempt|automatic|calling|connect|delivered|engine|evidence|failed|inbound"
    r"|incident|internal|letter|lost|notice|outage|outbound|recipient|recovery|rejected|release[d]?|resolved|sender|sent"
    r"|submit|summary|told|triggered|unknown|voice|withdrawn)\b",
    re.IGNORECASE,
)


async def test_the_dossier_of_a_short_outage_is_four_pages_at_most_and_all_of_it_is_malay(town: Town) -> None:
    """The incident record of a short outage has at most four pages, in Malay."""
    began = town.clock.now() - MINUTE
    for n in range(1500):
        # Four minutes of it, six runs a second.
        run = failed(agency_routes("JCM")[n % 3], began + timedelta(seconds=n // 6), Outcome.REJECTED, Phase.SUBMIT)
        await History(town.database).record_run(run, "JCM", {})
    await live_through_an_outage(town)
    files = await archive_of(town).incident_record("JCM-01", ARCHIVIST)
    assert files is not None
    pdf = PdfReader(io.BytesIO(files["JCM-01.pdf"]))
    assert len(pdf.pages) <= 4
    page = text_of(files["JCM-01.pdf"])
    for name in files:
        page = page.replace(name, "")
    assert ENGLISH.findall(page) == []
    for said in ("sampai ke telefon", "dijawab, kekunci ditekan", "diterima oleh mesin faks", "telah dipos"):
        assert said in page
    # A letter by the reference that it bears, and a moment with what it is.
    assert "Kerani Contoh Surat telah dipos gangguan (JCM-01/1), Ketua Setiausaha, Kementerian Contoh" in page
    assert "Ravi Contoh Penerimaan disahkan hingga 24/11/2026 15:20:00" in page
    # What is not on paper is beside it.
    assert len(files["evidence.csv"].splitlines()) > 700
    events = [json.loads(line)["event"] for line in files["audit-log.jsonl"].splitlines()]
    assert events.count("attempt written") == events.count("send: accepted") > 5


async def test_a_dossier_tells_the_whole_story_in_its_order_and_comes_with_the_data(town: Town) -> None:
    """The incident record tells events in order and includes the data."""
    await live_through_an_outage(town)
    files = await archive_of(town).incident_record("JCM-01", ARCHIVIST)
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
async def test_whatever_is_changed_in_the_journal_is_refused_and_found(town: Town, change: str) -> None:
    """A change of the audit log is refused, and found when the triggers are removed."""
    await live_through_an_outage(town)
    kept = (await audit.verify(town.database.read)).head  # A copy of it lies elsewhere.
    with pytest.raises(Exception, match="append-only"):
        async with town.database.write() as connection:
            await connection.exec_driver_sql(change)
    # Who has the file takes the guards away first.
    async with town.database.write() as connection:
        guards = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'audit_log'"
        for (guard,) in (await connection.exec_driver_sql(guards)).all():
            await connection.exec_driver_sql(f"DROP TRIGGER {guard}")
        await connection.exec_driver_sql(change)

    assert (await audit.verify(town.database.read, kept)).flaws != []


async def test_what_was_put_into_the_journal_is_found(town: Town) -> None:
    """An entry inserted into the audit log is found."""
    await live_through_an_outage(town)
    async with town.database.write() as connection:
        await connection.exec_driver_sql(
            "INSERT INTO audit_log (at, actor, event, detail, previous, content, hash) SELECT at, 'Siti Contoh', event,"
            " detail, (SELECT hash FROM audit_log ORDER BY id DESC LIMIT 1), content, hash FROM audit_log"
            " WHERE event = 'announcement released'"
        )

    assert (await audit.verify(town.database.read)).flaws != []


async def test_nothing_is_purged_before_its_time_or_while_it_is_owed_and_then_with_an_authority_that_is_named(
    town: Town,
) -> None:
    """A purge removes nothing early or still owed, and names its authority."""
    await live_through_an_outage(town)
    archive = archive_of(town)
    await town.later(2 * YEAR)
    authority = "ANM.600-1/7/3 (12)"
    # The letter about the recovery lies in the tray still.
    assert await archive.purge(town.clock.now() - YEAR, authority, ARCHIVIST) == "0/0/0"
    assert await archive.incident_record("JCM-01", ARCHIVIST) is not None
    letter = [n for n in await town.notifications() if n.channel is Channel.LETTER][-1]
    assert await town.posts(letter.id, CLERK)
    await town.advance(DAY)
    await town.ravi.gets("PERINGATAN", "1 surat bagi JCM-01 belum dipos")
    assert await archive.purge(trigger().at - YEAR, authority, ARCHIVIST) == "0/0/0"

    taken = await archive.purge(town.clock.now() - YEAR, authority, ARCHIVIST)
    assert taken.startswith("1/")
    assert await archive.incident_record("JCM-01", ARCHIVIST) is None
    last = (await entries(town))[-1]
    assert (last.actor, last.event, last.detail["authority"]) == (ARCHIVIST, "records purged", authority)
    verifier = await audit.verify(town.database.read)
    assert verifier.flaws == []
    assert verifier.tombstones > 10
