"""A running service goes on with the refresh token that the store has of before, and keeps what comes in exchange for it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import trustme

from alerts.persistence.clock import SystemClock
from alerts.persistence.store import AuditEntry
from monitor.access.encryption import SecretPlace, SecretPurpose
from monitor.config.files.secret import StoredSecret
from monitor.config.loading import load
from monitor.store.admin.keyring import Keyring, new_key
from monitor.store.admin.secrets import RotatedToken, Secrets, keep_secret
from monitor.store.backend.database import Database
from monitor.web.serving import open_port, serve
from pantau_lab.oauth import AuthorizationServer, app
from tests.integration.monitor.test_agency_by_page import run
from tests.integration.watching import laid_out, service

NAME = "typed-aaaabbbbccccdddd"


def token_of(place: Path) -> str:
    """Return the refresh token that a command would use."""
    mailbox = load(place / "pantau.yaml", {}).accepted().registry.agencies["JCM"].mailboxes["utama"]
    assert mailbox.login.oauth is not None
    assert mailbox.login.oauth.refresh_token is not None
    return mailbox.login.oauth.refresh_token.get_secret_value()


async def test_what_the_store_has_of_before_is_asked_with_and_what_comes_of_it_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, key, authority = laid_out(tmp_path / "site"), new_key(), trustme.CA()
    certificate, private = tmp_path / "sijil.pem", tmp_path / "kunci.pem"
    issued = authority.issue_cert("localhost")
    issued.cert_chain_pems[0].write_to_path(certificate)
    issued.private_key_pem.write_to_path(private)
    authority.cert_pem.write_to_path(place / "ca.pem")
    for name, secret in (("key", key), ("klien", "rahsia-klien")):
        (place / "secrets" / name).write_text(secret)
        (place / "secrets" / name).chmod(0o600)
    settings = place / "pantau.yaml"
    settings.write_text(f"{settings.read_text()}portal: {{secrets_key_file: secrets/key}}\n")

    desk, listener = AuthorizationServer(username="pantau@jcm.gov.my", rotates=True), open_port("127.0.0.1", 0)
    url = f"https://localhost:{listener.getsockname()[1]}/token"
    oauth = f"token_url: '{url}', flow: refresh_token, client_id: {desk.client_id}, client_secret_file: secrets/klien"
    file = place / "agencies" / "jcm.yaml"
    way = f"oauth: {{{oauth}, refresh_token_stored: {NAME}, ca_file: ca.pem}}"
    file.write_text(file.read_text().replace("password_file: secrets/mail", way))
    assert (await asyncio.to_thread(run, place, "apply"))[0] == 0
    # It was typed long ago, and has ended; what came in exchange for it last has not.
    ring, typed = Keyring(key), StoredSecret("tamat", allowed_hosts=["127.0.0.1:3 implicit", url])
    async with Database.open(place / "state") as database:
        at = SecretPlace(purpose=SecretPurpose.MAILBOX, owner=NAME)
        entry = AuditEntry(at=SystemClock().now(), actor="Siti", event="secret typed")
        async with database.write() as connection:
            await keep_secret(connection, at, ring.encrypt(at, typed.serialize()), entry)
        renewed = ring.encrypt(SecretPlace(purpose=SecretPurpose.RENEWED, owner=NAME), desk.refresh_token)
        assert await Secrets(database).renew(NAME, RotatedToken(secret=renewed, at=entry.at))
    assert token_of(place) == "segar-0"

    async with serve(app(desk), listener, certificate=(certificate, private)), service(place), asyncio.timeout(90):
        while token_of(place) == "segar-0":  # noqa: ASYNC110 - the store gives no notice of it
            await asyncio.sleep(0.05)
    assert [form["refresh_token"] for form in desk.asked] == ["segar-0"]
    assert token_of(place) == desk.refresh_token
    said = capsys.readouterr()
    assert not [each for each in ("segar-", "tamat", "rahsia-klien", *desk.grants) if each in said.out + said.err]
