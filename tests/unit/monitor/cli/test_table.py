"""Tables for a terminal and for other programs."""

from __future__ import annotations

import pytest

from monitor.cli.table import print_table


def test_print_table_without_terminal_neither_cuts_nor_wraps(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    long = "Ketua Setiausaha, " * 20 + "hujung"

    notice = {"id": 7, "to": long, "why": "the handset is switched off (30003)"}
    print_table([notice], {"Id": "id", "To": "to", "Why": lambda each: str(each["why"])}, nothing="None.")

    head, row = capsys.readouterr().out.splitlines()
    assert head.split() == ["Id", "To", "Why"]
    assert row.split(maxsplit=1)[1].startswith(long)
    assert row.rstrip().endswith("(30003)")
    assert len(row) < 500


def test_print_table_narrow_terminal_breaks_words_and_keeps_numbers_whole(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"COLUMNS": "30", "FORCE_COLOR": "1", "NO_COLOR": "1", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    row = {"number": "JCONTOH-123", "to": "Kementerian Perkhidmatan", "state": "acknowledged"}

    print_table([row], {"No.": "number", "To": "to", "State": "state"}, nothing="None.")

    _, *lines = capsys.readouterr().out.splitlines()
    assert {len(line) for line in lines} == {30}
    assert row["number"] in lines[0]
    assert sorted("".join("".join(lines).split())) == sorted("".join("".join(row.values()).split()))


def test_print_table_without_rows_prints_placeholder(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([], {"Id": "id"}, nothing="No notifications have been sent.")

    assert capsys.readouterr().out == "No notifications have been sent.\n"


def test_print_table_removes_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([{"found": "550 \x1b[2J\x1b]0;x\x07\r no"}], {"Found": "found"}, nothing="None.")

    assert capsys.readouterr().out.splitlines()[1].rstrip() == "550  [2J ]0;x   no"


def test_print_table_keeps_brackets_and_colons(capsys: pytest.CaptureFixture[str]) -> None:
    text = "mx.contoh.gov.my [2001:db8:a:b::1] 550 [/x] [red]:smile:"

    print_table([{"found": text}], {"Found": "found"}, nothing="None.")

    assert text in capsys.readouterr().out
