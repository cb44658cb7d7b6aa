"""Look for inputs that break one target, guided by what of the code they reach: python -m tests.fuzz.guided NAME ...

Run by `tests.fuzz.__main__`, a process a target, because libFuzzer ends the one that it runs in.
"""

from __future__ import annotations

import sys

import atheris


def main() -> None:
    """Fuzz the target that is named first; what follows is libFuzzer's."""
    name, *options = sys.argv[1:]
    # Whatever is imported in here tells which of its branches were taken.
    with atheris.instrument_imports(
        include=["probes", "alerts", "monitor", "email", "dkim", "checkdmarc", "aiosmtplib"]
    ):
        from tests.fuzz.found import targets  # noqa: PLC0415 - see above

        target = targets()[name]
    atheris.Setup([sys.argv[0], *options], target.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
