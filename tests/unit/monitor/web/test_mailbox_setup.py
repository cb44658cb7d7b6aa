"""The guided setup of a mailbox: what an officer types, what is tried, what is said of it, and how often."""

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
from monitor.service.portal.mailbox_setup import ChosenServers, ConfiguredSite, ServerChoice, SetupRejectedError
from monitor.store.schema.tables import audit_log
from pantau_lab.mail import Account, LabNetwork, MailSystem, SystemPlan
from pantau_lab.oauth import AuthorizationServer, LabServiceAccount, TokenEndpointFault, app
from pantau_lab.serving import serve
from probes.credentials.oauth_endpoint import Client
from probes.credentials.service_account import GOOGLE_SCOPE
from probes.model.mail_platform import MailPlatform
from probes.model.mailbox import Security, Server
from probes.preauth.session import Protocol
from tests.integration.watching import agency, laid_out
from tests.unit.monitor.web.setup_site import StaticSetupSite
from tests.unit.monitor.web.signed import House, house
from tests.unit.probes.standin import ImapStandIn, hosts
from tests.unit.probes.turncoat import turncoat

NEW = "/agencies/JCM/mailboxes/new"
ADDRESS = "kaunter@jcm.gov.my"
BACK = "http://localhost/mailboxes/consent"


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
    doors = {587: system.submission, 993: system.imap}
    return StaticSetupSite(tls=tls, ports=(system.submission, system.imap, 1), doors=doors)


@pytest.fixture
async def place(tmp_path: Path, setup_site: StaticSetupSite) -> AsyncIterator[House]:
    async with house(tmp_path, setup_site=setup_site) as opened:
        yield opened


@pytest.fixture
async def officer(place: House) -> httpx.AsyncClient:
    return await place.admitted("siti", "officer:JCM")


async def begun(browser: httpx.AsyncClient, address: str = ADDRESS) -> str:
    """Return where a setup goes on."""
    answer = await browser.post(NEW, data={"address": address})
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def typed(system: MailSystem, **other: str) -> dict[str, str]:
    """Return a form in which both servers were typed."""
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


async def test_a_mailbox_that_works_is_said_to_with_its_phases_and_nothing_is_sent(
    network: LabNetwork, system: MailSystem, officer: httpx.AsyncClient
) -> None:
    page = await officer.get(f"{NEW}?lang=en")
    assert "Use a dedicated mailbox that nobody reads" in page.text
    # Nothing encrypts what is typed at this site: that is said first.
    assert "portal.secrets_key_file" in page.text
    address = await begun(officer)
    page = await officer.get(address)
    assert "No servers were found for this domain" in page.text

    tried = await officer.post(address, data=typed(system, password=secret(network)))
    assert (tried.status_code, tried.headers["location"]) == (303, address)
    page = await officer.get(address)
    assert 'class="verdict well"' in page.text
    assert f"Sending (SMTP): localhost:{system.submission}" in page.text
    assert page.text.count('class="phases"') == 2
    assert secret(network) not in page.text
    assert system.messages(ADDRESS) == 0
    # What was typed and tried stands in the form still, and nobody has to clear it for another choice.
    without = await officer.post(address, data=typed(system, smtp="none", password=secret(network)))
    assert without.status_code == 303


