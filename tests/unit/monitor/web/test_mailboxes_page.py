"""Officers look after their agency's mailboxes: a password is typed, kept, told to its servers alone, and never shown."""

from __future__ import annotations

import html
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select

from monitor.access.encryption import SecretPurpose
from monitor.config.files.document import document_from_text
from monitor.config.files.secret import StoredSecret
from monitor.config.loading import load, stored_source
from monitor.model.document import EditSource, digest_of
from monitor.service.access.secret_store import SecretStore
from monitor.store.admin.keyring import Keyring, new_key
from monitor.store.admin.secrets import Secrets
from monitor.store.schema.tables import audit_log
from monitor.web.page import PageLanguage, texts_of
from pantau_lab.oauth import LabServiceAccount
from probes.model.egress import EgressDenial
from probes.model.mailbox import OAuth, Password, UnavailableLogin
from tests.integration.watching import agency
from tests.unit.monitor.web.signed import KEY, House, house

PAGE = "/agencies/JCM/mailboxes"
SECRET, ANOTHER = "rahsia-peti-kaunter", "rahsia-yang-lain"
BOX = {
    "key": "kaunter",
    "address": "kaunter@jcm.gov.my",
    "smtp.host": "mel.jcm.gov.my",
    "smtp.security": "implicit",
    "imap.host": "mel.jcm.gov.my",
    "imap.security": "starttls",
    "username": "",
}


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as opened:
        settings = opened.site.settings
        (settings.parent / "secrets" / "key").write_text(KEY)
        (settings.parent / "secrets" / "key").chmod(0o600)
        text = settings.read_text().replace("state_dir: state", f"state_dir: {tmp_path}")
        settings.write_text(
            f"{text}\nportal: {{secrets_key_file: secrets/key, allowed_mail_networks: [10.20.0.0/16]}}\n"
        )
        await take_up(opened)
        yield opened


async def take_up(place: House) -> None:
    """Read what the store has, as a reload does."""
    sources = [stored_source(each.document) for each in (await place.site.documents.latest()).values() if each.document]
    place.site.configuration = load(place.site.settings, {}, documents=sources).accepted()


@pytest.fixture
async def officer(place: House) -> httpx.AsyncClient:
    browser = await place.admitted("siti", "officer:JCM")
    await browser.get(f"{PAGE}?lang=en")
    return browser


async def send(place: House, browser: httpx.AsyncClient, form: str, **fields: str) -> httpx.Response:
    given = {"form": form, "started_from": digest_of(await place.site.text()), **fields}
    return await browser.post(PAGE, data={name.replace("__", "."): value for name, value in given.items()})


async def added(place: House, browser: httpx.AsyncClient, **fields: str) -> httpx.Response:
    answer = await send(place, browser, "add_mailbox", **{**BOX, "password": SECRET, **fields})
    await take_up(place)
    return answer


def shown(answer: httpx.Response) -> str:
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", answer.text)))


async def kept(place: House, key: str = KEY) -> dict[str, StoredSecret]:
    """Return what the store keeps, by its names."""
    keyring = Keyring(key)
    there = await Secrets(place.database).under(keyring.key_ids, None, 99)
    found = {
        each.owner: keyring.decrypt(each, locked) for each, locked in there if each.purpose is SecretPurpose.MAILBOX
    }
    return {name: StoredSecret.parse(text) for name, text in found.items()}


def mailbox_of(place: House, key: str = "kaunter") -> Password | UnavailableLogin:
    login = place.site.configuration.registry.mailboxes[f"JCM/{key}"].mailbox.login
    assert isinstance(login, Password | UnavailableLogin)
    return login


