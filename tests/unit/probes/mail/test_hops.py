"""Path of a message by its Received headers: trusted headers, delay of each relay, and clock skew."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.mail.hops import read_path
from probes.mail.message import OUR_HEADERS, compose
from probes.mail.token import TokenSigner
from probes.model.probe import ProbeFailedError, Timeouts, Trace
from probes.model.reply import Reason
from probes.model.result import Failure, Hop, Outcome, Party, Path, Phase
from probes.run.runner import run_probe

T0 = datetime(2026, 3, 2, 8, 30, tzinfo=UTC)
SECOND = timedelta(seconds=1)
TOKEN = TokenSigner(b"kunci-untuk-ujian-sahaja", "putrajaya-1").issue("r", T0)
OURS = compose(TOKEN, sender="a@jabatan-contoh.gov.my", recipient="b@rujukan.example", now=T0)


def stamp(by: str, seconds: float, zone: str = "+0000") -> bytes:
    at = T0 + timedelta(seconds=seconds)
    return f"Received: from x ([192.0.2.1])\r\n\tby {by} with ESMTPS id 4Q1; {at:%a, %d %b %Y %H:%M:%S} {zone}\r\n".encode()


def path(*headers: bytes, content: bytes = OURS, seen_after: float = 60) -> Path:
    """Return the path of a message with *headers* on top, the last relay's first, submitted at T0."""
    return read_path(b"".join(headers) + content, submitted_at=T0, arrived_at=T0 + timedelta(seconds=seen_after))


def delays(way: Path) -> list[float]:
    return [hop.delay.total_seconds() for hop in way.hops]


def test_path_lists_relay_delays_in_travel_order() -> None:
    way = path(stamp("lmtp.rujukan.example", 42), stamp("mx.rujukan.example", 41), stamp("mel.contoh.gov.my", 1))

    assert way.hops == (
        Hop(by="mel.contoh.gov.my", delay=1 * SECOND),
        Hop(by="mx.rujukan.example", delay=40 * SECOND),
        Hop(by="lmtp.rujukan.example", delay=1 * SECOND),
    )
    assert way.skew is None


def test_path_ignores_other_headers_between() -> None:
    way = path(
        b"Return-Path: <a@b.example>\r\nDelivered-To: b@rujukan.example\r\n",
        stamp("mx", 3),
        b"DKIM-Signature: v=1;\r\n\tb=abc; by sombody; 1 Jan 2026 00:00:00 +0000\r\nX-Received: by x; nonsense\r\n",
        stamp("mel", 1),
    )
    assert [hop.by for hop in way.hops] == ["mel", "mx"]


def test_path_ignores_received_below_own_header() -> None:
    subject, rest = OURS.split(b"\r\n", 1)
    way = path(stamp("mx", 1), content=subject + b"\r\n" + stamp("palsu", 0) + rest)
    assert [hop.by for hop in way.hops] == ["mx"]


def test_path_without_own_header_is_empty() -> None:
    assert path(stamp("mx", 1), content=b"X-Lain: 1\r\n\r\nFrom: body\r\n") == Path()
    assert path(content=b"") == Path()


def test_path_own_headers_cover_all_headers_of_probe_message() -> None:
    written = {line.partition(b":")[0].decode().lower() for line in OURS.partition(b"\r\n\r\n")[0].split(b"\r\n")}
    assert {name for name in written if name[0] not in "\t "} == OUR_HEADERS


