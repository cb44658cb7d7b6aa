"""Edits of the shipped configuration: each replaces exactly one line."""

from __future__ import annotations

import re
from dataclasses import dataclass

SETTINGS = "pantau.yaml"


@dataclass(frozen=True, slots=True)
class Edit:
    """A line of a file in `deploy/`, and its replacement."""

    #: Path in `deploy/` and in `/etc/pantau`.
    file: str
    #: Pattern of the whole line.
    pattern: str
    line: str

    def apply(self, text: str) -> str:
        """Return *text* with the line replaced. Raise `LookupError` unless exactly one line matches."""
        lines = text.splitlines()
        found = [number for number, line in enumerate(lines) if re.fullmatch(self.pattern, line)]
        if len(found) != 1:
            raise LookupError(f"{self.file}: {len(found)} lines match {self.pattern!r}, not one")
        lines[found[0]] = self.line
        return "".join(f"{line}\n" for line in lines)


#: The service has no environment variables for passwords.
SECRET_IN_A_FILE = Edit(
    "agencies/majlis-contoh.yaml",
    r" *login: .*password_env: PANTAU_MPCONTOH_PASSWORD\}",
    "    login: {username: pantau@mpcontoh.gov.my, password_file: secrets/mpcontoh-awan}",
)
BAD_INTERVAL = Edit(SETTINGS, "  interval: 5m", "  interval: x")
#: The store on the machine's PostgreSQL.
STORE_ON_SERVER = (
    Edit(SETTINGS, "# store:", "store:"),
    Edit(SETTINGS, r"#   url: postgresql://pantau@.*", "  url: postgresql://pantau@localhost/pantau"),
    Edit(SETTINGS, "#   password_file: secrets/pangkalan", "  password_file: secrets/pangkalan"),
)
EDITS = (SECRET_IN_A_FILE, BAD_INTERVAL, *STORE_ON_SERVER)
