"""Two outages, with a copy of the store made between them, and letters in the tray; then the copy is restored.

No paper is sent twice without a review, and no number is used twice on paper.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psycopg
import pytest
from psycopg import sql

from monitor.runtime.control_socket import CONTROL_SOCKET
from monitor.service.paper.high_water_mark import FILE
from monitor.store.backend.postgres import PostgresServer
from pantau_lab.mail import Fault
from tests.real.postgres import Postgres
from tests.stories.running_service import JCM, RunningService, running_service

pytestmark = pytest.mark.story

#: Otherwise the second outage's pages would wait two minutes for a bundle, and the NOC half a minute for the auditor.
SHORT_INTERVALS = ("tests.stories.short_intervals", "gathering,auditor")


async def pantau(env: RunningService, *words: str) -> str:
    """Run a command that must succeed; return its output."""
    code, said = await env.pantau(*words)
    assert code == 0, said
    return said


def references(env: RunningService) -> list[str]:
    """Return the reference of each fax, such as "JCM-01/1"."""
    return [found[0] for text in env.faxes() if (found := re.findall(r"\((JCM-\d+/\d+)\)", text))]


async def incidents(env: RunningService) -> dict[str, str]:
    return {i["number"]: i["state"] for i in await env.get("/incidents") if i["number"].startswith("JCM")}


async def paused_channels(env: RunningService) -> set[str]:
    """Return the channels on which a notification of the outage waits."""
    notices = await env.get("/notifications")
    ours = (n for n in notices if n["incident"].startswith("JCM"))
    return {n["channel"] for n in ours if (n["purpose"], n["state"]) == ("outage", "pending")}


async def until_paper_waits(env: RunningService) -> None:
    async def waiting() -> bool:
        return await paused_channels(env) == {"fax", "letter"}

    await env.until(waiting, "a fax and a letter wait")


async def one_outage_to_its_end(env: RunningService) -> None:
    await env.wait_until_up()
    env.duty.keys = ["1"] * 20
    await env.world.network.systems[JCM.code].break_(Fault.REFUSE)
    await env.until_notification("fax", "outage", "delivered")
    await env.until_notification("letter", "outage", "sent")
    await env.world.network.systems[JCM.code].repair()
    await env.until_notification("fax", "recovery", "delivered")
    await env.wait_until_up()


async def until_notified(env: RunningService, number: str) -> None:
    """Wait until staff were notified of an incident by SMS or, so soon after another, by call."""

    async def told() -> bool:
        found = [n for n in await env.get("/notifications") if (n["incident"], n["purpose"]) == (number, "outage")]
        return any(n["channel"] in {"sms", "voice"} and n["state"] in {"sent", "delivered"} for n in found)

    await env.until(told, f"staff were told of {number} by telephone")


async def second_outage(env: RunningService) -> None:
    """Break mail again, and let a clerk post the letter."""
    await env.world.network.systems[JCM.code].break_(Fault.REFUSE)
    await until_notified(env, "JCM-02")
    await env.until_notification("fax", "outage", "delivered", 2)

    async def lies_there() -> bool:
        return len(env.letters()) == 1

    await env.until(lies_there, "the letter of the second outage lies in the tray")
    letter = next(n for n in await env.get("/notifications") if (n["channel"], n["incident"]) == ("letter", "JCM-02"))
    assert (await env.control(f"/notifications/{letter['id']}/posted-unprinted", by="Kerani Contoh")).status_code == 200


async def by_command(env: RunningService, copy: Path) -> None:
    said = await pantau(env, "restore", str(copy), "--by", "Siti Contoh")
    assert "Letters and faxes are paused" in said


async def by_hand(env: RunningService, copy: Path) -> None:
    """Restore by hand, without a command."""
    for file in (env.directory / "state").glob("pantau.sqlite*"):
        file.unlink()
    shutil.copy(copy, env.directory / "state" / "pantau.sqlite")


async def by_hand_on_a_new_machine(env: RunningService, copy: Path) -> None:
    """Restore on a new machine: only the tray, on a share, is left."""
    await by_hand(env, copy)
    (env.directory / "state" / FILE).unlink()


async def by_command_with_nothing_left(env: RunningService, copy: Path) -> None:
    shutil.rmtree(env.directory / "state")
    (env.directory / "state").mkdir(mode=0o700)
    (env.directory / "outbox" / "letter" / FILE).unlink()
    await by_command(env, copy)


#: Directories of the service.
_PLACES = ("state", "outbox/letter")
#: The ways to restore a copy, and the outage's number afterwards.
RESTORES: list[tuple[Callable[[RunningService, Path], Awaitable[None]], str]] = [
    (by_command, "JCM-03"),
    (by_hand, "JCM-03"),
    (by_hand_on_a_new_machine, "JCM-03"),
    (by_command_with_nothing_left, "JCM-102"),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class _SavedState:
    """The saved files and received messages of the moment when the service is killed in the second outage."""

    folder: Path
    got: Sequence[tuple[list[Any], int]]

    @classmethod
    def of(cls, env: RunningService, folder: Path) -> Self:
        for place in _PLACES:
            shutil.copytree(env.directory / place, folder / place, ignore=shutil.ignore_patterns(CONTROL_SOCKET))
        world = env.world
        got = [what for phone in world.carrier.phones.values() for what in (phone.inbox, phone.calls)]
        everything: list[list[Any]] = [*got, *(machine.received for machine in world.fax_service.machines.values())]
        return cls(folder=folder, got=[(what, len(what)) for what in everything])

    async def restore(self, env: RunningService) -> None:
        """Restore that moment: the service is dead, and mail fails."""
        for place in _PLACES:
            shutil.rmtree(env.directory / place)
            shutil.copytree(self.folder / place, env.directory / place)
        for what, count in self.got:
            del what[count:]
        env.duty.keys = ["1"] * 20
        await env.world.network.systems[JCM.code].break_(Fault.REFUSE)


async def test_older_copy_sends_no_unreviewed_paper_and_reuses_no_number(
    tmp_path: Path, subtests: pytest.Subtests
) -> None:
    """Every way of replacing the store begins with the same two outages.

    An older copy sends no paper twice without a review, and uses no number twice.
    """
    async with running_service(tmp_path, program=SHORT_INTERVALS) as env:
        await one_outage_to_its_end(env)
        copy = tmp_path / "copy.sqlite"
        assert "is a verified copy of" in await pantau(env, "backup", str(copy))
        await second_outage(env)
        await env.kill()
        kept = _SavedState.of(env, tmp_path / "kept")

        for restore_copy, number in RESTORES:
            await kept.restore(env)
            with subtests.test(restore_copy.__name__):
                await restore_copy(env, copy)
                await env.start()
                await check_no_duplicate_paper(env, number)
            await env.stop()


async def check_no_duplicate_paper(env: RunningService, number: str) -> None:
    await expect_sms_and_calls_only(env, number)
    assert len(env.letters()) == 0
    assert len(env.letters("posted")) == 1, "posted, and the store does not know of it"
    assert f"not in the store: posted/{env.letters('posted')[0].name}" in await shown(env)

    await resume_paper(env, number)
    await env.world.network.systems[JCM.code].repair()
    await env.until_notification("fax", "recovery", "delivered", 2)
    assert len(set(references(env))) == len(references(env)) == 5


async def shown(env: RunningService) -> str:
    return await pantau(env, "paper", "status")


async def expect_sms_and_calls_only(env: RunningService, number: str) -> None:
    assert references(env) == ["JCM-01/1", "JCM-01/2", "JCM-02/1"]
    # An outage that the copy does not have is like any other: SMS and calls are sent.
    await until_notified(env, number)
    await until_paper_waits(env)
    assert number in await incidents(env)
    await env.noc.expect_sms("AMARAN", "surat dan faks ditahan")
    # Long enough for each to have been sent, if it were not paused.
    await asyncio.sleep(3)
    assert references(env) == ["JCM-01/1", "JCM-01/2", "JCM-02/1"]
    # A call may be in progress.
    assert await paused_channels(env) >= {"fax", "letter"}


async def resume_paper(env: RunningService, number: str) -> None:
    said = await pantau(
        env, "paper", "resume", "--by", "Siti Contoh", "--reason", "looked at all letters with the clerk"
    )
    assert said.startswith("Letters and faxes are sent again. Skipped numbers: JCM-02")
    await env.until_notification("fax", "outage", "delivered", 2)
    await env.noc.expect_sms("SELESAI", "Surat dan faks tidak lagi ditahan")
    assert references(env) == ["JCM-01/1", "JCM-01/2", "JCM-02/1", f"{number}/1"]

    async def lies_there() -> bool:
        return len(env.letters()) == 1

    await env.until(lies_there, "the letter lies in the tray")


@pytest.mark.real
async def test_database_restored_by_administrator_is_detected_by_marks(tmp_path: Path, postgres: Postgres) -> None:
    """A database that its administrator restored is detected by the high-water marks."""
    server = postgres.store()
    async with running_service(tmp_path, store=server, program=SHORT_INTERVALS) as env:
        await one_outage_to_its_end(env)
        copy = tmp_path / "copy.dump"
        await pantau(env, "backup", str(copy))
        await second_outage(env)
        await env.kill()

        await asyncio.to_thread(restore_with_pg_restore, copy, server, postgres)
        await env.start()
        await expect_sms_and_calls_only(env, "JCM-03")
        await resume_paper(env, "JCM-03")


def restore_with_pg_restore(copy: Path, server: PostgresServer, postgres: Postgres) -> None:
    # Into an empty database, as docs/how-to/operator/backup.md says.
    with psycopg.connect(postgres.address("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(server.database)))
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(server.database)))
    command = ["pg_restore", "--no-owner", "--single-transaction"]
    subprocess.run(
        [*command, f"--dbname={server.database}", str(copy)], check=True, env=server.environ() | {"PATH": "/usr/bin"}
    )