async def test_what_the_officers_domain_announces_inside_is_not_knocked_at_whatever_its_names_say_next(
    tmp_path: Path,
) -> None:
    outside, inside = ImapStandIn(), ImapStandIn()
    async with (
        hosts({"127.0.0.2": outside, "127.0.0.1": inside}) as port,
        turncoat(
            {
                "_submissions._tcp.jcm.gov.my SRV": [["0 0 0 ."]],
                "_imap._tcp.jcm.gov.my SRV": [[f"0 0 {port} mel.jcm.gov.my."]],
                "mel.jcm.gov.my A": [["127.0.0.2"], ["127.0.0.1"], ["10.0.0.9"], ["169.254.169.254"]],
            }
        ) as served,
    ):
        settings = laid_out(tmp_path / "tapak") / "pantau.yaml"
        text = settings.read_text().replace("agencies: database", "agencies: agencies")
        portal = f"portal: {{allowed_mail_networks: ['127.0.0.2:{port}']}}\n"
        settings.write_text(f"{text}{portal}checks: {{name_servers: ['127.0.0.1:{served.port}']}}\n")
        configuration = load(settings, {}).configuration
        assert configuration is not None
        site = ConfiguredSite(lambda: configuration)
        async with house(tmp_path / "rumah", setup_site=site) as place:
            officer = await place.admitted("siti", "officer:JCM")
            pages = [(await officer.get(f"{await begun(officer)}?lang=en")).text for _ in range(4)]
    told = ["Pantau does not connect to this address or port" in page for page in pages]
    assert told == [False, True, True, True]
    assert not any(each in page for each in ("10.0.0.9", "127.0.0.", "169.254") for page in pages)
    assert served.asked["mel.jcm.gov.my A"] == 4
    assert (outside.connections, inside.connections) == (1, 0)


def test_an_authority_that_the_system_trusts_since_is_trusted_without_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = laid_out(tmp_path / "tapak") / "pantau.yaml"
    settings.write_text(settings.read_text().replace("agencies: database", "agencies: agencies"))
    configuration = load(settings, {}).configuration
    assert configuration is not None
    site = ConfiguredSite(lambda: configuration)
    imap = ServerChoice(protocol=Protocol.IMAP, host="mel.jcm.gov.my", port=993, security=Security.IMPLICIT)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "system.pem"))
    for number in (1, 2):
        authorities = [trustme.CA().cert_pem.bytes() for _ in range(number)]
        (tmp_path / "system.pem").write_bytes(b"".join(authorities))
        os.utime(tmp_path / "system.pem", (number, number))
        tls = site.server(imap).tls
        assert tls is not None
        assert len(tls.get_ca_certs()) == number


IN_THE_WAY: dict[str, dict[str, str]] = {
    "the user name or the password is rejected": {"password": "salah"},
    "the port is closed": {"smtp_port": "1"},
    "Pantau does not connect to this address or port": {"smtp_port": "6379"},
    "the certificate is for another name": {"smtp_host": "mel.lain.gov.my"},
}


async def test_what_is_in_the_way_is_said_with_what_to_do_and_not_in_the_servers_words(
    network: LabNetwork, system: MailSystem, officer: httpx.AsyncClient
) -> None:
    address = await begun(officer)
    for said, other in IN_THE_WAY.items():
        await officer.post(address, data=typed(system, **{"password": secret(network), **other}))
        page = (await officer.get(f"{address}?lang=en")).text
        assert said in page
        assert "What to do: " in page
        assert "failed here" in page
        # A wrong password is said once, and what a server says is not shown.
        assert "The other server was not tested" in page
        # Ports are drawn, and may hold it.
        assert not re.search(r"\b535\b", page)


#: Of a form, and what is said of it.
NO_MAILBOX: list[tuple[dict[str, str], str]] = [
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
    # Whoever types a server and leaves another one marked would send that the password.
    ({"smtp": "0"}, "bukan pelayan itu yang ditanda"),
    ({"reading": "none"}, "bukan pelayan itu yang ditanda"),
]


async def test_what_can_be_no_mailbox_is_not_tried_and_stays_typed(
    system: MailSystem, officer: httpx.AsyncClient
) -> None:
    address = await begun(officer)
    for other, said in NO_MAILBOX:
        answer = await officer.post(address, data=typed(system, **{"password": "apa-apa", **other}))
        assert (answer.status_code, said in answer.text) == (422, True), other
        assert f'value="{system.imap}"' in answer.text
        assert "apa-apa" not in answer.text
        assert "<b>" not in answer.text


