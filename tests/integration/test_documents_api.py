"""Agency documents over HTTP at a running service: reading, conditional writes, errors and removal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from monitor.config.files.problem import Severity
from monitor.config.loading import load
from monitor.model.document import EditSource, WrittenDocument, digest_of
from monitor.runtime.control_socket import CONTROL_SOCKET
from monitor.store.admin.documents import Documents, read_documents
from monitor.store.backend.database import Database
from pantau_lab.serving import claimed
from tests.integration.monitor_only import agency, service, write_files
from tests.stories.running_service import create_store
from tests.unit.alerts.people import T0

JCM = "/api/v1/agencies/JCM/document"


@asynccontextmanager
async def running(place: Path, *codes: str) -> AsyncIterator[httpx.AsyncClient]:
    """Run the service of these agencies with a portal; yield a client with an administrator's token."""
    with claimed(1) as [port]:
        settings = write_files(place) / "pantau.yaml"
        text = settings.read_text().replace(
            "listen: 127.0.0.1:0\ncall", f"listen: 127.0.0.1:{port}\nportal: {{}}\ncall"
        )
        settings.write_text(text)
        async with Database.open(place / "state") as database:
            wanted = [WrittenDocument(agency=c, name=f"{c.lower()}.yaml", text=agency(c)) for c in codes]
            await Documents(database).write({}, wanted, [], edit_source=EditSource.FILES, by="Siti", now=T0)
        async with service(place):
            secret = await token(place, "admin")
            headers = {"Authorization": f"Bearer {secret}"}
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60) as web:
                yield web


async def token(place: Path, *roles: str) -> str:
    socket = httpx.AsyncHTTPTransport(uds=str(place / "state" / CONTROL_SOCKET))
    async with httpx.AsyncClient(transport=socket, base_url="http://pantau", timeout=60) as control:
        order = {"name": "penyunting", "roles": roles, "duration": "1d", "by": "Ujian"}
        return str((await control.post("/tokens", json=order)).raise_for_status().json()["secret"])


def stored(place: Path) -> dict[str, str | None]:
    return {code: each.text for code, each in read_documents(place / "state", None).items()}


@pytest.fixture
async def web(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with running(tmp_path, "JCM", "MDC") as opened:
        yield opened


async def test_service_starts_without_agency_if_portal_can_add_one(tmp_path: Path) -> None:
    async with running(tmp_path) as web:
        assert (await web.get("/api/v1/agencies")).json() == []
        written = await web.put(JCM, content=agency("JCM"), headers={"If-None-Match": "*"})
        assert written.status_code == 200, written.text
        assert [each["agency"] for each in (await web.get("/api/v1/agencies")).json()] == ["JCM"]


def test_empty_store_without_portal_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    create_store(tmp_path / "state")
    settings = write_files(tmp_path) / "pantau.yaml"
    assert [p.key for p in load(settings, {}).problems if p.severity is Severity.ERROR] == ["agencies"]
    settings.write_text(settings.read_text() + "portal: {}\n")
    assert [p.severity for p in load(settings, {}).problems if p.key == "agencies"] == [Severity.WARNING]


async def test_document_put_replaces_version_seen_only(web: httpx.AsyncClient, tmp_path: Path) -> None:
    read = await web.get(JCM)
    assert (read.status_code, read.text) == (200, agency("JCM"))
    assert read.headers["ETag"] == f'"{digest_of(agency("JCM"))}"'
    assert read.headers["content-type"].startswith("application/yaml")

    assert (await web.get(JCM, headers={"If-None-Match": read.headers["ETag"]})).status_code == 304
    changed = read.text.replace("Jabatan JCM", "Jabatan Contoh")
    match = {"If-Match": read.headers["ETag"]}
    written = await web.put(JCM, content=changed, headers=match)
    assert (written.status_code, written.json()["taken"]) == (200, True), written.text
    assert written.headers["ETag"] == f'"{digest_of(changed)}"'
    assert stored(tmp_path)["JCM"] == changed
    version = read_documents(tmp_path / "state", None)["JCM"]
    assert (version.number, version.source, version.by) == (2, EditSource.API, "program penyunting")
    [shown] = [each for each in (await web.get("/api/v1/agencies")).json() if each["agency"] == "JCM"]
    assert shown["name"] == "Jabatan Contoh"

    # Another client writes with the old version.
    late = await web.put(JCM, content=agency("JCM").replace("Jabatan", "Kementerian"), headers=match)
    assert late.status_code == 412
    assert (late.json()["seen"], late.json()["present"]) == (digest_of(agency("JCM")), digest_of(changed))
    assert stored(tmp_path)["JCM"] == changed


@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 428), ({"If-Match": "*"}, 422), ({"If-Match": 'W/"x"'}, 422), ({"If-None-Match": "*"}, 412)],
)
@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_document_write_without_matching_version_is_refused(
    web: httpx.AsyncClient, tmp_path: Path, method: str, headers: dict[str, str], status: int
) -> None:
    before = stored(tmp_path)
    answer = await web.request(method, JCM, content=agency("JCM") + "# lain\n", headers=headers)
    # A DELETE with If-None-Match names no version.
    assert answer.status_code == (428 if method == "DELETE" and "If-None-Match" in headers else status), answer.text
    assert stored(tmp_path) == before


