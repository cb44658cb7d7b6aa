"""Coverage-guided fuzzing of one target with atheris: python -m tests.fuzz.guided NAME ...

`tests.fuzz.__main__` runs it in a process for each target, because libFuzzer ends its process.
"""

from __future__ import annotations

import sys

import atheris


def main() -> None:
    """Fuzz the target named first; other arguments are libFuzzer's."""
    name, *options = sys.argv[1:]
    # Modules imported in this block are instrumented.
    with atheris.instrument_imports(
        include=["probes", "alerts", "monitor", "email", "dkim", "checkdmarc", "aiosmtplib"]
    ):
        from tests.fuzz.registry import targets  # noqa: PLC0415 - see above

        target = targets()[name]
    atheris.Setup([sys.argv[0], *options], target.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
