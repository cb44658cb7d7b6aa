"""Guided mailbox setup: input, connection attempts, results, limits, consent and delegation."""

from __future__ import annotations

import asyncio
import html
import os
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from secrets import token_urlsafe
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import trustme
from sqlalchemy import select

from monitor.config.loading import load
from monitor.config.service.consent import ConsentProcedure
from monitor.service.portal.mailbox_setup import ChosenServers, CurrentSetupSettings, ServerChoice, SetupRejectedError
from monitor.store.schema.tables import audit_log
from pantau_lab.mail import Account, LabNetwork, MailSystem, SystemPlan
from pantau_lab.oauth import AuthorizationServer, LabServiceAccount, TokenEndpointFault, app
from pantau_lab.serving import serve
from probes.credentials.oauth_endpoint import Client
from probes.credentials.service_account import GOOGLE_SCOPE
from probes.model.mail_platform import MailPlatform
from probes.model.mailbox import Security, Server
from probes.preauth.session import Protocol
from tests.integration.monitor_only import agency, write_files
from tests.unit.monitor.web.portal_env import PortalEnv, open_portal
from tests.unit.monitor.web.setup_site import StaticSetupSite
from tests.unit.probes.rebinding_dns import rebinding_dns
from tests.unit.probes.standin import ImapStandIn, hosts

NEW = "/agencies/JCM/mailboxes/new"
ADDRESS = "kaunter@jcm.gov.my"
REDIRECT_URI = "http://localhost/mailboxes/consent"


@pytest.fixture
async def network(tmp_path: Path) -> AsyncIterator[LabNetwork]:
    folder = tmp_path / "lab"
    folder.mkdir()
    account = Account(name="jcm", address=ADDRESS, secret=token_urlsafe(12))
    plan = SystemPlan(name="jcm", domain="jcm.gov.my", accounts=(account,))
    async with LabNetwork([plan], folder=folder) as opened:
        yield opened


@pytest.fixture
def system(network: LabNetwork) -> MailSystem:
    return network.systems["jcm"]


@pytest.fixture
def setup_site(network: LabNetwork, system: MailSystem) -> StaticSetupSite:
    tls = network.authority.client_context()
    port_map = {587: system.submission, 993: system.imap}
    return StaticSetupSite(tls=tls, ports=(system.submission, system.imap, 1), port_map=port_map)


@pytest.fixture
async def env(tmp_path: Path, setup_site: StaticSetupSite) -> AsyncIterator[PortalEnv]:
    async with open_portal(tmp_path, setup_site=setup_site) as opened:
        yield opened


@pytest.fixture
async def officer(env: PortalEnv) -> httpx.AsyncClient:
    return await env.session_for("siti", "officer:JCM")


async def start_setup(browser: httpx.AsyncClient, address: str = ADDRESS) -> str:
    """Start a setup; return its address."""
    answer = await browser.post(NEW, data={"address": address})
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def setup_form(system: MailSystem, **other: str) -> dict[str, str]:
    """Return a form with both servers entered by hand."""
    return {
        "smtp": "hand",
        "smtp_host": "localhost",
        "smtp_port": str(system.submission),
        "smtp_security": "starttls",
        "reading": "hand",
        "reading_protocol": "imap",
        "reading_host": "localhost",
        "reading_port": str(system.imap),
        "reading_security": "implicit",
        "username": ADDRESS,
        **other,
    }


def secret(network: LabNetwork) -> str:
    login = network.mailboxes()["jcm"].login
    return str(getattr(login, "secret", ""))


