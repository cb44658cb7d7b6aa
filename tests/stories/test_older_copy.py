"""Two outages, a copy of the store between them, letters in the tray; then the copy takes the store's place.

Nothing goes out twice on paper that nobody has looked at, and no number stands twice on paper.
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

from monitor.runtime.place import CONTROL_SOCKET
from monitor.service.paper.high_water_mark import FILE
from monitor.store.backend.postgres import PostgresServer
from pantau_lab.mail import Fault
from tests.real.postgres import Postgres
from tests.stories.theatre import JCM, Theatre, theatre

pytestmark = pytest.mark.story

#: The second outage's pages would else wait two minutes for more of their kind, and the NOC half a minute for the auditor.
IMPATIENT = ("tests.stories.impatient", "gathering,auditor")


async def pantau(play: Theatre, *words: str) -> str:
    """Run a command that is to go well, and return what it says."""
    code, said = await play.pantau(*words)
    assert code == 0, said
    return said


def references(play: Theatre) -> list[str]:
    """Return which page each fax is: "JCM-01/1"."""
    return [found[0] for text in play.faxes() if (found := re.findall(r"\((JCM-\d+/\d+)\)", text))]


async def incidents(play: Theatre) -> dict[str, str]:
    return {i["number"]: i["state"] for i in await play.get("/incidents") if i["number"].startswith("JCM")}


async def waits(play: Theatre) -> set[str]:
    """Return the channels on which a notice of the agency's outage waits."""
    notices = await play.get("/notifications")
    ours = (n for n in notices if n["incident"].startswith("JCM"))
    return {n["channel"] for n in ours if (n["purpose"], n["state"]) == ("outage", "pending")}


async def until_paper_waits(play: Theatre) -> None:
    async def waiting() -> bool:
        return await waits(play) == {"fax", "letter"}

    await play.until(waiting, "a fax and a letter wait")


async def one_outage_to_its_end(play: Theatre) -> None:
    await play.everybody_is_up()
    play.duty.keys = ["1"] * 20
    await play.world.network.systems[JCM.code].break_(Fault.REFUSE)
    await play.until_notice("fax", "outage", "delivered")
    await play.until_notice("letter", "outage", "sent")
    await play.world.network.systems[JCM.code].repair()
    await play.until_notice("fax", "recovery", "delivered")
    await play.everybody_is_up()


async def by_telephone(play: Theatre, number: str) -> None:
    """Wait until staff were told of an incident by SMS or, so soon after another, by a call."""

    async def told() -> bool:
        found = [n for n in await play.get("/notifications") if (n["incident"], n["purpose"]) == (number, "outage")]
        return any(n["channel"] in {"sms", "voice"} and n["state"] in {"sent", "delivered"} for n in found)

    await play.until(told, f"staff were told of {number} by telephone")


async def a_second_outage(play: Theatre) -> None:
    """Let mail fail again, and a clerk post the letter."""
    await play.world.network.systems[JCM.code].break_(Fault.REFUSE)
    await by_telephone(play, "JCM-02")
    await play.until_notice("fax", "outage", "delivered", 2)

    async def lies_there() -> bool:
        return len(play.letters()) == 1

    await play.until(lies_there, "the letter of the second outage lies in the tray")
    letter = next(n for n in await play.get("/notifications") if (n["channel"], n["incident"]) == ("letter", "JCM-02"))
    assert (
        await play.control(f"/notifications/{letter['id']}/posted-unprinted", by="Kerani Contoh")
    ).status_code == 200


async def by_command(play: Theatre, copy: Path) -> None:
    said = await pantau(play, "restore", str(copy), "--by", "Siti Contoh")
    assert "Letters and faxes are paused" in said


async def by_hand(play: Theatre, copy: Path) -> None:
    """Do what somebody does who has never heard of a command."""
    for file in (play.directory / "state").glob("pantau.sqlite*"):
        file.unlink()
    shutil.copy(copy, play.directory / "state" / "pantau.sqlite")


async def by_hand_on_a_new_machine(play: Theatre, copy: Path) -> None:
    """Leave nothing but the tray, which lies on a share."""
    await by_hand(play, copy)
    (play.directory / "state" / FILE).unlink()


async def by_command_with_nothing_left(play: Theatre, copy: Path) -> None:
    shutil.rmtree(play.directory / "state")
    (play.directory / "state").mkdir(mode=0o700)
    (play.directory / "outbox" / "letter" / FILE).unlink()
    await by_command(play, copy)


