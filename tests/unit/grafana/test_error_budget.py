"""The alerts about the error budget over thirty days of mail, made up by the minute."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.unit.grafana import promtool
from tests.unit.grafana.rules import GROUPS, unsaid
from tests.unit.grafana.shown import asked, filled

HOUR, DAY = 60, 24 * 60
END = 30 * DAY
#: How often the rules are evaluated, in minutes. What is asked between two times has no answer.
EVERY = 20
#: How many minutes are between two samples: what is counted grows evenly, and bends where there is one.
SAMPLED = 2
#: When nothing comes any more, two minutes before an evaluation.
STOP = 10 * DAY - 2


class Month:
    """What becomes of an agency's inbound runs, a minute at a time: how many of each verdict, from when on."""

    def __init__(self, agency: str) -> None:
        self._agency = agency
        self._spells: list[tuple[int, Mapping[str, float]]] = []

    def then(self, at: int, **runs: float) -> Month:
        """From minute *at* on there are so many *runs* a minute of each verdict."""
        self._spells.append((at, runs))
        return self

    def series(self) -> Mapping[str, str]:
        """Return the counters as promtool takes them."""
        made = {}
        for verdict in ("good", "slow", "failed", "monitoring_fault", "undetermined"):
            count, spans = 0.0, []
            for (begin, runs), end in zip(self._spells, [at for at, _ in self._spells[1:]] + [END], strict=True):
                rate, length = runs.get(verdict, 0), end - begin
                spans.append(f"{count:.6f}+{rate * SAMPLED:.6f}x{length // SAMPLED - 1}")
                count += rate * length
            name = f'agency="{self._agency}",direction="inbound",verdict="{verdict}"'
            made[f"pantau_probe_runs_total{{{name}}}"] = " ".join(spans)
        return made


#: Five routes are run once a minute together, where nothing else is said.
MONTHS = [
    # One run in a thousand fails, some come late.
    Month("well").then(0, good=0.949, slow=0.05, failed=0.001),
    # Nothing comes for forty minutes of the eleventh day.
    Month("stopped").then(0, good=1).then(STOP, failed=1).then(STOP + 40, good=1),
    # From the sixth day on three runs in two hundred fail, until the twentieth.
    Month("leaking").then(0, good=1).then(5 * DAY, good=0.985, failed=0.015).then(19 * DAY, good=1),
    # Two routes an hour, and one run of the thirteenth day fails.
    Month("rare").then(0, good=1 / 30).then(12 * DAY, failed=1 / 30).then(12 * DAY + 30, good=1 / 30),
    # Faults of ours for two days, and then nothing is proved.
    Month("ours")
    .then(0, good=1)
    .then(15 * DAY, monitoring_fault=1)
    .then(17 * DAY, undetermined=1)
    .then(18 * DAY, good=1),
    # Everything comes late.
    Month("late").then(0, slow=1),
    # Nothing comes for four hours, as planned.
    Month("planned").then(0, good=1).then(20 * DAY, failed=1).then(20 * DAY + 4 * HOUR, good=1),
]


def test_of_thirty_days_each_alert_tells_what_burns_the_budget_and_of_nothing_else(tmp_path: Path) -> None:
    series = {"pantau_build_info": f"1x{END // SAMPLED}"}
    for month in MONTHS:
        series |= month.series()
    series['pantau_maintenance{agency="planned"}'] = (
        f"0x{20 * DAY // SAMPLED - 1} 1x{4 * HOUR // SAMPLED} 0x{9 * DAY // SAMPLED}"
    )
    of = '{alertstate="firing",alertname=~"PantauErrorBudgetBurn.*"}'
    stops = ('{agency="stopped",alertname="PantauErrorBudgetBurnFast"}', 1)
    leaks = ('{agency="leaking",alertname="PantauErrorBudgetBurnSlow"}', 1)
    now = f"count by (agency, alertname) (ALERTS{of})"
    leak = 5 * DAY
    left = f"round({asked('pantau-agency', 'Error budget left, 30 days')}, 0.01)"
    told = [
        # A full stop spends two per cent of a month's budget in nine minutes. What leaks, leaks all the time.
        promtool.ask(now, f"{STOP + 22}m", [leaks]),
        promtool.ask(now, f"{STOP + 42}m", [stops, leaks]),
        promtool.ask(now, f"{STOP + 102}m", [leaks]),
        # Half more than the target allows is a tenth of the budget after two days.
        promtool.ask(now, f"{leak + 40 * HOUR}m", []),
        promtool.ask(now, f"{leak + 60 * HOUR}m", [leaks]),
        promtool.ask(now, f"{19 * DAY + 8 * HOUR}m", []),
        promtool.ask(
            f"count by (agency, alertname) (count_over_time(ALERTS{of}[30d]))", f"{END - EVERY}m", [stops, leaks]
        ),
        # What is left at their end, by the same count: of a hundredth, a half of a thousandth and seven.
        *(
            promtool.ask(
                filled(left, {"agency": agency}),
                f"{END - EVERY}m",
                [(f'{{agency="{agency}",direction="inbound"}}', share)],
            )
            for agency, share in (("stopped", 0.91), ("leaking", 0.3), ("planned", 1), ("ours", 1), ("late", 1))
        ),
    ]
    story = promtool.story("thirty days", series, told, every=f"{SAMPLED}m")
    rules = [unsaid(rule) for rule in (*GROUPS["pantau-budget"], *GROUPS["pantau-budget-slow"])]
    # A share of sums is the same however often its parts are recorded: half as often is a quarter of the work.
    assert promtool.run(tmp_path, [story], *rules, every=f"{EVERY}m") == ""
