"""Whom configured mailboxes are believed to be."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import pytest
import trustme

from monitor.config.fields.trust import NoTrust, Trust


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
    with pytest.raises(NoTrust, match="holds no certificates"):
        Trust().context(tmp_path / "ca.pem")


def test_whose_a_certificate_is_may_be_written_beside_it_in_any_language(tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes("# Főtanúsítvány\n".encode() + trustme.CA().cert_pem.bytes())
    assert len(Trust().context(ca_file).get_ca_certs()) == 1


def test_contexts_are_shared() -> None:
    trust = Trust()

    assert trust.context(None) is trust.context(None) is Trust().context(None)


def test_what_the_system_trusts_is_read_again_when_it_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "system.pem"))
    trust, authorities = Trust(), [trustme.CA().cert_pem.bytes() for _ in range(2)]
    for number, authority in enumerate(authorities, 1):
        (tmp_path / "system.pem").write_bytes(authority)
        os.utime(tmp_path / "system.pem", (number, number))
        trust.look_again()
        for each in (trust, Trust()):
            assert each.context(None).get_ca_certs(binary_form=True) == [ssl.PEM_cert_to_DER_cert(authority.decode())]


def test_authorities_in_a_pipe_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "ca.pem")
    with pytest.raises(NoTrust, match=r"ca\.pem is no regular file"):
        Trust().context(tmp_path / "ca.pem")
