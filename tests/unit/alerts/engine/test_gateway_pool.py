"""Gateway preference and slots."""

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


def configured(name: str, channel: Channel = Channel.SMS, slots: int = 2) -> ConfiguredGateway:
    return ConfiguredGateway(name=name, channel=channel, gateway=cast(Gateway, object()), slots=slots)


def take(pool: GatewayPool, name: str, incident_id: int = 1, priority: Priority = (0, T0, 1)) -> bool:
    return pool.take_slot(name, incident_id=incident_id, call_key="notice", priority=priority)


def order(pool: GatewayPool, after: timedelta = timedelta(0)) -> list[str]:
    return list(pool.preference(T0 + after)[Channel.SMS])


def test_preference_follows_configured_order() -> None:
    pool = GatewayPool([configured("cloud"), configured("pabx", Channel.VOICE), configured("modem")])

    assert pool.preference(T0) == {Channel.SMS: ["cloud", "modem"], Channel.VOICE: ["pabx"]}


def test_failed_gateway_is_last_until_penalty_ends() -> None:
    pool = GatewayPool([configured("cloud"), configured("modem")])
    pool.record_state("cloud", up=False, now=T0)

    assert order(pool) == ["modem", "cloud"]
    assert order(pool, GatewayPool.PENALTY - timedelta(seconds=1)) == ["modem", "cloud"]
    assert order(pool, GatewayPool.PENALTY) == ["cloud", "modem"]


@pytest.mark.blind
def test_failed_gateway_with_clock_set_back_is_first_again() -> None:
    """Defect: After a clock is set back, a gateway that failed once stays last.

    Pantau: It is tried first again.
    """
    pool = GatewayPool([configured("cloud"), configured("modem")])
    pool.record_state("cloud", up=False, now=T0)

    assert order(pool, -MINUTE) == ["cloud", "modem"]


def test_recovered_gateway_is_first_again_at_once() -> None:
    pool = GatewayPool([configured("cloud"), configured("modem")])
    pool.record_state("cloud", up=False, now=T0)
    pool.record_state("cloud", up=True, now=T0 + MINUTE)

    assert order(pool, MINUTE) == ["cloud", "modem"]


def test_preference_with_all_gateways_failed_keeps_all() -> None:
    pool = GatewayPool([configured("cloud"), configured("modem")])
    pool.record_state("cloud", up=False, now=T0)
    pool.record_state("modem", up=False, now=T0)

    assert order(pool) == ["cloud", "modem"]


def overdue(last_accepted_at: datetime = T0) -> OverdueReceipts:
    return OverdueReceipts(since=T0, usual_delay=MINUTE, overdue=3, last_accepted_at=last_accepted_at)


def test_gateway_with_overdue_receipts_ranks_after_others_before_failed() -> None:
    pool = GatewayPool([configured("cloud"), configured("modem"), configured("spare")])
    assert pool.set_overdue_receipts("cloud", overdue())
    later = replace(overdue(), since=T0 + MINUTE)
    assert not pool.set_overdue_receipts("cloud", later), "no news"
    assert pool.receipts_overdue_since("cloud") == T0
    pool.record_state("modem", up=False, now=T0)
    assert order(pool) == ["spare", "cloud", "modem"]

    assert pool.set_overdue_receipts("cloud", None)
    assert order(pool) == ["cloud", "spare", "modem"]


def test_gateway_with_overdue_receipts_is_retried_after_idle_interval() -> None:
    pool = GatewayPool([configured("cloud"), configured("modem")])
    pool.set_overdue_receipts("cloud", overdue())

    def first_on_retry(after: timedelta) -> str:
        return pool.preference(T0 + after, is_retry=True)[Channel.SMS][0]

    assert first_on_retry(RETRY_INTERVAL - MINUTE) == "modem"
    assert first_on_retry(RETRY_INTERVAL) == "cloud"
    assert order(pool, RETRY_INTERVAL)[0] == "modem", "not with what must arrive"
    assert first_on_retry(-MINUTE) == "cloud", "the clock was set back"

    pool.record_use("cloud", T0 + RETRY_INTERVAL)
    assert first_on_retry(RETRY_INTERVAL) == "modem", "one at a time"


def test_skipped_gateways_lists_those_with_overdue_receipts() -> None:
    pool = GatewayPool(
        [configured("pabx", Channel.VOICE), configured("cloud"), configured("modem"), configured("spare")]
    )
    for name in ("pabx", "cloud"):
        pool.set_overdue_receipts(name, overdue())

    assert pool.skipped_gateways("modem") == ["cloud"]
    assert list(pool.skipped_gateways("cloud")) == []


