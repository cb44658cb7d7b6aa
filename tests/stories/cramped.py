"""The real service, which may open few descriptors: what takes thousands of connections else is seen with hundreds.

python -m tests.stories.cramped 256 run --config FILE
"""

from __future__ import annotations

import resource
import sys

from monitor.cli import main

if __name__ == "__main__":
    most = int(sys.argv.pop(1))
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    main()
