"""Final search: a new sign-in searches all folders of the mailbox before a message is lost."""

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
from tests.timeouts import HANG_TIMEOUT
from tests.unit.probes.arrival.test_pop import POLLING as POP3_PACE
from tests.unit.probes.arrival.test_pop import box
from tests.unit.probes.folder_server import TIMEOUTS, FolderServer, probe_setup
from tests.unit.probes.pop3_standin import Pop3StandIn
from tests.unit.probes.standin import Trick, close, hang, listening, server_context, until
from tests.unit.probes.watchers import FOREIGN, SIGNER, Counted, issue, mail

REMEH = "E-mel Remeh"


@pytest.mark.blind
async def test_final_search_blind_session_finds_mail_with_new_sign_in() -> None:
    """Defect: An IMAP session goes blind, and every route to the mailbox is LOST.

    Pantau: A new sign-in searches the mailbox first, and finds the mail with its true transit time.
    """
    folder_server = FolderServer(blind=True)
    with capture_logs() as lines:
        async with probe_setup(folder_server, folder_server.put) as setup:
            result = await setup.run()
            assert result.outcome is Outcome.DELIVERED, result
            # The message lay in the mailbox for most of the run: that time is not transit.
            assert result.duration - result.phases[Phase.TRANSIT] > TIMEOUTS.arrival / 4
            await until(lambda: not folder_server.folders["INBOX"])
            assert setup.counted.arrivals == []
    (warning,) = [line for line in lines if "did not report new mail" in line["event"]]
    assert warning["mailbox"] == "penerima"
    assert warning["renewal"] < PollingPolicy().lifetime_of("penerima").total_seconds()
    # The blind session, the searching one, and the new one of the watcher.
    assert len(folder_server.sessions) == 3


@pytest.mark.blind
async def test_final_search_blind_session_is_replaced_for_later_runs() -> None:
    """Defect: A blind session stays for later runs.

    Pantau: It is replaced, and the next ones are renewed sooner.
    """
    folder_server = FolderServer(blind=True)
    async with probe_setup(folder_server, folder_server.put) as setup:
        first, later = asyncio.create_task(setup.run()), asyncio.create_task(setup.run())
        assert {(await first).outcome, (await later).outcome} == {Outcome.DELIVERED}
        # A search does not send SELECT: a second session watches.
        await until(lambda: sum(any(" SELECT " in line for line in each) for each in folder_server.sessions) > 1)
        folder_server.blind = False
        opened_before = folder_server.opened
        assert (await setup.run()).outcome is Outcome.DELIVERED
        assert folder_server.opened == opened_before, "not by a second look"


@pytest.mark.blind
async def test_final_search_hundred_runs_lost_together_share_few_sign_ins() -> None:
    """Defect: A hundred runs that time out together cost a hundred sign-ins.

    Pantau: They share a few.
    """
    folder_server = FolderServer()
    # A hundred handshakes at once take seconds on a busy machine.
    async with probe_setup(
        folder_server, lambda _: None, timeouts=replace(TIMEOUTS, session=timedelta(seconds=20))
    ) as setup:
        await until(lambda: setup.watcher.polled_at is not None)
        async with asyncio.TaskGroup() as group:
            runs = [group.create_task(setup.run()) for _ in range(100)]
    assert {run.result().outcome for run in runs} == {Outcome.LOST}
    words = "not found after a new sign-in; 1 of 1 folders searched"
    assert {failure.detail for run in runs if (failure := run.result().failure)} == {words}
    assert len(folder_server.sessions) <= 5


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
async def test_final_search_not_possible_run_ends_with_reason_not_lost(
    trick: Trick, outcome: Outcome, reason: Reason
) -> None:
    """Defect: Mail is called lost although nobody could look.

    Pantau: The run ends by the reason.
    """
    folder_server = FolderServer()
    async with probe_setup(folder_server, lambda _: folder_server.tricks.update({"LOGIN": trick})) as setup:
        result = await setup.run()
    assert result.failure is not None
    assert (result.outcome, result.failure.reason, result.failure.party) == (outcome, reason, Party.RECIPIENT)


