"""One day of random escalation plans; `python -m tests.random_plans` runs more and longer ones."""

from __future__ import annotations

import pytest

from alerts.decide.gateway.rate_limit import CONTACT_LIMITS
from alerts.model.channel import Channel
from tests.random_plans import run_seed

pytestmark = pytest.mark.story


@pytest.mark.parametrize("seed", [4, 12, 33])
async def test_random_plan_never_leaves_outage_without_notification(seed: int) -> None:
    """No random plan, with people who sleep, forget, escalate and lose telephones, leaves an outage quiet."""
    found = await run_seed(seed, 1)
    assert list(found.gaps()) == []
    assert found.overdue == {}
    # The first notification of a person is never delayed; the others keep the hourly limit of one phone.
    for channel in (Channel.VOICE, Channel.SMS):
        most = CONTACT_LIMITS[channel][1].count
        assert len(found.busiest(is_call=channel is Channel.VOICE)) <= most + 1