async def test_only_an_address_of_the_agency_is_searched_for(officer: httpx.AsyncClient) -> None:
    assert "Domain agensi anda: jcm.gov.my." in (await officer.get(f"{NEW}?lang=ms")).text
    for address, said in (
        ("bukan alamat", "bukan alamat e-mel"),
        ("orang@mdc.gov.my", "di luar domain"),
        ("orang@gmail.com", "di luar domain"),
        ("orang@jcm.gov.my.penyerang.my", "di luar domain"),
    ):
        answer = await officer.post(NEW, data={"address": address})
        assert (answer.status_code, said in answer.text) == (422, True), address


async def test_one_who_tries_too_much_waits(place: House, officer: httpx.AsyncClient) -> None:
    for _ in range(15):
        await begun(officer)
    answer = await officer.post(NEW, data={"address": ADDRESS})
    assert (answer.status_code, "Tunggu sepuluh minit" in answer.text) == (422, True)
    place.clock.move(timedelta(minutes=10))
    await begun(officer)


async def test_an_account_is_not_locked_by_somebody_who_goes_on_guessing(
    place: House, network: LabNetwork, system: MailSystem, officer: httpx.AsyncClient
) -> None:
    address = await begun(officer)
    for _ in range(3):
        assert (await officer.post(address, data=typed(system, password="salah"))).status_code == 303
    right = typed(system, password=secret(network))
    answer = await officer.post(address, data=right)
    assert (answer.status_code, "mengunci akaun" in answer.text) == (422, True)
    # Whoever it is, and however the name is written.
    other = await place.admitted("ravi", "officer:JCM")
    again = await other.post(await begun(other), data={**right, "username": ADDRESS.upper()})
    assert again.status_code == 422
    place.clock.move(timedelta(minutes=30))
    later = await place.admitted("mei", "officer:JCM")
    assert (await later.post(await begun(later), data=right)).status_code == 303


async def test_a_setup_is_seen_by_who_has_begun_it_and_for_half_an_hour(
    place: House, network: LabNetwork, system: MailSystem, officer: httpx.AsyncClient
) -> None:
    address = await begun(officer)
    await officer.post(address, data=typed(system, password=secret(network)))
    other = await place.admitted("ravi", "officer:JCM")
    assert (await other.get(address)).status_code == 404
    told = await other.post(address, data=typed(system, password="x-rahsia", address=ADDRESS))
    assert told.status_code == 404
    # There is a way on, with the address in it and nothing else.
    assert f'action="{NEW}"' in told.text
    assert f'name="address" type="email" value="{ADDRESS}"' in told.text
    assert "x-rahsia" not in told.text
    assert (await officer.get(address.replace("JCM", "MDC"))).status_code == 403
    for _ in range(2):
        assert (await officer.get(address)).status_code == 200
        place.clock.move(timedelta(minutes=16))
    assert (await officer.get(address)).status_code == 404


async def test_the_journal_says_who_has_tried_which_servers_and_no_secret(
    place: House, network: LabNetwork, system: MailSystem, officer: httpx.AsyncClient
) -> None:
    address = await begun(officer)
    await officer.post(address, data=typed(system, password=secret(network)))
    async with place.database.read() as connection:
        query = select(audit_log).where(audit_log.c.event.like("mailbox%")).order_by(audit_log.c.id)
        looked, tried = (await connection.execute(query)).all()
    assert (looked.event, tried.event) == ("mailbox servers looked for", "mailbox tried")
    assert tried.actor == "Siti Contoh (siti)"
    assert f"localhost:{system.submission}, localhost:{system.imap}" in str(tried.detail)
    assert secret(network) not in str(tried.detail)


async def test_of_two_forms_that_are_sent_at_once_one_counts_as_a_whole(
    place: House, network: LabNetwork, system: MailSystem, officer: httpx.AsyncClient
) -> None:
    address = await begun(officer)
    setup = place.setups.find("JCM", address.rpartition("/")[2], by="Siti Contoh (siti)")
    for both in ([secret(network), "salah"], ["salah", secret(network)]):
        await asyncio.gather(*(officer.post(address, data=typed(system, password=each)) for each in both))
        assert setup.works is (setup.password == secret(network))


