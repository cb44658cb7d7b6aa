"""Rotation of a stored refresh token by a running service."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import trustme

from alerts.persistence.clock import SystemClock
from alerts.persistence.store import AuditEntry
from monitor.access.encryption import SecretId, SecretPurpose
from monitor.config.files.secret import StoredSecret
from monitor.config.loading import load
from monitor.store.admin.keyring import Keyring, new_key
from monitor.store.admin.secrets import RotatedToken, Secrets, store_secret
from monitor.store.backend.database import Database
from monitor.web.serving import open_port, serve
from pantau_lab.oauth import AuthorizationServer, app
from tests.integration.monitor.test_concurrent_edits import run
from tests.integration.monitor_only import service, write_files

NAME = "typed-aaaabbbbccccdddd"


def token_of(place: Path) -> str:
    """Return the refresh token that a command would use."""
    mailbox = load(place / "pantau.yaml", {}).require_configuration().registry.agencies["JCM"].mailboxes["utama"]
    assert mailbox.login.oauth is not None
    assert mailbox.login.oauth.refresh_token is not None
    return mailbox.login.oauth.refresh_token.get_secret_value()


async def test_service_uses_and_replaces_stored_refresh_token(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, secrets_key, authority = write_files(tmp_path / "site"), new_key(), trustme.CA()
    certificate, private = tmp_path / "sijil.pem", tmp_path / "kunci.pem"
    issued = authority.issue_cert("localhost")
    issued.cert_chain_pems[0].write_to_path(certificate)
    issued.private_key_pem.write_to_path(private)
    authority.cert_pem.write_to_path(place / "ca.pem")
    for name, secret in (("key", secrets_key), ("klien", "rahsia-klien")):
        (place / "secrets" / name).write_text(secret)
        (place / "secrets" / name).chmod(0o600)
    settings = place / "pantau.yaml"
    settings.write_text(f"{settings.read_text()}portal: {{secrets_key_file: secrets/key}}\n")

    authorization_server, listener = (
        AuthorizationServer(username="pantau@jcm.gov.my", rotates_refresh_token=True),
        open_port("127.0.0.1", 0),
    )
    url = f"https://localhost:{listener.getsockname()[1]}/token"
    oauth = f"token_url: '{url}', flow: refresh_token, client_id: {authorization_server.client_id}, client_secret_file: secrets/klien"
    file = place / "agencies" / "jcm.yaml"
    oauth_setting = f"oauth: {{{oauth}, refresh_token_stored: {NAME}, ca_file: ca.pem}}"
    file.write_text(file.read_text().replace("password_file: secrets/mail", oauth_setting))
    assert (await asyncio.to_thread(run, place, "apply"))[0] == 0
    # The typed token has expired; the rotated token that replaced it is valid.
    ring, typed = Keyring(secrets_key), StoredSecret("tamat", allowed_recipients=["127.0.0.1:3 implicit", url])
    async with Database.open(place / "state") as database:
        at = SecretId(purpose=SecretPurpose.MAILBOX, owner=NAME)
        entry = AuditEntry(at=SystemClock().now(), actor="Siti", event="secret typed")
        async with database.write() as connection:
            await store_secret(connection, at, ring.encrypt(at, typed.serialize()), entry)
        renewed = ring.encrypt(SecretId(purpose=SecretPurpose.RENEWED, owner=NAME), authorization_server.refresh_token)
        assert await Secrets(database).store_rotated_token(NAME, RotatedToken(secret=renewed, at=entry.at))
    assert token_of(place) == "segar-0"

    async with (
        serve(app(authorization_server), listener, certificate=(certificate, private)),
        service(place),
        asyncio.timeout(90),
    ):
        while token_of(place) == "segar-0":  # noqa: ASYNC110 - a change of the store cannot be awaited
            await asyncio.sleep(0.05)
    assert [form["refresh_token"] for form in authorization_server.requests] == ["segar-0"]
    assert token_of(place) == authorization_server.refresh_token
    said = capsys.readouterr()
    assert not [
        each
        for each in ("segar-", "tamat", "rahsia-klien", *authorization_server.grants)
        if each in said.out + said.err
    ]
