"""The CPU of one round trip on real Postfix and Dovecot: ours, the bare libraries', and two monitoring plugins'."""

from __future__ import annotations

import resource
import subprocess
from dataclasses import replace
from pathlib import Path

from probes.model.mailbox import Mailbox
from tests.bench.apart import apart
from tests.bench.goal import Measured
from tests.bench.trip import cpu, run, the_libraries, the_libraries_with_a_form, the_product
from tests.real.mailserver import Door, MailServer

#: Debian's monitoring-plugins-basic.
PLUGINS = Path("/usr/lib/nagios/plugins")
_TRIPS = 32
#: As many at once: the servers are what takes time here.
_MAILBOXES = 4


def measure(rounds: int) -> Measured:
    """Run all of them in turn."""
    ours, bare, with_a_form, plugins = [], [], [], []
    with MailServer() as server:
        mailboxes = [_met_by_address(server.mailbox(f"bangku{number}")) for number in range(_MAILBOXES)]
        for _ in range(rounds):
            ours.append(apart(lambda: run(the_product, mailboxes, _TRIPS)).cpu_a_trip)
            bare.append(apart(lambda: run(the_libraries, mailboxes, _TRIPS)).cpu_a_trip)
            with_a_form.append(apart(lambda: run(the_libraries_with_a_form, mailboxes, _TRIPS)).cpu_a_trip)
            plugins.append(_of_plugins(server))
    return Measured(
        rounds={
            "cpu_vs_bare": [one / other for one, other in zip(ours, bare, strict=True)],
            "cpu_vs_checks": [one / other for one, other in zip(ours, plugins, strict=True)],
        },
        notes={
            "cpu: ours, ms a trip": min(ours) * 1000,
            "cpu: bare libraries, ms a trip": min(bare) * 1000,
            "cpu: bare libraries with a prepared message, ms a trip": min(with_a_form) * 1000,
            "cpu: plugins, ms for both": min(plugins) * 1000,
        },
    )


def profiled() -> None:
    """Make round trips, for a profiler around it."""
    with MailServer() as server:
        run(the_product, [_met_by_address(server.mailbox("bangku"))], _TRIPS)


def _of_plugins(server: MailServer) -> float:
    """Return the CPU seconds of one run of both; they connect, and send no mail."""
    smtp = [str(PLUGINS / "check_smtp"), "-S", "-H", "127.0.0.1", "-p", str(server.ports[Door.SUBMISSION])]
    imap = [str(PLUGINS / "check_simap"), "-H", "127.0.0.1", "-p", str(server.ports[Door.IMAPS])]
    before = cpu(resource.RUSAGE_CHILDREN)
    for _ in range(_TRIPS // 2):
        for command in (smtp, imap):
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=20)
    return (cpu(resource.RUSAGE_CHILDREN) - before) / (_TRIPS // 2)


def _met_by_address(mailbox: Mailbox) -> Mailbox:
    assert mailbox.smtp is not None
    assert mailbox.imap is not None
    # Neither side asks a resolver.
    return replace(mailbox, smtp=replace(mailbox.smtp, host="127.0.0.1"), imap=replace(mailbox.imap, host="127.0.0.1"))
