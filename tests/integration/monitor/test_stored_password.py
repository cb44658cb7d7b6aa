"""A password entered in the portal of a running service: it is stored, used, and named in an export."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from monitor.config.loading import load
from monitor.model.document import digest_of, secret_names_in
from monitor.store.admin.keyring import new_key
from probes.model.mailbox import Password, UnavailableLogin
from tests.integration.monitor.test_concurrent_edits import invite_officer, officer, run, stored
from tests.integration.monitor_only import service, write_files

PAGE = "/agencies/JCM/mailboxes"
SECRET = "rahsia-peti-kaunter"


async def add(browser: httpx.AsyncClient, place: Path, host: str, key: str = "kaunter") -> httpx.Response:
    typed = {"key": key, "address": f"{key}@jcm.gov.my", "password": SECRET, "imap.host": host}
    # Nothing is connected to: the name is this machine, which is not an allowed address.
    servers = {"imap.security": "starttls", "smtp.host": host, "smtp.security": "starttls"}
    form = {"form": "add_mailbox", "started_from": digest_of(stored(place)), **typed, **servers}
    return await browser.post(PAGE, data=form)


def login(place: Path) -> object:
    """Return the login of the new mailbox in the loaded configuration."""
    return load(place / "pantau.yaml", {}).require_configuration().registry.mailboxes["JCM/kaunter"].mailbox.login


async def test_stored_password_is_used_not_sent_internally_and_exported_by_name(
    tmp_path: Path, port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    place = write_files(tmp_path)
    settings, key = place / "pantau.yaml", place / "secrets" / "key"
    key.write_text(new_key())
    key.chmod(0o600)
    text = settings.read_text().replace("listen: 127.0.0.1:0\n", f"listen: 127.0.0.1:{port}\n", 1)
    settings.write_text(f"{text}portal: {{secrets_key_file: secrets/key}}\n")
    assert (await asyncio.to_thread(run, place, "apply"))[0] == 0
    code = await invite_officer(place)

    async with service(place), officer(port, code) as browser:
        answer = await add(browser, place, "localhost")
        assert answer.status_code in {200, 303}, answer.text
        (name,) = secret_names_in(stored(place))
        assert login(place) == Password(username="kaunter@jcm.gov.my", secret=SECRET)

        assert (await asyncio.to_thread(run, place, "export"))[0] == 0
        exported = (place / "agencies" / "jcm.yaml").read_text()
        assert f"password_stored: {name}" in exported
        assert SECRET not in exported
        status, told = await asyncio.to_thread(run, place, "apply")
        assert status == 0
        assert "The store is up to date." in told
        # The service uses the mailbox, and connects to no internal address, nor to this machine by name.
        said = ""
        async with asyncio.timeout(60):
            while "mailbox=JCM/kaunter" not in said:
                await asyncio.sleep(0.05)
                said += capsys.readouterr().out
        assert (
            "detail='this machine itself' mailbox=JCM/kaunter outcome=inconclusive reason='address not allowed'" in said
        )
        assert SECRET not in said
        cookies = browser.cookies

    # With another key only that mailbox has no login.
    key.write_text(new_key())
    assert isinstance(login(place), UnavailableLogin)
    # A lost key does not prevent the service from starting or probing other mailboxes.
    key.unlink()
    async with service(place), httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", cookies=cookies) as browser:
        browser.headers["Sec-Fetch-Site"] = "same-origin"
        page = await browser.get(f"{PAGE}?lang=en")
        said = capsys.readouterr().out
        assert "component is unavailable; everything else works" in said
        assert "portal.secrets_key_file: the file secrets/key does not exist" in said
        assert "The key of the stored secrets is missing" in page.text
        answer = await add(browser, place, "localhost", key="kedua")
        assert (answer.status_code, "passwords cannot be stored here" in answer.text) == (422, True)
