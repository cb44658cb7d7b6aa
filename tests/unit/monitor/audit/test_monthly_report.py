"""Monthly report: shares of monitored minutes, incidents, drills and checks, without telephone numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import pytest

from alerts.decide.drill import DrillState
from alerts.documents import render
from alerts.documents.monthly_report import MinuteKind, MonthlyReport, ResultLine, monthly_report_data, share_text
from alerts.model.delivery import AttemptState, Notification
from alerts.model.incident import Incident
from alerts.model.notification import Cause
from alerts.wording.moment import MALAYSIA
from monitor.audit.monthly_report import (
    CHECKS,
    DRILL_RESULTS,
    VERDICTS,
    InvalidMonthError,
    failed_check_lines,
    has_ended,
    month_days,
    month_end,
    monthly_report_files,
    parse_month,
    report_days,
)
from monitor.model.day import MINUTES, DayTimeline
from monitor.runtime.plugins import check_kinds
from monitor.views.overview import CheckView
from probes.model.check import Finding, Verdict
from tests.unit.alerts.documents.test_incident_record import notice
from tests.unit.alerts.people import SMS_SITI, T0, incident
from tests.unit.alerts.wording.situations import WORDING

NOVEMBER = date(2026, 11, 1)
NOW = datetime(2026, 12, 1, 9, tzinfo=MALAYSIA)
UP_ALL_DAY = "w1440"


def counted(sheets: Mapping[int, str], now: datetime = NOW) -> tuple[Any, float | None, float | None]:
    return month_days(NOVEMBER, {date(2026, 11, day): DayTimeline(text) for day, text in sheets.items()}, now)


def make_report(
    incidents: Sequence[tuple[Incident, Sequence[Notification]]] = (),
    sheets: Mapping[int, str] | None = None,
    **given: Any,
) -> MonthlyReport:
    days, sending, receiving = counted(dict.fromkeys(range(1, 31), UP_ALL_DAY) if sheets is None else sheets)
    made = MonthlyReport(
        agency="JCM",
        office=incident().policy.office,
        month=NOVEMBER,
        until=month_end(NOVEMBER, NOW),
        is_over=True,
        sending=sending,
        receiving=receiving,
        days=report_days(days),
        incidents=incidents,
        drills=(),
        checks=(),
        has_check_results=True,
        made_at=NOW,
    )
    return replace(made, **given)


def printed(made: MonthlyReport) -> str:
    return str(monthly_report_data(made, WORDING))


@pytest.mark.parametrize("written", ["2026-13", "2026-00", "0000-01", "Nov 2026", "2026/11", "26-11", "2026-1", ""])
def test_parse_month_invalid_explains_format(written: str) -> None:
    with pytest.raises(InvalidMonthError, match=r"write the year and the month: 2026-12$"):
        parse_month(written, NOW)


def test_parse_month_future_is_refused_and_present_is_accepted() -> None:
    with pytest.raises(InvalidMonthError, match="has not begun"):
        parse_month("2027-01", NOW)
    assert parse_month(" 2026-12 ", NOW) == date(2026, 12, 1)
    assert parse_month("2026-11", NOW) == NOVEMBER


def test_month_end_is_midnight_in_malaysia_or_now() -> None:
    assert month_end(NOVEMBER, NOW) == datetime(2026, 12, 1, tzinfo=MALAYSIA)
    assert has_ended(NOVEMBER, NOW)
    last = datetime(2026, 11, 30, 23, 59, tzinfo=MALAYSIA)
    assert month_end(NOVEMBER, last) == last
    assert not has_ended(NOVEMBER, last)
    assert "bulan ini belum berakhir" in printed(make_report(until=last, is_over=False))
    assert "1 November 2026 hingga 30 November 2026" in printed(make_report())


def test_month_days_shares_count_monitored_minutes_only() -> None:
    days, sending, receiving = counted({1: "w1340s100", 2: "w1390r50", 3: "w1430b10", 4: "h1440", 5: "x1440"})
    watched = 3 * MINUTES
    assert sending == pytest.approx((watched - 110) / watched, abs=1e-6)
    assert receiving == pytest.approx((watched - 60) / watched, abs=1e-6)
    assert len(days) == 30
    kinds = {day.on.day: {kind: n for kind, n in day.minutes.items() if n} for day in report_days(days)}
    assert kinds[1] == {MinuteKind.UP: 1340, MinuteKind.OUTAGE: 100}
    # Maintenance, false alarms and minutes without data say nothing about mail.
    assert [kinds[day] for day in (4, 5, 6)] == [
        {MinuteKind.MAINTENANCE: MINUTES},
        {MinuteKind.NO_DATA: MINUTES},
        {MinuteKind.NO_DATA: MINUTES},
    ]


def test_month_days_without_data_is_unknown() -> None:
    _, sending, receiving = counted({})
    assert (sending, receiving) == (None, None)
    assert share_text(None) == "tidak diketahui"
    assert "tidak diketahui" in printed(make_report(sheets={}))


def test_month_days_today_counts_elapsed_minutes() -> None:
    noon = datetime(2026, 11, 2, 12, tzinfo=MALAYSIA)
    days, sending, _ = counted({1: UP_ALL_DAY, 2: "w720"}, noon)
    assert [on.day for on, _ in days] == [1, 2]
    assert sum(days[1][1].values()) == 720
    assert sending == 1.0


@pytest.mark.parametrize(
    ("share", "text"),
    [(1.0, "100.00 %"), (0.999999, "99.99 %"), (0.9787, "97.87 %"), (0.29, "29.00 %"), (0.0, "0.00 %")],
)
def test_share_text_truncates(share: float, text: str) -> None:
    assert share_text(share) == text


def test_monthly_report_shows_outage_cause_and_excludes_false_alarm() -> None:
    one = incident()
    told = printed(make_report([(replace(one, policy=replace(one.policy, cause=Cause.CONNECT)), [])]))
    assert "Punca: pelayan mel menolak sambungan" in told
    assert "masih berlaku" in told
    assert "'Gangguan', 'value': '1'" in told
    wrong = replace(one, false_alarm_at=T0 + timedelta(hours=1), false_alarm_by="Siti")
    told = printed(make_report([(wrong, [])]))
    assert "Amaran palsu, menurut Siti" in told
    assert "'Gangguan', 'value': '0'" in told


def test_monthly_report_counts_notifications_without_numbers() -> None:
    made = make_report([(incident(), [notice(AttemptState.DELIVERED)])])
    told = printed(made)
    assert "1 daripada 1 notis telah dikeluarkan." in told
    files = monthly_report_files(made, counted({})[0], WORDING)
    assert all(SMS_SITI.number not in text for text in (told, *(f.decode("latin-1") for f in files.values())))


def test_monthly_report_quiet_month_says_none() -> None:
    told = printed(make_report())
    for said in ("Tiada.", "Tiada sesiapa dimaklumkan.", "Tiada latihan dalam bulan ini.", "Semua pemeriksaan lulus."):
        assert said in told
    assert "Belum dilihat." in printed(make_report(has_check_results=False))


def test_monthly_report_checks_of_other_process_are_named() -> None:
    told = printed(make_report(has_check_results=False, checked_by="prob-2"))
    assert "Hasil pemeriksaan ada pada proses prob-2" in told
    assert "Belum dilihat." not in told


def test_monthly_report_excess_lines_are_in_files() -> None:
    many = [ResultLine(at=T0, what=f"=Siti {n}", how="SMS", result="diterima") for n in range(70)]
    made = make_report(drills=many)
    assert "10 lagi ada dalam fail yang disertakan." in printed(made)
    files = monthly_report_files(made, counted({})[0], WORDING)
    lines = files["penyata-JCM-2026-11-drills.csv"].decode().splitlines()
    assert len(lines) == 71
    assert "'=Siti 69" in lines[-1]


def test_failed_check_lines_lists_failures_and_reports_missing_results() -> None:
    finding = Finding(aspect="dmarc", subject="jcm.gov.my", verdict=Verdict.FAIL)
    looked = CheckView(kind="domain", verdict=Verdict.FAIL, last_run_at=T0, findings=[finding])
    told, has_check_results = failed_check_lines([looked, CheckView(kind="mx")])
    assert [(each.what, each.how, each.result) for each in told] == [
        ("jcm.gov.my", "rekod domain: dmarc", "tidak lulus")
    ]
    assert has_check_results
    assert failed_check_lines([CheckView(kind="mx")]) == ([], False)


def test_monthly_report_texts_cover_kinds_verdicts_and_drill_results() -> None:
    assert set(CHECKS) == set(check_kinds())
    assert set(VERDICTS) == {str(each) for each in Verdict}
    assert set(DRILL_RESULTS) == {str(each) for each in DrillState}


def test_monthly_report_pdf_is_archival_and_reproducible() -> None:
    made = make_report([(incident(), [notice(AttemptState.DELIVERED)])], sheets={1: "h120w1200d60s60", 24: "b1440"})
    page = render.monthly_report(made, WORDING)
    assert page.pages == 1
    assert page.title == "Penyata e-mel JCM, November 2026"
    assert b"pdfaid:part>2" in page.pdf
    assert page.pdf == render.monthly_report(made, WORDING).pdf