async def test_a_mailbox_is_added_and_signs_in_with_what_was_typed_and_nothing_shows_it(
    place: House, officer: httpx.AsyncClient, tmp_path: Path
) -> None:
    answer = await added(place, officer)

    assert (answer.status_code, answer.headers["location"]) == (303, f"{PAGE}?saved=2")
    assert 'class="button" href="/agencies/JCM/test"' in (await officer.get(answer.headers["location"])).text
    ((name, secret),) = (await kept(place)).items()
    assert secret == StoredSecret(SECRET, allowed_hosts=["mel.jcm.gov.my:465 implicit", "mel.jcm.gov.my:143 starttls"])
    text = await place.site.text()
    assert text == agency("JCM") + (
        "  kaunter:\n    address: kaunter@jcm.gov.my\n    smtp:\n      host: mel.jcm.gov.my\n      security: implicit\n"
        "    imap:\n      host: mel.jcm.gov.my\n      security: starttls\n"
        f"    login:\n      username: kaunter@jcm.gov.my\n      password_stored: {name}\n"
    )
    assert mailbox_of(place) == Password(username="kaunter@jcm.gov.my", secret=SECRET)
    assert (await place.site.editor.latest("JCM")).source is EditSource.PORTAL
    async with place.database.read() as connection:
        entries = (await connection.execute(select(audit_log).where(audit_log.c.event == "secret typed"))).all()
    assert [(each.actor, each.detail) for each in entries] == [("Siti Contoh (siti)", {"secret": name})]

    pages = [await officer.get(each) for each in (PAGE, "/agencies/JCM/settings", "/agencies/JCM/versions?from=1&to=2")]
    assert all(each.status_code == 200 for each in pages)
    assert not any(SECRET in each.text for each in pages)
    files = [tmp_path / f"pantau.sqlite{end}" for end in ("", "-wal")]
    assert not any(SECRET.encode() in each.read_bytes() for each in files)


async def test_another_server_wants_the_password_again(place: House, officer: httpx.AsyncClient) -> None:
    await added(place, officer)
    moved = {**BOX, "imap.host": "imap.penyerang.example"}
    before = await place.site.text()
    answer = await send(place, officer, "mailbox", **moved)

    assert answer.status_code == 422
    assert "was entered for other servers, and is not sent to these" in shown(answer)
    assert 'id="mailbox-password-fault"' in answer.text
    # Nor does the whole text lead it there.
    text = before.replace("host: mel.jcm.gov.my", "host: mel.penyerang.example")
    fields = {"form": "text", "started_from": digest_of(before), "text": text}
    whole = await officer.post("/agencies/JCM/settings", data=fields)
    assert whole.status_code == 422
    assert "and not for mel.penyerang.example:143 starttls" in shown(whole)
    # What was typed is still there.
    assert 'value="imap.penyerang.example"' in answer.text
    assert f'<a href="{PAGE}?lang=ms"' in answer.text
    assert await place.site.text() == before

    assert (await send(place, officer, "mailbox", **moved, password=ANOTHER)).status_code == 303
    await take_up(place)
    assert mailbox_of(place) == Password(username="kaunter@jcm.gov.my", secret=ANOTHER)
    # With another key, too.
    new = KEY[:-2] + "A="
    assert (await SecretStore(Secrets(place.database), place.clock, Keyring(new, KEY)).rotate(by="Ravi")).changed == 1
    (place.site.settings.parent / "secrets" / "key").write_text(new)
    await take_up(place)
    assert mailbox_of(place) == Password(username="kaunter@jcm.gov.my", secret=ANOTHER)
    # The first one is forgotten.
    assert [each.get_secret_value() for each in (await kept(place, new)).values()] == [ANOTHER]


async def test_what_an_operator_has_placed_is_taken_over_with_a_password_and_moved_by_none(
    place: House, officer: httpx.AsyncClient
) -> None:
    servers = {"smtp.host": "mel.jcm.gov.my", "imap.host": "mel.jcm.gov.my"}
    own = {"key": "utama", "address": "pantau@jcm.gov.my", "username": "JCM", **servers}
    answer = await send(place, officer, "mailbox", **own)
    assert answer.status_code == 422
    assert "only an administrator changes which servers get it" in shown(answer)

    assert (await send(place, officer, "mailbox", **own, password=SECRET)).status_code == 303
    text = await place.site.text()
    assert "password_file" not in text
    assert "127.0.0.1" not in text
    await take_up(place)
    assert mailbox_of(place, "utama") == Password(username="JCM", secret=SECRET)


