"""Trusted certificate authorities of mail servers."""

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
from probes.credentials.oauth_endpoint import ClientCredentialsIssuer
from probes.model.mail_platform import MailPlatform


@pytest.mark.parametrize("own_authority", [False, True])
def test_trust_context_verifies_certificate_and_host_name(tmp_path: Path, *, own_authority: bool) -> None:
    ca_file = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(ca_file))

    context = Trust().context(ca_file if own_authority else None)

    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    if own_authority:
        assert len(context.get_ca_certs()) == 1, "a private authority is trusted instead of the others, not beside them"


@pytest.mark.parametrize("text", ["", "é", "# none\n", "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"])
def test_trust_file_without_certificates_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "ca.pem").write_text(text, encoding="utf-8")
    with pytest.raises(TrustStoreError, match="holds no certificates"):
        Trust().context(tmp_path / "ca.pem")


def test_trust_file_accepts_comments_in_utf8(tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes("# Főtanúsítvány\n".encode() + trustme.CA().cert_pem.bytes())
    assert len(Trust().context(ca_file).get_ca_certs()) == 1


def test_trust_contexts_are_shared() -> None:
    trust = Trust()

    assert trust.context(None) is trust.context(None) is Trust().context(None)


def hello(context: ssl.SSLContext) -> bytes:
    """Return the TLS ClientHello."""
    sent = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname="mel.jabatan-contoh.gov.my").do_handshake()
    return sent.read()


@pytest.mark.parametrize("own_authority", [False, True])
def test_trust_mail_contexts_offer_no_http_alpn(tmp_path: Path, *, own_authority: bool) -> None:
    ca_file = tmp_path / "ca.pem" if own_authority else None
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    trust, name = Trust(), "jabatan-contoh.gov.my"
    settings = {"provider": "microsoft", "tenant": name, "flow": "client_credentials", "client_id": "pantau"}
    issuer: Issuer = OAuthSettings.model_validate(settings | {"client_secret": "rahsia", "ca_file": ca_file}).build(
        trust, "a"
    )
    assert isinstance(issuer, ClientCredentialsIssuer)
    application = Application(platform=MailPlatform.MICROSOFT, client_id="pantau", secret="rahsia")
    google = GoogleConsentSettings.model_validate({"client_id": "pantau", "client_secret": "rahsia"})
    for asks in (
        issuer._client.tls,
        MicrosoftConsentSettings(client_id="pantau").build(name, trust).client.tls,
        google.build("https://pantau.example", trust).client.tls,
        build_delegation_provider(application, trust).tls,
    ):
        # httpx does this before each connection.
        asks.set_alpn_protocols(["http/1.1"])
        assert b"http/1.1" in hello(asks)
    for file in (ca_file, None):
        for each in (trust, Trust()):
            assert b"http/1.1" not in hello(each.context(file))


def test_trust_reloads_changed_system_certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "system.pem"))
    trust, authorities = Trust(), [trustme.CA().cert_pem.bytes() for _ in range(2)]
    for number, authority in enumerate(authorities, 1):
        (tmp_path / "system.pem").write_bytes(authority)
        os.utime(tmp_path / "system.pem", (number, number))
        trust.recheck_files()
        for each in (trust, Trust()):
            assert each.context(None).get_ca_certs(binary_form=True) == [ssl.PEM_cert_to_DER_cert(authority.decode())]


def test_trust_named_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "ca.pem")
    with pytest.raises(TrustStoreError, match=r"ca\.pem is no regular file"):
        Trust().context(tmp_path / "ca.pem")
