"""Let every case, or those named, say what Pantau says of it today: `python -m tests.unit.monitor.config.corpus [WORD ...]`.

What changes is to be read by somebody: `git diff` shows it.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.unit.monitor.config.corpus.case import cases, said_of

with tempfile.TemporaryDirectory() as directory:
    for case in cases():
        if all(word in case.name for word in sys.argv[1:]):
            _, said = said_of(case.lay_out(Path(directory) / "pantau"))
            if said != case.says:
                case.write(said)
