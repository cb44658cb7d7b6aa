"""Real Postfix and Dovecot, Knot and Unbound, started once for the session."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from tests.real.mailserver import MailServer
from tests.real.nameserver import NameServer


@pytest.fixture(scope="session")
def mail_server() -> Iterator[MailServer]:
    missing = [program for program in ("postfix", "dovecot", "/usr/lib/dovecot/pop3") if shutil.which(program) is None]
    if missing or os.geteuid() != 0:
        # Fail, not skip: these tests need the real servers.
        pytest.fail("needs Postfix and Dovecot (tests/real/install-debian installs them), and root to start Postfix")
    with MailServer() as server:
        yield server


@pytest.fixture(scope="session")
def name_server() -> Iterator[NameServer]:
    missing = [program for program in ("knotd", "keymgr", "unbound") if shutil.which(program) is None]
    if missing:
        pytest.fail("needs Knot and Unbound (tests/real/install-debian installs them)")
    with NameServer() as server:
        yield server
