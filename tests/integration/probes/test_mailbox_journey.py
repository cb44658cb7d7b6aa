"""An officer sets a mailbox up with real servers: found by the DNS, looked at, signed in to by password and by consent, and kept."""

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
from tests.integration.watching import agency
from tests.real.mailserver import DOMAIN, HOST, SECRET, Door, MailServer
from tests.real.nameserver import NameServer
from tests.unit.monitor.web.setup_site import StaticSetupSite
from tests.unit.monitor.web.signed import house

pytestmark = pytest.mark.real

#: What is written of a consent at Google, beside its secrets.
GOOGLE = {"flow": "refresh_token", "client_id": "pantau-ujian", "provider": "google"}
ANSWERS = "announced by the domain (SRV) · answers, its certificate is trusted"
BACK = "http://localhost/mailboxes/consent"


async def test_a_mailbox_is_found_and_signed_in_to_by_password_and_by_consent_and_kept(
    mail_server: MailServer, name_server: NameServer, tmp_path: Path
) -> None:
    doors = {587: mail_server.ports[Door.SUBMISSION], 993: mail_server.ports[Door.IMAPS]}
    for service, port in (("_submission", 587), ("_imaps", 993)):
        name_server.add(f"{service}._tcp.{DOMAIN}", "SRV", f"0 1 {port} {HOST}.")
    name_server.add(DOMAIN, "MX", "1 aspmx.l.google.com.")
    mailbox = mail_server.address("panduan")
    desk = AuthorizationServer(username=mailbox)
    async with serve(app(desk), port=mail_server.ports[Door.INTROSPECTION]) as url:
        client = Client(
            token_url=f"{url}/token", client_id=desk.client_id, client_secret=desk.client_secret, tls=mail_server.trust
        )
        google = ConsentProcedure(
            client=client, authorize_url=f"{url}/authorize", redirect_uri=BACK, servers=(HOST,), written=GOOGLE
        )
        setup_site = StaticSetupSite(
            names=name_server.validating,
            tls=mail_server.trust,
            ports=doors.values(),
            doors=doors,
            ways={MailPlatform.GOOGLE: google},
        )
        async with house(tmp_path, setup_site=setup_site) as place:
            await place.site.write(JCM=agency("JCM", DOMAIN))
            officer = await place.admitted("siti", "officer:JCM")
            address, page = await searched(officer, mailbox)
            for port in doors:
                assert f"<strong>{HOST}:{port}</strong>" in page
            assert page.count(ANSWERS) == 2

            form = {"smtp": "0", "reading": "0", "username": mailbox}
            await officer.post(address, data={**form, "password": "salah"})
            # By what servers of the domain's own say, it is the password; of Google's an app password were asked for.
            assert "the user name or the password is rejected" in (await officer.get(address)).text
            await officer.post(address, data={**form, "password": SECRET})
            assert works(await officer.get(address))

            await officer.post(address, data={**form, "way": "consent"})
            page = (await officer.get(address)).text
            assert not works(page)
            found = re.search(r'class="button" href="([^"]+)"', page)
            assert found
            async with httpx.AsyncClient() as browser:
                back = (await browser.get(found[1].replace("&amp;", "&"))).headers["location"]
            await officer.get(back)
            assert works(await officer.get(address))

            kept = await officer.post(f"{address}/save", data={"name": "panduan"})
            assert kept.status_code == 303, kept.text
            text = await place.site.text()

            setup_site.token_url, setup_site.own_servers = f"{url}/token", (HOST,)
            await again_by_application(officer, form, desk)
            delegated = document_from_text(await place.site.text(), "JCM").data["mailboxes"]["panduan"]["login"][
                "oauth"
            ]
    assert delegated.keys() == {"provider", "flow", "client_id", "service_account_stored"}
    asked = [form["grant_type"].rpartition(":")[2] for form in desk.asked]
    assert asked == ["authorization_code", "refresh_token", "jwt-bearer"]
    written = document_from_text(text, "JCM").data["mailboxes"]["panduan"]["login"]
    assert {key: written["oauth"][key] for key in GOOGLE} == GOOGLE
    assert written["oauth"].keys() - GOOGLE.keys() == {"client_secret_stored", "refresh_token_stored"}
    assert desk.refresh_token not in text


async def searched(officer: httpx.AsyncClient, mailbox: str) -> tuple[str, str]:
    """Return the page of a search and what it shows; search once more where it is said that servers did not answer in time."""
    for _ in range(5):
        begun = await officer.post("/agencies/JCM/mailboxes/new", data={"address": mailbox})
        address = begun.headers["location"]
        page = (await officer.get(f"{address}?lang=en")).text
        if page.count(ANSWERS) == 2:
            break
    return address, page


async def again_by_application(officer: httpx.AsyncClient, form: Mapping[str, str], desk: AuthorizationServer) -> None:
    """Set the mailbox up again, by an application that the domain's administrator has delegated to."""
    account = desk.service_account = LabServiceAccount()
    address, page = await searched(officer, form["username"])
    assert page.count(ANSWERS) == 2
    await officer.post(address, data={**form, "way": "google", "service_account": account.file()})
    assert works(await officer.get(address))
    kept = await officer.post(f"{address}/save")
    assert kept.status_code == 303, kept.text


def works(page: httpx.Response | str) -> bool:
    return 'class="verdict well"' in (page if isinstance(page, str) else page.text)
