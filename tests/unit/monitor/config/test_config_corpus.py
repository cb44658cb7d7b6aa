"""The corpus of odd configurations: each is refused or warned of in so many words, in time, and no secret is shown."""

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
from monitor.model.lazy_text import translate
from monitor.web.page import FAULTS
from tests.unit.monitor.config.corpus.case import CANARY, ENVIRON, Case, cases, lay_out_base, said_of, shortened

CASES = cases()
#: What is said of an agency's file in English alone: a PIN is kept where only operators write.
_OPERATORS = {"a PIN is 6 to 12 digits"}
#: A file, perhaps a line, perhaps what is only a warning, perhaps a key, and what is wrong.
_LINE = re.compile(r"[\w./-]+(:\d+)?: (warning: )?\S.*")


@contextmanager
def _at_most(seconds: int) -> Iterator[None]:
    """End what waits in the block for a pipe or a device."""

    def end(*_: object) -> NoReturn:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_the_configuration_that_is_made_odd_is_right(tmp_path: Path) -> None:
    lay_out_base(tmp_path / "pantau")
    assert said_of(tmp_path / "pantau" / "pantau.yaml")[1] == []


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_odd_configuration_is_told_where_and_what_to_write_and_shows_no_secret(case: Case, tmp_path: Path) -> None:
    config = case.lay_out(tmp_path / "pantau")
    with _at_most(60):
        loaded, said = said_of(config)
    assert said == case.says
    assert (loaded.configuration is None) is case.is_refused
    assert all(_LINE.fullmatch(line) for line in said)
    assert [str(each) for each in loaded.problems if not each.instead] == []
    unplaced = [each for each in loaded.problems if not each.line]
    assert [str(each) for each in unplaced if not _WHOLE_FILE.match(each.message)] == []
    assert CANARY not in f"{loaded!r} {said}"
    of_agencies = {problem.message for problem in loaded.problems if "/agencies/" in problem.file}
    assert {text for text in of_agencies if translate(text, FAULTS) is None} <= _OPERATORS


def _sample() -> Iterator[Case]:
    """Yield the first of each room that is refused, warned of, and let pass."""
    seen = set()
    for case in CASES:
        kind = (case.name.partition("/")[0], case.is_refused, bool(case.says))
        if kind not in seen and not case.depends_on_the_day:
            seen.add(kind)
            yield case


@pytest.mark.parametrize("case", list(_sample()), ids=lambda case: case.name)
def test_the_command_says_the_same_and_ends_with_2_where_it_is_refused_and_1_where_it_is_warned_of(
    case: Case, tmp_path: Path
) -> None:
    config = case.lay_out(tmp_path / "pantau")
    result = CliRunner().invoke(app, ["check", "--config", str(config)], env=ENVIRON)
    assert result.exit_code == (2 if case.is_refused else 1 if ": warning: " in result.output else 0)
    # Today numbers that had been verified when the corpus was written may not be any more.
    assert [line for line in shortened(result.output, config).splitlines() if line in case.says] == case.says
    assert CANARY not in result.output


#: What is said of a file as a whole: none of it could be read, or it holds nothing to point at.
_WHOLE_FILE = re.compile(r"cannot be read|is no regular file|is larger than|is empty")


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 250