async def test_a_clock_that_is_put_on_or_back_meanwhile_breaks_no_trial_and_has_nobody_wait(
    tmp_path: Path, network: LabNetwork, system: MailSystem, setup_site: StaticSetupSite
) -> None:
    half_way, by = asyncio.Event(), "Siti Contoh (siti)"

    class Watched(StaticSetupSite):
        def server(self, choice: ServerChoice) -> Server:
            half_way.set()
            return super().server(choice)

    site = Watched(names=setup_site.names, tls=setup_site.tls, ports=setup_site.ports, doors=setup_site.doors)
    imap = ServerChoice(protocol=Protocol.IMAP, host="localhost", port=system.imap, security=Security.IMPLICIT)
    chosen = ChosenServers(smtp=None, reading=imap)
    async with house(tmp_path, setup_site=site) as place:
        setup = await place.setups.begin("JCM", ADDRESS, by=by)
        half_way.clear()
        first = asyncio.create_task(place.setups.try_password(setup, chosen, ADDRESS, secret(network)))
        await half_way.wait()
        place.clock.move(timedelta(hours=1))
        await place.setups.try_password(setup, chosen, ADDRESS, secret(network))
        await first
        assert setup.works
        for _ in range(11):
            await place.setups.begin("JCM", ADDRESS, by=by)
        for _ in range(3):
            await place.setups.try_password(setup, chosen, ADDRESS, "salah")
        with pytest.raises(SetupRejectedError):
            await place.setups.begin("JCM", ADDRESS, by=by)
        place.clock.move(-timedelta(hours=1))
        await place.setups.try_password(setup, chosen, ADDRESS, secret(network))
        assert setup.works


# -- keeping -------------------------------------------------------------------------------------------------------------

USUAL = {"smtp_port": "587", "reading_port": "993"}


async def test_a_mailbox_that_works_is_kept_with_its_secret_apart(
    place: House, network: LabNetwork, system: MailSystem, officer: httpx.AsyncClient
) -> None:
    address = await begun(officer)
    for _ in range(2):
        early = await officer.post(f"{address}/save", data={"name": "kaunter"})
        assert (early.status_code, "Belum berfungsi" in early.text) == (422, True)
        await officer.post(address, data=typed(system, password="salah", **USUAL))
    await officer.post(address, data=typed(system, password=secret(network), **USUAL))
    assert 'value="kaunter" required' in (await officer.get(address)).text
    for name, said in (("utama", "Sudah ada peti mel"), ("A B", "huruf kecil"), ("", "huruf kecil")):
        refused = await officer.post(f"{address}/save", data={"name": name})
        assert (refused.status_code, said in refused.text) == (422, True), name
        # The other language leads to a page that can be asked for.
        assert f'href="{address}?lang=en"' in refused.text
    kept = await officer.post(f"{address}/save", data={"name": "kaunter"})
    assert kept.status_code == 303, kept.text
    assert kept.headers["location"] == "/agencies/JCM/mailboxes?saved=2"
    text = await place.site.text()
    assert (
        "  kaunter:\n"
        f"    address: {ADDRESS}\n"
        "    smtp:\n      host: localhost\n      port: 587\n      security: starttls\n"
        "    imap:\n      host: localhost\n      port: 993\n      security: implicit\n"
        f"    login:\n      username: {ADDRESS}\n      password_stored: typed-"
    ) in text
    assert secret(network) not in text
    assert place.site.reloads == ["Siti Contoh (siti)"]
    # What was typed is let go of.
    again = await officer.post(f"{address}/save", data={"name": "kaunter", "address": ADDRESS})
    assert (again.status_code, "Persediaan ini tidak ada lagi" in again.text) == (404, True)
    assert (await officer.get(address)).status_code == 404