async def test_setup_working_mailbox_shows_phases_and_sends_nothing(
    network: LabNetwork, system: MailSystem, officer: httpx.AsyncClient
) -> None:
    page = await officer.get(f"{NEW}?lang=en")
    assert "Use a dedicated mailbox that nobody reads" in page.text
    # The portal has no secrets key, which the page says first.
    assert "portal.secrets_key_file" in page.text
    address = await start_setup(officer)
    page = await officer.get(address)
    assert "No servers were found for this domain" in page.text

    tried = await officer.post(address, data=setup_form(system, password=secret(network)))
    assert (tried.status_code, tried.headers["location"]) == (303, address)
    page = await officer.get(address)
    assert 'class="verdict well"' in page.text
    assert f"Sending (SMTP): localhost:{system.submission}" in page.text
    assert page.text.count('class="phases"') == 2
    assert secret(network) not in page.text
    assert system.message_count(ADDRESS) == 0
    # The form keeps the input, and another choice needs no clearing.
    without = await officer.post(address, data=setup_form(system, smtp="none", password=secret(network)))
    assert without.status_code == 303


async def test_setup_internal_address_of_discovered_server_is_not_connected(
    tmp_path: Path,
) -> None:
    outside, inside = ImapStandIn(), ImapStandIn()
    async with (
        hosts({"127.0.0.2": outside, "127.0.0.1": inside}) as port,
        rebinding_dns(
            {
                "_submissions._tcp.jcm.gov.my SRV": [["0 0 0 ."]],
                "_imap._tcp.jcm.gov.my SRV": [[f"0 0 {port} mel.jcm.gov.my."]],
                "mel.jcm.gov.my A": [["127.0.0.2"], ["127.0.0.1"], ["10.0.0.9"], ["169.254.169.254"]],
            }
        ) as dns_server,
    ):
        settings = write_files(tmp_path / "tapak") / "pantau.yaml"
        text = settings.read_text().replace("agencies: database", "agencies: agencies")
        portal = f"portal: {{allowed_mail_networks: ['127.0.0.2:{port}']}}\n"
        settings.write_text(f"{text}{portal}checks: {{name_servers: ['127.0.0.1:{dns_server.port}']}}\n")
        configuration = load(settings, {}).configuration
        assert configuration is not None
        site = CurrentSetupSettings(lambda: configuration)
        async with open_portal(tmp_path / "rumah", setup_site=site) as env:
            officer = await env.session_for("siti", "officer:JCM")
            pages = [(await officer.get(f"{await start_setup(officer)}?lang=en")).text for _ in range(4)]
    refused_flags = ["Pantau does not connect to this address or port" in page for page in pages]
    assert refused_flags == [False, True, True, True]
    assert not any(each in page for each in ("10.0.0.9", "127.0.0.", "169.254") for page in pages)
    assert dns_server.asked["mel.jcm.gov.my A"] == 4
    assert (outside.connections, inside.connections) == (1, 0)


def test_setup_new_system_authority_is_trusted_without_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = write_files(tmp_path / "tapak") / "pantau.yaml"
    settings.write_text(settings.read_text().replace("agencies: database", "agencies: agencies"))
    configuration = load(settings, {}).configuration
    assert configuration is not None
    site = CurrentSetupSettings(lambda: configuration)
    imap = ServerChoice(protocol=Protocol.IMAP, host="mel.jcm.gov.my", port=993, security=Security.IMPLICIT)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "system.pem"))
    for number in (1, 2):
        authorities = [trustme.CA().cert_pem.bytes() for _ in range(number)]
        (tmp_path / "system.pem").write_bytes(b"".join(authorities))
        os.utime(tmp_path / "system.pem", (number, number))
        tls = site.server(imap).tls
        assert tls is not None
        assert len(tls.get_ca_certs()) == number


FAILURES: dict[str, dict[str, str]] = {
    "the user name or the password is rejected": {"password": "salah"},
    "the port is closed": {"smtp_port": "1"},
    "Pantau does not connect to this address or port": {"smtp_port": "6379"},
    "the certificate is for another name": {"smtp_host": "mel.lain.gov.my"},
}


