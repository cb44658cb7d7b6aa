"""Metrics of rotas (who is on call when) and of the telephone numbers of staff."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Final

from monitor.metrics.definition import Definitions

#: Name of the part in a family that has one series per agency (see `monitor.metrics.exposition.Family`).
_WHOLE: Final = ""


class OnCallSeries:
    """Series of rotas and of contact numbers."""

    def __init__(self, metrics: Definitions) -> None:
        self._definitions = metrics
        #: The counter of each agency.
        self._empty_rotas: dict[str, int] = {}

    def watch(self, agency: str) -> None:
        """Register an agency. Its counter starts at 0, so that `increase` includes the first event."""
        self.count_empty_rotas(agency, self._empty_rotas.get(agency, 0), restart=True)

    def count_empty_rotas(self, agency: str, rotas: int, *, restart: bool = False) -> None:
        """Count rotas that had nobody on call when they were notified. Unregistered agencies are ignored.

        *restart*: set the counter to *rotas* instead, and register the agency.
        """
        if not restart and agency not in self._empty_rotas:
            return
        count = self._empty_rotas[agency] = rotas if restart else self._empty_rotas[agency] + rotas
        self._definitions.nobody_on_call.put(agency, _WHOLE, [((agency,), count)])

    def show(
        self, agency: str, gaps: Mapping[str, timedelta], unverified_numbers: int, *, empty_rotas: Collection[str] = ()
    ) -> None:
        """Export how long each rota (by key) has nobody on call in the days ahead, and how many numbers are unverified.

        *empty_rotas*: rotas without anybody on call now.
        """
        if agency not in self._empty_rotas:
            return
        for rota, gap in gaps.items():
            self._definitions.on_call_gap.put(agency, rota, [((agency, rota), gap.total_seconds())])
            self._definitions.on_call.put(agency, rota, [((agency, rota), rota not in empty_rotas)])
        self._definitions.on_call_gap.keep(agency, gaps)
        self._definitions.on_call.keep(agency, gaps)
        self._definitions.unverified_numbers.put(agency, _WHOLE, [((agency,), unverified_numbers)])

    def forget(self, agency: str) -> None:
        """Remove the state of an agency; the caller drops its series."""
        self._empty_rotas.pop(agency, None)
