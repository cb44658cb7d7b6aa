"""Mailboxes page: stored passwords and applications, bound to their servers and never shown."""

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
from tests.integration.monitor_only import agency
from tests.unit.monitor.web.portal_env import KEY, PortalEnv, open_portal

PAGE = "/agencies/JCM/mailboxes"
SECRET, OTHER_SECRET = "rahsia-peti-kaunter", "rahsia-yang-lain"
MAILBOX_FIELDS = {
    "key": "kaunter",
    "address": "kaunter@jcm.gov.my",
    "smtp.host": "mel.jcm.gov.my",
    "smtp.security": "implicit",
    "imap.host": "mel.jcm.gov.my",
    "imap.security": "starttls",
    "username": "",
}


@pytest.fixture
async def env(tmp_path: Path) -> AsyncIterator[PortalEnv]:
    async with open_portal(tmp_path) as opened:
        settings = opened.site.settings
        (settings.parent / "secrets" / "key").write_text(KEY)
        (settings.parent / "secrets" / "key").chmod(0o600)
        text = settings.read_text().replace("state_dir: state", f"state_dir: {tmp_path}")
        settings.write_text(
            f"{text}\nportal: {{secrets_key_file: secrets/key, allowed_mail_networks: [10.20.0.0/16]}}\n"
        )
        await apply_documents(opened)
        yield opened


async def apply_documents(env: PortalEnv) -> None:
    """Load the documents in the database as a reload does."""
    sources = [stored_source(each.document) for each in (await env.site.documents.latest()).values() if each.document]
    env.site.configuration = load(env.site.settings, {}, documents=sources).require_configuration()


@pytest.fixture
async def officer(env: PortalEnv) -> httpx.AsyncClient:
    browser = await env.session_for("siti", "officer:JCM")
    await browser.get(f"{PAGE}?lang=en")
    return browser


async def submit(env: PortalEnv, browser: httpx.AsyncClient, form: str, **fields: str) -> httpx.Response:
    given = {"form": form, "started_from": digest_of(await env.site.text()), **fields}
    return await browser.post(PAGE, data={name.replace("__", "."): value for name, value in given.items()})


async def add_mailbox(env: PortalEnv, browser: httpx.AsyncClient, **fields: str) -> httpx.Response:
    answer = await submit(env, browser, "add_mailbox", **{**MAILBOX_FIELDS, "password": SECRET, **fields})
    await apply_documents(env)
    return answer


def visible_text(answer: httpx.Response) -> str:
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", answer.text)))


async def stored_secrets(env: PortalEnv, key: str = KEY) -> dict[str, StoredSecret]:
    """Return the stored secrets by name."""
    keyring = Keyring(key)
    there = await Secrets(env.database).list_encrypted_with(keyring.key_ids, None, 99)
    found = {
        each.owner: keyring.decrypt(each, locked) for each, locked in there if each.purpose is SecretPurpose.MAILBOX
    }
    return {name: StoredSecret.parse(text) for name, text in found.items()}


def mailbox_of(env: PortalEnv, key: str = "kaunter") -> Password | UnavailableLogin:
    login = env.site.configuration.registry.mailboxes[f"JCM/{key}"].mailbox.login
    assert isinstance(login, Password | UnavailableLogin)
    return login


async def test_mailbox_added_uses_password_and_never_shows_it(
    env: PortalEnv, officer: httpx.AsyncClient, tmp_path: Path
) -> None:
    answer = await add_mailbox(env, officer)

    assert (answer.status_code, answer.headers["location"]) == (303, f"{PAGE}?saved=2")
    assert 'class="button" href="/agencies/JCM/test"' in (await officer.get(answer.headers["location"])).text
    ((name, secret),) = (await stored_secrets(env)).items()
    assert secret == StoredSecret(
        SECRET, allowed_recipients=["mel.jcm.gov.my:465 implicit", "mel.jcm.gov.my:143 starttls"]
    )
    text = await env.site.text()
    assert text == agency("JCM") + (
        "  kaunter:\n    address: kaunter@jcm.gov.my\n    smtp:\n      host: mel.jcm.gov.my\n      security: implicit\n"
        "    imap:\n      host: mel.jcm.gov.my\n      security: starttls\n"
        f"    login:\n      username: kaunter@jcm.gov.my\n      password_stored: {name}\n"
    )
    assert mailbox_of(env) == Password(username="kaunter@jcm.gov.my", secret=SECRET)
    assert (await env.site.editor.latest("JCM")).source is EditSource.PORTAL
    async with env.database.read() as connection:
        entries = (await connection.execute(select(audit_log).where(audit_log.c.event == "secret typed"))).all()
    assert [(each.actor, each.detail) for each in entries] == [("Siti Contoh (siti)", {"secret": name})]

    pages = [await officer.get(each) for each in (PAGE, "/agencies/JCM/settings", "/agencies/JCM/versions?from=1&to=2")]
    assert all(each.status_code == 200 for each in pages)
    assert not any(SECRET in each.text for each in pages)
    files = [tmp_path / f"pantau.sqlite{end}" for end in ("", "-wal")]
    assert not any(SECRET.encode() in each.read_bytes() for each in files)