async def test_document_invalid_returns_line_and_pointer_and_is_not_written(
    web: httpx.AsyncClient, tmp_path: Path
) -> None:
    before, match = stored(tmp_path), {"If-Match": (await web.get(JCM)).headers["ETag"]}
    wrong = agency("JCM").replace("port: 3}\n    imap", "port: tiga}\n    imap")
    answer = await web.put(JCM, content=wrong, headers=match)
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert (error["pointer"], error["line"]) == ("#/mailboxes/utama/smtp/port", 8)
    for text, pointer in ((agency("MDC"), None), (agency("BARU", "jcm.gov.my"), "#/agency")):
        answer = await web.put(JCM, content=text, headers=match)
        assert answer.status_code == 422, answer.text
        assert pointer is None or answer.json()["errors"][0]["pointer"] == pointer
    assert (await web.put(JCM, content=b"\xff", headers=match)).status_code == 422
    assert (await web.put(JCM, content=b"x" * 600_000, headers=match)).status_code == 413
    assert stored(tmp_path) == before


async def test_document_new_agency_is_created_and_deleted(web: httpx.AsyncClient, tmp_path: Path) -> None:
    path, new = "/api/v1/agencies/BARU/document", {"If-None-Match": "*"}
    assert (await web.get(path)).status_code == 404
    made = await web.put(path, content=agency("BARU"), headers=new)
    assert (made.status_code, made.json()["taken"]) == (200, True), made.text
    assert (await web.put(path, content=agency("BARU") + "#\n", headers=new)).status_code == 412
    gone = await web.delete(path, headers={"If-Match": made.headers["ETag"]})
    assert (gone.status_code, gone.json()["digest"]) == (200, ""), gone.text
    assert stored(tmp_path) == {"JCM": agency("JCM"), "MDC": agency("MDC"), "BARU": None}
    assert (await web.get(path)).status_code == 404
    # A removed agency can be created again.
    assert (await web.put(path, content=agency("BARU"), headers=new)).status_code == 200


async def test_document_concurrent_puts_one_succeeds(web: httpx.AsyncClient, tmp_path: Path) -> None:
    match = {"If-Match": (await web.get(JCM)).headers["ETag"]}
    texts = [agency("JCM") + f"# {n}\n" for n in range(4)]
    answers = await asyncio.gather(*(web.put(JCM, content=text, headers=match) for text in texts))
    assert sorted(each.status_code for each in answers) == [200, 412, 412, 412]
    [stored_text] = [text for text, each in zip(texts, answers, strict=True) if each.status_code == 200]
    assert stored(tmp_path)["JCM"] == stored_text


async def test_officer_writes_own_agency_and_no_secret(web: httpx.AsyncClient, tmp_path: Path) -> None:
    match = {"If-Match": (await web.get(JCM)).headers["ETag"]}
    for roles, reads in ((["officer:JCM"], True), (["officer"], True), (["officer:MDC"], False), (["noc"], False)):
        shown = {"Authorization": f"Bearer {await token(tmp_path, *roles)}"}
        assert ((await web.get(JCM, headers=shown)).status_code == 200) is reads
        put = await web.put(JCM, content=agency("JCM"), headers={**match, **shown})
        assert (put.status_code == 200) is reads
        assert (await web.delete(JCM, headers={**match, **shown})).status_code == 403
        new = await web.put(
            "/api/v1/agencies/BARU/document", content=agency("BARU"), headers={"If-None-Match": "*", **shown}
        )
        assert new.status_code == 403

    shown = {"Authorization": f"Bearer {await token(tmp_path, 'officer:JCM')}"}
    for old, changed in (
        ("secrets/mail", "/etc/passwd"),
        ("127.0.0.1, port: 3}\n    imap", "127.0.0.2, port: 3}\n    imap"),
    ):
        refused = await web.put(JCM, content=agency("JCM").replace(old, changed), headers={**match, **shown})
        assert refused.status_code == 422
        [error] = refused.json()["errors"]
        assert "only an administrator may change" in error["detail"]
        assert error["pointer"].startswith("#/mailboxes/utama/")
    assert stored(tmp_path)["JCM"] == agency("JCM")
    written = await web.put(JCM, content=agency("JCM") + "# pegawai\n", headers={**match, **shown})
    assert (written.status_code, written.json()["taken"]) == (200, True)


async def test_officer_errors_reveal_nothing_of_other_agency(web: httpx.AsyncClient, tmp_path: Path) -> None:
    shown = {"Authorization": f"Bearer {await token(tmp_path, 'officer:JCM')}"}
    match = {"If-Match": (await web.get(JCM)).headers["ETag"]}
    for text in (agency("JCM").replace("agency: JCM", "agency: MDC"), agency("JCM", "mdc.gov.my")):
        answer = await web.put(JCM, content=text, headers={**match, **shown})
        assert answer.status_code == 422
        assert all("pointer" in error for error in answer.json()["errors"]), "no error about another agency"
    assert stored(tmp_path) == {code: agency(code) for code in ("JCM", "MDC")}
    assert (await web.get("/api/v1/agencies/MDC/document", headers=shown)).status_code == 403


async def test_document_api_agencies_in_files_returns_conflict(tmp_path: Path) -> None:
    async with running(tmp_path, "JCM", "MDC") as web:
        settings = tmp_path / "pantau.yaml"
        settings.write_text(settings.read_text().replace("agencies: database", "agencies: agencies"))
        assert (await web.post("/-/reload")).status_code == 200
        for method in ("GET", "PUT", "DELETE"):
            answer = await web.request(method, JCM, content="x", headers={"If-Match": f'"{"0" * 64}"'})
            assert answer.status_code == 409
            assert "agencies are files here" in answer.json()["detail"]