async def test_what_the_documents_checks_refuse_is_not_kept_and_said(
    place: House, network: LabNetwork, system: MailSystem, officer: httpx.AsyncClient
) -> None:
    address = await begun(officer)
    # The trial may connect to these ports in this test; the site lets nobody name them.
    await officer.post(address, data=typed(system, password=secret(network)))
    refused = await officer.post(f"{address}/save?lang=en", data={"name": "kaunter"})
    assert refused.status_code == 422
    assert "Nothing was saved." in refused.text
    assert "a port that mail servers do not use" in refused.text
    assert "kaunter:" not in await place.site.text()
    assert 'class="verdict well"' in (await officer.get(address)).text


# -- consent -------------------------------------------------------------------------------------------------------------


@pytest.fixture
async def desk(setup_site: StaticSetupSite) -> AsyncIterator[AuthorizationServer]:
    """Open an authorization server whose tokens the lab's servers do not take: how it ends there is told, too."""
    server = AuthorizationServer(username=ADDRESS)
    async with serve(app(server)) as url:
        client = Client(
            token_url=f"{url}/token",
            client_id=server.client_id,
            client_secret=server.client_secret,
            tls=setup_site.tls,
        )
        setup_site.ways = {
            MailPlatform.MICROSOFT: ConsentProcedure(
                client=client, device_url=f"{url}/device", servers=("office365.com",), written={}
            ),
            MailPlatform.GOOGLE: ConsentProcedure(
                client=client, authorize_url=f"{url}/authorize", redirect_uri=BACK, servers=("gmail.com",), written={}
            ),
        }
        yield server


def at(host: str, **other: str) -> dict[str, str]:
    """Return a form with a server of a platform's."""
    return {"smtp": "none", "reading": "hand", "reading_host": host, "reading_port": "1", "way": "consent", **other}


async def test_a_code_is_shown_until_it_is_typed_elsewhere_and_the_provider_is_not_hurried(
    place: House, officer: httpx.AsyncClient, desk: AuthorizationServer
) -> None:
    desk.said = ["authorization_pending", "slow_down"]
    address = await begun(officer)
    await officer.post(address, data=at("outlook.office365.com"))
    page = (await officer.get(f"{address}?lang=en")).text
    assert "KAYU-BATU" in page
    assert 'href="https://log-masuk.contoh.my/peranti"' in page
    assert 'http-equiv="refresh" content="5;url=?polled"' in page
    asked = len(desk.asked)
    for seconds, query_router in ((4, 0), (1, 1), (5, 2), (5, 2), (5, 3)):
        place.clock.move(timedelta(seconds=seconds))
        page = (await officer.get(address)).text
        # The last one is followed by the trial, which redeems the refresh token.
        found = sum("device_code" in form for form in desk.asked[asked:])
        assert found == query_router, seconds
    assert "KAYU-BATU" not in page
    assert "the port is closed" in page


async def test_a_consent_that_is_not_given_is_told_and_the_page_waits_no_more(
    place: House, officer: httpx.AsyncClient, desk: AuthorizationServer
) -> None:
    address = await begun(officer)
    for error, said in (
        ("access_denied", "Consent was denied"),
        ("expired_token", "not entered in time"),
        ("invalid_grant", "The provider blocks this method"),
    ):
        desk.said = [error]
        await officer.post(address, data=at("outlook.office365.com"))
        place.clock.move(timedelta(seconds=5))
        page = (await officer.get(f"{address}?lang=en")).text
        assert said in page
        assert "refresh" not in page
        assert "IMAP.AccessAsApp" in page


async def test_a_browser_goes_to_google_and_only_that_of_who_went_comes_back_and_once(
    place: House, officer: httpx.AsyncClient, desk: AuthorizationServer
) -> None:
    address = await begun(officer)
    await officer.post(address, data=at("imap.gmail.com"))
    page = (await officer.get(address)).text
    found = re.search(r'class="button" href="([^"]+)"', page)
    assert found
    out = found[1].replace("&amp;", "&")
    assert parse_qs(urlsplit(out).query)["redirect_uri"] == [BACK]
    async with httpx.AsyncClient() as google:
        back = (await google.get(out)).headers["location"]
    other = await place.admitted("ravi", "officer:JCM")
    assert (await other.get(back)).status_code == 404
    assert (await other.get("/mailboxes/consent")).status_code == 404
    returned = await officer.get(back)
    assert (returned.status_code, returned.headers["location"]) == (303, address)
    assert [form["grant_type"] for form in desk.asked] == ["authorization_code", "refresh_token"]
    assert "port ditutup" in (await officer.get(address)).text
    # Once.
    assert (await officer.get(back)).status_code == 404


