"""What becomes of what a site says, in one word."""

from __future__ import annotations

from dataclasses import replace

import pytest

from monitor.evaluation.joint.replication import Replication, ReplicationState

WELL = Replication(
    is_joined=True, is_enabled=True, is_reachable=True, is_retained=True, lag_bytes=512, errors=3, is_complete=True
)  # fmt: skip
CUT = replace(WELL, is_reachable=False, is_retained=False, lag_bytes=None, is_complete=None)


@pytest.mark.parametrize(
    ("seen", "state"),
    [
        (WELL, ReplicationState.WORKS),
        (replace(WELL, is_complete=None), ReplicationState.WORKS),
        (replace(CUT, is_joined=False, is_enabled=False), ReplicationState.NOT_JOINED),
        (replace(CUT, is_enabled=False), ReplicationState.STOPPED),
        # It cannot be known whether the site still keeps anything.
        (CUT, ReplicationState.UNREACHABLE),
        (replace(WELL, is_retained=False, lag_bytes=None, is_complete=None), ReplicationState.SLOT_LOST),
        (replace(WELL, is_complete=False), ReplicationState.INCOMPLETE),
        (replace(WELL, errors=4), ReplicationState.REFUSED),
        # What is refused is seen at the hub, whoever cannot be asked.
        (replace(CUT, errors=4), ReplicationState.REFUSED),
        # The server's statistics have begun anew.
        (replace(WELL, errors=0), ReplicationState.WORKS),
    ],
)
def test_it_is_what_needs_a_hand_most(seen: Replication, state: ReplicationState) -> None:
    assert seen.state(WELL) is state


def test_errors_of_before_the_first_look_are_none_of_now() -> None:
    assert WELL.state(None) is ReplicationState.WORKS
