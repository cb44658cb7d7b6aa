"""What Prometheus is told of those who are on call."""

from __future__ import annotations

from datetime import timedelta

from monitor.metrics import Metrics
from tests.unit.monitor.scrape import AGENCY, ROUTE, Scrape

DAY = timedelta(days=1)


def gap(metrics: Metrics, rota: str) -> float | None:
    return Scrape(metrics).value("on_call_gap_seconds", agency=AGENCY, rota=rota)


def test_rotas_that_had_nobody_are_counted_from_0_and_a_reload_begins_nothing_anew(metrics: Metrics) -> None:
    def counted() -> float | None:
        return Scrape(metrics).value("nobody_on_call_total", agency=AGENCY)

    assert counted() == 0
    metrics.count_empty_rotas(AGENCY, 2)
    metrics.register_agency(AGENCY, routes=[ROUTE])
    metrics.count_empty_rotas(AGENCY, 1)
    assert counted() == 3


def test_a_gap_is_shown_for_each_rota_and_0_where_there_is_none(metrics: Metrics) -> None:
    assert gap(metrics, "bertugas") is None
    metrics.on_call.show(AGENCY, {"bertugas": 2 * DAY, "malam": timedelta(0)}, 3)
    assert (gap(metrics, "bertugas"), gap(metrics, "malam")) == (172800, 0)
    assert Scrape(metrics).value("contact_numbers_unverified", agency=AGENCY) == 3


def test_it_is_shown_by_which_rotas_nobody_is_on_call_now(metrics: Metrics) -> None:
    def now() -> list[float | None]:
        told = Scrape(metrics)
        return [told.value("on_call", agency=AGENCY, rota=rota) for rota in ("bertugas", "malam")]

    assert now() == [None, None]
    metrics.on_call.show(AGENCY, {"bertugas": 2 * DAY, "malam": DAY}, 0, empty_rotas={"malam"})
    assert now() == [1, 0]
    metrics.on_call.show(AGENCY, {"bertugas": DAY}, 0, empty_rotas={"bertugas"})
    assert now() == [0, None]


def test_a_rota_that_has_left_has_no_series(metrics: Metrics) -> None:
    metrics.on_call.show(AGENCY, {"bertugas": DAY, "malam": DAY}, 0)
    metrics.on_call.show(AGENCY, {"malam": DAY}, 0)
    assert (gap(metrics, "bertugas"), gap(metrics, "malam")) == (None, 86400)
    metrics.on_call.show(AGENCY, {}, 0)
    assert gap(metrics, "malam") is None


def test_an_agency_that_was_not_announced_or_has_left_gets_no_series(metrics: Metrics) -> None:
    metrics.count_empty_rotas("lkc", 1)
    metrics.on_call.show("lkc", {"bertugas": DAY}, 1)
    metrics.on_call.show(AGENCY, {"bertugas": DAY}, 1)
    metrics.unregister_agency(AGENCY)
    metrics.count_empty_rotas(AGENCY, 1)
    metrics.on_call.show(AGENCY, {"bertugas": DAY}, 1)
    told = Scrape(metrics)
    assert not told.with_label("agency", "lkc") | told.with_label("agency", AGENCY)
