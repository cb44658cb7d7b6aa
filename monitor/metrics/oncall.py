"""Metrics of rotas and contact numbers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Final

from monitor.metrics.definition import Definitions

#: The only part of an agency in a family that has one series for each.
_WHOLE: Final = ""


class OnCallSeries:
    """Series of rotas and of contact numbers."""

    def __init__(self, metrics: Definitions) -> None:
        self._all = metrics
        #: By agency.
        self._deserted: dict[str, int] = {}

    def watch(self, agency: str) -> None:
        """Start the counter at 0, so that `increase` includes the first event."""
        self.deserted(agency, self._deserted.get(agency, 0), anew=True)

    def deserted(self, agency: str, rotas: int, *, anew: bool = False) -> None:
        """Count rotas without anybody on call at a notification; ignore agencies that are not announced."""
        if not anew and agency not in self._deserted:
            return
        count = self._deserted[agency] = rotas if anew else self._deserted[agency] + rotas
        self._all.nobody_on_call.put(agency, _WHOLE, [((agency,), count)])

    def show(
        self, agency: str, gaps: Mapping[str, timedelta], unverified: int, *, deserted: Collection[str] = ()
    ) -> None:
        """Export how long each rota (by key) has nobody on call in the days ahead, and how many numbers are unverified.

        *deserted*: rotas without anybody on call now.
        """
        if agency not in self._deserted:
            return
        for rota, gap in gaps.items():
            self._all.on_call_gap.put(agency, rota, [((agency, rota), gap.total_seconds())])
            self._all.on_call.put(agency, rota, [((agency, rota), rota not in deserted)])
        self._all.on_call_gap.keep(agency, gaps)
        self._all.on_call.keep(agency, gaps)
        self._all.unverified.put(agency, _WHOLE, [((agency,), unverified)])

    def forget(self, agency: str) -> None:
        """Remove the state of an agency; the caller drops its series."""
        self._deserted.pop(agency, None)
