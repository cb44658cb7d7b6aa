"""CPU of one round trip on real Postfix and Dovecot: the product, the bare libraries, and monitoring plugins."""

from __future__ import annotations

import resource
import subprocess
from dataclasses import replace
from pathlib import Path

from probes.model.mailbox import Mailbox
from tests.bench.goal import Measured
from tests.bench.subprocesses import run_in_subprocess
from tests.bench.trip import cpu, library_trips, prepared_library_trips, product_trips, run
from tests.real.mailserver import Listener, MailServer

#: Debian's monitoring-plugins-basic.
PLUGINS = Path("/usr/lib/nagios/plugins")
_TRIPS = 32
#: Parallel mailboxes, because most time is the servers'.
_MAILBOXES = 4


def measure(rounds: int) -> Measured:
    """Measure the three in turn."""
    ours, bare, prepared_form, plugins = [], [], [], []
    with MailServer() as server:
        mailboxes = [_by_address(server.mailbox(f"bangku{number}")) for number in range(_MAILBOXES)]
        for _ in range(rounds):
            ours.append(run_in_subprocess(lambda: run(product_trips, mailboxes, _TRIPS)).cpu_a_trip)
            bare.append(run_in_subprocess(lambda: run(library_trips, mailboxes, _TRIPS)).cpu_a_trip)
            prepared_form.append(run_in_subprocess(lambda: run(prepared_library_trips, mailboxes, _TRIPS)).cpu_a_trip)
            plugins.append(_plugin_cpu(server))
    return Measured(
        rounds={
            "cpu_vs_bare": [one / other for one, other in zip(ours, bare, strict=True)],
            "cpu_vs_checks": [one / other for one, other in zip(ours, plugins, strict=True)],
        },
        notes={
            "cpu: ours, ms a trip": min(ours) * 1000,
            "cpu: bare libraries, ms a trip": min(bare) * 1000,
            "cpu: bare libraries with a prepared message, ms a trip": min(prepared_form) * 1000,
            "cpu: plugins, ms for both": min(plugins) * 1000,
        },
    )


def profiled() -> None:
    """Make round trips under a profiler."""
    with MailServer() as server:
        run(product_trips, [_by_address(server.mailbox("bangku"))], _TRIPS)


def _plugin_cpu(server: MailServer) -> float:
    """Return the CPU seconds of one run of both plugins, which connect without sending mail."""
    smtp = [str(PLUGINS / "check_smtp"), "-S", "-H", "127.0.0.1", "-p", str(server.ports[Listener.SUBMISSION])]
    imap = [str(PLUGINS / "check_simap"), "-H", "127.0.0.1", "-p", str(server.ports[Listener.IMAPS])]
    before = cpu(resource.RUSAGE_CHILDREN)
    for _ in range(_TRIPS // 2):
        for command in (smtp, imap):
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=20)
    return (cpu(resource.RUSAGE_CHILDREN) - before) / (_TRIPS // 2)


def _by_address(mailbox: Mailbox) -> Mailbox:
    assert mailbox.smtp is not None
    assert mailbox.imap is not None
    # Addresses, so that neither side uses a resolver.
    return replace(mailbox, smtp=replace(mailbox.smtp, host="127.0.0.1"), imap=replace(mailbox.imap, host="127.0.0.1"))
