"""Round trips a second of one process, with mail servers of minimal cost."""

from __future__ import annotations

from tests.bench.goal import Measured
from tests.bench.mail_stub import MailStub, run_mail_stub
from tests.bench.subprocesses import run_in_subprocess
from tests.bench.trip import library_trips, prepared_library_trips, product_trips, run

_TRIPS = 600
_PARALLEL = 20


def measure(rounds: int) -> Measured:
    """Measure the product and the bare libraries in turn, in parallel mailboxes, with new connections for each trip."""
    ours, bare, prepared_form = [], [], []
    with run_mail_stub() as server:
        mailboxes = [server.mailbox(f"bangku{number}") for number in range(_PARALLEL)]
        for _ in range(rounds):
            ours.append(run_in_subprocess(lambda: run(product_trips, mailboxes, _TRIPS)).rate)
            bare.append(run_in_subprocess(lambda: run(library_trips, mailboxes, _TRIPS)).rate)
            prepared_form.append(run_in_subprocess(lambda: run(prepared_library_trips, mailboxes, _TRIPS)).rate)
    return Measured(
        rounds={"throughput_vs_bare": [one / other for one, other in zip(ours, bare, strict=True)]},
        notes={
            "throughput: ours, trips/s": max(ours),
            "throughput: bare libraries, trips/s": max(bare),
            "throughput: bare libraries with a prepared message, trips/s": max(prepared_form),
        },
    )


def library_rate(server: MailStub) -> float:
    """Return the round trips a second of the bare libraries on this machine now."""
    mailboxes = [server.mailbox(f"bangku{number}") for number in range(_PARALLEL)]
    return max(run_in_subprocess(lambda: run(library_trips, mailboxes, _TRIPS)).rate for _ in range(2))


def profiled() -> None:
    """Make round trips under a profiler."""
    with run_mail_stub() as server:
        run(product_trips, [server.mailbox(f"bangku{number}") for number in range(_PARALLEL)], _TRIPS // 3)