@pytest.mark.blind
async def test_final_search_unconfigured_junk_folder_ends_as_junk_with_folder_name() -> None:
    """Defect: Mail in an unconfigured junk folder is LOST.

    Pantau: All folders are searched read-only; the run ends as junk with the folder's name.
    """
    folder_server = FolderServer(folders={"INBOX": {}, "Arkib": {}, "E-mel Remeh": {}, "Draf": {}})
    folder_server.put(FOREIGN, REMEH)
    async with probe_setup(folder_server, lambda raw: folder_server.put(raw, REMEH)) as setup:
        result = await setup.run()
        await until(lambda: len(folder_server.folders[REMEH]) == 1)
        assert setup.counted.arrivals == []
        assert len(folder_server.sessions) == 2
    assert result.outcome is Outcome.JUNK
    assert result.failure is not None
    assert (result.failure.reason, result.failure.detail) == (Reason.FOLDER_NOT_WATCHED, REMEH)
    assert result.duration - result.phases[Phase.TRANSIT] > TIMEOUTS.arrival / 4
    # The search marks no mail as read.
    fetches = [line for line in folder_server.asked if "BODY" in line]
    assert fetches
    assert all("BODY.PEEK[" in line for line in fetches)
    assert folder_server.opened[:2] == ["INBOX", REMEH]


@pytest.mark.blind
async def test_final_search_copy_elsewhere_then_mail_in_inbox_is_delivered() -> None:
    """Defect: A copy in another folder hides mail that comes to the inbox.

    Pantau: The inbox counts.
    """
    folder_server = FolderServer(folders={"INBOX": {}, "Arkib": {}})
    copies: list[bytes] = []

    def deliver(raw: bytes) -> None:
        copies.append(raw)
        folder_server.put(raw, "Arkib")

    async with probe_setup(folder_server, deliver) as setup:
        running = asyncio.create_task(setup.run())
        await until(lambda: bool(copies) and not folder_server.folders["Arkib"])
        folder_server.put(copies[0])
        result = await running
    assert (result.outcome, result.failure) == (Outcome.DELIVERED, None)


@pytest.mark.blind
async def test_final_search_five_thousand_folders_searches_limited_number() -> None:
    """Defect: A mailbox with thousands of folders is searched without end.

    Pantau: The search has bounds.
    """
    names = ["INBOX", *(f"Projek/{number}" for number in range(5000)), REMEH]
    folder_server, token = FolderServer(folders={name: {} for name in names}), issue()
    async with probe_setup(folder_server, folder_server.put) as setup:
        with setup.watcher.expect(token) as letter:
            await letter.ready
            folder_server.put(mail(token), REMEH)
            found_result = await setup.watcher.final_search(timedelta(seconds=10))
        assert isinstance(found_result, SearchResult)
        assert letter.found_elsewhere is not None
    assert letter.found_elsewhere.folder_name == REMEH
    assert (found_result.searched_folders, found_result.total_folders) == (41, 5002)
    assert len(folder_server.opened) == 41


@pytest.mark.blind
async def test_final_search_opens_only_own_folders_for_arriving_mail() -> None:
    """Defect: The final search opens foreign folders and sent mail.

    Pantau: It opens only the mailbox's own folders for arriving mail.
    """
    folders = ["INBOX", "shared/pro", "Penting", "Dihantar", "Semua", "Draf", "Tutup", "Papan", "Hilang"]
    marks = {"Dihantar": "\\Sent", "Semua": "\\All", "Draf": "\\Drafts", "Papan": "\\Noselect"}
    folder_server = FolderServer(
        folders={name: {} for name in folders},
        marks=marks | {"Hilang": "\\NonExistent", "Penting": "\\HasNoChildren \\Important"},
        closed={"Tutup"},
    )

    def deliver_to_other_folders(raw: bytes) -> None:
        for name in folders[1:]:
            folder_server.put(raw, name)

    async with probe_setup(folder_server, deliver_to_other_folders) as setup:
        result = await setup.run()
    assert result.outcome is Outcome.LOST
    assert folder_server.opened == ["INBOX", "Tutup"]


