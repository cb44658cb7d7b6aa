"""Metrics of on-call rotas."""

from __future__ import annotations

from datetime import timedelta

from monitor.metrics import Metrics
from tests.unit.monitor.scrape import AGENCY, ROUTE, Scrape

DAY = timedelta(days=1)


def gap(metrics: Metrics, rota: str) -> float | None:
    return Scrape(metrics).value("on_call_gap_seconds", agency=AGENCY, rota=rota)


def test_nobody_on_call_total_starts_at_zero_and_survives_reload(metrics: Metrics) -> None:
    def counted() -> float | None:
        return Scrape(metrics).value("nobody_on_call_total", agency=AGENCY)

    assert counted() == 0
    metrics.count_empty_rotas(AGENCY, 2)
    metrics.register_agency(AGENCY, routes=[ROUTE])
    metrics.count_empty_rotas(AGENCY, 1)
    assert counted() == 3


def test_on_call_gap_is_exported_per_rota_and_zero_without_gap(metrics: Metrics) -> None:
    assert gap(metrics, "bertugas") is None
    metrics.on_call.export(AGENCY, {"bertugas": 2 * DAY, "malam": timedelta(0)}, 3)
    assert (gap(metrics, "bertugas"), gap(metrics, "malam")) == (172800, 0)
    assert Scrape(metrics).value("contact_numbers_unverified", agency=AGENCY) == 3


def test_on_call_is_zero_for_empty_rotas(metrics: Metrics) -> None:
    def now() -> list[float | None]:
        told = Scrape(metrics)
        return [told.value("on_call", agency=AGENCY, rota=rota) for rota in ("bertugas", "malam")]

    assert now() == [None, None]
    metrics.on_call.export(AGENCY, {"bertugas": 2 * DAY, "malam": DAY}, 0, empty_rotas={"malam"})
    assert now() == [1, 0]
    metrics.on_call.export(AGENCY, {"bertugas": DAY}, 0, empty_rotas={"bertugas"})
    assert now() == [0, None]


def test_on_call_removed_rota_has_no_series(metrics: Metrics) -> None:
    metrics.on_call.export(AGENCY, {"bertugas": DAY, "malam": DAY}, 0)
    metrics.on_call.export(AGENCY, {"malam": DAY}, 0)
    assert (gap(metrics, "bertugas"), gap(metrics, "malam")) == (None, 86400)
    metrics.on_call.export(AGENCY, {}, 0)
    assert gap(metrics, "malam") is None


def test_on_call_unregistered_agency_has_no_series(metrics: Metrics) -> None:
    metrics.count_empty_rotas("lkc", 1)
    metrics.on_call.export("lkc", {"bertugas": DAY}, 1)
    metrics.on_call.export(AGENCY, {"bertugas": DAY}, 1)
    metrics.unregister_agency(AGENCY)
    metrics.count_empty_rotas(AGENCY, 1)
    metrics.on_call.export(AGENCY, {"bertugas": DAY}, 1)
    told = Scrape(metrics)
    assert not told.with_label("agency", "lkc") | told.with_label("agency", AGENCY)
