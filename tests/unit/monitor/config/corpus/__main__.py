"""Update the expected problems of all or named cases: `python -m tests.unit.monitor.config.corpus [WORD ...]`.

Review the result with `git diff`.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.unit.monitor.config.corpus.case import cases, check_output

with tempfile.TemporaryDirectory() as directory:
    for case in cases():
        if all(word in case.name for word in sys.argv[1:]):
            _, said = check_output(case.lay_out(Path(directory) / "pantau"))
            if said != case.expected:
                case.write(said)
