"""The real service, which waits for seconds where nothing but a constant makes it wait longer: nothing else differs.

    python -m tests.stories.impatient gathering,auditor run --config FILE

The first word names what is shortened.
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

WAITS = {
    # News for one person, in minutes.
    "gathering": ((bundle, "BUNDLE_INTERVAL"), (incident_processor, "BUNDLE_INTERVAL")),
    # The operations centre hears of what the auditor finds, in half minutes.
    "auditor": ((auditor, "INTERVAL"),),
    # Answers are asked for, in thirds of a minute.
    "poller": ((Poller, "ACTIVE_INTERVAL"),),
    # The store is written, the switch outside hears it, and the lifeline looks at both, in quarters of a minute.
    "pulse": ((process_heartbeat, "_INTERVAL"), (watchdog, "_OUT_OF_BAND_INTERVAL")),
}

if __name__ == "__main__":
    for name in sys.argv.pop(1).split(","):
        for place, constant in WAITS[name]:
            patch.object(place, constant, timedelta(seconds=3)).start()
    main()
