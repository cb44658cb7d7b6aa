"""Whom configured mailboxes are believed to be."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import pytest
import trustme

from monitor.config.agency.oauth import OAuthSettings
from monitor.config.fields.trust import Trust, TrustStoreError
from monitor.config.service.consent import GoogleConsentSettings, MicrosoftConsentSettings
from monitor.service.portal.delegation import Application, build_delegation_provider
from probes.credentials.oauth import Issuer
from probes.credentials.oauth_endpoint import ClientCredentials
from probes.model.mail_platform import MailPlatform


@pytest.mark.parametrize("own_authority", [False, True])
def test_every_context_checks_the_certificate_and_the_name(tmp_path: Path, *, own_authority: bool) -> None:
    ca_file = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(ca_file))

    context = Trust().context(ca_file if own_authority else None)

    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    if own_authority:
        assert len(context.get_ca_certs()) == 1, "a private authority is trusted instead of the others, not beside them"


@pytest.mark.parametrize("text", ["", "é", "# none\n", "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"])
def test_a_file_without_a_certificate_is_no_trust_in_others(tmp_path: Path, text: str) -> None:
    (tmp_path / "ca.pem").write_text(text, encoding="utf-8")
    with pytest.raises(TrustStoreError, match="holds no certificates"):
        Trust().context(tmp_path / "ca.pem")


def test_whose_a_certificate_is_may_be_written_beside_it_in_any_language(tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes("# Főtanúsítvány\n".encode() + trustme.CA().cert_pem.bytes())
    assert len(Trust().context(ca_file).get_ca_certs()) == 1


def test_contexts_are_shared() -> None:
    trust = Trust()

    assert trust.context(None) is trust.context(None) is Trust().context(None)


def hello(context: ssl.SSLContext) -> bytes:
    """Return what a server is greeted with."""
    sent = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname="mel.jabatan-contoh.gov.my").do_handshake()
    return sent.read()


@pytest.mark.parametrize("own_authority", [False, True])
def test_no_mail_server_is_offered_http_because_tokens_are_asked_for_by_it(
    tmp_path: Path, *, own_authority: bool
) -> None:
    ca_file = tmp_path / "ca.pem" if own_authority else None
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    trust, name = Trust(), "jabatan-contoh.gov.my"
    settings = {"provider": "microsoft", "tenant": name, "flow": "client_credentials", "client_id": "pantau"}
    issuer: Issuer = OAuthSettings.model_validate(settings | {"client_secret": "rahsia", "ca_file": ca_file}).build(
        trust, "a"
    )
    assert isinstance(issuer, ClientCredentials)
    application = Application(platform=MailPlatform.MICROSOFT, client_id="pantau", secret="rahsia")
    google = GoogleConsentSettings.model_validate({"client_id": "pantau", "client_secret": "rahsia"})
    for asks in (
        issuer._client.tls,
        MicrosoftConsentSettings(client_id="pantau").build(name, trust).client.tls,
        google.build("https://pantau.example", trust).client.tls,
        build_delegation_provider(application, trust).tls,
    ):
        # As the library does before each connection.
        asks.set_alpn_protocols(["http/1.1"])
        assert b"http/1.1" in hello(asks)
    for file in (ca_file, None):
        for each in (trust, Trust()):
            assert b"http/1.1" not in hello(each.context(file))


def test_what_the_system_trusts_is_read_again_when_it_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "system.pem"))
    trust, authorities = Trust(), [trustme.CA().cert_pem.bytes() for _ in range(2)]
    for number, authority in enumerate(authorities, 1):
        (tmp_path / "system.pem").write_bytes(authority)
        os.utime(tmp_path / "system.pem", (number, number))
        trust.recheck_files()
        for each in (trust, Trust()):
            assert each.context(None).get_ca_certs(binary_form=True) == [ssl.PEM_cert_to_DER_cert(authority.decode())]


def test_authorities_in_a_pipe_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "ca.pem")
    with pytest.raises(TrustStoreError, match=r"ca\.pem is no regular file"):
        Trust().context(tmp_path / "ca.pem")
