"""Metrics of rotas (who is on call when) and of the telephone numbers of staff."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Final

from monitor.metrics.definition import Definitions

#: Name of the only part of an agency in a family with one part per agency (see `monitor.metrics.exposition.Family`).
_ONLY_PART: Final = ""


class OnCallSeries:
    """Series of rotas and of contact numbers."""

    def __init__(self, metrics: Definitions) -> None:
        self._definitions = metrics
        #: Number of times that a rota had nobody on call when it was notified, by registered agency.
        self._empty_rotas: dict[str, int] = {}

    def register(self, agency: str) -> None:
        """Register an agency. Its counter starts at 0, so that `increase` includes the first event."""
        self.count_empty_rotas(agency, self._empty_rotas.get(agency, 0), is_total=True)

    def count_empty_rotas(self, agency: str, rotas: int, *, is_total: bool = False) -> None:
        """Count *rotas* that had nobody on call when an escalation notified them. Unregistered agencies are ignored.

        *is_total*: set the counter to *rotas* instead, and register the agency.
        """
        if not is_total and agency not in self._empty_rotas:
            return
        count = self._empty_rotas[agency] = rotas if is_total else self._empty_rotas[agency] + rotas
        self._definitions.nobody_on_call.put(agency, _ONLY_PART, [((agency,), count)])

    def export(
        self, agency: str, gaps: Mapping[str, timedelta], unverified_numbers: int, *, empty_rotas: Collection[str] = ()
    ) -> None:
        """Export the state of an agency's rotas and the number of its telephone numbers that are not verified.

        *gaps*: time without anybody on call in the next days, by rota. *empty_rotas*: rotas with nobody on call now.
        """
        if agency not in self._empty_rotas:
            return
        for rota, gap in gaps.items():
            self._definitions.on_call_gap.put(agency, rota, [((agency, rota), gap.total_seconds())])
            self._definitions.on_call.put(agency, rota, [((agency, rota), rota not in empty_rotas)])
        self._definitions.on_call_gap.keep(agency, gaps)
        self._definitions.on_call.keep(agency, gaps)
        self._definitions.unverified_numbers.put(agency, _ONLY_PART, [((agency,), unverified_numbers)])

    def remove_state(self, agency: str) -> None:
        """Remove the state of an agency; the caller drops its series."""
        self._empty_rotas.pop(agency, None)
