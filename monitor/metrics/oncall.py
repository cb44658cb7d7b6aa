"""What is shown of those who are on call."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Final

from monitor.metrics.definition import Definitions

#: The only part of an agency in a family that has one series for each.
_WHOLE: Final = ""


class OnCallSeries:
    """The series of rotas and of the numbers behind them."""

    def __init__(self, metrics: Definitions) -> None:
        self._all = metrics
        #: By agency.
        self._deserted: dict[str, int] = {}

    def watch(self, agency: str) -> None:
        """Let counting begin at 0, so that the first time is seen."""
        self.deserted(agency, self._deserted.get(agency, 0), anew=True)

    def deserted(self, agency: str, rotas: int, *, anew: bool = False) -> None:
        """Count rotas that had nobody on call when somebody was to be told; of an agency that was not announced, none."""
        if not anew and agency not in self._deserted:
            return
        count = self._deserted[agency] = rotas if anew else self._deserted[agency] + rotas
        self._all.nobody_on_call.put(agency, _WHOLE, [((agency,), count)])

    def show(
        self, agency: str, gaps: Mapping[str, timedelta], unverified: int, *, deserted: Collection[str] = ()
    ) -> None:
        """Show for how long each rota (by key) has nobody in the days ahead, and how many numbers are unproven.

        *deserted*: those that have nobody now.
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
        """Forget all that is remembered of an agency; its series are the caller's to drop."""
        self._deserted.pop(agency, None)
