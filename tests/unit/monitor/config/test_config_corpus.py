"""The corpus of wrong configurations: each has the expected problems within a time limit, without secrets."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest
from typer.testing import CliRunner

from monitor.cli import app
from monitor.model.translatable import translate
from monitor.web.page import MALAY_MESSAGES
from tests.unit.monitor.config.corpus.case import CANARY, ENVIRON, Case, cases, check_output, lay_out_base, shortened

CASES = cases()
#: Messages in English only: PINs are set by operators.
_OPERATORS = {"a PIN is 6 to 12 digits"}
#: File, optional line, optional severity, optional key and message.
_LINE = re.compile(r"[\w./-]+(:\d+)?: (warning: )?\S.*")


@contextmanager
def _time_limit(seconds: int) -> Iterator[None]:
    """Interrupt a block that waits for a pipe or a device."""

    def end(*_: object) -> NoReturn:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_corpus_base_has_no_problems(tmp_path: Path) -> None:
    lay_out_base(tmp_path / "pantau")
    assert check_output(tmp_path / "pantau" / "pantau.yaml")[1] == []


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_corpus_case_has_expected_problems_and_no_secret(case: Case, tmp_path: Path) -> None:
    config = case.lay_out(tmp_path / "pantau")
    with _time_limit(60):
        loaded, said = check_output(config)
    assert said == case.expected
    assert (loaded.configuration is None) is case.is_refused
    assert all(_LINE.fullmatch(line) for line in said)
    assert [str(each) for each in loaded.problems if not each.instead] == []
    unplaced = [each for each in loaded.problems if not each.line]
    assert [str(each) for each in unplaced if not _WHOLE_FILE.match(each.message)] == []
    assert CANARY not in f"{loaded!r} {said}"
    of_agencies = {problem.message for problem in loaded.problems if "/agencies/" in problem.file}
    assert {text for text in of_agencies if translate(text, MALAY_MESSAGES) is None} <= _OPERATORS


def _sample() -> Iterator[Case]:
    """Yield the first case of each folder that is refused, has warnings or has no problems."""
    seen = set()
    for case in CASES:
        kind = (case.name.partition("/")[0], case.is_refused, bool(case.expected))
        if kind not in seen and not case.depends_on_date:
            seen.add(kind)
            yield case


@pytest.mark.parametrize("case", list(_sample()), ids=lambda case: case.name)
def test_check_command_corpus_case_prints_problems_and_exit_code(case: Case, tmp_path: Path) -> None:
    config = case.lay_out(tmp_path / "pantau")
    result = CliRunner().invoke(app, ["check", "--config", str(config)], env=ENVIRON)
    assert result.exit_code == (2 if case.is_refused else 1 if ": warning: " in result.output else 0)
    # Numbers that were verified at the date of the corpus may have expired today.
    assert [line for line in shortened(result.output, config).splitlines() if line in case.expected] == case.expected
    assert CANARY not in result.output


#: Problems of a whole file: it is unreadable or empty.
_WHOLE_FILE = re.compile(r"cannot be read|is no regular file|is larger than|is empty")


def test_corpus_has_at_least_250_cases() -> None:
    assert len(CASES) >= 250