WRONG = [
    ({"imap.host": "127.0.0.1", "imap.port": "5432"}, "imap.port", "Mail servers do not use this port"),
    ({"imap.host": "127.0.0.1"}, "imap.host", "This is Pantau's own machine"),
    ({"imap.host": "169.254.169.254"}, "imap.host", "a link-local address of Pantau's machine"),
    ({"smtp.host": "10.21.0.1"}, "smtp.host", "private network is not allowed"),
    ({"imap.host": '"><script>alert(1)</script>'}, "imap.host", "is no host name"),
    ({"address": "bukan alamat"}, "address", "is no mail address"),
    ({"address": "siti@gmail.com"}, "address", "gmail.com"),
    ({"password": ""}, "password", "is missing"),
    ({"password": " rahsia"}, "password", "begins or ends with a space"),
    ({"key": "utama"}, "key", "There is already a mailbox with this short name"),
    ({"key": ""}, "key", "has no short name"),
    ({"key": "Kaunter Satu"}, "key", "is no name"),
]


def test_whatever_is_out_of_bounds_is_said_in_both_languages() -> None:
    for language in PageLanguage:
        assert {f"out_{why.name.lower()}" for why in EgressDenial} <= texts_of("boxes", language).keys()


async def test_what_is_wrong_is_told_at_its_field_and_what_was_typed_stays(
    place: House, officer: httpx.AsyncClient
) -> None:
    for fields, at, told in WRONG:
        answer = await send(place, officer, "add_mailbox", **{**BOX, "password": SECRET, **fields})
        assert answer.status_code == 422
        fault = re.search(rf'id="add_mailbox-{at}-fault">(.*?)</div>', answer.text, re.DOTALL)
        assert fault, (fields, shown(answer))
        assert told in html.unescape(fault[1])
        for name, value in {**BOX, **fields}.items():
            if name not in {"password", "smtp.security", "imap.security"} and value:
                assert f'name="{name}" value="{html.escape(value).replace("&quot;", "&#34;")}"' in answer.text
        assert SECRET not in answer.text
        assert "<script" not in answer.text
    assert await place.site.text() == agency("JCM")
    assert await kept(place) == {}
    # What the site has opened is taken.
    inside = {"imap.host": "10.20.0.7", "smtp.host": "", "password": SECRET}
    assert (await send(place, officer, "add_mailbox", **{**BOX, **inside})).status_code == 303


async def test_a_mailbox_is_removed_with_its_routes_and_its_password(place: House, officer: httpx.AsyncClient) -> None:
    await added(place, officer)
    text = await place.site.text() + (
        "routes:\n  - {direction: internal, mailbox: kaunter}\n  - {direction: internal, mailbox: utama}\n"
    )
    await place.site.write(JCM=text)
    page = await officer.get(f"{PAGE}?lang=en")
    assert "These routes use it, and are removed with it:" in shown(page)

    assert (await send(place, officer, "drop_mailbox", key="kaunter")).status_code == 303
    assert await place.site.text() == agency("JCM") + "routes:\n  - {direction: internal, mailbox: utama}\n"
    assert await kept(place) == {}

    last = await send(place, officer, "drop_mailbox", key="utama")
    assert (last.status_code, "This is the last mailbox" in last.text) == (422, True)


async def test_who_comes_second_is_told_and_nothing_is_lost(place: House, officer: httpx.AsyncClient) -> None:
    started = digest_of(await place.site.text())
    await place.site.write(JCM=f"# other\n{agency('JCM')}")
    answer = await added(place, officer, started_from=started)

    assert answer.status_code == 409
    assert "was written by Ravi" in shown(answer)
    assert 'name="key" value="kaunter"' in answer.text
    assert SECRET not in answer.text
    assert await kept(place) == {}
    # The form that is shown now is about their version.
    again = re.findall(r'name="started_from" value="([0-9a-f]{64})"', answer.text)
    assert set(again) == {digest_of(await place.site.text())}


async def test_without_a_key_nothing_is_kept_and_it_is_said(tmp_path: Path) -> None:
    async with house(tmp_path, keys=()) as place:
        officer = await place.admitted("siti", "officer:JCM")
        page = await officer.get(PAGE)
        assert "portal.secrets_key_file" in shown(page)

        answer = await send(place, officer, "add_mailbox", **BOX, password=SECRET)
        assert answer.status_code == 422
        assert "kata laluan tidak dapat disimpan di sini" in shown(answer)
        assert await place.site.text() == agency("JCM")


