"""Concurrent edits of an agency in the portal and with `pantau apply`: neither loses anything."""

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
from monitor.access.invitation_code import CodeKind
from monitor.cli.store.documents import apply, export
from monitor.model.document import digest_of
from monitor.service.access.administration import Administration
from monitor.store.admin.documents import read_documents
from monitor.store.admin.users import SecondFactors, Users
from monitor.store.backend.database import Database
from tests.integration.monitor_only import agency, service, write_files

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


def applied_agency(place: Path) -> Mapping[str, object]:
    """Return the agency as the service has applied it."""
    with closing(sqlite3.connect(place / "state" / "pantau.sqlite")) as store:
        row = store.execute("SELECT document FROM record WHERE kind = 'agency' AND key = 'JCM'").fetchone()
    found: Mapping[str, object] = json.loads(row[0])
    return found


async def invite_officer(place: Path) -> str:
    """Create the agency's officer before the service runs and return the invitation code."""
    async with Database.open(place / "state") as database:
        users, factors = Users(database), SecondFactors(database)
        administration = Administration(users, SystemClock(), agencies=lambda: ["JCM", "MDC"], factors=factors)
        await administration.add("siti", "Siti Contoh", ["officer:JCM"], by="Ujian")
        return (await administration.invite("siti", CodeKind.LETTER, by="Ujian")).code


@asynccontextmanager
async def officer(port: int, code: str) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Sec-Fetch-Site": "same-origin"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60) as browser:
        told = {"name": "siti", "code": code, "password": PASSWORD}
        assert (await browser.post("/welcome", data=told)).status_code == 303
        yield browser


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return write_files(tmp_path)


async def test_page_and_apply_concurrent_edits_lose_nothing(place: Path, port: int) -> None:
    settings = place / "pantau.yaml"
    settings.write_text(
        settings.read_text().replace("\nlisten: 127.0.0.1:0", f"\nlisten: 127.0.0.1:{port}\nportal: {{}}")
    )
    assert (await asyncio.to_thread(run, place, "apply"))[0] == 0
    code = await invite_officer(place)
    async with service(place), officer(port, code) as browser:

        async def fill(form: str, started_from: str, **fields: str) -> httpx.Response:
            return await browser.post(SETTINGS, data={"form": form, "started_from": started_from, **fields})

        # A saved edit applies at once.
        opened = digest_of(stored(place))
        saved = await fill("interval", opened, interval="20m")
        assert saved.headers.get("location") == f"{SETTINGS}?saved=2", saved.text
        assert "20" in json.dumps(applied_agency(place)["probing"])

        # `apply` of older files is refused. After an export and another change it succeeds.
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
        assert applied_agency(place)["name"] == "Jabatan Baharu"

        # The officer's page still shows the earlier version.
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
        assert applied_agency(place)["name"] == "Jabatan Baharu"
        versions = await browser.get("/agencies/JCM/versions", params={"from": "2", "to": "3"})
        assert "+ name: Jabatan Baharu" in versions.text


async def test_portal_edits_many_concurrent_lose_none(place: Path, port: int) -> None:
    settings = place / "pantau.yaml"
    settings.write_text(
        settings.read_text().replace("\nlisten: 127.0.0.1:0", f"\nlisten: 127.0.0.1:{port}\nportal: {{}}")
    )
    await asyncio.to_thread(run, place, "apply")
    code = await invite_officer(place)
    async with service(place), officer(port, code) as browser:

        async def add(key: str) -> None:
            """Add a contact; after a conflict, repeat with the current version."""
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
