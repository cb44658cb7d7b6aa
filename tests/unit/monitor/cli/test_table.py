"""Tables that are read at a terminal, or by another program."""

from __future__ import annotations

import pytest

from monitor.cli.table import print_table


def test_without_a_terminal_nothing_is_cut_or_wrapped(
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


def test_on_a_narrow_terminal_a_word_is_broken_and_not_cut_off_and_a_number_stays_whole(
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


def test_a_table_without_rows_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([], {"Id": "id"}, nothing="No notifications have been sent.")

    assert capsys.readouterr().out == "No notifications have been sent.\n"


def test_nothing_that_was_said_moves_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([{"found": "550 \x1b[2J\x1b]0;x\x07\r no"}], {"Found": "found"}, nothing="None.")

    assert capsys.readouterr().out.splitlines()[1].rstrip() == "550  [2J ]0;x   no"


def test_what_a_server_said_is_shown_as_it_said_it(capsys: pytest.CaptureFixture[str]) -> None:
    said = "mx.contoh.gov.my [2001:db8:a:b::1] 550 [/x] [red]:smile:"

    print_table([{"found": said}], {"Found": "found"}, nothing="None.")

    assert said in capsys.readouterr().out