async def test_a_password_that_cannot_be_read_is_said_at_its_mailbox_with_what_to_do(
    place: House, officer: httpx.AsyncClient
) -> None:
    await added(place, officer)
    assert "cannot be read" not in shown(await officer.get(PAGE))
    key = place.site.settings.parent / "secrets" / "key"
    key.write_text(new_key())
    await take_up(place)
    page = await officer.get(PAGE)
    assert shown(page).count("cannot be decrypted, so it is not probed. Enter it again below.") == 1
    assert "tidak dapat dibaca, jadi peti mel ini tidak diuji" in shown(await officer.get(f"{PAGE}?lang=ms"))
    # Typed again, it is no matter any more.
    key.write_text(KEY)
    await send(place, officer, "mailbox", **BOX, password=ANOTHER)
    await take_up(place)
    assert "cannot be read" not in shown(await officer.get(PAGE))


async def test_while_the_key_is_lost_nothing_is_typed_anew_and_all_else_is_edited(
    place: House, officer: httpx.AsyncClient
) -> None:
    await added(place, officer)
    (place.site.settings.parent / "secrets" / "key").unlink()
    await take_up(place)
    page = shown(await officer.get(PAGE))
    assert "The key of the stored secrets is missing." in page
    assert "cannot be decrypted while the key is missing" in page

    before = await kept(place)
    answer = await send(place, officer, "mailbox", **BOX, password=ANOTHER)
    assert (answer.status_code, "no password can be kept here" in shown(answer)) == (422, True)
    assert await kept(place) == before
    fields = {"form": "drop_mailbox", "key": "kaunter", "started_from": digest_of(await place.site.text())}
    assert (await officer.post(PAGE, data=fields)).status_code == 303


ACCOUNT = LabServiceAccount()
#: Of a mailbox at Google, and at Microsoft.
GOOGLE = {
    "smtp.host": "smtp.gmail.com",
    "imap.host": "imap.gmail.com",
    "imap.security": "implicit",
    "application": "google",
    "service_account": ACCOUNT.file(),
}
MICROSOFT = {
    "smtp.host": "smtp.office365.com",
    "smtp.security": "starttls",
    "imap.host": "outlook.office365.com",
    "imap.security": "implicit",
    "application": "microsoft",
    "tenant": "jcm.gov.my",
    "client_id": "0000-pantau",
    "client_secret": SECRET,
}


async def test_a_mailbox_is_signed_in_to_as_an_application_in_the_place_of_a_password_and_back(
    place: House, officer: httpx.AsyncClient
) -> None:
    for form, way, source in (
        (GOOGLE, {"provider": "google", "flow": "service_account", "client_id": ACCOUNT.client_id}, "service_account"),
        (
            MICROSOFT,
            {"provider": "microsoft", "tenant": "jcm.gov.my", "flow": "client_credentials", "client_id": "0000-pantau"},
            "client_secret",
        ),
    ):
        name = str(form["application"])
        answer = await added(place, officer, **form, key=name, address=f"{name}@jcm.gov.my", password="")
        assert answer.status_code == 303, answer.text
        oauth = document_from_text(await place.site.text(), "JCM").data["mailboxes"][name]["login"]["oauth"]
        assert oauth == {**way, f"{source}_stored": oauth[f"{source}_stored"]}
        login = place.site.configuration.registry.mailboxes[f"JCM/{name}"].mailbox.login
        assert isinstance(login, OAuth)
        secret = (await kept(place))[oauth[f"{source}_stored"]]
        # It is for the endpoint, too.
        assert any(each.startswith("https://") for each in secret.allowed_hosts)
        assert f"username: {name}@jcm.gov.my" in secret.allowed_hosts
        pages = [await officer.get(PAGE), await officer.get("/agencies/JCM/settings")]
        assert not [page for page in pages if SECRET in page.text or "PRIVATE" in page.text]
        back = {**BOX, **form, "key": name, "address": f"{name}@jcm.gov.my", "application": "", "password": ANOTHER}
        # Of Microsoft's it is warned that passwords are not taken there.
        assert (await send(place, officer, "mailbox", **back)).status_code in {200, 303}
        login = document_from_text(await place.site.text(), "JCM").data["mailboxes"][name]["login"]
        assert login.keys() == {"username", "password_stored"}


