"""The real service with short leases and status checks; nothing else differs from `pantau run`.

python -m tests.stories.short_leases run --config FILE
"""

from __future__ import annotations

from datetime import timedelta
from unittest.mock import patch

import alerts.engine.dispatcher
from alerts.decide.gateway.next_action import DeliveryPolicy
from alerts.engine.dispatcher import Dispatcher
from alerts.model.channel import Channel
from monitor.cli import main

_SECOND = timedelta(seconds=1)


def shorten_leases() -> None:
    """Shorten the leases of engines and the intervals of status checks."""
    Dispatcher.LEASE_DURATION, Dispatcher.LEASE_RENEWAL_INTERVAL = 4 * _SECOND, _SECOND
    policy = DeliveryPolicy(
        lease=4 * _SECOND,
        lease_on_paper=6 * _SECOND,
        deadline=5 * _SECOND,
        retry_after=dict.fromkeys(Channel, (_SECOND, _SECOND, _SECOND)),
        check_interval=dict.fromkeys(Channel, 2 * _SECOND),
        query_delays=(timedelta(0), _SECOND, _SECOND),
    )
    patch.object(alerts.engine.dispatcher, "DeliveryPolicy", lambda: policy).start()


if __name__ == "__main__":
    shorten_leases()
    main()
