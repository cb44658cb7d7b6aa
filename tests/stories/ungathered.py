"""The real service, which gathers news for one person for seconds instead of minutes: nothing else differs from `pantau run`.

python -m tests.stories.ungathered run --config FILE
"""

from __future__ import annotations

from datetime import timedelta
from unittest.mock import patch

from alerts.decide import bundle
from alerts.engine import cycle
from monitor.cli import main

if __name__ == "__main__":
    for module in (bundle, cycle):
        patch.object(module, "GROUP_INTERVAL", timedelta(seconds=3)).start()
    main()
