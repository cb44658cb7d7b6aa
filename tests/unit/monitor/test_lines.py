"""Gateways that a reload replaced are closed, late enough, each once, and whatever befalls the others."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import cast

from structlog.testing import capture_logs

from alerts.channel import Channel
from alerts.exchange import Line
from alerts.gateway import Gateway
from monitor.lines import Retirement, close_lines


class Closing:
    """The part of a gateway that is met at its end."""

    def __init__(self, *, breaks: bool = False) -> None:
        self.closed = 0
        self.breaks = breaks

    async def close(self) -> None:
        self.closed += 1
        if self.breaks:
            raise ZeroDivisionError


def line(gateway: Closing, name: str = "sms") -> Line:
    return Line(name=name, channel=Channel.SMS, gateway=cast(Gateway, gateway))


async def test_one_that_cannot_be_closed_keeps_no_other_from_it() -> None:
    broken, sound = Closing(breaks=True), Closing()
    with capture_logs() as logged:
        await close_lines([line(broken, "rosak"), line(sound)])
    assert sound.closed == 1
    assert [(each["event"], each["gateway"]) for each in logged] == [("a gateway could not be closed", "rosak")]


async def test_they_are_closed_when_the_calls_they_were_in_are_over() -> None:
    retirement, first, second = Retirement(), Closing(), Closing()
    retirement.LASTS = timedelta(0)
    retirement.enter([line(first)])
    assert first.closed == 0
    closing = asyncio.create_task(retirement.keep_closing())
    for _ in range(5):
        await asyncio.sleep(0)
    assert first.closed == 1
    retirement.enter([line(second)])
    for _ in range(5):
        await asyncio.sleep(0)
    assert (first.closed, second.closed) == (1, 1)
    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)


async def test_at_the_end_of_the_service_those_that_still_wait_are_closed_once() -> None:
    retirement, first, second = Retirement(), Closing(), Closing()
    retirement.enter([line(first)])
    retirement.enter([line(second)])
    closing = asyncio.create_task(retirement.keep_closing())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)
    assert first.closed == 0
    await retirement.close()
    await retirement.close()
    assert (first.closed, second.closed) == (1, 1)
