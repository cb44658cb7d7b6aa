"""An officer edits the agency in the portal of a running service while `pantau apply` writes: neither loses anything."""

from __future__ import annotations

import asyncio
import html
import json
import re
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path

import httpx
import pytest
import typer
from typer.testing import CliRunner

from alerts.persistence.clock import SystemClock
from monitor.access.invitation_code import CodeWay
from monitor.cli.store.documents import apply, export
from monitor.model.document import digest_of
from monitor.service.access.administration import Administration
from monitor.store.admin.documents import read_documents
from monitor.store.admin.users import SecondFactors, Users
from monitor.store.backend.database import Database
from tests.integration.watching import agency, laid_out, service

SETTINGS = "/agencies/JCM/settings"
PASSWORD = "kerusi rotan di beranda hujan"
app = typer.Typer()
app.command("apply")(apply)
app.command("export")(export)


def run(place: Path, command: str, *words: str) -> tuple[int, str]:
    arguments = [command, str(place / "agencies"), *words, "--config", str(place / "pantau.yaml")]
    result = CliRunner().invoke(app, arguments if command == "export" else [*arguments, "--by", "Ravi"])
    return result.exit_code, result.output


def stored(place: Path) -> str:
    return read_documents(place / "state", None)["JCM"].text or ""


def taken_up(place: Path) -> Mapping[str, object]:
    """Return what the service has of the agency in force."""
    with closing(sqlite3.connect(place / "state" / "pantau.sqlite")) as store:
        row = store.execute("SELECT document FROM record WHERE kind = 'agency' AND key = 'JCM'").fetchone()
    found: Mapping[str, object] = json.loads(row[0])
    return found


async def invited(place: Path) -> str:
    """Make the agency's officer before anything runs, and return the code."""
    async with Database.open(place / "state") as database:
        users, factors = Users(database), SecondFactors(database)
        administration = Administration(users, SystemClock(), agencies=lambda: ["JCM", "MDC"], factors=factors)
        await administration.add("siti", "Siti Contoh", ["officer:JCM"], by="Ujian")
        return (await administration.invite("siti", CodeWay.LETTER, by="Ujian")).code


@asynccontextmanager
async def officer(port: int, code: str) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Sec-Fetch-Site": "same-origin"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60) as browser:
        told = {"name": "siti", "code": code, "password": PASSWORD}
        assert (await browser.post("/welcome", data=told)).status_code == 303
        yield browser


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return laid_out(tmp_path)


async def test_page_and_apply_write_at_once_and_nothing_is_lost(place: Path, port: int) -> None:
    settings = place / "pantau.yaml"
    settings.write_text(
        settings.read_text().replace("\nlisten: 127.0.0.1:0", f"\nlisten: 127.0.0.1:{port}\nportal: {{}}")
    )
    assert (await asyncio.to_thread(run, place, "apply"))[0] == 0
    code = await invited(place)
    async with service(place), officer(port, code) as browser:

        async def fill(form: str, started_from: str, **fields: str) -> httpx.Response:
            return await browser.post(SETTINGS, data={"form": form, "started_from": started_from, **fields})

        # What is saved is in force at once.
        opened = digest_of(stored(place))
        saved = await fill("interval", opened, interval="20m")
        assert saved.headers.get("location") == f"{SETTINGS}?saved=2", saved.text
        assert "20" in json.dumps(taken_up(place)["probing"])

        # Somebody with files has not seen it, and is told; they fetch it, change something else, and apply.
        file = place / "agencies" / "jcm.yaml"
        file.write_text(file.read_text().replace("Jabatan JCM", "Jabatan Baharu"))
        refused, output = await asyncio.to_thread(run, place, "apply")
        assert refused == 1
        assert "somebody else wrote it meanwhile: version 2, by Siti Contoh (siti)" in output
        file.write_text(agency("JCM"))
        assert (await asyncio.to_thread(run, place, "export"))[0] == 0
        page_was = digest_of(stored(place))
        file.write_text(file.read_text().replace("Jabatan JCM", "Jabatan Baharu"))
        assert (await asyncio.to_thread(run, place, "apply"))[0] == 0
        assert taken_up(place)["name"] == "Jabatan Baharu"

        # The officer's page was open all the while.
        clash = await fill("interval", page_was, interval="30m")
        assert clash.status_code == 409
        assert "Ravi" in clash.text
        typed = re.search(r"<textarea[^>]*>\n(.*?)</textarea>", clash.text, re.DOTALL)
        assert typed is not None
        ours = html.unescape(typed[1])
        assert "interval: 30m" in ours
        assert "Jabatan Baharu" in stored(place)
        assert "interval: 20m" in stored(place)
        (seen,) = set(re.findall(r'name="started_from" value="(\w+)"', clash.text))
        both = ours.replace("Jabatan JCM", "Jabatan Baharu")
        assert (await fill("text", seen, text=both)).status_code == 303
        assert stored(place) == agency("JCM").replace("Jabatan JCM", "Jabatan Baharu") + "probing:\n  interval: 30m\n"
        assert taken_up(place)["name"] == "Jabatan Baharu"
        versions = await browser.get("/agencies/JCM/versions", params={"from": "2", "to": "3"})
        assert "+ name: Jabatan Baharu" in versions.text


async def test_many_edits_by_two_pens_at_once_lose_none_unseen(place: Path, port: int) -> None:
    settings = place / "pantau.yaml"
    settings.write_text(
        settings.read_text().replace("\nlisten: 127.0.0.1:0", f"\nlisten: 127.0.0.1:{port}\nportal: {{}}")
    )
    await asyncio.to_thread(run, place, "apply")
    code = await invited(place)
    async with service(place), officer(port, code) as browser:

        async def add(key: str) -> None:
            """Add a contact as a person does who is shown what is there, until it is taken."""
            while True:
                digest = digest_of(await asyncio.to_thread(stored, place))
                fields = {"form": "add_contact", "started_from": digest, "key": key, "name": key.capitalize()}
                answer = await browser.post(SETTINGS, data={**fields, "sms": "012-345 6789"})
                assert answer.status_code in {200, 303, 409}, answer.text
                if answer.status_code != 409:
                    return

        names = ["siti", "ali", "devi", "ravi"]
        await asyncio.gather(*map(add, names))
        for name in names:
            assert stored(place).count(f"  {name}:\n") == 1
