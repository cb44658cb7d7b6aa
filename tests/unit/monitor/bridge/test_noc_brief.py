"""Why mail fails, in the words that staff are told."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from alerts.model.notice import Cause, Matter
from monitor.bridge.noc_brief import CAUSES, cause_of
from monitor.model.route import Direction
from probes.model.reply import Reason

OUT, IN, WITHIN = Direction.OUTBOUND, Direction.INBOUND, Direction.INTERNAL
REFUSED, SILENT = Reason.PORT_REFUSED, Reason.NO_ANSWER


@pytest.mark.parametrize(
    ("matter", "reasons", "cause"),
    [
        (Matter.SENDING, [(OUT, REFUSED), (OUT, REFUSED)], Cause.REFUSED),
        (Matter.SENDING, [(OUT, REFUSED), (IN, SILENT), (IN, SILENT)], Cause.REFUSED),
        (Matter.RECEIVING, [(OUT, REFUSED), (IN, Reason.NOT_ARRIVED)], Cause.LOST),
        (Matter.RECEIVING, [(IN, ""), (WITHIN, Reason.CERTIFICATE_EXPIRED)], Cause.CERTIFICATE),
        (Matter.BOTH, [(OUT, REFUSED), (IN, SILENT), (WITHIN, Reason.CONNECTION_CLOSED)], Cause.SILENT),
        (Matter.BOTH, [(OUT, REFUSED), (IN, SILENT)], None),
        (Matter.BOTH, [(OUT, Reason.OUR_OWN), (IN, "")], None),
        (Matter.BOTH, [], None),
        (Matter.DEGRADED, [(OUT, REFUSED)], None),
        (Matter.OWN_FAULT, [(OUT, REFUSED)], None),
    ],
)
def test_the_cause_is_why_most_routes_of_the_direction_fail(
    matter: Matter, reasons: Sequence[tuple[Direction, str]], cause: Cause | None
) -> None:
    assert cause_of(matter, reasons) is cause


def test_every_cause_is_told_and_what_is_ours_never_is() -> None:
    assert set(CAUSES.values()) == set(Cause)
    assert not set(CAUSES) & {Reason.OUR_OWN, Reason.OUR_LATENESS, Reason.TOKEN_REFUSED, Reason.NO_TOKEN}