async def test_an_application_that_is_none_or_would_be_shown_to_strangers_is_said_at_its_fields(
    place: House, officer: httpx.AsyncClient
) -> None:
    for form, said in (
        ({**GOOGLE, "service_account": "{}"}, "not a complete JSON file"),
        ({**GOOGLE, "imap.host": "imap.penyerang.example"}, "the provider's own servers"),
        ({**MICROSOFT, "client_secret": ""}, "The client secret is empty"),
        ({**MICROSOFT, "application": "lain"}, "not a complete JSON file"),
    ):
        answer = await added(place, officer, **form, password="")
        assert (answer.status_code, said in shown(answer)) == (422, True), form
        assert SECRET not in answer.text
        assert "PRIVATE" not in answer.text
    assert await kept(place) == {}


async def test_a_program_lets_an_application_in_that_nothing_can_read(place: House, officer: httpx.AsyncClient) -> None:
    await added(place, officer, **{**GOOGLE, "application": ""})
    url = "/api/v1/agencies/JCM/mailboxes/kaunter/application"

    async def put(**said: str) -> httpx.Response:
        headers = {"If-Match": f'"{digest_of(await place.site.text())}"'}
        return await officer.put(url, json=said, headers=headers)

    done = await put(platform="google", service_account=ACCOUNT.file())
    assert (done.status_code, done.json()["problems"]) == (200, []), done.text
    assert "PRIVATE" not in done.text
    login = document_from_text(await place.site.text(), "JCM").data["mailboxes"]["kaunter"]["login"]
    assert login["oauth"]["flow"] == "service_account"
    assert (await kept(place))[login["oauth"]["service_account_stored"]].get_secret_value() == json.dumps(
        json.loads(ACCOUNT.file())
    )
    for said, why in (
        ({"platform": "google", "service_account": "rahsia"}, "not a complete JSON file"),
        ({"platform": "google"}, "service_account is missing"),
        ({"platform": "microsoft", "client_id": "a", "client_secret": "rahsia"}, "below office365.com"),
    ):
        refused = await put(**said)
        assert (refused.status_code, why in refused.text, "rahsia" in refused.text) == (409, True, False), refused.text


async def test_a_program_sets_a_password_that_nothing_can_read(place: House, officer: httpx.AsyncClient) -> None:
    await added(place, officer)
    text = await place.site.text()
    (before,) = await kept(place)
    url, seen = "/api/v1/agencies/JCM/mailboxes/kaunter/password", {"If-Match": f'"{digest_of(text)}"'}

    for wrong in ({"password": f" {ANOTHER}"}, {"password": 1234567}, {"password": ""}, {"secret": ANOTHER}):
        refused = await officer.put(url, json=wrong, headers=seen)
        assert refused.status_code == 422
        assert ANOTHER not in refused.text
        assert "1234567" not in refused.text
    assert (await officer.put(url, json={"password": ANOTHER})).status_code == 428
    stale = {"If-Match": f'"{"0" * 64}"'}
    assert (await officer.put(url, json={"password": ANOTHER}, headers=stale)).status_code == 412
    assert (await officer.put(url.replace("kaunter", "lain"), json={"password": "x"}, headers=seen)).status_code == 404
    assert await place.site.text() == text

    answer = await officer.put(url, json={"password": ANOTHER}, headers=seen)
    assert (answer.status_code, answer.json()["taken"]) == (200, True)
    ((name, secret),) = (await kept(place)).items()
    assert secret == StoredSecret(ANOTHER, allowed_hosts=["mel.jcm.gov.my:465 implicit", "mel.jcm.gov.my:143 starttls"])
    assert await place.site.text() == text.replace(before, name)
    assert answer.headers["ETag"] == f'"{digest_of(await place.site.text())}"'
    assert (await place.site.editor.latest("JCM")).source is EditSource.API
    assert (await officer.get(url)).status_code == 405
