"""What a monthly statement tells: shares of the minutes that were watched, cut off, and nobody's number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import pytest

from alerts.decide.drill import DrillState
from alerts.documents import render
from alerts.documents.monthly_report import DayKind, MonthlyReport, StatedLine, monthly_report_data, share_text
from alerts.model.delivery import AttemptState, Notification
from alerts.model.incident import Incident
from alerts.model.notification import Cause
from alerts.wording.moment import MALAYSIA
from monitor.audit.statement import (
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
from tests.unit.alerts.documents.test_dossier_data import notice
from tests.unit.alerts.people import SMS_SITI, T0, incident
from tests.unit.alerts.wording.situations import WORDING

NOVEMBER = date(2026, 11, 1)
NOW = datetime(2026, 12, 1, 9, tzinfo=MALAYSIA)
WELL = "w1440"


def counted(sheets: Mapping[int, str], now: datetime = NOW) -> tuple[Any, float | None, float | None]:
    return month_days(NOVEMBER, {date(2026, 11, day): DayTimeline(text) for day, text in sheets.items()}, now)


def statement(
    incidents: Sequence[tuple[Incident, Sequence[Notification]]] = (),
    sheets: Mapping[int, str] | None = None,
    **given: Any,
) -> MonthlyReport:
    days, sending, receiving = counted(dict.fromkeys(range(1, 31), WELL) if sheets is None else sheets)
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
        exercises=(),
        checks=(),
        was_checked=True,
        made_at=NOW,
    )
    return replace(made, **given)


def printed(made: MonthlyReport) -> str:
    return str(monthly_report_data(made, WORDING))


@pytest.mark.parametrize("written", ["2026-13", "2026-00", "0000-01", "Nov 2026", "2026/11", "26-11", "2026-1", ""])
def test_what_is_no_month_is_told_how_to_be_written(written: str) -> None:
    with pytest.raises(InvalidMonthError, match=r"write the year and the month: 2026-12$"):
        parse_month(written, NOW)


def test_a_month_that_has_not_begun_has_no_statement_and_the_present_one_has() -> None:
    with pytest.raises(InvalidMonthError, match="has not begun"):
        parse_month("2027-01", NOW)
    assert parse_month(" 2026-12 ", NOW) == date(2026, 12, 1)
    assert parse_month("2026-11", NOW) == NOVEMBER


def test_a_month_ends_at_midnight_in_malaysia_or_is_not_over() -> None:
    assert month_end(NOVEMBER, NOW) == datetime(2026, 12, 1, tzinfo=MALAYSIA)
    assert has_ended(NOVEMBER, NOW)
    last = datetime(2026, 11, 30, 23, 59, tzinfo=MALAYSIA)
    assert month_end(NOVEMBER, last) == last
    assert not has_ended(NOVEMBER, last)
    assert "bulan ini belum berakhir" in printed(statement(until=last, is_over=False))
    assert "1 November 2026 hingga 30 November 2026" in printed(statement())


def test_sending_and_receiving_are_shares_of_what_was_watched() -> None:
    days, sending, receiving = counted({1: "w1340s100", 2: "w1390r50", 3: "w1430b10", 4: "h1440", 5: "x1440"})
    watched = 3 * MINUTES
    assert sending == pytest.approx((watched - 110) / watched, abs=1e-6)
    assert receiving == pytest.approx((watched - 60) / watched, abs=1e-6)
    assert len(days) == 30
    kinds = {day.on.day: {kind: n for kind, n in day.minutes.items() if n} for day in report_days(days)}
    assert kinds[1] == {DayKind.UP: 1340, DayKind.OUTAGE: 100}
    # What was not to be probed, was no outage after all, or was not seen, says nothing of how mail was.
    assert [kinds[day] for day in (4, 5, 6)] == [
        {DayKind.MAINTENANCE: MINUTES},
        {DayKind.NO_DATA: MINUTES},
        {DayKind.NO_DATA: MINUTES},
    ]


def test_of_a_month_that_was_not_watched_nothing_is_known() -> None:
    _, sending, receiving = counted({})
    assert (sending, receiving) == (None, None)
    assert share_text(None) == "tidak diketahui"
    assert "tidak diketahui" in printed(statement(sheets={}))


def test_of_today_the_minutes_count_that_have_passed() -> None:
    noon = datetime(2026, 11, 2, 12, tzinfo=MALAYSIA)
    days, sending, _ = counted({1: WELL, 2: "w720"}, noon)
    assert [on.day for on, _ in days] == [1, 2]
    assert sum(days[1][1].values()) == 720
    assert sending == 1.0


@pytest.mark.parametrize(
    ("share", "text"),
    [(1.0, "100.00 %"), (0.999999, "99.99 %"), (0.9787, "97.87 %"), (0.29, "29.00 %"), (0.0, "0.00 %")],
)
def test_a_share_is_cut_off_and_not_rounded(share: float, text: str) -> None:
    assert share_text(share) == text


def test_an_outage_is_told_with_its_cause_and_a_false_alarm_is_none() -> None:
    one = incident()
    told = printed(statement([(replace(one, policy=replace(one.policy, cause=Cause.CONNECT)), [])]))
    assert "Punca: pelayan mel menolak sambungan" in told
    assert "masih berlaku" in told
    assert "'Gangguan', 'value': '1'" in told
    wrong = replace(one, false_alarm_at=T0 + timedelta(hours=1), false_alarm_by="Siti")
    told = printed(statement([(wrong, [])]))
    assert "Amaran palsu, menurut Siti" in told
    assert "'Gangguan', 'value': '0'" in told


def test_who_was_told_is_named_and_no_number() -> None:
    made = statement([(incident(), [notice(AttemptState.DELIVERED)])])
    told = printed(made)
    assert "1 daripada 1 notis telah dikeluarkan." in told
    files = monthly_report_files(made, counted({})[0], WORDING)
    assert all(SMS_SITI.number not in text for text in (told, *(f.decode("latin-1") for f in files.values())))


def test_a_quiet_month_says_so() -> None:
    told = printed(statement())
    for said in ("Tiada.", "Tiada sesiapa dimaklumkan.", "Tiada latihan dalam bulan ini.", "Semua pemeriksaan lulus."):
        assert said in told
    assert "Belum dilihat." in printed(statement(was_checked=False))


def test_what_another_process_has_looked_at_is_no_all_clear_and_was_looked_at() -> None:
    told = printed(statement(was_checked=False, checked_by="prob-2"))
    assert "Hasil pemeriksaan ada pada proses prob-2" in told
    assert "Belum dilihat." not in told


def test_what_does_not_fit_on_paper_is_in_the_files() -> None:
    many = [StatedLine(at=T0, what=f"=Siti {n}", how="SMS", result="diterima") for n in range(70)]
    made = statement(exercises=many)
    assert "10 lagi ada dalam fail yang disertakan." in printed(made)
    files = monthly_report_files(made, counted({})[0], WORDING)
    lines = files["penyata-JCM-2026-11-drills.csv"].decode().splitlines()
    assert len(lines) == 71
    assert "'=Siti 69" in lines[-1]


def test_what_the_checks_found_amiss_is_told_and_what_they_have_not_seen_is_no_all_clear() -> None:
    finding = Finding(aspect="dmarc", subject="jcm.gov.my", verdict=Verdict.FAIL)
    looked = CheckView(kind="domain", verdict=Verdict.FAIL, last_run_at=T0, findings=[finding])
    told, was_checked = failed_check_lines([looked, CheckView(kind="mx")])
    assert [(each.what, each.how, each.result) for each in told] == [
        ("jcm.gov.my", "rekod domain: dmarc", "tidak lulus")
    ]
    assert was_checked
    assert failed_check_lines([CheckView(kind="mx")]) == ([], False)


def test_there_is_a_word_for_each_kind_verdict_and_end() -> None:
    assert set(CHECKS) == set(check_kinds())
    assert set(VERDICTS) == {str(each) for each in Verdict}
    assert set(DRILL_RESULTS) == {str(each) for each in DrillState}


def test_it_is_a_page_for_the_archive_and_the_same_facts_give_the_same_bytes() -> None:
    made = statement([(incident(), [notice(AttemptState.DELIVERED)])], sheets={1: "h120w1200d60s60", 24: "b1440"})
    page = render.monthly_report(made, WORDING)
    assert page.pages == 1
    assert page.title == "Penyata e-mel JCM, November 2026"
    assert b"pdfaid:part>2" in page.pdf
    assert page.pdf == render.monthly_report(made, WORDING).pdf