async def test_setup_failure_shows_cause_and_advice_not_server_text(
    network: LabNetwork, system: MailSystem, officer: httpx.AsyncClient
) -> None:
    address = await start_setup(officer)
    for expected, other in FAILURES.items():
        await officer.post(address, data=setup_form(system, **{"password": secret(network), **other}))
        page = (await officer.get(f"{address}?lang=en")).text
        assert expected in page
        assert "What to do: " in page
        assert "failed here" in page
        # The password is tried at one server only, and the server's text is not shown.
        assert "The other server was not tested" in page
        # A random port may contain these digits.
        assert not re.search(r"\b535\b", page)


#: Changes of the form, and the error.
INVALID_FORMS: list[tuple[dict[str, str], str]] = [
    ({"password": ""}, "kosong"),
    ({"password": " salah "}, "ruang kosong"),
    ({"smtp": "none", "reading": "none", "smtp_host": "", "reading_host": ""}, "sekurang-kurangnya satu pelayan"),
    ({"smtp_host": "mel contoh"}, "tidak betul"),
    ({"smtp_host": "<b>"}, "tidak betul"),
    ({"smtp_port": "99999"}, "tidak betul"),
    ({"smtp_port": "abc"}, "tidak betul"),
    ({"smtp_security": "none"}, "tidak betul"),
    ({"smtp": "0", "smtp_host": ""}, "Pilih satu pelayan"),
    ({"smtp": "", "smtp_host": ""}, "Pilih satu pelayan"),
    # Otherwise the password would go to another server than the one entered.
    ({"smtp": "0"}, "bukan pelayan itu yang ditanda"),
    ({"reading": "none"}, "bukan pelayan itu yang ditanda"),
]


async def test_setup_invalid_form_is_not_tried_and_keeps_input(system: MailSystem, officer: httpx.AsyncClient) -> None:
    address = await start_setup(officer)
    for other, expected in INVALID_FORMS:
        answer = await officer.post(address, data=setup_form(system, **{"password": "apa-apa", **other}))
        assert (answer.status_code, expected in answer.text) == (422, True), other
        assert f'value="{system.imap}"' in answer.text
        assert "apa-apa" not in answer.text
        assert "<b>" not in answer.text


async def test_setup_address_outside_agency_domain_is_refused(officer: httpx.AsyncClient) -> None:
    assert "Domain agensi anda: jcm.gov.my." in (await officer.get(f"{NEW}?lang=ms")).text
    for address, expected in (
        ("bukan alamat", "bukan alamat e-mel"),
        ("orang@mdc.gov.my", "di luar domain"),
        ("orang@gmail.com", "di luar domain"),
        ("orang@jcm.gov.my.penyerang.my", "di luar domain"),
    ):
        answer = await officer.post(NEW, data={"address": address})
        assert (answer.status_code, expected in answer.text) == (422, True), address


