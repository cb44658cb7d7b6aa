"""Who watches the watcher: the heartbeat to an outside switch, the lifeline, and drills, with the real service."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from monitor.store.backend.database import Database
from pantau_lab.deadman import DeadMansSwitch
from pantau_lab.environment import DemoEnvironment, stage
from pantau_lab.serving import serve
from pantau_lab.world import NOC
from tests.real.postgres import Postgres
from tests.stories.living import bring_to_its_end
from tests.stories.theatre import JCM, Theatre, theatre

#: What is told outside is told every quarter of a minute in earnest.
IMPATIENT = ("tests.stories.impatient", "pulse")


async def configure(play: Theatre, **sections: Mapping[str, Any]) -> None:
    """Add sections to the settings and have them taken up."""
    settings = play.world.settings
    added = "".join(f"{name}: {json.dumps(section)}\n" for name, section in sections.items())
    settings.write_text(settings.read_text() + added)
    answer = await play.control("/reload", by="Ali Contoh")
    assert answer.status_code == 200, answer.text


async def command(play: Theatre, *words: str) -> str:
    """Run the command line beside the service."""
    code, said = await play.pantau(*words)
    assert code == 0, said + play.log()[-4000:]
    return said


async def value(play: Theatre, series: str) -> float | None:
    async with play.web() as client:
        lines = (await client.get("/metrics")).text.splitlines()
    return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{series} ")), None)


async def test_a_switch_outside_hears_the_service_and_hears_it_again_after_a_crash(tmp_path: Path) -> None:
    switch = DeadMansSwitch()
    async with serve(switch.app()) as url, theatre(tmp_path, program=IMPATIENT) as play:
        await configure(play, heartbeat={"url": f"{url}/pantau", "interval": "10s", "file": str(tmp_path / "denyut")})

        async def heard() -> bool:
            return len(switch.beats) >= 2

        await play.until(heard, "the switch hears two beats")
        assert (tmp_path / "denyut").exists()
        assert await value(play, 'pantau_heartbeat_suppressed{reason="engine"}') == 0

        await play.kill()
        dead = len(switch.beats)
        await play.start()

        async def heard_again() -> bool:
            return len(switch.beats) > dead

        await play.until(heard_again, "the switch hears the next life")


async def test_a_drill_reaches_everybody_and_no_incident_comes_of_it(tmp_path: Path) -> None:
    async with theatre(tmp_path) as play:
        await play.everybody_is_up()
        # Within these hours one would begin by itself.
        hours = {"cron": f"0 10 * * {datetime.now(UTC) + timedelta(days=3):%a}".lower(), "for": "4h"}
        await configure(play, drills={"when": hours, "contacts": "all", "pace": "1s"})
        people = [play.duty, play.phone(JCM.deputy.number), play.noc]
        for phone in people:
            phone.keys = ["1"] * 5

        said = await command(play, "drill", "all", "--by", "Ali Contoh")
        assert "Drill LATIH-01 has started: 7 notifications" in said
        for phone in people:
            await phone.expect_sms("LATIHAN SAHAJA", "Ruj LATIH-01")
            call = await phone.expect_call("Ini ialah latihan sahaja")
            assert call.keys == "1"

        async def over() -> bool:
            return " confirmed" in (results := await command(play, "drill", "results")) and "calling" not in results

        await play.until(over, "the drill has results")
        results = await command(play, "drill", "results")
        assert [line.count("confirmed") for line in results.splitlines()].count(1) == 3, results
        assert JCM.duty.number not in results
        assert await play.get("/incidents") == []
        assert [line for phone in people for line in phone.unexpected()] == []
        reached = f'pantau_contact_reached_timestamp_seconds{{agency="JCM",contact="{JCM.duty.key}"}}'

        async def shown() -> bool:
            return bool(await value(play, reached))

        await play.until(shown, "the metric says when the duty officer was reached")


async def test_when_nothing_can_be_written_the_noc_is_rung_and_told_when_it_is_over(tmp_path: Path) -> None:
    numbers = tmp_path / "nombor"
    numbers.write_text(f"{NOC.number}  # pusat operasi\n")
    async with theatre(tmp_path, program=IMPATIENT) as play:
        await play.everybody_is_up()
        out_of_band = {"numbers_file": str(numbers), "gateways": ["suara", "sms"], "store_unavailable_after": "5s"}
        await configure(play, out_of_band=out_of_band)
        # Somebody holds the file, and nothing can be written: as on a disk that is gone.
        holder = sqlite3.connect(tmp_path / "state" / "pantau.sqlite", isolation_level=None, timeout=20)
        holder.execute("BEGIN IMMEDIATE")
        try:
            await play.noc.expect_sms("RM0 PANTAU: AMARAN. Simpanan data Pantau gagal")
            await play.noc.expect_call("tidak dapat menyimpan data")
            assert await value(play, 'pantau_out_of_band_active{reason="store"}') == 1
        finally:
            holder.execute("ROLLBACK")
            holder.close()
        await play.noc.expect_sms("RM0 PANTAU: SELESAI.")
        assert play.noc.unexpected() == []


async def test_a_store_that_does_not_open_at_the_start_is_told_too_however_often_it_is_started(tmp_path: Path) -> None:
    numbers = tmp_path / "nombor"
    numbers.write_text(f"{NOC.number}\n")
    async with stage(tmp_path, agencies=(JCM,)) as world:
        phone = world.carrier.phones[NOC.number]
        out_of_band = {"numbers_file": str(numbers), "gateways": ["sms"], "store_unavailable_after": "3s"}
        world.settings.write_text(world.settings.read_text() + f"out_of_band: {json.dumps(out_of_band)}\n")
        # What a broken disk leaves: something that is no file.
        (tmp_path / "state" / "pantau.sqlite").mkdir(parents=True)
        await refused_for_long(world, "Is a directory")
        await phone.expect_sms("RM0 PANTAU: AMARAN. Simpanan data Pantau gagal")
        await refused(world)
        assert phone.unexpected() == []


@pytest.mark.real
async def test_a_server_that_can_be_read_and_not_written_at_the_start_is_told_too(
    tmp_path: Path, postgres: Postgres
) -> None:
    numbers = tmp_path / "nombor"
    numbers.write_text(f"{NOC.number}\n")
    server = postgres.store()
    async with Database.open(tmp_path / "first", server):
        pass
    with psycopg.connect(postgres.address("postgres"), autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {server.database} SET default_transaction_read_only = on")
    async with stage(tmp_path, agencies=(JCM,)) as world:
        phone = world.carrier.phones[NOC.number]
        out_of_band = {"numbers_file": str(numbers), "gateways": ["sms"], "store_unavailable_after": "3s"}
        store = {"url": f"postgresql://{server.user}@{server.host}:{server.port}/{server.database}"}
        sections = f"out_of_band: {json.dumps(out_of_band)}\nstore: {json.dumps(store)}\n"
        world.settings.write_text(world.settings.read_text() + sections)
        await refused_for_long(world, "pantau cannot run: the store cannot be used: cannot execute")
        await phone.expect_sms("RM0 PANTAU: AMARAN. Simpanan data Pantau gagal")
        assert phone.unexpected() == []


async def refused_for_long(world: DemoEnvironment, why: str) -> None:
    """Start the service again and again, at last when the store has been away for longer than `store_away`."""
    for pause in (1, 3, 0):
        assert why in await refused(world)
        await asyncio.sleep(pause)


async def refused(world: DemoEnvironment) -> str:
    """Start the service, which ends; return what it says."""
    said = world.settings.with_name("said")
    said.unlink(missing_ok=True)
    assert await bring_to_its_end(("monitor.cli", "run", "--config", str(world.settings)), said) == 1
    assert "Traceback" not in said.read_text()
    return said.read_text()