async def test_mailbox_other_server_requires_password_again(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    await add_mailbox(env, officer)
    moved = {**MAILBOX_FIELDS, "imap.host": "imap.penyerang.example"}
    before = await env.site.text()
    answer = await submit(env, officer, "mailbox", **moved)

    assert answer.status_code == 422
    assert "was entered for other servers, and is not sent to these" in visible_text(answer)
    assert 'id="mailbox-password-fault"' in answer.text
    # The whole-text form cannot send the password there either.
    text = before.replace("host: mel.jcm.gov.my", "host: mel.penyerang.example")
    fields = {"form": "text", "started_from": digest_of(before), "text": text}
    whole = await officer.post("/agencies/JCM/settings", data=fields)
    assert whole.status_code == 422
    assert "and not for mel.penyerang.example:143 starttls" in visible_text(whole)
    # The input is kept.
    assert 'value="imap.penyerang.example"' in answer.text
    assert f'<a href="{PAGE}?lang=ms"' in answer.text
    assert await env.site.text() == before

    assert (await submit(env, officer, "mailbox", **moved, password=OTHER_SECRET)).status_code == 303
    await apply_documents(env)
    assert mailbox_of(env) == Password(username="kaunter@jcm.gov.my", secret=OTHER_SECRET)
    # It is also readable after the key is rotated.
    new = KEY[:-2] + "A="
    assert (await SecretStore(Secrets(env.database), env.clock, Keyring(new, KEY)).rotate(by="Ravi")).changed == 1
    (env.site.settings.parent / "secrets" / "key").write_text(new)
    await apply_documents(env)
    assert mailbox_of(env) == Password(username="kaunter@jcm.gov.my", secret=OTHER_SECRET)
    # The first secret is deleted.
    assert [each.get_secret_value() for each in (await stored_secrets(env, new)).values()] == [OTHER_SECRET]


async def test_mailbox_of_operator_is_moved_only_with_new_password(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    servers = {"smtp.host": "mel.jcm.gov.my", "imap.host": "mel.jcm.gov.my"}
    own = {"key": "utama", "address": "pantau@jcm.gov.my", "username": "JCM", **servers}
    answer = await submit(env, officer, "mailbox", **own)
    assert answer.status_code == 422
    assert "only an administrator changes which servers get it" in visible_text(answer)

    assert (await submit(env, officer, "mailbox", **own, password=SECRET)).status_code == 303
    text = await env.site.text()
    assert "password_file" not in text
    assert "127.0.0.1" not in text
    await apply_documents(env)
    assert mailbox_of(env, "utama") == Password(username="JCM", secret=SECRET)


INVALID_FIELDS = [
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


def test_egress_denials_have_texts_in_both_languages() -> None:
    for language in PageLanguage:
        assert {f"out_{why.name.lower()}" for why in EgressDenial} <= texts_of("mailbox_list", language).keys()


async def test_mailbox_error_is_shown_at_field_and_keeps_input(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    for fields, at, expected in INVALID_FIELDS:
        answer = await submit(env, officer, "add_mailbox", **{**MAILBOX_FIELDS, "password": SECRET, **fields})
        assert answer.status_code == 422
        fault = re.search(rf'id="add_mailbox-{at}-fault">(.*?)</div>', answer.text, re.DOTALL)
        assert fault, (fields, visible_text(answer))
        assert expected in html.unescape(fault[1])
        for name, value in {**MAILBOX_FIELDS, **fields}.items():
            if name not in {"password", "smtp.security", "imap.security"} and value:
                assert f'name="{name}" value="{html.escape(value).replace("&quot;", "&#34;")}"' in answer.text
        assert SECRET not in answer.text
        assert "<script" not in answer.text
    assert await env.site.text() == agency("JCM")
    assert await stored_secrets(env) == {}
    # A network that the site allows is accepted.
    inside = {"imap.host": "10.20.0.7", "smtp.host": "", "password": SECRET}
    assert (await submit(env, officer, "add_mailbox", **{**MAILBOX_FIELDS, **inside})).status_code == 303


async def test_mailbox_removed_with_routes_and_password(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    await add_mailbox(env, officer)
    text = await env.site.text() + (
        "routes:\n  - {direction: internal, mailbox: kaunter}\n  - {direction: internal, mailbox: utama}\n"
    )
    await env.site.write(JCM=text)
    page = await officer.get(f"{PAGE}?lang=en")
    assert "These routes use it, and are removed with it:" in visible_text(page)

    assert (await submit(env, officer, "drop_mailbox", key="kaunter")).status_code == 303
    assert await env.site.text() == agency("JCM") + "routes:\n  - {direction: internal, mailbox: utama}\n"
    assert await stored_secrets(env) == {}

    last = await submit(env, officer, "drop_mailbox", key="utama")
    assert (last.status_code, "This is the last mailbox" in last.text) == (422, True)


async def test_mailbox_concurrent_edit_is_shown_and_loses_nothing(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    started = digest_of(await env.site.text())
    await env.site.write(JCM=f"# other\n{agency('JCM')}")
    answer = await add_mailbox(env, officer, started_from=started)

    assert answer.status_code == 409
    assert "was written by Ravi" in visible_text(answer)
    assert 'name="key" value="kaunter"' in answer.text
    assert SECRET not in answer.text
    assert await stored_secrets(env) == {}
    # The form now refers to the other version.
    again = re.findall(r'name="started_from" value="([0-9a-f]{64})"', answer.text)
    assert set(again) == {digest_of(await env.site.text())}


async def test_mailbox_without_secrets_key_is_refused_with_reason(tmp_path: Path) -> None:
    async with open_portal(tmp_path, keys=()) as env:
        officer = await env.session_for("siti", "officer:JCM")
        page = await officer.get(PAGE)
        assert "portal.secrets_key_file" in visible_text(page)

        answer = await submit(env, officer, "add_mailbox", **MAILBOX_FIELDS, password=SECRET)
        assert answer.status_code == 422
        assert "kata laluan tidak dapat disimpan di sini" in visible_text(answer)
        assert await env.site.text() == agency("JCM")


async def test_mailbox_undecryptable_password_is_shown_with_advice(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    await add_mailbox(env, officer)
    assert "cannot be read" not in visible_text(await officer.get(PAGE))
    key = env.site.settings.parent / "secrets" / "key"
    key.write_text(new_key())
    await apply_documents(env)
    page = await officer.get(PAGE)
    assert visible_text(page).count("cannot be decrypted, so it is not probed. Enter it again below.") == 1
    assert "tidak dapat dibaca, jadi peti mel ini tidak diuji" in visible_text(await officer.get(f"{PAGE}?lang=ms"))
    # A new password solves the problem.
    key.write_text(KEY)
    await submit(env, officer, "mailbox", **MAILBOX_FIELDS, password=OTHER_SECRET)
    await apply_documents(env)
    assert "cannot be read" not in visible_text(await officer.get(PAGE))


async def test_mailbox_lost_key_refuses_password_but_permits_other_edits(
    env: PortalEnv, officer: httpx.AsyncClient
) -> None:
    await add_mailbox(env, officer)
    (env.site.settings.parent / "secrets" / "key").unlink()
    await apply_documents(env)
    page = visible_text(await officer.get(PAGE))
    assert "The key of the stored secrets is missing." in page
    assert "cannot be decrypted while the key is missing" in page

    before = await stored_secrets(env)
    answer = await submit(env, officer, "mailbox", **MAILBOX_FIELDS, password=OTHER_SECRET)
    assert (answer.status_code, "passwords cannot be stored here" in visible_text(answer)) == (422, True)
    assert await stored_secrets(env) == before
    fields = {"form": "drop_mailbox", "key": "kaunter", "started_from": digest_of(await env.site.text())}
    assert (await officer.post(PAGE, data=fields)).status_code == 303


ACCOUNT = LabServiceAccount()
#: Fields of a mailbox at Google, and at Microsoft.
GOOGLE = {
    "smtp.host": "smtp.gmail.com",
    "imap.host": "imap.gmail.com",
    "imap.security": "implicit",
    "application": "google",
    "service_account": ACCOUNT.key_file(),
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


async def test_mailbox_login_switches_to_application_and_back(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    for form, way, source in (
        (GOOGLE, {"provider": "google", "flow": "service_account", "client_id": ACCOUNT.client_id}, "service_account"),
        (
            MICROSOFT,
            {"provider": "microsoft", "tenant": "jcm.gov.my", "flow": "client_credentials", "client_id": "0000-pantau"},
            "client_secret",
        ),
    ):
        name = str(form["application"])
        answer = await add_mailbox(env, officer, **form, key=name, address=f"{name}@jcm.gov.my", password="")
        assert answer.status_code == 303, answer.text
        oauth = document_from_text(await env.site.text(), "JCM").data["mailboxes"][name]["login"]["oauth"]
        assert oauth == {**way, f"{source}_stored": oauth[f"{source}_stored"]}
        login = env.site.configuration.registry.mailboxes[f"JCM/{name}"].mailbox.login
        assert isinstance(login, OAuth)
        secret = (await stored_secrets(env))[oauth[f"{source}_stored"]]
        # The secret is also for the token endpoint.
        assert any(each.startswith("https://") for each in secret.allowed_recipients)
        assert f"username: {name}@jcm.gov.my" in secret.allowed_recipients
        pages = [await officer.get(PAGE), await officer.get("/agencies/JCM/settings")]
        assert not [page for page in pages if SECRET in page.text or "PRIVATE" in page.text]
        back = {
            **MAILBOX_FIELDS,
            **form,
            "key": name,
            "address": f"{name}@jcm.gov.my",
            "application": "",
            "password": OTHER_SECRET,
        }
        # Microsoft does not accept passwords, which is a warning.
        assert (await submit(env, officer, "mailbox", **back)).status_code in {200, 303}
        login = document_from_text(await env.site.text(), "JCM").data["mailboxes"][name]["login"]
        assert login.keys() == {"username", "password_stored"}


async def test_mailbox_application_invalid_or_for_other_servers_is_refused(
    env: PortalEnv, officer: httpx.AsyncClient
) -> None:
    for form, expected_text in (
        ({**GOOGLE, "service_account": "{}"}, "not a complete JSON file"),
        ({**GOOGLE, "imap.host": "imap.penyerang.example"}, "the provider's own servers"),
        ({**MICROSOFT, "client_secret": ""}, "The client secret is empty"),
        ({**MICROSOFT, "application": "lain"}, "not a complete JSON file"),
    ):
        answer = await add_mailbox(env, officer, **form, password="")
        assert (answer.status_code, expected_text in visible_text(answer)) == (422, True), form
        assert SECRET not in answer.text
        assert "PRIVATE" not in answer.text
    assert await stored_secrets(env) == {}


async def test_api_mailbox_application_is_write_only(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    await add_mailbox(env, officer, **{**GOOGLE, "application": ""})
    url = "/api/v1/agencies/JCM/mailboxes/kaunter/application"

    async def put(**expected_text: str) -> httpx.Response:
        headers = {"If-Match": f'"{digest_of(await env.site.text())}"'}
        return await officer.put(url, json=expected_text, headers=headers)

    done = await put(platform="google", service_account=ACCOUNT.key_file())
    assert (done.status_code, done.json()["problems"]) == (200, []), done.text
    assert "PRIVATE" not in done.text
    login = document_from_text(await env.site.text(), "JCM").data["mailboxes"]["kaunter"]["login"]
    assert login["oauth"]["flow"] == "service_account"
    assert (await stored_secrets(env))[login["oauth"]["service_account_stored"]].get_secret_value() == json.dumps(
        json.loads(ACCOUNT.key_file())
    )
    for expected_text, why in (
        ({"platform": "google", "service_account": "rahsia"}, "not a complete JSON file"),
        ({"platform": "google"}, "service_account is missing"),
        ({"platform": "microsoft", "client_id": "a", "client_secret": "rahsia"}, "below office365.com"),
    ):
        refused = await put(**expected_text)
        assert (refused.status_code, why in refused.text, "rahsia" in refused.text) == (409, True, False), refused.text


async def test_api_mailbox_password_is_write_only(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    await add_mailbox(env, officer)
    text = await env.site.text()
    (before,) = await stored_secrets(env)
    url, seen = "/api/v1/agencies/JCM/mailboxes/kaunter/password", {"If-Match": f'"{digest_of(text)}"'}

    for wrong in ({"password": f" {OTHER_SECRET}"}, {"password": 1234567}, {"password": ""}, {"secret": OTHER_SECRET}):
        refused = await officer.put(url, json=wrong, headers=seen)
        assert refused.status_code == 422
        assert OTHER_SECRET not in refused.text
        assert "1234567" not in refused.text
    assert (await officer.put(url, json={"password": OTHER_SECRET})).status_code == 428
    stale = {"If-Match": f'"{"0" * 64}"'}
    assert (await officer.put(url, json={"password": OTHER_SECRET}, headers=stale)).status_code == 412
    assert (await officer.put(url.replace("kaunter", "lain"), json={"password": "x"}, headers=seen)).status_code == 404
    assert await env.site.text() == text

    answer = await officer.put(url, json={"password": OTHER_SECRET}, headers=seen)
    assert (answer.status_code, answer.json()["taken"]) == (200, True)
    ((name, secret),) = (await stored_secrets(env)).items()
    assert secret == StoredSecret(
        OTHER_SECRET, allowed_recipients=["mel.jcm.gov.my:465 implicit", "mel.jcm.gov.my:143 starttls"]
    )
    assert await env.site.text() == text.replace(before, name)
    assert answer.headers["ETag"] == f'"{digest_of(await env.site.text())}"'
    assert (await env.site.editor.latest("JCM")).source is EditSource.API
    assert (await officer.get(url)).status_code == 405