async def test_setup_rate_is_limited_per_user(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    for _ in range(15):
        await start_setup(officer)
    answer = await officer.post(NEW, data={"address": ADDRESS})
    assert (answer.status_code, "Tunggu sepuluh minit" in answer.text) == (422, True)
    env.clock.move(timedelta(minutes=10))
    await start_setup(officer)


async def test_setup_wrong_passwords_are_limited_per_account(
    env: PortalEnv, network: LabNetwork, system: MailSystem, officer: httpx.AsyncClient
) -> None:
    address = await start_setup(officer)
    for _ in range(3):
        assert (await officer.post(address, data=setup_form(system, password="salah"))).status_code == 303
    right = setup_form(system, password=secret(network))
    answer = await officer.post(address, data=right)
    assert (answer.status_code, "mengunci akaun" in answer.text) == (422, True)
    # For every user, and in any case of the name.
    other = await env.session_for("ravi", "officer:JCM")
    again = await other.post(await start_setup(other), data={**right, "username": ADDRESS.upper()})
    assert again.status_code == 422
    env.clock.move(timedelta(minutes=30))
    later = await env.session_for("mei", "officer:JCM")
    assert (await later.post(await start_setup(later), data=right)).status_code == 303


async def test_setup_is_visible_to_its_user_for_half_an_hour(
    env: PortalEnv, network: LabNetwork, system: MailSystem, officer: httpx.AsyncClient
) -> None:
    address = await start_setup(officer)
    await officer.post(address, data=setup_form(system, password=secret(network)))
    other = await env.session_for("ravi", "officer:JCM")
    assert (await other.get(address)).status_code == 404
    not_found = await other.post(address, data=setup_form(system, password="x-rahsia", address=ADDRESS))
    assert not_found.status_code == 404
    # The page offers a new setup with the address only.
    assert f'action="{NEW}"' in not_found.text
    assert f'name="address" type="email" value="{ADDRESS}"' in not_found.text
    assert "x-rahsia" not in not_found.text
    assert (await officer.get(address.replace("JCM", "MDC"))).status_code == 403
    for _ in range(2):
        assert (await officer.get(address)).status_code == 200
        env.clock.move(timedelta(minutes=16))
    assert (await officer.get(address)).status_code == 404


async def test_setup_audit_log_names_servers_and_no_secret(
    env: PortalEnv, network: LabNetwork, system: MailSystem, officer: httpx.AsyncClient
) -> None:
    address = await start_setup(officer)
    await officer.post(address, data=setup_form(system, password=secret(network)))
    async with env.database.read() as connection:
        query = select(audit_log).where(audit_log.c.event.like("mailbox%")).order_by(audit_log.c.id)
        looked, tried = (await connection.execute(query)).all()
    assert (looked.event, tried.event) == ("mailbox servers looked for", "mailbox tried")
    assert tried.actor == "Siti Contoh (siti)"
    assert f"localhost:{system.submission}, localhost:{system.imap}" in str(tried.detail)
    assert secret(network) not in str(tried.detail)


async def test_setup_concurrent_forms_store_one_consistent_result(
    env: PortalEnv, network: LabNetwork, system: MailSystem, officer: httpx.AsyncClient
) -> None:
    address = await start_setup(officer)
    setup = env.mailbox_setups.find("JCM", address.rpartition("/")[2], by="Siti Contoh (siti)")
    for both in ([secret(network), "salah"], ["salah", secret(network)]):
        await asyncio.gather(*(officer.post(address, data=setup_form(system, password=each)) for each in both))
        assert setup.has_signed_in is (setup.password == secret(network))


async def test_setup_clock_change_breaks_no_attempt_and_blocks_nobody(
    tmp_path: Path, network: LabNetwork, system: MailSystem, setup_site: StaticSetupSite
) -> None:
    connecting, by = asyncio.Event(), "Siti Contoh (siti)"

    class Watched(StaticSetupSite):
        def server(self, choice: ServerChoice) -> Server:
            connecting.set()
            return super().server(choice)

    site = Watched(names=setup_site.names, tls=setup_site.tls, ports=setup_site.ports, port_map=setup_site.port_map)
    imap = ServerChoice(protocol=Protocol.IMAP, host="localhost", port=system.imap, security=Security.IMPLICIT)
    chosen = ChosenServers(smtp=None, reading=imap)
    async with open_portal(tmp_path, setup_site=site) as env:
        setup = await env.mailbox_setups.begin("JCM", ADDRESS, by=by)
        connecting.clear()
        first = asyncio.create_task(env.mailbox_setups.try_password(setup, chosen, ADDRESS, secret(network)))
        await connecting.wait()
        env.clock.move(timedelta(hours=1))
        await env.mailbox_setups.try_password(setup, chosen, ADDRESS, secret(network))
        await first
        assert setup.has_signed_in
        for _ in range(11):
            await env.mailbox_setups.begin("JCM", ADDRESS, by=by)
        for _ in range(3):
            await env.mailbox_setups.try_password(setup, chosen, ADDRESS, "salah")
        with pytest.raises(SetupRejectedError):
            await env.mailbox_setups.begin("JCM", ADDRESS, by=by)
        env.clock.move(-timedelta(hours=1))
        await env.mailbox_setups.try_password(setup, chosen, ADDRESS, secret(network))
        assert setup.has_signed_in


# -- keeping -------------------------------------------------------------------------------------------------------------

USUAL_PORTS = {"smtp_port": "587", "reading_port": "993"}


async def test_setup_working_mailbox_is_saved_with_separate_secret(
    env: PortalEnv, network: LabNetwork, system: MailSystem, officer: httpx.AsyncClient
) -> None:
    address = await start_setup(officer)
    for _ in range(2):
        early = await officer.post(f"{address}/save", data={"name": "kaunter"})
        assert (early.status_code, "Belum berfungsi" in early.text) == (422, True)
        await officer.post(address, data=setup_form(system, password="salah", **USUAL_PORTS))
    await officer.post(address, data=setup_form(system, password=secret(network), **USUAL_PORTS))
    assert 'value="kaunter" required' in (await officer.get(address)).text
    for name, expected in (("utama", "Sudah ada peti mel"), ("A B", "huruf kecil"), ("", "huruf kecil")):
        refused = await officer.post(f"{address}/save", data={"name": name})
        assert (refused.status_code, expected in refused.text) == (422, True), name
        # The language link leads to a page that supports GET.
        assert f'href="{address}?lang=en"' in refused.text
    kept = await officer.post(f"{address}/save", data={"name": "kaunter"})
    assert kept.status_code == 303, kept.text
    assert kept.headers["location"] == "/agencies/JCM/mailboxes?saved=2"
    text = await env.site.text()
    assert (
        "  kaunter:\n"
        f"    address: {ADDRESS}\n"
        "    smtp:\n      host: localhost\n      port: 587\n      security: starttls\n"
        "    imap:\n      host: localhost\n      port: 993\n      security: implicit\n"
        f"    login:\n      username: {ADDRESS}\n      password_stored: typed-"
    ) in text
    assert secret(network) not in text
    assert env.site.reloads == ["Siti Contoh (siti)"]
    # The setup is deleted with its password.
    again = await officer.post(f"{address}/save", data={"name": "kaunter", "address": ADDRESS})
    assert (again.status_code, "Persediaan ini tidak ada lagi" in again.text) == (404, True)
    assert (await officer.get(address)).status_code == 404


async def test_setup_invalid_document_is_not_saved(
    env: PortalEnv, network: LabNetwork, system: MailSystem, officer: httpx.AsyncClient
) -> None:
    address = await start_setup(officer)
    # The attempt may use these ports in this test, but the site does not permit them in a document.
    await officer.post(address, data=setup_form(system, password=secret(network)))
    refused = await officer.post(f"{address}/save?lang=en", data={"name": "kaunter"})
    assert refused.status_code == 422
    assert "Nothing was saved." in refused.text
    assert "a port that mail servers do not use" in refused.text
    assert "kaunter:" not in await env.site.text()
    assert 'class="verdict well"' in (await officer.get(address)).text


# -- consent -------------------------------------------------------------------------------------------------------------


@pytest.fixture
async def consent_server(setup_site: StaticSetupSite) -> AsyncIterator[AuthorizationServer]:
    """Open an authorization server whose tokens the lab's servers refuse."""
    server = AuthorizationServer(username=ADDRESS)
    async with serve(app(server)) as url:
        client = Client(
            token_url=f"{url}/token",
            client_id=server.client_id,
            client_secret=server.client_secret,
            tls=setup_site.tls,
        )
        setup_site.consents = {
            MailPlatform.MICROSOFT: ConsentProcedure(
                client=client, device_url=f"{url}/device", servers=("office365.com",), oauth_settings={}
            ),
            MailPlatform.GOOGLE: ConsentProcedure(
                client=client,
                authorize_url=f"{url}/authorize",
                redirect_uri=REDIRECT_URI,
                servers=("gmail.com",),
                oauth_settings={},
            ),
        }
        yield server


def consent_form(host: str, **other: str) -> dict[str, str]:
    """Return a form with a platform's server and consent."""
    return {"smtp": "none", "reading": "hand", "reading_host": host, "reading_port": "1", "way": "consent", **other}


async def test_consent_device_code_is_shown_and_polled_at_provider_interval(
    env: PortalEnv, officer: httpx.AsyncClient, consent_server: AuthorizationServer
) -> None:
    consent_server.consent_errors = ["authorization_pending", "slow_down"]
    address = await start_setup(officer)
    await officer.post(address, data=consent_form("outlook.office365.com"))
    page = (await officer.get(f"{address}?lang=en")).text
    assert "KAYU-BATU" in page
    assert 'href="https://log-masuk.contoh.my/peranti"' in page
    assert 'http-equiv="refresh" content="5;url=?polled"' in page
    asked = len(consent_server.requests)
    for seconds, query_router in ((4, 0), (1, 1), (5, 2), (5, 2), (5, 3)):
        env.clock.move(timedelta(seconds=seconds))
        page = (await officer.get(address)).text
        # The last poll is followed by an attempt, which redeems the refresh token.
        found = sum("device_code" in form for form in consent_server.requests[asked:])
        assert found == query_router, seconds
    assert "KAYU-BATU" not in page
    assert "the port is closed" in page


async def test_consent_refused_shows_reason_and_stops_polling(
    env: PortalEnv, officer: httpx.AsyncClient, consent_server: AuthorizationServer
) -> None:
    address = await start_setup(officer)
    for error, expected in (
        ("access_denied", "Consent was denied"),
        ("expired_token", "not entered in time"),
        ("invalid_grant", "The provider blocks this method"),
    ):
        consent_server.consent_errors = [error]
        await officer.post(address, data=consent_form("outlook.office365.com"))
        env.clock.move(timedelta(seconds=5))
        page = (await officer.get(f"{address}?lang=en")).text
        assert expected in page
        assert "refresh" not in page
        assert "IMAP.AccessAsApp" in page


async def test_consent_google_redirect_returns_to_its_user_once(
    env: PortalEnv, officer: httpx.AsyncClient, consent_server: AuthorizationServer
) -> None:
    address = await start_setup(officer)
    await officer.post(address, data=consent_form("imap.gmail.com"))
    page = (await officer.get(address)).text
    found = re.search(r'class="button" href="([^"]+)"', page)
    assert found
    out = found[1].replace("&amp;", "&")
    assert parse_qs(urlsplit(out).query)["redirect_uri"] == [REDIRECT_URI]
    async with httpx.AsyncClient() as google:
        back = (await google.get(out)).headers["location"]
    other = await env.session_for("ravi", "officer:JCM")
    assert (await other.get(back)).status_code == 404
    assert (await other.get("/mailboxes/consent")).status_code == 404
    returned = await officer.get(back)
    assert (returned.status_code, returned.headers["location"]) == (303, address)
    assert [form["grant_type"] for form in consent_server.requests] == ["authorization_code", "refresh_token"]
    assert "port ditutup" in (await officer.get(address)).text
    # The redirect works once.
    assert (await officer.get(back)).status_code == 404


async def test_consent_token_is_given_to_provider_servers_only(
    system: MailSystem, officer: httpx.AsyncClient, consent_server: AuthorizationServer
) -> None:
    address = await start_setup(officer)
    other = {"smtp": "hand", "smtp_host": "imap.gmail.com.penyerang.my", "smtp_port": str(system.submission)}
    answer = await officer.post(address, data=consent_form("imap.gmail.com", **other))
    assert (answer.status_code, "pelayan pembekal itu sendiri" in answer.text) == (422, True)
    assert consent_server.requests == []


async def test_consent_denied_at_google_is_shown(
    officer: httpx.AsyncClient, consent_server: AuthorizationServer
) -> None:
    consent_server.consent_errors = ["access_denied"]
    address = await start_setup(officer)
    await officer.post(address, data=consent_form("imap.gmail.com"))
    found = re.search(r'class="button" href="([^"]+)"', (await officer.get(address)).text)
    assert found
    async with httpx.AsyncClient() as google:
        back = (await google.get(found[1].replace("&amp;", "&"))).headers["location"]
    await officer.get(back)
    assert "Kebenaran tidak diberi" in (await officer.get(address)).text


async def test_consent_without_registration_requires_administrator(officer: httpx.AsyncClient) -> None:
    address = await start_setup(officer)
    answer = await officer.post(address, data=consent_form("imap.gmail.com"))
    assert (answer.status_code, "tidak disediakan di sini" in answer.text) == (422, True)
    assert 'value="consent"' not in answer.text


# -- an administrator's delegation ---------------------------------------------------------------------------------------

#: Servers that count as the provider's own.
PROVIDER_SERVERS = ("localhost",)
ACCOUNT = LabServiceAccount()


@pytest.fixture
async def provider(setup_site: StaticSetupSite) -> AsyncIterator[AuthorizationServer]:
    """Open an authorization server of the domain; its tokens go to the lab's servers."""
    account = LabServiceAccount()
    server = AuthorizationServer(username=ADDRESS, service_account=account)
    async with serve(app(server)) as url:
        setup_site.token_url, setup_site.own_servers = f"{url}/token", PROVIDER_SERVERS
        yield server


GOOGLE = {"way": "google", "service_account": ACCOUNT.key_file()}
MICROSOFT = {"way": "microsoft", "tenant": "", "client_id": "pantau-ujian", "client_secret": "rahsia-klien"}


async def test_delegation_without_application_shows_required_permissions(officer: httpx.AsyncClient) -> None:
    page = (await officer.get(f"{await start_setup(officer)}?lang=en")).text
    # The domain's provider is unknown, so both are shown.
    assert "Domain-wide delegation" in page
    assert f"Add-MailboxPermission -Identity '{ADDRESS}' -User" in html.unescape(page)
    assert "That key opens every mailbox of the domain" in page
    assert "Its domain or id; empty: jcm.gov.my".lower() in page.lower()


#: Form, and the error shown for the provider's response.
PROVIDER_ERRORS: dict[str, tuple[dict[str, str], str]] = {
    "scope": (GOOGLE, "the provider does not authorise this application"),
    "delegated": (GOOGLE, "the provider does not authorise this application"),
    "user": (GOOGLE, "the provider has no such mailbox"),
    "key": (GOOGLE, "rejects the application's key or secret"),
    "clock": (GOOGLE, "Pantau's clock and the provider's differ"),
    "secret": ({**MICROSOFT, "client_secret": "salah"}, "rejects the application's key or secret"),
    "grant": (MICROSOFT, "rejects the application's key or secret"),
    "tenant": (MICROSOFT, "the provider has no such tenant, or the tenant has no such application"),
    "away": (MICROSOFT, "does not respond"),
}


async def test_delegation_provider_error_shows_cause_and_advice(
    system: MailSystem, officer: httpx.AsyncClient, provider: AuthorizationServer
) -> None:
    faults = {
        "delegated": TokenEndpointFault.UNAUTHORIZED_CLIENT,
        "tenant": TokenEndpointFault.UNAUTHORIZED_CLIENT,
        "grant": TokenEndpointFault.INVALID_GRANT,
        "away": TokenEndpointFault.UNAVAILABLE,
    }
    address = await start_setup(officer)
    for wrong, (form, expected) in PROVIDER_ERRORS.items():
        provider.fault = faults.get(wrong, TokenEndpointFault.NONE)
        provider.username = "lain@jcm.gov.my" if wrong == "user" else ADDRESS
        back = timedelta(hours=1 if wrong == "clock" else 0)
        provider.clock = partial(_ago, back)
        provider.service_account = account = LabServiceAccount(scopes=set() if wrong == "scope" else {GOOGLE_SCOPE})
        if wrong == "key":
            account.renew_key()
        answer = await officer.post(address, data=setup_form(system, **form))
        assert answer.status_code == 303, answer.text
        page = html.unescape((await officer.get(f"{address}?lang=en")).text)
        assert expected in page, wrong
        assert "What to do: " in page
        # No mail server was contacted, and the provider's text is not shown.
        assert not [each for each in ("invalid_grant", "unauthorized_client", "AADSTS", "rahsia-klien") if each in page]


def _ago(span: timedelta) -> datetime:
    return datetime.now(UTC) - span


async def test_delegation_rejected_by_mail_server_is_distinguished(
    system: MailSystem, officer: httpx.AsyncClient, provider: AuthorizationServer
) -> None:
    address = await start_setup(officer)
    for form in (GOOGLE, MICROSOFT):
        await officer.post(address, data=setup_form(system, **form))
        page = (await officer.get(f"{address}?lang=en")).text
        # The lab's servers support no tokens, which is known before one is sent.
        assert "the server does not support this sign-in method" in page
    # Values that are not secret stay in the form.
    assert 'name="client_id" value="pantau-ujian"' in page
    assert [form["grant_type"] for form in provider.requests] == [
        "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "client_credentials",
    ]
    assert provider.requests[1]["scope"] == "https://outlook.office365.com/.default"


INVALID_APPLICATIONS: list[tuple[dict[str, str], str]] = [
    ({**GOOGLE, "service_account": ""}, "Paste the service account"),
    ({**GOOGLE, "service_account": '{"type": "authorized_user", "private_key": "rahsia"}'}, "not a complete JSON file"),
    ({**MICROSOFT, "tenant": "../lain"}, "A tenant is a domain or an id"),
    ({**MICROSOFT, "client_id": "a/b"}, "letters, digits and hyphens"),
    ({**MICROSOFT, "client_secret": ""}, "The client secret is empty"),
    ({**MICROSOFT, "client_secret": " rahsia"}, "begins or ends with a space"),
    ({**MICROSOFT, "reading_host": "imap.penyerang.example"}, "the provider's own servers"),
]


async def test_delegation_invalid_application_is_not_tried_and_reveals_no_secret(
    system: MailSystem, officer: httpx.AsyncClient, provider: AuthorizationServer
) -> None:
    address = await start_setup(officer)
    for form, expected in INVALID_APPLICATIONS:
        answer = await officer.post(f"{address}?lang=en", data=setup_form(system, **form))
        assert (answer.status_code, expected in html.unescape(answer.text)) == (422, True), form
        assert not [each for each in ("rahsia", "PRIVATE") if each in answer.text]
    assert provider.requests == []


async def test_setup_existing_mailbox_keeps_its_name(
    env: PortalEnv, network: LabNetwork, system: MailSystem, officer: httpx.AsyncClient
) -> None:
    await env.site.write(JCM=agency("JCM").replace("address: pantau@", "address: kaunter@"))
    before = await env.site.text()
    address = await start_setup(officer, ADDRESS.upper())
    page = (await officer.get(f"{address}?lang=en")).text
    assert "already has this mailbox (utama)" in page
    await officer.post(address, data=setup_form(system, password=secret(network), **USUAL_PORTS))
    page = (await officer.get(address)).text
    assert 'name="name"' not in page
    kept = await officer.post(f"{address}/save", data={"name": "lain"})
    assert kept.status_code == 303, kept.text
    text = await env.site.text()
    assert "lain:" not in text
    assert text.count("address:") == before.count("address:")
    assert f"address: {ADDRESS}" in text
    assert f"username: {ADDRESS}, password_stored: typed-" in text
