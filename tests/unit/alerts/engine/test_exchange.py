"""Which gateway is tried first, and how many calls each takes at a time."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import cast

import pytest

from alerts.decide.receipt import TRY_AGAIN, Doubt
from alerts.engine.exchange import Exchange, Line
from alerts.model.channel import Channel
from alerts.model.gateway import Gateway
from alerts.model.urgency import Turn
from tests.unit.alerts.people import MINUTE, T0


def line(name: str, channel: Channel = Channel.SMS, slots: int = 2) -> Line:
    return Line(name=name, channel=channel, gateway=cast(Gateway, object()), slots=slots)


def take(exchange: Exchange, name: str, incident_id: int = 1, turn: Turn = (0, T0, 1)) -> bool:
    return exchange.take(name, incident_id=incident_id, what="notice", turn=turn)


def order(exchange: Exchange, after: timedelta = timedelta(0)) -> list[str]:
    return list(exchange.preference(T0 + after)[Channel.SMS])


def test_gateways_are_tried_in_the_order_in_which_they_are_configured() -> None:
    exchange = Exchange([line("cloud"), line("pabx", Channel.VOICE), line("modem")])

    assert exchange.preference(T0) == {Channel.SMS: ["cloud", "modem"], Channel.VOICE: ["pabx"]}


def test_one_that_just_failed_comes_last_and_is_tried_first_again_after_its_rest() -> None:
    exchange = Exchange([line("cloud"), line("modem")])
    exchange.judge("cloud", up=False, now=T0)

    assert order(exchange) == ["modem", "cloud"]
    assert order(exchange, Exchange.REST - timedelta(seconds=1)) == ["modem", "cloud"]
    assert order(exchange, Exchange.REST) == ["cloud", "modem"]


@pytest.mark.blind
def test_a_clock_that_is_set_back_does_not_let_one_rest_until_it_has_caught_up() -> None:
    exchange = Exchange([line("cloud"), line("modem")])
    exchange.judge("cloud", up=False, now=T0)

    assert order(exchange, -MINUTE) == ["cloud", "modem"]


def test_one_that_works_again_comes_first_at_once() -> None:
    exchange = Exchange([line("cloud"), line("modem")])
    exchange.judge("cloud", up=False, now=T0)
    exchange.judge("cloud", up=True, now=T0 + MINUTE)

    assert order(exchange, MINUTE) == ["cloud", "modem"]


def test_when_all_have_failed_all_are_still_there() -> None:
    exchange = Exchange([line("cloud"), line("modem")])
    exchange.judge("cloud", up=False, now=T0)
    exchange.judge("modem", up=False, now=T0)

    assert order(exchange) == ["cloud", "modem"]


def doubt(tried_at: datetime = T0) -> Doubt:
    return Doubt(since=T0, usual=MINUTE, overdue=3, tried_at=tried_at)


def test_one_that_is_doubted_comes_after_the_others_and_before_one_that_failed() -> None:
    exchange = Exchange([line("cloud"), line("modem"), line("spare")])
    assert exchange.doubt("cloud", doubt())
    later = replace(doubt(), since=T0 + MINUTE)
    assert not exchange.doubt("cloud", later), "no news"
    assert exchange.doubted_since("cloud") == T0
    exchange.judge("modem", up=False, now=T0)
    assert order(exchange) == ["spare", "cloud", "modem"]

    assert exchange.doubt("cloud", None)
    assert order(exchange) == ["cloud", "spare", "modem"]


def test_one_that_is_doubted_is_tried_when_no_engine_has_given_it_anything_for_a_while() -> None:
    exchange = Exchange([line("cloud"), line("modem")])
    exchange.doubt("cloud", doubt())

    def trying(after: timedelta) -> str:
        return exchange.preference(T0 + after, trying=True)[Channel.SMS][0]

    assert trying(TRY_AGAIN - MINUTE) == "modem"
    assert trying(TRY_AGAIN) == "cloud"
    assert order(exchange, TRY_AGAIN)[0] == "modem", "not with what must arrive"
    assert trying(-MINUTE) == "cloud", "the clock was set back"

    exchange.note_use("cloud", T0 + TRY_AGAIN)
    assert trying(TRY_AGAIN) == "modem", "one at a time"


def test_whoever_goes_by_another_for_a_doubt_can_say_so() -> None:
    exchange = Exchange([line("pabx", Channel.VOICE), line("cloud"), line("modem"), line("spare")])
    for name in ("pabx", "cloud"):
        exchange.doubt(name, doubt())

    assert exchange.doubted_before("modem") == ["cloud"]
    assert list(exchange.doubted_before("cloud")) == []


def test_only_a_change_of_standing_is_news() -> None:
    exchange = Exchange([line("cloud")])

    assert [exchange.judge("cloud", up=up, now=T0) for up in (True, True, False, False, True)] == [
        True,
        False,
        True,
        False,
        True,
    ]


def test_a_gateway_takes_as_many_calls_as_it_has_slots() -> None:
    exchange = Exchange([line("cloud", slots=2)])

    assert [take(exchange, "cloud") for _ in range(3)] == [True, True, False]
    exchange.give_back("cloud")
    assert [take(exchange, "cloud") for _ in range(2)] == [True, False]


@pytest.mark.blind
def test_whoever_gives_a_slot_back_it_is_known_at_once() -> None:
    exchange = Exchange([line("cloud", slots=2)])
    freed: list[int] = []
    exchange.on_free = lambda: freed.append(exchange.free_slots("cloud"))
    assert exchange.take_spare("cloud")

    exchange.give_back("cloud")
    assert freed == [2]


def test_a_drill_leaves_a_slot_free_and_gives_way_to_whoever_waits() -> None:
    exchange = Exchange([line("cloud", slots=3), line("modem", slots=1)])

    assert [exchange.take_spare("cloud") for _ in range(3)] == [True, True, False]
    assert exchange.take_spare("modem"), "nobody else calls"
    assert not take(exchange, "modem")
    exchange.give_back("modem")
    assert not exchange.take_spare("modem"), "somebody waits"


def test_fewer_slots_after_a_reload_than_calls_under_way_are_none() -> None:
    exchange = Exchange([line("cloud", slots=3)])
    assert all(take(exchange, "cloud") for _ in range(3))
    exchange.replace([line("cloud", slots=1)])

    assert exchange.free_slots("cloud") == 0
    assert not take(exchange, "cloud")
    for _ in range(3):
        exchange.give_back("cloud")
    assert exchange.free_slots("cloud") == 1


def test_a_busy_gateway_holds_back_no_other() -> None:
    exchange = Exchange([line("cloud", slots=1), line("modem", slots=1)])
    take(exchange, "cloud")

    assert take(exchange, "modem")


def test_one_that_is_not_configured_takes_nothing() -> None:
    exchange = Exchange([line("cloud")])

    assert not take(exchange, "gone")
    exchange.give_back("gone")
    assert "gone" not in exchange
    with pytest.raises(KeyError):
        exchange["gone"]


def test_a_reload_keeps_standings_and_slots_and_returns_what_is_to_be_closed() -> None:
    old = [line("cloud", slots=1), line("modem")]
    exchange = Exchange(old)
    exchange.judge("cloud", up=False, now=T0)
    take(exchange, "cloud")

    assert exchange.replace([line("cloud", slots=1), line("other")]) == old
    assert order(exchange) == ["other", "cloud"]
    assert not take(exchange, "cloud")
    assert [one.name for one in exchange] == ["cloud", "other"]


def test_slots_in_use_are_counted_right_when_a_gateway_is_taken_out_and_put_back() -> None:
    exchange = Exchange([line("cloud", slots=1)])
    take(exchange, "cloud")
    exchange.replace([])
    exchange.replace([line("cloud", slots=1)])

    assert not take(exchange, "cloud")
    exchange.give_back("cloud")
    assert [take(exchange, "cloud") for _ in range(2)] == [True, False]


def test_who_waits_for_a_slot_gets_it_in_turn() -> None:
    exchange = Exchange([line("cloud", slots=1)])
    take(exchange, "cloud")
    assert not take(exchange, "cloud", 2, (4, T0, 2))
    assert not take(exchange, "cloud", 3, (0, T0, 3))
    assert exchange.in_turn() == []

    exchange.give_back("cloud")
    assert not take(exchange, "cloud", 4, (0, T0 + MINUTE, 4)), "somebody waits who comes first"
    assert exchange.in_turn() == [((0, T0, 3), 3)]
    exchange.forget(3)
    assert take(exchange, "cloud", 3, (0, T0, 3))


def test_who_does_not_want_it_any_more_stands_in_nobodys_way() -> None:
    exchange = Exchange([line("cloud", slots=1)])
    take(exchange, "cloud")
    take(exchange, "cloud", 2, (0, T0, 2))
    exchange.give_back("cloud")

    exchange.forget(2)
    assert take(exchange, "cloud", 3, (4, T0, 3))
