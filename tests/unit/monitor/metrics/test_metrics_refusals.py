"""Server texts are not labels: refusals are counted by class."""

from __future__ import annotations

from dataclasses import replace

import pytest

from monitor.metrics import Metrics
from probes.model.reply import SubmissionStep, smtp_failure
from tests.unit.monitor.scrape import AGENCY, NOON, ROUTE, Clock, Scrape, finish, run

WORDS = "tiada-kotak-mel-8812"


@pytest.mark.pitfall
@pytest.mark.parametrize(("code", "outcome"), [(550, "rejected"), (450, "deferred")])
def test_refusal_is_counted_by_class_without_server_text(code: int, outcome: str) -> None:
    """Trap: A server's reply becomes a label, and each recipient makes a series.

    Pantau: Only classes are labels.
    """
    metrics = Metrics(version="1.2.3", now=Clock())
    metrics.register_agency(AGENCY, routes=[ROUTE])
    for number in range(50):
        text = f"{code // 100}.1.1 {WORDS}-{number} <penerima{number}@rujukan.example>"
        failure = smtp_failure(SubmissionStep.RECIPIENT, code, text)
        finish(metrics, replace(run(failure.outcome, at=NOON), failure=failure.failure))
        if not number:
            before = set(Scrape(metrics).series)
    after = Scrape(metrics)
    assert set(after.series) == before
    assert after.value("probe_outcomes_total", direction="outbound", outcome=outcome) == 50
    assert WORDS not in metrics.render().decode()
