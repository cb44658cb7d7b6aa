"""Which gateway is tried first, and how many calls each takes at a time."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import cast

import pytest

from alerts.decide.gateway.receipt import RETRY_INTERVAL, OverdueReceipts
from alerts.engine.gateway_pool import ConfiguredGateway, GatewayPool
from alerts.model.channel import Channel
from alerts.model.gateway import Gateway
from alerts.model.urgency import Priority
from tests.unit.alerts.people import MINUTE, T0


def line(name: str, channel: Channel = Channel.SMS, slots: int = 2) -> ConfiguredGateway:
    return ConfiguredGateway(name=name, channel=channel, gateway=cast(Gateway, object()), slots=slots)


def take(pool: GatewayPool, name: str, incident_id: int = 1, priority: Priority = (0, T0, 1)) -> bool:
    return pool.take_slot(name, incident_id=incident_id, what="notice", priority=priority)


def order(pool: GatewayPool, after: timedelta = timedelta(0)) -> list[str]:
    return list(pool.preference(T0 + after)[Channel.SMS])


def test_gateways_are_tried_in_the_order_in_which_they_are_configured() -> None:
    pool = GatewayPool([line("cloud"), line("pabx", Channel.VOICE), line("modem")])

    assert pool.preference(T0) == {Channel.SMS: ["cloud", "modem"], Channel.VOICE: ["pabx"]}


def test_one_that_just_failed_comes_last_and_is_tried_first_again_after_its_rest() -> None:
    pool = GatewayPool([line("cloud"), line("modem")])
    pool.record_state("cloud", up=False, now=T0)

    assert order(pool) == ["modem", "cloud"]
    assert order(pool, GatewayPool.PENALTY - timedelta(seconds=1)) == ["modem", "cloud"]
    assert order(pool, GatewayPool.PENALTY) == ["cloud", "modem"]


@pytest.mark.blind
def test_a_clock_that_is_set_back_does_not_let_one_rest_until_it_has_caught_up() -> None:
    """Defect: After a clock is set back, a gateway that failed once stays last.

    Pantau: It is tried first again.
    """
    pool = GatewayPool([line("cloud"), line("modem")])
    pool.record_state("cloud", up=False, now=T0)

    assert order(pool, -MINUTE) == ["cloud", "modem"]


def test_one_that_works_again_comes_first_at_once() -> None:
    pool = GatewayPool([line("cloud"), line("modem")])
    pool.record_state("cloud", up=False, now=T0)
    pool.record_state("cloud", up=True, now=T0 + MINUTE)

    assert order(pool, MINUTE) == ["cloud", "modem"]


def test_when_all_have_failed_all_are_still_there() -> None:
    pool = GatewayPool([line("cloud"), line("modem")])
    pool.record_state("cloud", up=False, now=T0)
    pool.record_state("modem", up=False, now=T0)

    assert order(pool) == ["cloud", "modem"]


def doubt(last_accepted_at: datetime = T0) -> OverdueReceipts:
    return OverdueReceipts(since=T0, usual_delay=MINUTE, overdue=3, last_accepted_at=last_accepted_at)


def test_one_that_is_doubted_comes_after_the_others_and_before_one_that_failed() -> None:
    pool = GatewayPool([line("cloud"), line("modem"), line("spare")])
    assert pool.set_overdue_receipts("cloud", doubt())
    later = replace(doubt(), since=T0 + MINUTE)
    assert not pool.set_overdue_receipts("cloud", later), "no news"
    assert pool.receipts_overdue_since("cloud") == T0
    pool.record_state("modem", up=False, now=T0)
    assert order(pool) == ["spare", "cloud", "modem"]

    assert pool.set_overdue_receipts("cloud", None)
    assert order(pool) == ["cloud", "spare", "modem"]


def test_one_that_is_doubted_is_tried_when_no_engine_has_given_it_anything_for_a_while() -> None:
    pool = GatewayPool([line("cloud"), line("modem")])
    pool.set_overdue_receipts("cloud", doubt())

    def is_retry(after: timedelta) -> str:
        return pool.preference(T0 + after, is_retry=True)[Channel.SMS][0]

    assert is_retry(RETRY_INTERVAL - MINUTE) == "modem"
    assert is_retry(RETRY_INTERVAL) == "cloud"
    assert order(pool, RETRY_INTERVAL)[0] == "modem", "not with what must arrive"
    assert is_retry(-MINUTE) == "cloud", "the clock was set back"

    pool.record_use("cloud", T0 + RETRY_INTERVAL)
    assert is_retry(RETRY_INTERVAL) == "modem", "one at a time"


def test_whoever_goes_by_another_for_a_doubt_can_say_so() -> None:
    pool = GatewayPool([line("pabx", Channel.VOICE), line("cloud"), line("modem"), line("spare")])
    for name in ("pabx", "cloud"):
        pool.set_overdue_receipts(name, doubt())

    assert pool.skipped_gateways("modem") == ["cloud"]
    assert list(pool.skipped_gateways("cloud")) == []


def test_only_a_change_of_standing_is_news() -> None:
    pool = GatewayPool([line("cloud")])

    assert [pool.record_state("cloud", up=up, now=T0) for up in (True, True, False, False, True)] == [
        True,
        False,
        True,
        False,
        True,
    ]


def test_a_gateway_takes_as_many_calls_as_it_has_slots() -> None:
    pool = GatewayPool([line("cloud", slots=2)])

    assert [take(pool, "cloud") for _ in range(3)] == [True, True, False]
    pool.release_slot("cloud")
    assert [take(pool, "cloud") for _ in range(2)] == [True, False]


@pytest.mark.blind
def test_whoever_gives_a_slot_back_it_is_known_at_once() -> None:
    """Defect: A returned slot is noticed up to 30 s later.

    Pantau: The pool reports each returned slot.
    """
    pool = GatewayPool([line("cloud", slots=2)])
    freed: list[int] = []
    pool.on_free = lambda: freed.append(pool.free_slots("cloud"))
    assert pool.take_spare_slot("cloud")

    pool.release_slot("cloud")
    assert freed == [2]


def test_a_drill_leaves_a_slot_free_and_gives_way_to_whoever_waits() -> None:
    pool = GatewayPool([line("cloud", slots=3), line("modem", slots=1)])

    assert [pool.take_spare_slot("cloud") for _ in range(3)] == [True, True, False]
    assert pool.take_spare_slot("modem"), "nobody else calls"
    assert not take(pool, "modem")
    pool.release_slot("modem")
    assert not pool.take_spare_slot("modem"), "somebody waits"


def test_fewer_slots_after_a_reload_than_calls_under_way_are_none() -> None:
    pool = GatewayPool([line("cloud", slots=3)])
    assert all(take(pool, "cloud") for _ in range(3))
    pool.replace([line("cloud", slots=1)])

    assert pool.free_slots("cloud") == 0
    assert not take(pool, "cloud")
    for _ in range(3):
        pool.release_slot("cloud")
    assert pool.free_slots("cloud") == 1


def test_a_busy_gateway_holds_back_no_other() -> None:
    pool = GatewayPool([line("cloud", slots=1), line("modem", slots=1)])
    take(pool, "cloud")

    assert take(pool, "modem")


def test_one_that_is_not_configured_takes_nothing() -> None:
    pool = GatewayPool([line("cloud")])

    assert not take(pool, "gone")
    pool.release_slot("gone")
    assert "gone" not in pool
    with pytest.raises(KeyError):
        pool["gone"]


def test_a_reload_keeps_standings_and_slots_and_returns_what_is_to_be_closed() -> None:
    old = [line("cloud", slots=1), line("modem")]
    pool = GatewayPool(old)
    pool.record_state("cloud", up=False, now=T0)
    take(pool, "cloud")

    assert pool.replace([replace(old[0], slots=1), line("other")]) == old
    assert order(pool) == ["other", "cloud"]
    assert not take(pool, "cloud")
    assert [one.name for one in pool] == ["cloud", "other"]


def test_slots_in_use_are_counted_right_when_a_gateway_is_taken_out_and_put_back() -> None:
    pool = GatewayPool([line("cloud", slots=1)])
    take(pool, "cloud")
    pool.replace([])
    pool.replace([line("cloud", slots=1)])

    assert not take(pool, "cloud")
    pool.release_slot("cloud")
    assert [take(pool, "cloud") for _ in range(2)] == [True, False]


def test_who_waits_for_a_slot_gets_it_in_turn() -> None:
    pool = GatewayPool([line("cloud", slots=1)])
    take(pool, "cloud")
    assert not take(pool, "cloud", 2, (4, T0, 2))
    assert not take(pool, "cloud", 3, (0, T0, 3))
    assert pool.next_waiters() == []

    pool.release_slot("cloud")
    assert not take(pool, "cloud", 4, (0, T0 + MINUTE, 4)), "somebody waits who comes first"
    assert pool.next_waiters() == [((0, T0, 3), 3)]
    pool.remove_waiter(3)
    assert take(pool, "cloud", 3, (0, T0, 3))


def test_who_does_not_want_it_any_more_stands_in_nobodys_way() -> None:
    pool = GatewayPool([line("cloud", slots=1)])
    take(pool, "cloud")
    take(pool, "cloud", 2, (0, T0, 2))
    pool.release_slot("cloud")

    pool.remove_waiter(2)
    assert take(pool, "cloud", 3, (4, T0, 3))
