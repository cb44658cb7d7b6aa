"""What is told to be wrong with an agency's mail, and what can be seen to end."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from alerts.model.notice import Matter
from monitor.judging.matter import can_end
from monitor.model.route import Direction


@pytest.mark.parametrize(
    ("matter", "directions", "can"),
    [
        (Matter.SENDING, {Direction.OUTBOUND}, True),
        (Matter.SENDING, {Direction.INBOUND}, False),
        (Matter.RECEIVING, {Direction.INBOUND}, True),
        (Matter.RECEIVING, {Direction.OUTBOUND}, False),
        (Matter.BOTH, {Direction.OUTBOUND, Direction.INBOUND}, True),
        (Matter.BOTH, {Direction.OUTBOUND}, False),
        (Matter.BOTH, {Direction.INBOUND}, False),
        # Within the agency it is sent and received.
        *((matter, {Direction.INTERNAL}, True) for matter in (Matter.SENDING, Matter.RECEIVING, Matter.BOTH)),
        # What is slow in one way is not what another way would have to show.
        *((Matter.DEGRADED, {way}, True) for way in (Direction.OUTBOUND, Direction.INBOUND, Direction.INTERNAL)),
    ],
)
def test_that_it_is_over_is_seen_by_runs_in_the_ways_that_it_is_about(
    matter: Matter, directions: Collection[Direction], *, can: bool
) -> None:
    assert can_end(matter, directions) is can
