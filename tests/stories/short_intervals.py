"""The real service with intervals of seconds instead of constants; nothing else differs from `pantau run`.

    python -m tests.stories.short_intervals gathering,auditor run --config FILE

The first argument names the shortened intervals.
"""

from __future__ import annotations

import sys
from datetime import timedelta
from unittest.mock import patch

from alerts.decide import bundle
from alerts.engine import incident_processor
from alerts.inbound.poller import Poller
from monitor.cli import main
from monitor.watchdog import auditor, process_heartbeat, watchdog

INTERVALS = {
    # Bundles for one person, minutes.
    "gathering": ((bundle, "BUNDLE_INTERVAL"), (incident_processor, "BUNDLE_INTERVAL")),
    # Reports of the auditor to the NOC, half minutes.
    "auditor": ((auditor, "INTERVAL"),),
    # Polls for replies, a third of a minute.
    "poller": ((Poller, "ACTIVE_INTERVAL"),),
    # Process heartbeat, external switch and out-of-band check, a quarter of a minute.
    "pulse": ((process_heartbeat, "_INTERVAL"), (watchdog, "_OUT_OF_BAND_INTERVAL")),
}

if __name__ == "__main__":
    for name in sys.argv.pop(1).split(","):
        for place, constant in INTERVALS[name]:
            patch.object(place, constant, timedelta(seconds=3)).start()
    main()
