"""A day of each person, by random plans: `python -m tests.days` plays more of them for longer."""

from __future__ import annotations

import pytest

from alerts.decide.gateway.rate_limit import CONTACT_LIMITS
from alerts.model.channel import Channel
from tests.days import played

pytestmark = pytest.mark.story


@pytest.mark.parametrize("seed", [4, 12, 33])
async def test_escalation_of_a_random_plan_never_leaves_an_outage_quiet(seed: int) -> None:
    """No random plan, with people who sleep, forget, escalate and lose telephones, leaves an outage quiet."""
    found = await played(seed, 1)
    assert list(found.gaps()) == []
    assert found.overdue == {}
    # The first notice to somebody is never held back; all else keeps to what one telephone may get in an hour.
    for channel in (Channel.VOICE, Channel.SMS):
        most = CONTACT_LIMITS[channel][1].count
        assert len(found.busiest(is_call=channel is Channel.VOICE)) <= most + 1
