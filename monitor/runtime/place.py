"""Where the service keeps its state, and where it is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Final

#: Where the settings name no other.
STATE: Final = Path("/var/lib/pantau")

#: The control socket, in the state directory.
CONTROL_SOCKET: Final = "control.sock"
