"""Before a message is called lost, it is looked for by a new sign-in and in all folders of the mailbox."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from probes.arrival.reader import SearchResult
from probes.arrival.watcher import MailboxWatcher
from probes.model.polling import PollingPolicy
from probes.model.reply import Reason
from probes.model.result import Arrival, Outcome, Party, Phase
from tests.hanging import HANGS
from tests.unit.probes.arrival.test_pop import PACE as POP3_PACE
from tests.unit.probes.arrival.test_pop import box
from tests.unit.probes.office import PATIENCE, IssuingOffice, desk
from tests.unit.probes.pop3_standin import Pop3StandIn
from tests.unit.probes.standin import Trick, close, hang, listening, server_context, until
from tests.unit.probes.watch import FOREIGN, SIGNER, Counted, issue, mail

REMEH = "E-mel Remeh"


@pytest.mark.blind
async def test_mail_that_a_blind_session_does_not_show_is_found_by_a_new_sign_in() -> None:
    """Defect: An IMAP session goes blind, and every route to the mailbox is LOST.

    Pantau: A new sign-in searches the mailbox first, and finds the mail with its true transit time.
    """
    office = IssuingOffice(blind=True)
    with capture_logs() as lines:
        async with desk(office, office.put) as at:
            result = await at.run()
            assert result.outcome is Outcome.DELIVERED, result
            # What lay there for most of the run was not on its way all that time.
            assert result.duration - result.phases[Phase.TRANSIT] > PATIENCE.arrival / 4
            await until(lambda: not office.folders["INBOX"])
            assert at.counted.arrivals == []
    (told,) = [line for line in lines if "did not report new mail" in line["event"]]
    assert told["mailbox"] == "penerima"
    assert told["renewal"] < PollingPolicy().lifetime_of("penerima").total_seconds()
    # The one that was blind, the one that looked, and the one that took over.
    assert len(office.sessions) == 3


@pytest.mark.blind
async def test_a_blind_session_is_replaced_for_the_runs_that_come_after() -> None:
    """Defect: A blind session stays for later runs.

    Pantau: It is replaced, and the next ones are renewed sooner.
    """
    office = IssuingOffice(blind=True)
    async with desk(office, office.put) as at:
        first, later = asyncio.create_task(at.run()), asyncio.create_task(at.run())
        assert {(await first).outcome, (await later).outcome} == {Outcome.DELIVERED}
        # Who only looks does not select: a second session watches.
        await until(lambda: sum(any(" SELECT " in line for line in each) for each in office.sessions) > 1)
        office.blind = False
        looked_into = office.opened
        assert (await at.run()).outcome is Outcome.DELIVERED
        assert office.opened == looked_into, "not by a second look"


@pytest.mark.blind
async def test_a_hundred_runs_that_lose_their_mail_together_cost_a_few_sign_ins() -> None:
    """Defect: A hundred runs that time out together cost a hundred sign-ins.

    Pantau: They share a few.
    """
    office = IssuingOffice()
    # A hundred handshakes at once take seconds on a busy machine.
    async with desk(office, lambda _: None, timeouts=replace(PATIENCE, session=timedelta(seconds=20))) as at:
        await until(lambda: at.watcher.polled_at is not None)
        async with asyncio.TaskGroup() as group:
            runs = [group.create_task(at.run()) for _ in range(100)]
    assert {run.result().outcome for run in runs} == {Outcome.LOST}
    words = "a new sign-in did not show it; looked into 1 of 1 folders"
    assert {failure.detail for run in runs if (failure := run.result().failure)} == {words}
    assert len(office.sessions) <= 5


@pytest.mark.blind
@pytest.mark.parametrize(
    ("trick", "outcome", "reason"),
    [
        ("{tag} NO [LIMIT] terlalu ramai\r\n", Outcome.INCONCLUSIVE, Reason.SIGN_IN_UNAVAILABLE),
        ("{tag} NO [AUTHENTICATIONFAILED] salah\r\n", Outcome.AUTH, Reason.CREDENTIALS_REFUSED),
        (close, Outcome.CONNECT, Reason.CONNECTION_CLOSED),
        (hang, Outcome.TIMEOUT, Reason.NO_ANSWER),
    ],
)
async def test_nothing_is_called_lost_when_nobody_could_look(trick: Trick, outcome: Outcome, reason: Reason) -> None:
    """Defect: Mail is called lost although nobody could look.

    Pantau: The run ends by the reason.
    """
    office = IssuingOffice()
    async with desk(office, lambda _: office.tricks.update({"LOGIN": trick})) as at:
        result = await at.run()
    assert result.failure is not None
    assert (result.outcome, result.failure.reason, result.failure.party) == (outcome, reason, Party.RECIPIENT)


@pytest.mark.blind
async def test_mail_in_a_junk_folder_that_nobody_configured_is_found_and_the_folder_is_named() -> None:
    """Defect: Mail in an unconfigured junk folder is LOST.

    Pantau: All folders are searched read-only; the run ends as junk with the folder's name.
    """
    office = IssuingOffice(folders={"INBOX": {}, "Arkib": {}, "E-mel Remeh": {}, "Draf": {}})
    office.put(FOREIGN, REMEH)
    async with desk(office, lambda raw: office.put(raw, REMEH)) as at:
        result = await at.run()
        await until(lambda: len(office.folders[REMEH]) == 1)
        assert at.counted.arrivals == []
        assert len(office.sessions) == 2
    assert result.outcome is Outcome.JUNK
    assert result.failure is not None
    assert (result.failure.reason, result.failure.detail) == (Reason.FOLDER_NOT_WATCHED, REMEH)
    assert result.duration - result.phases[Phase.TRANSIT] > PATIENCE.arrival / 4
    # Nobody's mail has been read by this.
    fetches = [line for line in office.asked if "BODY" in line]
    assert fetches
    assert all("BODY.PEEK[" in line for line in fetches)
    assert office.opened[:2] == ["INBOX", REMEH]


@pytest.mark.blind
async def test_mail_that_comes_to_the_inbox_after_a_copy_was_found_elsewhere_is_delivered() -> None:
    """Defect: A copy in another folder hides mail that comes to the inbox.

    Pantau: The inbox counts.
    """
    office = IssuingOffice(folders={"INBOX": {}, "Arkib": {}})
    copies: list[bytes] = []

    def deliver(raw: bytes) -> None:
        copies.append(raw)
        office.put(raw, "Arkib")

    async with desk(office, deliver) as at:
        running = asyncio.create_task(at.run())
        await until(lambda: bool(copies) and not office.folders["Arkib"])
        office.put(copies[0])
        result = await running
    assert (result.outcome, result.failure) == (Outcome.DELIVERED, None)


@pytest.mark.blind
async def test_a_mailbox_with_five_thousand_folders_is_looked_through_within_bounds() -> None:
    """Defect: A mailbox with thousands of folders is searched without end.

    Pantau: The search has bounds.
    """
    names = ["INBOX", *(f"Projek/{number}" for number in range(5000)), REMEH]
    office, token = IssuingOffice(folders={name: {} for name in names}), issue()
    async with desk(office, office.put) as at:
        with at.watcher.expect(token) as letter:
            await letter.ready
            office.put(mail(token), REMEH)
            looked = await at.watcher.final_search(timedelta(seconds=10))
        assert isinstance(looked, SearchResult)
        assert letter.found_elsewhere is not None
    assert letter.found_elsewhere.name == REMEH
    assert (looked.folders, looked.total_folders) == (41, 5002)
    assert len(office.opened) == 41


@pytest.mark.blind
async def test_only_folders_of_the_mailbox_in_which_mail_arrives_are_looked_through() -> None:
    """Defect: The final search opens foreign folders and sent mail.

    Pantau: It opens only the mailbox's own folders for arriving mail.
    """
    folders = ["INBOX", "shared/pro", "Penting", "Dihantar", "Semua", "Draf", "Tutup", "Papan", "Hilang"]
    marks = {"Dihantar": "\\Sent", "Semua": "\\All", "Draf": "\\Drafts", "Papan": "\\Noselect"}
    office = IssuingOffice(
        folders={name: {} for name in folders},
        marks=marks | {"Hilang": "\\NonExistent", "Penting": "\\HasNoChildren \\Important"},
        closed={"Tutup"},
    )

    def everywhere_else(raw: bytes) -> None:
        for name in folders[1:]:
            office.put(raw, name)

    async with desk(office, everywhere_else) as at:
        result = await at.run()
    assert result.outcome is Outcome.LOST
    assert office.opened == ["INBOX", "Tutup"]


@pytest.mark.blind
async def test_a_copy_of_what_was_sent_from_the_same_mailbox_proves_nothing() -> None:
    """Defect: A copy of sent mail proves an arrival.

    Pantau: It proves nothing.
    """
    office = IssuingOffice(folders={"INBOX": {}, "Dihantar": {}})
    async with desk(office, lambda raw: office.put(raw, "Dihantar"), from_itself=True) as at:
        assert (await at.run()).outcome is Outcome.LOST
        assert len(office.folders["Dihantar"]) == 1


def delivered(raw: bytes) -> bytes:
    """Return a mail as a server lays it into a mailbox (RFC 5321 4.4)."""
    return b"Return-Path: <a@jabatan-contoh.gov.my>\r\nDelivered-To: penerima\r\n" + raw


@pytest.mark.blind
@pytest.mark.parametrize("folder", [REMEH, "Projek/2026"])
async def test_second_look_internal_mail_in_another_folder_is_found_named_and_deleted(folder: str) -> None:
    """Defect: Mail from a mailbox to itself that a rule files elsewhere is LOST and stays there.

    Pantau: Delivered mail (RFC 5321 4.4) is found and deleted, a kept copy of sent mail is not.
    """
    # What is sent from the mailbox to itself, as `pantau init` sets a single mailbox up.
    office = IssuingOffice(folders={"INBOX": {}, "Arkib": {}, folder: {}})
    async with desk(office, lambda raw: office.put(delivered(raw), folder), from_itself=True) as at:
        result = await at.run()
        await until(lambda: not office.folders[folder])
        assert at.counted.arrivals == []
    assert result.failure is not None
    assert (result.outcome, result.failure.reason) == (Outcome.JUNK, Reason.FOLDER_NOT_WATCHED)
    assert result.failure.detail == folder


@pytest.mark.blind
@pytest.mark.parametrize("folder", ["Sent", "Sent Items", "INBOX.Sent", "Item Dihantar", "Mel/Dihantar", "Kiriman"])
async def test_second_look_copy_that_is_kept_of_what_is_sent_proves_nothing(folder: str) -> None:
    """Defect: The kept copy of sent mail counts as arrival.

    Pantau: A folder of sent mail is not searched.
    """
    office = IssuingOffice(folders={"INBOX": {}, folder: {}})

    def keep(raw: bytes) -> None:
        # A copy that a rule of the server brings is delivered, too; by its name the folder is one for such.
        office.put(raw if folder == "Kiriman" else delivered(raw), folder)

    async with desk(office, keep, from_itself=True) as at:
        assert (await at.run()).outcome is Outcome.LOST
        assert len(office.folders[folder]) == 1


@pytest.mark.blind
async def test_second_look_mail_left_over_in_another_folder_is_deleted_and_counted_once() -> None:
    """Defect: Mail of earlier runs stays in another folder.

    Pantau: It counts as late, once, and is deleted.
    """
    office = IssuingOffice(folders={"INBOX": {}, "Projek/2026": {}})
    late, kept, unknown, sent = issue(), issue(), issue(), issue()
    async with desk(office, lambda _: None) as at:
        at.watcher.add_known_tokens({late.id: False, kept.id: True})
        at.watcher.add_known_tokens({sent.id: False})
        for raw in (delivered(mail(late)), delivered(mail(kept)), FOREIGN, delivered(mail(unknown)), mail(sent)):
            office.put(raw, "Projek/2026")
        assert (await at.run()).outcome is Outcome.LOST
        await until(lambda: len(office.folders["Projek/2026"]) == 3)
        assert at.counted.arrivals == [(Arrival.LATE, late.id)]
    left = [raw for raw, _ in office.folders["Projek/2026"].values()]
    # Somebody else's, one of which nothing is known here, and one that was not delivered.
    assert left == [FOREIGN, delivered(mail(unknown)), mail(sent)]


@pytest.mark.blind
async def test_second_look_mail_made_anew_and_filed_is_found_with_what_was_changed() -> None:
    """Defect: Mail with replaced headers in another folder is LOST.

    Pantau: It is found, with what changed.
    """
    office = IssuingOffice(folders={"INBOX": {}, "Projek/2026": {}})

    def deliver(raw: bytes) -> None:
        text = raw.partition(b"\r\n\r\n")[2]
        header = raw.partition(b"\r\n\r\n")[0].decode()
        subject = next(line for line in header.splitlines() if line.startswith("Subject: "))
        kind = next(line for line in header.splitlines() if line.startswith("Content-Type: "))
        anew = f"From: a@b\r\n{subject.replace(': ', ': EXTERNAL: ', 1)}\r\n{kind}\r\n\r\n".encode() + text
        office.put(
            anew.replace(b'boundary="semakan-', b'boundary="lain-').replace(b"--semakan-", b"--lain-"), "Projek/2026"
        )

    async with desk(office, deliver) as at:
        result = await at.run()
        await until(lambda: not office.folders["Projek/2026"])
    assert (result.outcome, result.failure and result.failure.detail) == (Outcome.JUNK, "Projek/2026")
    assert result.rewrites == ("Message-ID replaced", "References removed", "X-Pantau-Token removed")


@pytest.mark.blind
@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("&U,BTFw- remeh", "台北 remeh"),
        ("R&-D remeh", "R&D remeh"),
        ("remeh &AAoAWwAxAG0-\x1b[1m", "remeh [1m [1m"),
        ("remeh &IC4-abc", "remeh abc"),
        ("remeh &!!!-", "remeh &!!!-"),
        ("remeh" * 500, ("remeh" * 16)),
        ('remeh "petik" \\', 'remeh "petik" \\'),
    ],
)
async def test_a_folders_name_is_a_strangers_word_and_shown_as_one(name: str, shown: str) -> None:
    """Defect: A folder's name is shown as the server writes it.

    Pantau: It is decoded, cleaned and shortened.
    """
    office = IssuingOffice(folders={"INBOX": {}, name: {}})
    async with desk(office, lambda raw: office.put(raw, name)) as at:
        result = await at.run()
    assert result.failure is not None
    assert (result.outcome, result.failure.detail) == (Outcome.JUNK, shown)


@pytest.mark.blind
@pytest.mark.parametrize("trick", [hang, close, "* BYE mati\r\n", "{tag} MUNGKIN\r\n", "{tag} NO [SERVERBUG] x\r\n"])
async def test_what_goes_wrong_in_other_folders_makes_nothing_of_what_the_inbox_showed(trick: Trick) -> None:
    """Defect: A folder that hangs changes the result of the inbox.

    Pantau: It changes nothing.
    """
    office = IssuingOffice(folders={"INBOX": {}, "Arkib": {}})
    office.tricks["EXAMINE Arkib"] = trick
    async with desk(office, lambda _: None) as at:
        result = await at.run()
        assert at.watcher.failure is None
    assert result.outcome is Outcome.LOST


@pytest.mark.blind
async def test_a_server_without_a_list_of_folders_is_looked_through_all_the_same() -> None:
    """Defect: A server that lists no folders ends the search.

    Pantau: Its inbox is searched.
    """
    office = IssuingOffice(blind=True, tricks={"LIST": "{tag} NO tidak\r\n", "NAMESPACE": "{tag} BAD apa\r\n"})
    async with desk(office, office.put) as at:
        assert (await at.run()).outcome is Outcome.DELIVERED


@pytest.mark.blind
async def test_a_server_whose_clock_is_wrong_is_no_witness_of_when_mail_came() -> None:
    """Defect: A server with a wrong clock dates the arrival.

    Pantau: An impossible time is not used.
    """
    office = IssuingOffice(blind=True, age=timedelta(days=1))
    async with desk(office, office.put) as at:
        result = await at.run()
    assert result.outcome is Outcome.DELIVERED
    assert result.phases[Phase.TRANSIT] > PATIENCE.arrival / 4


@pytest.mark.blind
async def test_a_mailbox_over_pop3_needs_no_other_sign_in_than_its_next_look() -> None:
    """Defect: A POP3 mailbox needs an extra sign-in before mail is lost.

    Pantau: Its next look is one.
    """
    standin = Pop3StandIn()
    async with listening(standin, server_context()) as port:
        watcher = MailboxWatcher(box(port), SIGNER, on_arrival=Counted(), timeouts=PATIENCE, polling=POP3_PACE)
        async with asyncio.timeout(HANGS), asyncio.TaskGroup() as group:
            watching = group.create_task(watcher.run())
            with watcher.expect(issue()):
                await until(lambda: watcher.polled_at is not None)
                looked = await watcher.final_search(PATIENCE.final_search)
            watching.cancel()
    assert looked == SearchResult(folders=1, total_folders=1)