@pytest.mark.blind
async def test_final_search_own_copy_of_sent_mail_is_not_arrival() -> None:
    """Defect: A copy of sent mail proves an arrival.

    Pantau: It proves nothing.
    """
    folder_server = FolderServer(folders={"INBOX": {}, "Dihantar": {}})
    async with probe_setup(folder_server, lambda raw: folder_server.put(raw, "Dihantar"), from_itself=True) as setup:
        assert (await setup.run()).outcome is Outcome.LOST
        assert len(folder_server.folders["Dihantar"]) == 1


def delivered(raw: bytes) -> bytes:
    """Return a mail with the headers of a final delivery (RFC 5321 4.4)."""
    return b"Return-Path: <a@jabatan-contoh.gov.my>\r\nDelivered-To: penerima\r\n" + raw


@pytest.mark.blind
@pytest.mark.parametrize("folder", [REMEH, "Projek/2026"])
async def test_final_search_internal_mail_in_other_folder_is_found_named_and_deleted(folder: str) -> None:
    """Defect: Mail from a mailbox to itself that a rule files elsewhere is LOST and stays there.

    Pantau: Delivered mail (RFC 5321 4.4) is found and deleted, a kept copy of sent mail is not.
    """
    # The mailbox sends to itself, as `pantau init` sets a single mailbox up.
    folder_server = FolderServer(folders={"INBOX": {}, "Arkib": {}, folder: {}})
    async with probe_setup(
        folder_server, lambda raw: folder_server.put(delivered(raw), folder), from_itself=True
    ) as setup:
        result = await setup.run()
        await until(lambda: not folder_server.folders[folder])
        assert setup.counted.arrivals == []
    assert result.failure is not None
    assert (result.outcome, result.failure.reason) == (Outcome.JUNK, Reason.FOLDER_NOT_WATCHED)
    assert result.failure.detail == folder


@pytest.mark.blind
@pytest.mark.parametrize("folder", ["Sent", "Sent Items", "INBOX.Sent", "Item Dihantar", "Mel/Dihantar", "Kiriman"])
async def test_final_search_kept_copy_in_sent_folder_is_not_arrival(folder: str) -> None:
    """Defect: The kept copy of sent mail counts as arrival.

    Pantau: A folder of sent mail is not searched.
    """
    folder_server = FolderServer(folders={"INBOX": {}, folder: {}})

    def keep(raw: bytes) -> None:
        # A copy filed by a server rule has delivery headers too; the folder's name marks it as sent mail.
        folder_server.put(raw if folder == "Kiriman" else delivered(raw), folder)

    async with probe_setup(folder_server, keep, from_itself=True) as setup:
        assert (await setup.run()).outcome is Outcome.LOST
        assert len(folder_server.folders[folder]) == 1


@pytest.mark.blind
async def test_final_search_leftover_mail_in_other_folder_is_deleted_and_counted_once() -> None:
    """Defect: Mail of earlier runs stays in another folder.

    Pantau: It counts as late, once, and is deleted.
    """
    folder_server = FolderServer(folders={"INBOX": {}, "Projek/2026": {}})
    late, kept, unknown, sent = issue(), issue(), issue(), issue()
    async with probe_setup(folder_server, lambda _: None) as setup:
        setup.watcher.add_known_tokens({late.id: False, kept.id: True})
        setup.watcher.add_known_tokens({sent.id: False})
        for raw in (delivered(mail(late)), delivered(mail(kept)), FOREIGN, delivered(mail(unknown)), mail(sent)):
            folder_server.put(raw, "Projek/2026")
        assert (await setup.run()).outcome is Outcome.LOST
        await until(lambda: len(folder_server.folders["Projek/2026"]) == 3)
        assert setup.counted.arrivals == [(Arrival.LATE, late.id)]
    left = [raw for raw, _ in folder_server.folders["Projek/2026"].values()]
    # Foreign mail, one with an unknown token, and one that was not delivered.
    assert left == [FOREIGN, delivered(mail(unknown)), mail(sent)]