#: Where the service keeps anything.
_PLACES = ("state", "outbox/letter")
#: How a copy comes in the store's place, and the number that the outage has then.
WAYS: list[tuple[Callable[[Theatre, Path], Awaitable[None]], str]] = [
    (by_command, "JCM-03"),
    (by_hand, "JCM-03"),
    (by_hand_on_a_new_machine, "JCM-03"),
    (by_command_with_nothing_left, "JCM-102"),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """What is left when the service has been killed in the second outage, in a folder of its own, and what people have got."""

    folder: Path
    got: Sequence[tuple[list[Any], int]]

    @classmethod
    def of(cls, play: Theatre, folder: Path) -> Self:
        for place in _PLACES:
            shutil.copytree(play.directory / place, folder / place, ignore=shutil.ignore_patterns(CONTROL_SOCKET))
        world = play.world
        got = [what for phone in world.carrier.phones.values() for what in (phone.inbox, phone.calls)]
        everything: list[list[Any]] = [*got, *(machine.received for machine in world.fax_service.machines.values())]
        return cls(folder=folder, got=[(what, len(what)) for what in everything])

    async def again(self, play: Theatre) -> None:
        """Let it be then: the service is dead, and mail fails."""
        for place in _PLACES:
            shutil.rmtree(play.directory / place)
            shutil.copytree(self.folder / place, play.directory / place)
        for what, count in self.got:
            del what[count:]
        play.duty.keys = ["1"] * 20
        await play.world.network.systems[JCM.code].break_(Fault.REFUSE)


async def test_an_older_copy_of_the_store_sends_nothing_on_paper_unseen_and_gives_no_number_twice(
    tmp_path: Path, subtests: pytest.Subtests
) -> None:
    """Every way of replacing the store begins with the same two outages.

    An older copy sends nothing twice on paper unseen and gives no number twice.
    """
    async with theatre(tmp_path, program=IMPATIENT) as play:
        await one_outage_to_its_end(play)
        copy = tmp_path / "copy.sqlite"
        assert "is a verified copy of" in await pantau(play, "backup", str(copy))
        await a_second_outage(play)
        await play.kill()
        kept = _Kept.of(play, tmp_path / "kept")

        for put_back, number in WAYS:
            await kept.again(play)
            with subtests.test(put_back.__name__):
                await put_back(play, copy)
                await play.start()
                await nothing_goes_unseen_or_twice(play, number)
            await play.stop()


async def nothing_goes_unseen_or_twice(play: Theatre, number: str) -> None:
    await it_is_told_again_by_telephone_alone(play, number)
    assert len(play.letters()) == 0
    assert len(play.letters("posted")) == 1, "posted, and the store does not know of it"
    assert f"not in the store: posted/{play.letters('posted')[0].name}" in await shown(play)

    await a_person_lets_paper_go(play, number)
    await play.world.network.systems[JCM.code].repair()
    await play.until_notice("fax", "recovery", "delivered", 2)
    assert len(set(references(play))) == len(references(play)) == 5


async def shown(play: Theatre) -> str:
    return await pantau(play, "paper", "status")


async def it_is_told_again_by_telephone_alone(play: Theatre, number: str) -> None:
    assert references(play) == ["JCM-01/1", "JCM-01/2", "JCM-02/1"]
    # What the copy does not know is an outage like any other: the telephone is not silent.
    await by_telephone(play, number)
    await until_paper_waits(play)
    assert number in await incidents(play)
    await play.noc.expect_sms("AMARAN", "surat dan faks ditahan")
    # Long enough for each to have left, were they not held.
    await asyncio.sleep(3)
    assert references(play) == ["JCM-01/1", "JCM-01/2", "JCM-02/1"]
    # A telephone may ring just then.
    assert await waits(play) >= {"fax", "letter"}


async def a_person_lets_paper_go(play: Theatre, number: str) -> None:
    said = await pantau(
        play, "paper", "resume", "--by", "Siti Contoh", "--reason", "looked at all letters with the clerk"
    )
    assert said.startswith("Letters and faxes are sent again. Skipped numbers: JCM-02")
    await play.until_notice("fax", "outage", "delivered", 2)
    await play.noc.expect_sms("SELESAI", "Surat dan faks tidak lagi ditahan")
    assert references(play) == ["JCM-01/1", "JCM-01/2", "JCM-02/1", f"{number}/1"]

    async def lies_there() -> bool:
        return len(play.letters()) == 1

    await play.until(lies_there, "the letter lies in the tray")


@pytest.mark.real
async def test_a_database_that_was_put_back_by_its_administrator_is_noticed_by_the_marks(
    tmp_path: Path, postgres: Postgres
) -> None:
    """A database that its administrator restored is detected by the high-water marks."""
    server = postgres.store()
    async with theatre(tmp_path, store=server, program=IMPATIENT) as play:
        await one_outage_to_its_end(play)
        copy = tmp_path / "copy.dump"
        await pantau(play, "backup", str(copy))
        await a_second_outage(play)
        await play.kill()

        await asyncio.to_thread(put_back_with_pg_restore, copy, server, postgres)
        await play.start()
        await it_is_told_again_by_telephone_alone(play, "JCM-03")
        await a_person_lets_paper_go(play, "JCM-03")


def put_back_with_pg_restore(copy: Path, server: PostgresServer, postgres: Postgres) -> None:
    # Into an empty database, as docs/how-to/operator/backup.md has it.
    with psycopg.connect(postgres.address("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(server.database)))
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(server.database)))
    command = ["pg_restore", "--no-owner", "--single-transaction"]
    subprocess.run(
        [*command, f"--dbname={server.database}", str(copy)], check=True, env=server.environ() | {"PATH": "/usr/bin"}
    )
