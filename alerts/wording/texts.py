"""Texts of all notifications: ours, and a site's replacements.

A site's directory may hold `ms.yaml` and `en.yaml` with only the keys it changes. All texts are checked when loaded,
because at three in the morning nobody can correct them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from alerts.model.notification import Language
from alerts.wording.catalogue import Texts, WordingError, checked
from alerts.wording.lint import errors, lint
from alerts.wording.source import SourceError, TextEntry, read
from alerts.wording.template import Template, TemplateError
from alerts.wording.text_spec import NEEDS

FILES = {Language.MALAY: "ms.yaml", Language.ENGLISH: "en.yaml"}

#: Short values for the SMS rules that do not depend on an agency; `alerts.wording.sms.WorstCase` checks the length.
_SAMPLES = {"agency": "JCM", "number": "JCM-07", "began": "1/1, 2.15 pm", "ended": "1/1, 2.15 pm"}
_SAMPLES |= dict.fromkeys(("noticed", "heard", "handed", "until"), "1/1, 2.15 pm") | {
    "count": "3",
    "names": "JCM, MDC",
    "more": "1",
    "arrived": "3",
    "failed": "2",
    "others": "1",
    "unposted": "2",
    "issued": "1/1, 2.15 pm",
    "then": "NOC dihubungi",
}
_RESPONSE = {"response": "12A"}


@dataclass(frozen=True, slots=True)
class Wording:
    """All texts, checked. Created by `load`."""

    _texts: Mapping[Language, Texts] = field(repr=False)

    def say(self, language: Language, key: str, values: Mapping[str, str] | None = None) -> str:
        """Return one text with its placeholders filled in."""
        (template,) = self._texts[language][key]
        return template.fill(values or {})

    def say_all(self, language: Language, key: str, values: Mapping[str, str] | None = None) -> tuple[str, ...]:
        """Return a list of texts without empty ones."""
        said = (template.fill(values or {}) for template in self._texts[language][key])
        return tuple(text for text in said if text)


def load(directory: Path | None = None) -> Wording:
    """Return our texts with the replacements of *directory*. Raise `WordingError`."""
    return _shipped() if directory is None else _load(directory)


@cache
def _shipped() -> Wording:
    return _load(None)


def _load(directory: Path | None) -> Wording:
    if directory is not None and not directory.is_dir():
        raise WordingError((f"{directory}: is no directory; write the one that holds {' or '.join(FILES.values())}",))
    texts: dict[Language, Texts] = {}
    problems: list[str] = []
    for language, file in FILES.items():
        try:
            entries = _ours(file)
            own = _own(directory, file)
        except SourceError as error:
            problems.append(str(error))
            continue
        texts[language] = checked((*entries, *own), NEEDS, file, problems, _sendable)
    if directory is not None:
        problems.extend(_strangers(directory))
    if problems:
        raise WordingError(tuple(problems))
    return Wording(texts)


@cache
def _ours(file: str) -> tuple[TextEntry, ...]:
    """Return the shipped texts, which change only with the program."""
    return read(Path(__file__).parent / file)


def _own(directory: Path | None, file: str) -> tuple[TextEntry, ...]:
    if directory is None or not (directory / file).exists():
        return ()
    return read(directory / file)


def _strangers(directory: Path) -> Iterator[str]:
    """Yield files that would be ignored silently: "my.yaml" changes nothing, and its author should know."""
    for path in sorted(directory.glob("*.y*ml")):
        if path.name not in FILES.values():
            yield f"{path.name}: is not read; write its name as {' or '.join(FILES.values())}"


def _sendable(entry: TextEntry, template: Template) -> None:
    """Raise `TemplateError` for an SMS that no carrier would deliver."""
    if not entry.key.startswith(("sms.", "bundle.sms.")) or entry.key.startswith(
        ("sms.cause.", "sms.waits", "sms.then")
    ):
        return
    # With a response code and without: not every gateway receives replies.
    plain = {} if _RESPONSE.keys() & template.needed() else _SAMPLES
    for values in (plain, _SAMPLES | _RESPONSE):
        if values and (found := errors(lint(template.fill(values), _SAMPLES["agency"]))):
            raise TemplateError("; ".join(str(problem) for problem in found))
