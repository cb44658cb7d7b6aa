"""Malay texts of the messages of configuration checks: each message has one."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import pytest
from pydantic import BaseModel

from monitor.access.role import Permission
from monitor.config.agency.checks import CheckSettings
from monitor.config.files.document import Document
from monitor.config.files.duration import InvalidDurationError
from monitor.config.files.findings import Findings
from monitor.config.files.reading import Reader, as_model, field_annotation, item_type, keys_of
from monitor.config.files.secret import SecretResolver
from monitor.config.model.registry import Agency
from monitor.model.translatable import TranslatableText, all_of, any_of, translatable, translate
from monitor.web.page import MALAY_MESSAGES
from probes.model.egress import EgressDenial

ROOT = Path(__file__).parents[4]
_FOLDERS = ("agency", "fields", "files", "model", "validation")
#: Modules whose messages a portal form may show.
MODULES = (
    *(file for room in _FOLDERS for file in sorted((ROOT / "monitor/config" / room).glob("*.py"))),
    *(ROOT / "monitor" / file for file in ("config/review.py", "model/translatable.py", "model/window.py")),
    *(ROOT / "monitor/service/portal" / file for file in ("agency_editor.py", "documents.py")),
    *(ROOT / "monitor/web/agency" / file for file in ("settings_edits.py", "form_parsing.py", "notification_edits.py")),
)
#: Text that a user types in any language.
_LITERAL = frozenset(
    {
        *(
            "[Aras 1, Blok Contoh, 62000 PUTRAJAYA]",
            "address: [Aras 1, Blok Contoh, 62000 PUTRAJAYA]",
            "62000 PUTRAJAYA",
        ),
        *('"MALAYSIA MADANI"', '"BERKHIDMAT UNTUK NEGARA"', "hours: 8.00 pagi - 5.00 petang, Isnin - Jumaat"),
        *("signatory: {name: NAME, post: POST}", "contact_officer: {name: NAME, post: POST, telephone: NUMBER}"),
        *("[PROGRAM, ARGUMENT, ...]", "provider: microsoft", "flow: refresh_token", "true | false"),
        "[{every: weekly, from: 2026-11-30, people: [KEY, KEY]}]",
        "f'chmod o-rwx {name} (in a shell)'",
    }
)
#: Messages that no form shows: parts of command output, store sizes and parser messages.
_NOT_SHOWN = frozenset(
    {
        *(
            "f'; write instead: {self.instead}'",
            "; write instead: ",
            "write ",
            "the text as our own file has it",
            "f'{octets} octets'",
            "is no secret",
            "Value error, ",
        ),
        "f'about {format_octets(self.octets)}: {self.runs:,} runs, {self.hours:,} hourly counts'",
        *(" or ", "control character"),
        *("found unexpected end of stream", "'}', but got", "']', but got", "could not find expected ':'"),
        *("but found '<scalar>'", "expected <block end>", "entries are not allowed here", "alphabetic or numeric"),
        *("cannot start any token", "node content", "mapping values", "but got ':'"),
    }
)
_WORD = re.compile(r"(?<![\w%{.])[A-Za-z]{2,}(?![\w.:]*:)")
#: One-word values of placeholders.
_FILLED_IN = frozenset(
    {
        *EgressDenial,
        *(permission.replace("_", " ") for permission in Permission),
        *("fax", "letter"),
        *("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"),
        # Messages of the cron library.
        *("bad minute", "bad hour", "bad day-of-month", "bad month", "bad day-of-week"),
    }
)


def _texts(node: ast.AST) -> Iterator[str]:
    """Yield patterns of `translatable` and strings of words, without docstrings, regular expressions and examples."""
    match node:
        case ast.Expr(value=ast.Constant()):
            pass
        case ast.Call(func=ast.Attribute(value=ast.Name(id="re"))) | ast.keyword(arg="examples"):
            pass
        case ast.Call(func=ast.Name(id="translatable"), args=[ast.Constant(value=str(text)), *_]):
            yield text
            for each in node.keywords:
                yield from _texts(each)
        case ast.JoinedStr(values=values):
            written = "".join(str(each.value) if isinstance(each, ast.Constant) else "{}" for each in values)
            if " " in written and _WORD.search(written):
                yield ast.unparse(node)
        case ast.Constant(value=str(text)):
            if " " in text and _WORD.search(text):
                yield text
        case _:
            for child in ast.iter_child_nodes(node):
                yield from _texts(child)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.relative_to(ROOT / "monitor")))
def test_check_messages_have_malay_text(module: Path) -> None:
    """A new message needs a Malay text in monitor/web/texts/fault.yaml, and `translatable` if it has placeholders."""
    texts = set(_texts(ast.parse(module.read_text(encoding="utf-8"))))
    assert texts - MALAY_MESSAGES.keys() - _LITERAL - _NOT_SHOWN == set()


def test_malay_messages_have_no_unused_text() -> None:
    others = ("access/role.py", "config/loading.py", "audit/monthly_report.py", "model/renamed_keys.py")
    modules = {*MODULES, *(ROOT / "monitor" / file for file in others), *(ROOT / "monitor/web").rglob("*.py")}
    trees = [ast.parse(module.read_text(encoding="utf-8")) for module in modules]
    written = {node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    assert MALAY_MESSAGES.keys() - written - _FILLED_IN == set()
    assert MALAY_MESSAGES.keys() >= _FILLED_IN


def _filled_in(pattern: str) -> list[str]:
    # Other braces are part of the text: {} or {interval: 1h}.
    return sorted(re.findall(r"\{(\w+(?::04X)?)\}", pattern))


def test_malay_messages_have_placeholders_of_english_text() -> None:
    for english, malay in MALAY_MESSAGES.items():
        assert _filled_in(malay) == _filled_in(english)
        if words := {name.partition(":")[0]: 7 for name in _filled_in(english)}:
            assert malay.format(**words) != malay


def _models(annotation: object) -> Iterator[type[BaseModel]]:
    model, below = as_model(annotation), item_type(annotation)
    if model is not None:
        yield model
        for field in keys_of(model).values():
            yield from _models(field_annotation(field))
    elif below is not None:
        yield from _models(below)


_SECTIONS: list[type[BaseModel]] = [CheckSettings, *_models(Agency)]
_MODELS = {each.__name__: each for each in _SECTIONS}
_WRONG: tuple[object, ...] = (None, "", "tiada begini", "-1", "9999", "true", [], ["tiada"], [{}], {}, {"tiada": {}})


@pytest.mark.parametrize("model", _MODELS.values(), ids=_MODELS)
def test_shape_problems_are_translated(model: type[BaseModel]) -> None:
    keys = [*keys_of(model), "tiada"]
    for written in _WRONG:
        findings = Findings(Document(file="jcontoh.yaml", data={}))
        Reader(findings, SecretResolver(directory=ROOT, environ={})).read(model, dict.fromkeys(keys, written))
        assert [each.message for each in findings.problems if translate(each.message, MALAY_MESSAGES) is None] == []


def test_translatable_keeps_pattern_in_exception_and_copy() -> None:
    text = translatable("'{name}' is no day", name="esok")
    assert text == "'esok' is no day"
    assert (text.pattern, translate(text, {"'{name}' is no day": "'{name}' bukan tarikh"})) == (
        "'{name}' is no day",
        "'esok' bukan tarikh",
    )
    # This also holds in an exception and in a copy.
    assert isinstance(str(InvalidDurationError(text)), TranslatableText)
    assert deepcopy(text).pattern == text.pattern


def test_translatable_argument_is_translated() -> None:
    text = translatable("must be {what}", what=all_of([translatable("a list"), any_of(["x", "y"])]))
    assert text == "must be a list and x or y"
    assert translate(text, MALAY_MESSAGES) == "mestilah senarai dan x atau y"


def test_translatable_argument_of_user_is_not_translated() -> None:
    assert (
        translate(translatable("'{text}' is no domain", text="is missing"), MALAY_MESSAGES)
        == "'is missing' bukan domain"
    )


def test_translate_unknown_text_returns_none() -> None:
    assert translate("no such text", MALAY_MESSAGES) is None
    assert translate(translatable("no {what}", what="text"), MALAY_MESSAGES) is None
