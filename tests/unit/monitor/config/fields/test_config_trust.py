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


def test_contexts_are_shared() -> None:
    trust = Trust()

    assert trust.context(None) is trust.context(None)


def test_authorities_in_a_pipe_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "ca.pem")
    with pytest.raises(NoTrust, match=r"ca\.pem is no regular file"):
        Trust().context(tmp_path / "ca.pem")
