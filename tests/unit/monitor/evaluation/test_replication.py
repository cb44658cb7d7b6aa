"""State of the replication of a site."""

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
        # It is unknown whether the site still retains changes.
        (CUT, ReplicationState.UNREACHABLE),
        (replace(WELL, is_retained=False, lag_bytes=None, is_complete=None), ReplicationState.SLOT_LOST),
        (replace(WELL, is_complete=False), ReplicationState.INCOMPLETE),
        (replace(WELL, errors=4), ReplicationState.REFUSED),
        # The hub sees refused changes although the site is unreachable.
        (replace(CUT, errors=4), ReplicationState.REFUSED),
        # The server's statistics were reset.
        (replace(WELL, errors=0), ReplicationState.WORKS),
    ],
)
def test_replication_state_is_most_urgent(seen: Replication, state: ReplicationState) -> None:
    assert seen.state(WELL) is state


def test_replication_state_errors_before_first_look_are_ignored() -> None:
    assert WELL.state(None) is ReplicationState.WORKS
