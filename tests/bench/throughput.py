"""How many round trips a second one process makes, on servers that cost next to nothing."""

from __future__ import annotations

from tests.bench.apart import apart
from tests.bench.goal import Measured
from tests.bench.light import Light, light
from tests.bench.trip import run, the_libraries, the_libraries_with_a_form, the_product

_TRIPS = 600
_AT_ONCE = 20


def measure(rounds: int) -> Measured:
    """Run ours and the bare libraries in turn, as many at once, each trip on fresh connections."""
    ours, bare, with_a_form = [], [], []
    with light() as server:
        mailboxes = [server.mailbox(f"bangku{number}") for number in range(_AT_ONCE)]
        for _ in range(rounds):
            ours.append(apart(lambda: run(the_product, mailboxes, _TRIPS)).rate)
            bare.append(apart(lambda: run(the_libraries, mailboxes, _TRIPS)).rate)
            with_a_form.append(apart(lambda: run(the_libraries_with_a_form, mailboxes, _TRIPS)).rate)
    return Measured(
        rounds={"throughput_vs_bare": [one / other for one, other in zip(ours, bare, strict=True)]},
        notes={
            "throughput: ours, trips/s": max(ours),
            "throughput: bare libraries, trips/s": max(bare),
            "throughput: bare libraries with a prepared message, trips/s": max(with_a_form),
        },
    )


def carried(server: Light) -> float:
    """Return how many round trips a second the bare libraries make here now: what the machine carries."""
    mailboxes = [server.mailbox(f"bangku{number}") for number in range(_AT_ONCE)]
    return max(apart(lambda: run(the_libraries, mailboxes, _TRIPS)).rate for _ in range(2))


def profiled() -> None:
    """Make round trips, for a profiler around it."""
    with light() as server:
        run(the_product, [server.mailbox(f"bangku{number}") for number in range(_AT_ONCE)], _TRIPS // 3)
