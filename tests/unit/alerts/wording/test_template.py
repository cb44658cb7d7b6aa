"""Syntax of text templates."""

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
def test_template_fill_omits_empty_parts(text: str, filled: str) -> None:
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
        ("name}", "without an opening bracket"),
        ("name]", "without an opening bracket"),
        (r"\n", "backslash"),
        ("end\\", "backslash"),
    ],
)
def test_malformed_template_is_rejected_with_advice(text: str, advice: str) -> None:
    with pytest.raises(TemplateError, match=advice):
        parse(text)


def test_value_is_not_parsed_as_template() -> None:
    assert parse("{name}").fill({"name": "{telephone} [x]"}) == "{telephone} [x]"


def test_missing_required_value_raises_error() -> None:
    with pytest.raises(ValueError, match="hours"):
        parse("open {hours}").fill(VALUES)


def test_required_and_optional_placeholders_are_distinguished() -> None:
    template = parse("{a}[ {b}[ {c}]|{d}]")
    assert template.required_placeholders() == {"a"}
    assert template.placeholders() == {"a", "b", "c", "d"}
