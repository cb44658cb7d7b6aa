"""The crest of an office, from the file that its settings name."""

from __future__ import annotations

from pathlib import Path

from alerts.documents.crest import LARGEST, BadCrest, Crest, read_crest
from alerts.documents.render import draw
from monitor.config.files.regular import NotRegular, read_regular


def load_crest(file: Path) -> Crest:
    """Return the crest in *file*, once it has been drawn for a trial. Raise `BadCrest`."""
    try:
        crest = read_crest(read_regular(file, LARGEST))
    except NotRegular as error:
        raise BadCrest(f"{file} {error}") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "no such file"
        raise BadCrest(f"{file} cannot be read: {reason}") from None
    except BadCrest as bad:
        raise BadCrest(f"{file} {bad}") from None
    if not draw(crest):
        raise BadCrest(f"{file} cannot be drawn: it is broken")
    return crest
