"""What an editor may write in a text."""

import pytest

from alerts.wording.template import TemplateError, parse

VALUES = {"telephone": "03-0000 3000", "hours": "", "name": "Aminah"}


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("plain", "plain"),
        ("call {telephone}", "call 03-0000 3000"),
        ("call {telephone}[ ({hours})]", "call 03-0000 3000"),
        ("call {telephone}[ for {name}]", "call 03-0000 3000 for Aminah"),
        ("[{hours}|{name}|nobody]", "Aminah"),
        ("[{hours}|nobody]", "nobody"),
        ("[{name}[, open {hours}] answers]", "Aminah answers"),
        ("[{hours}]", ""),
        (r"\[\{name\}\] \| \\", r"[{name}] | \ ".strip()),
        ("a | b", "a | b"),
        ("", ""),
    ],
)
def test_a_text_says_what_it_can(text: str, filled: str) -> None:
    assert parse(text).fill(VALUES) == filled


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("{name", "write a name"),
        ("{}", "write a name"),
        ("{na me}", "write a name"),
        ("{name!r}", "write a name"),
        ("{name.__class__}", "write a name"),
        ("[{name}", "not closed"),
        ("[{name}}]", "not closed"),
        ("name}", "closes nothing"),
        ("name]", "closes nothing"),
        (r"\n", "backslash"),
        ("end\\", "backslash"),
    ],
)
def test_what_is_no_text_is_refused_with_advice(text: str, advice: str) -> None:
    with pytest.raises(TemplateError, match=advice):
        parse(text)


def test_a_value_is_never_read_as_a_template() -> None:
    assert parse("{name}").fill({"name": "{telephone} [x]"}) == "{telephone} [x]"


def test_a_needed_value_that_is_missing_is_our_bug() -> None:
    with pytest.raises(ValueError, match="hours"):
        parse("open {hours}").fill(VALUES)


def test_what_may_be_empty_is_told_from_what_is_needed() -> None:
    template = parse("{a}[ {b}[ {c}]|{d}]")
    assert template.needed() == {"a"}
    assert template.used() == {"a", "b", "c", "d"}