@pytest.mark.blind
async def test_final_search_rewritten_mail_in_other_folder_reports_rewrites() -> None:
    """Defect: Mail with replaced headers in another folder is LOST.

    Pantau: It is found, with what changed.
    """
    folder_server = FolderServer(folders={"INBOX": {}, "Projek/2026": {}})

    def deliver(raw: bytes) -> None:
        text = raw.partition(b"\r\n\r\n")[2]
        header = raw.partition(b"\r\n\r\n")[0].decode()
        subject = next(line for line in header.splitlines() if line.startswith("Subject: "))
        content_type = next(line for line in header.splitlines() if line.startswith("Content-Type: "))
        rebuilt = f"From: a@b\r\n{subject.replace(': ', ': EXTERNAL: ', 1)}\r\n{content_type}\r\n\r\n".encode() + text
        folder_server.put(
            rebuilt.replace(b'boundary="semakan-', b'boundary="lain-').replace(b"--semakan-", b"--lain-"), "Projek/2026"
        )

    async with probe_setup(folder_server, deliver) as setup:
        result = await setup.run()
        await until(lambda: not folder_server.folders["Projek/2026"])
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
async def test_final_search_folder_name_is_decoded_cleaned_and_shortened(name: str, shown: str) -> None:
    """Defect: A folder's name is shown as the server writes it.

    Pantau: It is decoded, cleaned and shortened.
    """
    folder_server = FolderServer(folders={"INBOX": {}, name: {}})
    async with probe_setup(folder_server, lambda raw: folder_server.put(raw, name)) as setup:
        result = await setup.run()
    assert result.failure is not None
    assert (result.outcome, result.failure.detail) == (Outcome.JUNK, shown)


@pytest.mark.blind
@pytest.mark.parametrize("trick", [hang, close, "* BYE mati\r\n", "{tag} MUNGKIN\r\n", "{tag} NO [SERVERBUG] x\r\n"])
async def test_final_search_error_in_other_folder_keeps_inbox_result(trick: Trick) -> None:
    """Defect: A folder that hangs changes the result of the inbox.

    Pantau: It changes nothing.
    """
    folder_server = FolderServer(folders={"INBOX": {}, "Arkib": {}})
    folder_server.tricks["EXAMINE Arkib"] = trick
    async with probe_setup(folder_server, lambda _: None) as setup:
        result = await setup.run()
        assert setup.watcher.failure is None
    assert result.outcome is Outcome.LOST


@pytest.mark.blind
async def test_final_search_server_without_folder_list_searches_inbox() -> None:
    """Defect: A server that lists no folders ends the search.

    Pantau: Its inbox is searched.
    """
    folder_server = FolderServer(blind=True, tricks={"LIST": "{tag} NO tidak\r\n", "NAMESPACE": "{tag} BAD apa\r\n"})
    async with probe_setup(folder_server, folder_server.put) as setup:
        assert (await setup.run()).outcome is Outcome.DELIVERED


@pytest.mark.blind
async def test_final_search_wrong_server_clock_is_not_used_as_arrival_time() -> None:
    """Defect: A server with a wrong clock dates the arrival.

    Pantau: An impossible time is not used.
    """
    folder_server = FolderServer(blind=True, age=timedelta(days=1))
    async with probe_setup(folder_server, folder_server.put) as setup:
        result = await setup.run()
    assert result.outcome is Outcome.DELIVERED
    assert result.phases[Phase.TRANSIT] > TIMEOUTS.arrival / 4


@pytest.mark.blind
async def test_final_search_pop3_uses_next_poll_without_extra_sign_in() -> None:
    """Defect: A POP3 mailbox needs an extra sign-in before mail is lost.

    Pantau: Its next look is one.
    """
    standin = Pop3StandIn()
    async with listening(standin, server_context()) as port:
        watcher = MailboxWatcher(box(port), SIGNER, on_arrival=Counted(), timeouts=TIMEOUTS, polling=POP3_PACE)
        async with asyncio.timeout(HANG_TIMEOUT), asyncio.TaskGroup() as group:
            watching = group.create_task(watcher.run())
            with watcher.expect(issue()):
                await until(lambda: watcher.polled_at is not None)
                found_result = await watcher.final_search(TIMEOUTS.final_search)
            watching.cancel()
    assert found_result == SearchResult(searched_folders=1, total_folders=1)
