"""The real service with a limit of descriptors, so that hundreds of connections reach what else takes thousands.

python -m tests.stories.few_descriptors 256 run --config FILE
"""

from __future__ import annotations

import resource
import sys

from monitor.cli import main

if __name__ == "__main__":
    most = int(sys.argv.pop(1))
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    main()
