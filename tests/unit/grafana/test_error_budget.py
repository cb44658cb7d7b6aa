"""Error budget alerts over thirty simulated days."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.unit.grafana import promtool
from tests.unit.grafana.dashboards import query_of, with_variables
from tests.unit.grafana.rules import GROUPS, without_annotations

HOUR, DAY = 60, 24 * 60
END = 30 * DAY
#: Evaluation interval of the rules, in minutes. Queries between two evaluations have no answer.
EVALUATION_MINUTES = 20
#: Minutes between two samples. Counters grow linearly between them.
SAMPLE_MINUTES = 2
#: Start of the full outage, two minutes before an evaluation.
STOP = 10 * DAY - 2


class Month:
    """Inbound runs of an agency by verdict, per minute, in successive spells."""

    def __init__(self, agency: str) -> None:
        self._agency = agency
        self._spells: list[tuple[int, Mapping[str, float]]] = []

    def add_spell(self, at: int, **runs: float) -> Month:
        """Add a spell from minute *at* with so many *runs* a minute of each verdict."""
        self._spells.append((at, runs))
        return self

    def series(self) -> Mapping[str, str]:
        """Return the counters as promtool takes them."""
        made = {}
        for verdict in ("good", "slow", "failed", "monitoring_fault", "undetermined"):
            count, spans = 0.0, []
            for (begin, runs), end in zip(self._spells, [at for at, _ in self._spells[1:]] + [END], strict=True):
                rate, length = runs.get(verdict, 0), end - begin
                spans.append(f"{count:.6f}+{rate * SAMPLE_MINUTES:.6f}x{length // SAMPLE_MINUTES - 1}")
                count += rate * length
            name = f'agency="{self._agency}",direction="inbound",verdict="{verdict}"'
            made[f"pantau_probe_runs_total{{{name}}}"] = " ".join(spans)
        return made


#: One run a minute, unless stated otherwise.
MONTHS = [
    # One run in a thousand fails, some come late.
    Month("well").add_spell(0, good=0.949, slow=0.05, failed=0.001),
    # No mail arrives for forty minutes on day 11.
    Month("stopped").add_spell(0, good=1).add_spell(STOP, failed=1).add_spell(STOP + 40, good=1),
    # Three runs in two hundred fail from day 6 to day 19.
    Month("leaking").add_spell(0, good=1).add_spell(5 * DAY, good=0.985, failed=0.015).add_spell(19 * DAY, good=1),
    # Two runs an hour, and one run on day 13 fails.
    Month("rare").add_spell(0, good=1 / 30).add_spell(12 * DAY, failed=1 / 30).add_spell(12 * DAY + 30, good=1 / 30),
    # Monitoring faults for two days, then undetermined runs.
    Month("ours")
    .add_spell(0, good=1)
    .add_spell(15 * DAY, monitoring_fault=1)
    .add_spell(17 * DAY, undetermined=1)
    .add_spell(18 * DAY, good=1),
    # All mail is slow.
    Month("late").add_spell(0, slow=1),
    # No mail arrives for four hours of planned maintenance.
    Month("planned").add_spell(0, good=1).add_spell(20 * DAY, failed=1).add_spell(20 * DAY + 4 * HOUR, good=1),
]


def test_error_budget_alerts_over_thirty_days_fire_only_for_burned_budget(tmp_path: Path) -> None:
    series = {"pantau_build_info": f"1x{END // SAMPLE_MINUTES}"}
    for month in MONTHS:
        series |= month.series()
    series['pantau_maintenance{agency="planned"}'] = (
        f"0x{20 * DAY // SAMPLE_MINUTES - 1} 1x{4 * HOUR // SAMPLE_MINUTES} 0x{9 * DAY // SAMPLE_MINUTES}"
    )
    of = '{alertstate="firing",alertname=~"PantauErrorBudgetBurn.*"}'
    stops = ('{agency="stopped",alertname="PantauErrorBudgetBurnFast"}', 1)
    leaks = ('{agency="leaking",alertname="PantauErrorBudgetBurnSlow"}', 1)
    now = f"count by (agency, alertname) (ALERTS{of})"
    leak = 5 * DAY
    left = f"round({query_of('pantau-agency', 'Error budget left, 30 days')}, 0.01)"
    told = [
        # A full outage burns two per cent of a month's budget in nine minutes.
        promtool.ask(now, f"{STOP + 22}m", [leaks]),
        promtool.ask(now, f"{STOP + 42}m", [stops, leaks]),
        promtool.ask(now, f"{STOP + 102}m", [leaks]),
        # Half more than the target allows is a tenth of the budget after two days.
        promtool.ask(now, f"{leak + 40 * HOUR}m", []),
        promtool.ask(now, f"{leak + 60 * HOUR}m", [leaks]),
        promtool.ask(now, f"{19 * DAY + 8 * HOUR}m", []),
        promtool.ask(
            f"count by (agency, alertname) (count_over_time(ALERTS{of}[30d]))",
            f"{END - EVALUATION_MINUTES}m",
            [stops, leaks],
        ),
        # The budget left at the end.
        *(
            promtool.ask(
                with_variables(left, {"agency": agency}),
                f"{END - EVALUATION_MINUTES}m",
                [(f'{{agency="{agency}",direction="inbound"}}', share)],
            )
            for agency, share in (("stopped", 0.91), ("leaking", 0.3), ("planned", 1), ("ours", 1), ("late", 1))
        ),
    ]
    story = promtool.story("thirty days", series, told, every=f"{SAMPLE_MINUTES}m")
    rules = [without_annotations(rule) for rule in (*GROUPS["pantau-budget"], *GROUPS["pantau-budget-slow"])]
    # The evaluation interval does not change a ratio of sums; half as often is a quarter of the work.
    assert promtool.run(tmp_path, [story], *rules, every=f"{EVALUATION_MINUTES}m") == ""