def test_record_state_returns_true_only_on_change() -> None:
    pool = GatewayPool([configured("cloud")])

    assert [pool.record_state("cloud", up=up, now=T0) for up in (True, True, False, False, True)] == [
        True,
        False,
        True,
        False,
        True,
    ]


def test_take_slot_is_limited_by_slots() -> None:
    pool = GatewayPool([configured("cloud", slots=2)])

    assert [take(pool, "cloud") for _ in range(3)] == [True, True, False]
    pool.release_slot("cloud")
    assert [take(pool, "cloud") for _ in range(2)] == [True, False]


@pytest.mark.blind
def test_release_slot_reports_free_slot_at_once() -> None:
    """Defect: A returned slot is noticed up to 30 s later.

    Pantau: The pool reports each returned slot.
    """
    pool = GatewayPool([configured("cloud", slots=2)])
    freed: list[int] = []
    pool.on_free = lambda: freed.append(pool.free_slots("cloud"))
    assert pool.take_spare_slot("cloud")

    pool.release_slot("cloud")
    assert freed == [2]


def test_take_spare_slot_leaves_one_slot_free_and_yields_to_waiters() -> None:
    pool = GatewayPool([configured("cloud", slots=3), configured("modem", slots=1)])

    assert [pool.take_spare_slot("cloud") for _ in range(3)] == [True, True, False]
    assert pool.take_spare_slot("modem"), "nobody else calls"
    assert not take(pool, "modem")
    pool.release_slot("modem")
    assert not pool.take_spare_slot("modem"), "somebody waits"


def test_free_slots_after_reload_below_calls_in_progress_is_zero() -> None:
    pool = GatewayPool([configured("cloud", slots=3)])
    assert all(take(pool, "cloud") for _ in range(3))
    pool.replace([configured("cloud", slots=1)])

    assert pool.free_slots("cloud") == 0
    assert not take(pool, "cloud")
    for _ in range(3):
        pool.release_slot("cloud")
    assert pool.free_slots("cloud") == 1


def test_busy_gateway_does_not_block_others() -> None:
    pool = GatewayPool([configured("cloud", slots=1), configured("modem", slots=1)])
    take(pool, "cloud")

    assert take(pool, "modem")


def test_unconfigured_gateway_has_no_slots() -> None:
    pool = GatewayPool([configured("cloud")])

    assert not take(pool, "gone")
    pool.release_slot("gone")
    assert "gone" not in pool
    with pytest.raises(KeyError):
        pool["gone"]


def test_replace_keeps_states_and_slots_and_returns_gateways_to_close() -> None:
    old = [configured("cloud", slots=1), configured("modem")]
    pool = GatewayPool(old)
    pool.record_state("cloud", up=False, now=T0)
    take(pool, "cloud")

    assert pool.replace([replace(old[0], slots=1), configured("other")]) == old
    assert order(pool) == ["other", "cloud"]
    assert not take(pool, "cloud")
    assert [one.name for one in pool] == ["cloud", "other"]


def test_slots_in_use_survive_removing_and_adding_gateway() -> None:
    pool = GatewayPool([configured("cloud", slots=1)])
    take(pool, "cloud")
    pool.replace([])
    pool.replace([configured("cloud", slots=1)])

    assert not take(pool, "cloud")
    pool.release_slot("cloud")
    assert [take(pool, "cloud") for _ in range(2)] == [True, False]


def test_slot_waiters_are_served_by_priority() -> None:
    pool = GatewayPool([configured("cloud", slots=1)])
    take(pool, "cloud")
    assert not take(pool, "cloud", 2, (4, T0, 2))
    assert not take(pool, "cloud", 3, (0, T0, 3))
    assert pool.next_waiters() == []

    pool.release_slot("cloud")
    assert not take(pool, "cloud", 4, (0, T0 + MINUTE, 4)), "somebody waits who comes first"
    assert pool.next_waiters() == [((0, T0, 3), 3)]
    pool.remove_waiter(3)
    assert take(pool, "cloud", 3, (0, T0, 3))


def test_removed_waiter_does_not_block_others() -> None:
    pool = GatewayPool([configured("cloud", slots=1)])
    take(pool, "cloud")
    take(pool, "cloud", 2, (0, T0, 2))
    pool.release_slot("cloud")

    pool.remove_waiter(2)
    assert take(pool, "cloud", 3, (4, T0, 3))
