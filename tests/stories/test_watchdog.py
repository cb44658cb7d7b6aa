"""Heartbeat to an external switch, out-of-band alerts and drills, with the real service."""

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
from pantau_lab.environment import DemoEnvironment, demo_environment
from pantau_lab.serving import serve
from pantau_lab.world import NOC
from tests.real.postgres import Postgres
from tests.stories.running_service import JCM, RunningService, running_service
from tests.stories.service_process import run_process

#: The interval is a quarter of a minute in production.
SHORT_INTERVALS = ("tests.stories.short_intervals", "pulse")


async def configure(env: RunningService, **sections: Mapping[str, Any]) -> None:
    """Add sections to the settings, and apply them."""
    settings = env.world.settings
    added = "".join(f"{name}: {json.dumps(section)}\n" for name, section in sections.items())
    settings.write_text(settings.read_text() + added)
    answer = await env.control("/reload", by="Ali Contoh")
    assert answer.status_code == 200, answer.text


async def command(env: RunningService, *words: str) -> str:
    """Run a command beside the service."""
    code, said = await env.pantau(*words)
    assert code == 0, said + env.log()[-4000:]
    return said


async def value(env: RunningService, series: str) -> float | None:
    async with env.web() as client:
        lines = (await client.get("/metrics")).text.splitlines()
    return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{series} ")), None)


async def test_heartbeat_reaches_switch_and_resumes_after_crash(tmp_path: Path) -> None:
    switch = DeadMansSwitch()
    async with serve(switch.app()) as url, running_service(tmp_path, program=SHORT_INTERVALS) as env:
        await configure(env, heartbeat={"url": f"{url}/pantau", "interval": "10s", "file": str(tmp_path / "denyut")})

        async def heard() -> bool:
            return len(switch.beats) >= 2

        await env.until(heard, "the switch hears two beats")
        assert (tmp_path / "denyut").exists()
        assert await value(env, 'pantau_heartbeat_suppressed{reason="engine"}') == 0

        await env.kill()
        dead = len(switch.beats)
        await env.start()

        async def heard_again() -> bool:
            return len(switch.beats) > dead

        await env.until(heard_again, "the switch hears the next life")


async def test_drill_reaches_everybody_and_opens_no_incident(tmp_path: Path) -> None:
    async with running_service(tmp_path) as env:
        await env.wait_until_up()
        # A scheduled drill would begin within these hours.
        hours = {"cron": f"0 10 * * {datetime.now(UTC) + timedelta(days=3):%a}".lower(), "for": "4h"}
        await configure(env, drills={"when": hours, "contacts": "all", "pace": "1s"})
        people = [env.duty, env.phone(JCM.deputy.number), env.noc]
        for phone in people:
            phone.keys = ["1"] * 5

        said = await command(env, "drill", "all", "--by", "Ali Contoh")
        assert "Drill LATIH-01 has started: 7 notifications" in said
        for phone in people:
            await phone.expect_sms("LATIHAN SAHAJA", "Ruj LATIH-01")
            call = await phone.expect_call("Ini ialah latihan sahaja")
            assert call.keys == "1"

        async def over() -> bool:
            return " confirmed" in (results := await command(env, "drill", "results")) and "calling" not in results

        await env.until(over, "the drill has results")
        results = await command(env, "drill", "results")
        assert [line.count("confirmed") for line in results.splitlines()].count(1) == 3, results
        assert JCM.duty.number not in results
        assert await env.get("/incidents") == []
        assert [line for phone in people for line in phone.unexpected()] == []
        reached = f'pantau_contact_reached_timestamp_seconds{{agency="JCM",contact="{JCM.duty.key}"}}'

        async def shown() -> bool:
            return bool(await value(env, reached))

        await env.until(shown, "the metric says when the duty officer was reached")


async def test_unwritable_database_alerts_noc_until_over(tmp_path: Path) -> None:
    numbers = tmp_path / "nombor"
    numbers.write_text(f"{NOC.number}  # pusat operasi\n")
    async with running_service(tmp_path, program=SHORT_INTERVALS) as env:
        await env.wait_until_up()
        out_of_band = {"numbers_file": str(numbers), "gateways": ["suara", "sms"], "store_unavailable_after": "5s"}
        await configure(env, out_of_band=out_of_band)
        # Another process locks the file, so that nothing can be written, as on a failed disk.
        holder = sqlite3.connect(tmp_path / "state" / "pantau.sqlite", isolation_level=None, timeout=20)
        holder.execute("BEGIN IMMEDIATE")
        try:
            await env.noc.expect_sms("RM0 PANTAU: AMARAN. Simpanan data Pantau gagal")
            await env.noc.expect_call("tidak dapat menyimpan data")
            assert await value(env, 'pantau_out_of_band_active{reason="store"}') == 1
        finally:
            holder.execute("ROLLBACK")
            holder.close()
        await env.noc.expect_sms("RM0 PANTAU: SELESAI.")
        assert env.noc.unexpected() == []


async def test_database_not_opening_at_start_is_reported_once_across_restarts(tmp_path: Path) -> None:
    numbers = tmp_path / "nombor"
    numbers.write_text(f"{NOC.number}\n")
    async with demo_environment(tmp_path, agencies=(JCM,)) as world:
        phone = world.carrier.phones[NOC.number]
        out_of_band = {"numbers_file": str(numbers), "gateways": ["sms"], "store_unavailable_after": "3s"}
        world.settings.write_text(world.settings.read_text() + f"out_of_band: {json.dumps(out_of_band)}\n")
        # A broken disk may leave something that is no file.
        (tmp_path / "state" / "pantau.sqlite").mkdir(parents=True)
        await refused_for_long(world, "Is a directory")
        await phone.expect_sms("RM0 PANTAU: AMARAN. Simpanan data Pantau gagal")
        await refused(world)
        assert phone.unexpected() == []


@pytest.mark.real
async def test_read_only_server_at_start_is_reported(tmp_path: Path, postgres: Postgres) -> None:
    numbers = tmp_path / "nombor"
    numbers.write_text(f"{NOC.number}\n")
    server = postgres.store()
    async with Database.open(tmp_path / "first", server):
        pass
    with psycopg.connect(postgres.address("postgres"), autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {server.database} SET default_transaction_read_only = on")
    async with demo_environment(tmp_path, agencies=(JCM,)) as world:
        phone = world.carrier.phones[NOC.number]
        out_of_band = {"numbers_file": str(numbers), "gateways": ["sms"], "store_unavailable_after": "3s"}
        store = {"url": f"postgresql://{server.user}@{server.host}:{server.port}/{server.database}"}
        sections = f"out_of_band: {json.dumps(out_of_band)}\nstore: {json.dumps(store)}\n"
        world.settings.write_text(world.settings.read_text() + sections)
        await refused_for_long(world, "pantau cannot run: the store cannot be used: cannot execute")
        await phone.expect_sms("RM0 PANTAU: AMARAN. Simpanan data Pantau gagal")
        assert phone.unexpected() == []


async def refused_for_long(world: DemoEnvironment, why: str) -> None:
    """Start the service repeatedly, the last time after the database was unavailable for longer than the limit."""
    for pause in (1, 3, 0):
        assert why in await refused(world)
        await asyncio.sleep(pause)


async def refused(world: DemoEnvironment) -> str:
    """Start the service, which ends; return its output."""
    said = world.settings.with_name("said")
    said.unlink(missing_ok=True)
    assert await run_process(("monitor.cli", "run", "--config", str(world.settings)), said) == 1
    assert "Traceback" not in said.read_text()
    return said.read_text()
