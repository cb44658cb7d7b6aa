"""Which gateway is tried first, and how many calls each takes at a time."""

from __future__ import annotations

from datetime import timedelta
from typing import cast

import pytest

from alerts.channel import Channel
from alerts.exchange import Exchange, Line
from alerts.gateway import Gateway
from tests.unit.alerts.people import MINUTE, T0


def line(name: str, channel: Channel = Channel.SMS, slots: int = 2) -> Line:
    return Line(name=name, channel=channel, gateway=cast(Gateway, object()), slots=slots)


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

    assert [exchange.take("cloud") for _ in range(3)] == [True, True, False]
    exchange.give_back("cloud")
    assert [exchange.take("cloud") for _ in range(2)] == [True, False]


def test_a_busy_gateway_holds_back_no_other() -> None:
    exchange = Exchange([line("cloud", slots=1), line("modem", slots=1)])
    exchange.take("cloud")

    assert exchange.take("modem")


def test_one_that_is_not_configured_takes_nothing() -> None:
    exchange = Exchange([line("cloud")])

    assert not exchange.take("gone")
    exchange.give_back("gone")
    assert "gone" not in exchange
    with pytest.raises(KeyError):
        exchange["gone"]


def test_a_reload_keeps_standings_and_slots_and_returns_what_is_to_be_closed() -> None:
    old = [line("cloud", slots=1), line("modem")]
    exchange = Exchange(old)
    exchange.judge("cloud", up=False, now=T0)
    exchange.take("cloud")

    assert exchange.replace([line("cloud", slots=1), line("other")]) == old
    assert order(exchange) == ["other", "cloud"]
    assert not exchange.take("cloud")
    assert [one.name for one in exchange] == ["cloud", "other"]


def test_slots_in_use_are_counted_right_when_a_gateway_is_taken_out_and_put_back() -> None:
    exchange = Exchange([line("cloud", slots=1)])
    exchange.take("cloud")
    exchange.replace([])
    exchange.replace([line("cloud", slots=1)])

    assert not exchange.take("cloud")
    exchange.give_back("cloud")
    assert [exchange.take("cloud") for _ in range(2)] == [True, False]
