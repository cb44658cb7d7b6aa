"""Mailbox setup by an officer with real servers: discovery, sign-in by password and by consent, and saving."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

from monitor.config.files.document import document_from_text
from monitor.config.service.consent import ConsentProcedure
from pantau_lab.oauth import AuthorizationServer, LabServiceAccount, app
from pantau_lab.serving import serve
from probes.credentials.oauth_endpoint import Client
from probes.model.mail_platform import MailPlatform
from tests.integration.monitor_only import agency
from tests.real.mailserver import DOMAIN, HOST, SECRET, Listener, MailServer
from tests.real.nameserver import NameServer
from tests.unit.monitor.web.portal_env import open_portal
from tests.unit.monitor.web.setup_site import StaticSetupSite

pytestmark = pytest.mark.real

#: Saved settings of a Google consent, without secrets.
GOOGLE_LOGIN = {"flow": "refresh_token", "client_id": "pantau-ujian", "provider": "google"}
SERVER_ANSWERS = "announced by the domain (SRV) · answers, its certificate is trusted"
REDIRECT_URI = "http://localhost/mailboxes/consent"


async def test_mailbox_setup_finds_signs_in_and_saves_by_password_and_consent(
    mail_server: MailServer, name_server: NameServer, tmp_path: Path
) -> None:
    port_map = {587: mail_server.ports[Listener.SUBMISSION], 993: mail_server.ports[Listener.IMAPS]}
    for service, port in (("_submission", 587), ("_imaps", 993)):
        name_server.add(f"{service}._tcp.{DOMAIN}", "SRV", f"0 1 {port} {HOST}.")
    name_server.add(DOMAIN, "MX", "1 aspmx.l.google.com.")
    mailbox = mail_server.address("panduan")
    authorization_server = AuthorizationServer(username=mailbox)
    async with serve(app(authorization_server), port=mail_server.ports[Listener.INTROSPECTION]) as url:
        client = Client(
            token_url=f"{url}/token",
            client_id=authorization_server.client_id,
            client_secret=authorization_server.client_secret,
            tls=mail_server.trust,
        )
        google = ConsentProcedure(
            client=client,
            authorize_url=f"{url}/authorize",
            redirect_uri=REDIRECT_URI,
            servers=(HOST,),
            oauth_settings=GOOGLE_LOGIN,
        )
        setup_site = StaticSetupSite(
            names=name_server.validating,
            tls=mail_server.trust,
            ports=port_map.values(),
            port_map=port_map,
            consents={MailPlatform.GOOGLE: google},
        )
        async with open_portal(tmp_path, setup_site=setup_site) as env:
            await env.site.write(JCM=agency("JCM", DOMAIN))
            officer = await env.session_for("siti", "officer:JCM")
            address, page = await search_servers(officer, mailbox)
            for port in port_map:
                assert f"<strong>{HOST}:{port}</strong>" in page
            assert page.count(SERVER_ANSWERS) == 2

            form = {"smtp": "0", "reading": "0", "username": mailbox}
            await officer.post(address, data={**form, "password": "salah"})
            # The domain's own servers reject the password; for Google's the page would ask for an app password.
            assert "the user name or the password is rejected" in (await officer.get(address)).text
            await officer.post(address, data={**form, "password": SECRET})
            assert is_sign_in_successful(await officer.get(address))

            await officer.post(address, data={**form, "way": "consent"})
            page = (await officer.get(address)).text
            assert not is_sign_in_successful(page)
            found = re.search(r'class="button" href="([^"]+)"', page)
            assert found
            async with httpx.AsyncClient() as browser:
                back = (await browser.get(found[1].replace("&amp;", "&"))).headers["location"]
            await officer.get(back)
            assert is_sign_in_successful(await officer.get(address))

            saved = await officer.post(f"{address}/save", data={"name": "panduan"})
            assert saved.status_code == 303, saved.text
            text = await env.site.text()

            setup_site.token_url, setup_site.own_servers = f"{url}/token", (HOST,)
            await set_up_with_service_account(officer, form, authorization_server)
            delegated = document_from_text(await env.site.text(), "JCM").data["mailboxes"]["panduan"]["login"]["oauth"]
    assert delegated.keys() == {"provider", "flow", "client_id", "service_account_stored"}
    asked = [form["grant_type"].rpartition(":")[2] for form in authorization_server.requests]
    assert asked == ["authorization_code", "refresh_token", "jwt-bearer"]
    written = document_from_text(text, "JCM").data["mailboxes"]["panduan"]["login"]
    assert {key: written["oauth"][key] for key in GOOGLE_LOGIN} == GOOGLE_LOGIN
    assert written["oauth"].keys() - GOOGLE_LOGIN.keys() == {"client_secret_stored", "refresh_token_stored"}
    assert authorization_server.refresh_token not in text


async def search_servers(officer: httpx.AsyncClient, mailbox: str) -> tuple[str, str]:
    """Return address and content of a search page; repeat the search while servers time out."""
    for _ in range(5):
        begun = await officer.post("/agencies/JCM/mailboxes/new", data={"address": mailbox})
        address = begun.headers["location"]
        page = (await officer.get(f"{address}?lang=en")).text
        if page.count(SERVER_ANSWERS) == 2:
            break
    return address, page


async def set_up_with_service_account(
    officer: httpx.AsyncClient, form: Mapping[str, str], authorization_server: AuthorizationServer
) -> None:
    """Set the mailbox up again, with a service account delegated by the domain's administrator."""
    account = authorization_server.service_account = LabServiceAccount()
    address, page = await search_servers(officer, form["username"])
    assert page.count(SERVER_ANSWERS) == 2
    await officer.post(address, data={**form, "way": "google", "service_account": account.key_file()})
    assert is_sign_in_successful(await officer.get(address))
    saved = await officer.post(f"{address}/save")
    assert saved.status_code == 303, saved.text


def is_sign_in_successful(page: httpx.Response | str) -> bool:
    return 'class="verdict well"' in (page if isinstance(page, str) else page.text)
