"""Texts of the advice: completeness, and errors with file, line and key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from alerts.wording.catalogue import WordingError
from alerts.wording.source import read
from monitor.advice import texts
from monitor.advice.known_cause import KNOWN_CAUSES, OTHERWISE
from probes.model.reply import Reason

OURS = Path(texts.__file__).with_name("en.yaml")
MALAY = OURS.with_name("ms.yaml")


def problems(directory: Path, text: str) -> tuple[str, ...]:
    """Return the problems of a file that contains *text*."""
    file = directory / "en.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(WordingError) as caught:
        texts.load(file)
    return caught.value.problems


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            "  do: No action",
            "  dont: No action",
            "arrived.well.dont: is an unknown text; write arrived.well.do, or remove",
        ),
        (
            "port refused:\n",
            "port refusd:\n",
            "port refusd.what: is an unknown text; write port refused.what, or remove it",
        ),
        ("  TLS expected:\n", "  tls expected:\n", "no answer.tls expected.what: is an unknown text"),
        (
            "from here to {host}",
            "from here to {hots}",
            "host unreachable.what: {hots} is unknown here; write {address}, ",
        ),
        ("it took {transit} s", "it took {port} s", "arrived.slow.what: {port} is unknown here; write {again}, "),
        (
            "during the DNS lookup",
            "at {server}",
            "words.phase.dns: {server} is unknown here; write no placeholder",
        ),
        ("[ ({detail})]", "({detail})", "{detail} may be empty; put [ and ] around the part to leave out"),
        ("  who: *network\n", "  who:\n", "name server does not answer.who: is empty; write the text"),
        ("  do: No action is needed.", "  do: [Nothing, Nothing]", "arrived.well.do: must be one text"),
        ("  steps: *grant\n", "  steps: See the manual.\n", "no consent.steps: must be a list of texts"),
        ("\nport refused:\n", "\nname unknown:\n  what: x\nport refused:\n", "name unknown is there twice; keep one"),
        ("There is no address", "'There ] is", "is not YAML"),
        (
            "There is no address",
            "There ] is no address",
            "name unknown.what: a ']' without an opening bracket; write '\\]'",
        ),
        ("who: *network", "who: *netwrok", "found undefined alias"),
    ],
)
def test_load_bad_text_reports_file_line_key_and_fix(tmp_path: Path, old: str, new: str, told: str) -> None:
    ours = OURS.read_text(encoding="utf-8")
    assert old in ours
    found = "\n".join(problems(tmp_path, ours.replace(old, new, 1)))
    assert told in found
    assert re.search(r"^en\.yaml:(\d+: | is not YAML)", found, re.MULTILINE)


def test_load_missing_texts_are_all_reported(tmp_path: Path) -> None:
    told = problems(tmp_path, "words:\n  file: x\n")
    assert "en.yaml: words.owner: is missing; write it" in told
    assert "en.yaml: message refused.closing.do: is missing; write it" in told
    assert not any(".who:" in each for each in told if not each.startswith("en.yaml: arrived."))
    assert len(told) == sum(not need.optional for need in texts.TEXT_SPECS.values()) - 1


@pytest.mark.parametrize("reason", Reason)
def test_texts_every_reason_has_default_text(reason: Reason) -> None:
    key = f"{reason}.{OTHERWISE}" if reason in KNOWN_CAUSES else reason
    assert {f"{key}.what", f"{key}.do", f"{key}.steps"} <= texts.TEXT_SPECS.keys()


def test_texts_every_placeholder_is_used() -> None:
    used = {name for templates in texts.load().values() for template in templates for name in template.placeholders()}
    assert used == set().union(*(need.always | need.maybe for need in texts.TEXT_SPECS.values()))


def test_texts_every_yaml_anchor_is_used() -> None:
    ours = OURS.read_text(encoding="utf-8")
    named, said = (set(re.findall(rf"(?:: |- )\{mark}([\w-]+)", ours)) for mark in "&*")
    assert named == said


def test_texts_what_and_do_are_short_sentences() -> None:
    for entry in read(OURS):
        if entry.key.endswith((".what", ".do")) and isinstance(entry.value, str):
            assert entry.value.endswith("."), entry.position
            if not entry.key.startswith("arrived."):
                assert len(entry.value) <= (140 if entry.key.endswith(".what") else 170), entry.position


def _typed(text: str) -> list[str]:
    """Return the parts of a text that every language shares: commands and placeholders."""
    return sorted(re.findall(r"`[^`]*`", text)) + sorted(set(re.findall(r"\{\w+\}", text)))


def test_texts_malay_has_same_keys_and_commands_as_english() -> None:
    english, malay = ({entry.key: entry.value for entry in read(file)} for file in (OURS, MALAY))
    assert malay.keys() == english.keys()
    for key, value in english.items():
        said, told = ([each] if isinstance(each, str) else list(each) for each in (value, malay[key]))
        assert [_typed(each) for each in told] == [_typed(each) for each in said], key
    assert texts.load(MALAY).keys() == texts.load().keys()