async def test_no_server_but_the_providers_own_is_given_a_token(
    system: MailSystem, officer: httpx.AsyncClient, desk: AuthorizationServer
) -> None:
    address = await begun(officer)
    other = {"smtp": "hand", "smtp_host": "imap.gmail.com.penyerang.my", "smtp_port": str(system.submission)}
    answer = await officer.post(address, data=at("imap.gmail.com", **other))
    assert (answer.status_code, "pelayan pembekal itu sendiri" in answer.text) == (422, True)
    assert desk.asked == []


async def test_somebody_who_says_no_at_google_is_told_so_here(
    officer: httpx.AsyncClient, desk: AuthorizationServer
) -> None:
    desk.said = ["access_denied"]
    address = await begun(officer)
    await officer.post(address, data=at("imap.gmail.com"))
    found = re.search(r'class="button" href="([^"]+)"', (await officer.get(address)).text)
    assert found
    async with httpx.AsyncClient() as google:
        back = (await google.get(found[1].replace("&amp;", "&"))).headers["location"]
    await officer.get(back)
    assert "Kebenaran tidak diberi" in (await officer.get(address)).text


async def test_where_the_site_is_registered_nowhere_an_administrator_is_needed(officer: httpx.AsyncClient) -> None:
    address = await begun(officer)
    answer = await officer.post(address, data=at("imap.gmail.com"))
    assert (answer.status_code, "tidak disediakan di sini" in answer.text) == (422, True)
    assert 'value="consent"' not in answer.text


# -- an administrator's delegation ---------------------------------------------------------------------------------------

#: Whose servers the lab's are taken for.
OWN = ("localhost",)
ACCOUNT = LabServiceAccount()


@pytest.fixture
async def provider(setup_site: StaticSetupSite) -> AsyncIterator[AuthorizationServer]:
    """Open an authorization server of the domain's, whose tokens are shown to the lab's servers."""
    account = LabServiceAccount()
    server = AuthorizationServer(username=ADDRESS, service_account=account)
    async with serve(app(server)) as url:
        setup_site.token_url, setup_site.own_servers = f"{url}/token", OWN
        yield server


GOOGLE = {"way": "google", "service_account": ACCOUNT.file()}
MICROSOFT = {"way": "microsoft", "tenant": "", "client_id": "pantau-ujian", "client_secret": "rahsia-klien"}


async def test_without_an_application_it_is_said_what_has_to_be_allowed_where(officer: httpx.AsyncClient) -> None:
    page = (await officer.get(f"{await begun(officer)}?lang=en")).text
    # Whose the domain is nobody knows: both are there.
    assert "Domain-wide delegation" in page
    assert f"Add-MailboxPermission -Identity '{ADDRESS}' -User" in html.unescape(page)
    assert "That key opens every mailbox of the domain" in page
    assert "Its domain or id; empty: jcm.gov.my".lower() in page.lower()