@pytest.fixture
def in_malaysia(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Use the time zone of Malaysia."""
    with monkeypatch.context() as there:
        there.setenv("TZ", "MYT-8")
        time.tzset()
        yield
    time.tzset()


def test_path_leap_second_is_read_as_second_before() -> None:
    assert delays(path(b"Received: by mx id 1; Mon, 2 Mar 2026 08:30:60 +0000\r\n")) == [59]


@pytest.mark.parametrize(
    "date",
    [
        "Mon, 02 Mar 2026 08:30:09 +0000",
        "Mon, 2 Mar 2026 16:30:09 +0800 (MYT)",
        "2 Mar 2026 08:30:09 -0000",
        "Mon, 2 Mar 2026 08:30:09.123456 GMT",
        "Mon,  2 March 2026 03:30:09 EST",
        "Mon, 2 Mar 2026 01:30:09 MST",
        "(a; comment (in; one)) Mon, 2 Mar 2026 08:30:09 UT",
    ],
)
@pytest.mark.usefixtures("in_malaysia")
def test_path_date_is_read_in_any_time_zone(date: str) -> None:
    way = path(f"Received: by mx (Postfix; 1 Jan 2020 00:00:00 +0000) id 1;\r\n {date}\r\n".encode())
    assert delays(way) == [9]


@pytest.mark.parametrize(
    "date",
    [
        "Mon, 02 Mar 2026 08:30:09",
        "Mon, 02 Mar 2026 08:30:09 MYT",
        "Mon, 02 Mar 2026 08:30:09 +9900",
        "Mon, 32 Mar 2026 08:30:09 +0000",
        "Mon, 02 Mac 2026 08:30:09 +0000",
        "1 Jan 0001 00:00:00 +2300",
        "yesterday",
        "",
    ],
)
def test_path_invalid_date_is_skipped_and_its_time_added_to_next_relay(date: str) -> None:
    way = path(stamp("mx", 20), f"Received: by aneh id 1; {date}\r\n".encode(), stamp("mel", 1))
    assert [(hop.by, hop.delay) for hop in way.hops] == [("mel", SECOND), ("mx", 19 * SECOND)]


def test_path_disagreeing_clocks_give_no_negative_delay() -> None:
    way = path(stamp("d", 12), stamp("c", 10), stamp("b", 4), stamp("a", 9))
    assert delays(way) == [9, 0, 1, 2]
    assert way.skew is None


def test_path_relay_ahead_is_reported_as_skew_not_delay() -> None:
    way = path(stamp("mx", 5), stamp("laju", 3600), stamp("mel", 1), seen_after=6)
    assert delays(way) == [1, 0, 4]
    assert way.skew == timedelta(seconds=3594)


def test_path_relay_behind_is_reported_as_skew_and_worst_wins() -> None:
    way = path(stamp("mx", 5), stamp("lambat", -7200), stamp("laju", 90))
    assert delays(way) == [0, 0, 5]
    assert way.skew == timedelta(seconds=-7199)


def test_path_relay_stamp_in_second_of_submission_is_no_skew() -> None:
    way = read_path(stamp("mel", 0) + OURS, submitted_at=T0 + timedelta(seconds=0.9), arrived_at=T0 + 5 * SECOND)
    assert way == Path(hops=(Hop(by="mel", delay=timedelta()),))


def test_path_duplicate_header_is_one_relay() -> None:
    assert len(path(stamp("mx", 2), stamp("mx", 2), stamp("mel", 1)).hops) == 2


def test_path_relay_name_is_cleaned_and_shortened() -> None:
    way = path(b"Received: from x; Mon, 02 Mar 2026 08:30:02 +0000\r\n", stamp("\x1b[31m" + "x" * 200, 1))
    assert way.hops[1].by == ""
    assert len(way.hops[0].by) == 100
    assert way.hops[0].by.isprintable()


def test_path_hostile_headers_cost_little_time() -> None:
    began = time.process_time()
    for hostile in (
        b"".join(stamp(f"r{number}", number % 50) for number in range(20_000)),
        b"Received: " + b"(" * 1_000_000 + b"\r\n",
        b"Received:" + b"\r\n by" * 300_000 + b"\r\n",
        b"Received: " + b"1 " * 900 + b"\r\n" + stamp("mx", 1),
        b"X: y\r\n" * 500_000,
    ):
        assert len(path(hostile).hops) <= 30
    assert time.process_time() - began < 1


def test_path_is_limited_to_thirty_relays() -> None:
    way = path(*(stamp(f"r{number}", number) for number in range(50, 0, -1)))
    assert [hop.by for hop in way.hops] == [f"r{number}" for number in range(1, 31)]


@given(
    st.lists(st.one_of(st.binary(max_size=80), st.sampled_from([b"Received: by x;", b" 2 Mar 2026 8:3:1 +1", b"\n"])))
)
def test_path_any_headers_delays_sum_to_at_most_transit(pieces: list[bytes]) -> None:
    way = path(b"".join(pieces), seen_after=60)
    assert all(hop.delay >= timedelta() for hop in way.hops)
    assert sum((hop.delay for hop in way.hops), timedelta()) <= 60 * SECOND


class Arriving:
    """A probe whose message has the header of one relay, with a scripted end."""

    def __init__(self, failure: ProbeFailedError | None = None) -> None:
        self._failure = failure

    async def run(self, trace: Trace) -> Outcome:
        with trace.phase(Phase.SUBMIT, Party.SENDER):
            pass
        with trace.phase(Phase.RETRIEVE, Party.RECIPIENT):
            pass
        trace.record_message(stamp("mx", 3600) + OURS)
        if self._failure is not None:
            raise self._failure
        return Outcome.DELIVERED


CHANGED = ProbeFailedError(
    Outcome.CORRUPTED, Failure(phase=Phase.RETRIEVE, party=Party.RECIPIENT, reason=Reason.CONTENT_CHANGED)
)


@pytest.mark.parametrize("failure", [None, CHANGED])
async def test_run_probe_result_has_path_also_when_message_is_corrupted(
    failure: ProbeFailedError | None,
) -> None:
    result = await run_probe(Arriving(failure), route="r", token_id=TOKEN.id, timeouts=Timeouts(), clock=lambda: T0)
    assert result.path is not None
    assert [hop.by for hop in result.path.hops] == ["mx"]
    assert result.path.skew is not None
    assert timedelta(seconds=3590) < result.path.skew <= timedelta(seconds=3600)
