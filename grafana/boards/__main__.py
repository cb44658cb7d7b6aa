"""Write the four dashboards into `grafana/dashboards/`: what is committed there is what this writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from grafana.boards.agency import AGENCY
from grafana.boards.notifications import NOTIFICATIONS
from grafana.boards.overview import OVERVIEW
from grafana.boards.self_monitoring import SELF

DASHBOARDS: Final = Path(__file__).parents[1] / "dashboards"


def files() -> dict[str, str]:
    """Return what each file is to hold, by its name."""
    boards = (OVERVIEW, AGENCY, NOTIFICATIONS, SELF)
    return {
        f"{board.uid}.json": json.dumps(board.as_grafana_reads_it(), indent=1, ensure_ascii=False) + "\n"
        for board in boards
    }


def main() -> None:
    for name, text in files().items():
        (DASHBOARDS / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