#: What the provider has against it, and what the officer reads.
NO_TOKEN: dict[str, tuple[dict[str, str], str]] = {
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


async def test_what_the_provider_has_against_an_application_is_said_with_what_to_do(
    system: MailSystem, officer: httpx.AsyncClient, provider: AuthorizationServer
) -> None:
    faults = {
        "delegated": TokenEndpointFault.UNAUTHORIZED_CLIENT,
        "tenant": TokenEndpointFault.UNAUTHORIZED_CLIENT,
        "grant": TokenEndpointFault.INVALID_GRANT,
        "away": TokenEndpointFault.UNAVAILABLE,
    }
    address = await begun(officer)
    for wrong, (form, said) in NO_TOKEN.items():
        provider.trouble = faults.get(wrong, TokenEndpointFault.NONE)
        provider.username = "lain@jcm.gov.my" if wrong == "user" else ADDRESS
        back = timedelta(hours=1 if wrong == "clock" else 0)
        provider.clock = partial(_ago, back)
        provider.service_account = account = LabServiceAccount(scopes=set() if wrong == "scope" else {GOOGLE_SCOPE})
        if wrong == "key":
            account.renew_key()
        answer = await officer.post(address, data=typed(system, **form))
        assert answer.status_code == 303, answer.text
        page = html.unescape((await officer.get(f"{address}?lang=en")).text)
        assert said in page, wrong
        assert "What to do: " in page
        # No server was asked for its opinion, and nobody is told who refused in which words.
        assert not [each for each in ("invalid_grant", "unauthorized_client", "AADSTS", "rahsia-klien") if each in page]


def _ago(span: timedelta) -> datetime:
    return datetime.now(UTC) - span


async def test_an_application_that_the_mail_server_does_not_let_in_is_told_apart(
    system: MailSystem, officer: httpx.AsyncClient, provider: AuthorizationServer
) -> None:
    address = await begun(officer)
    for form in (GOOGLE, MICROSOFT):
        await officer.post(address, data=typed(system, **form))
        page = (await officer.get(f"{address}?lang=en")).text
        # The lab's servers take no tokens; so much is said before any is shown.
        assert "the server does not support this sign-in method" in page
    # What is no secret needs no second typing.
    assert 'name="client_id" value="pantau-ujian"' in page
    assert [form["grant_type"] for form in provider.asked] == [
        "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "client_credentials",
    ]
    assert provider.asked[1]["scope"] == "https://outlook.office365.com/.default"


NO_APPLICATION: list[tuple[dict[str, str], str]] = [
    ({**GOOGLE, "service_account": ""}, "Paste the service account"),
    ({**GOOGLE, "service_account": '{"type": "authorized_user", "private_key": "rahsia"}'}, "not a complete JSON file"),
    ({**MICROSOFT, "tenant": "../lain"}, "A tenant is a domain or an id"),
    ({**MICROSOFT, "client_id": "a/b"}, "letters, digits and hyphens"),
    ({**MICROSOFT, "client_secret": ""}, "The client secret is empty"),
    ({**MICROSOFT, "client_secret": " rahsia"}, "begins or ends with a space"),
    ({**MICROSOFT, "reading_host": "imap.penyerang.example"}, "the provider's own servers"),
]


async def test_what_is_no_application_or_would_be_shown_to_strangers_is_not_tried_and_no_secret_comes_back(
    system: MailSystem, officer: httpx.AsyncClient, provider: AuthorizationServer
) -> None:
    address = await begun(officer)
    for form, said in NO_APPLICATION:
        answer = await officer.post(f"{address}?lang=en", data=typed(system, **form))
        assert (answer.status_code, said in html.unescape(answer.text)) == (422, True), form
        assert not [each for each in ("rahsia", "PRIVATE") if each in answer.text]
    assert provider.asked == []


async def test_a_mailbox_that_is_there_is_set_up_again_under_its_name(
    place: House, network: LabNetwork, system: MailSystem, officer: httpx.AsyncClient
) -> None:
    await place.site.write(JCM=agency("JCM").replace("address: pantau@", "address: kaunter@"))
    before = await place.site.text()
    address = await begun(officer, ADDRESS.upper())
    page = (await officer.get(f"{address}?lang=en")).text
    assert "already has this mailbox (utama)" in page
    await officer.post(address, data=typed(system, password=secret(network), **USUAL))
    page = (await officer.get(address)).text
    assert 'name="name"' not in page
    kept = await officer.post(f"{address}/save", data={"name": "lain"})
    assert kept.status_code == 303, kept.text
    text = await place.site.text()
    assert "lain:" not in text
    assert text.count("address:") == before.count("address:")
    assert f"address: {ADDRESS}" in text
    assert f"username: {ADDRESS}, password_stored: typed-" in text
