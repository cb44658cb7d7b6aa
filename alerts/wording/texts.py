"""Texts of all notifications: the shipped ones, and an installation's replacements.

The installation's directory may contain `ms.yaml` and `en.yaml` with only the keys that it changes. All texts are
checked when they are loaded, so that a mistake shows then and not during an incident.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from alerts.model.notification import Language
from alerts.wording.catalogue import Texts, WordingError, check_texts
from alerts.wording.lint import errors, lint
from alerts.wording.source import SourceError, TextEntry, read
from alerts.wording.template import Template, TemplateError
from alerts.wording.text_spec import TEXT_SPECS

FILES = {Language.MALAY: "ms.yaml", Language.ENGLISH: "en.yaml"}

#: Short values with which each SMS is checked against the carriers' rules. `alerts.wording.sms.WorstCase` checks the
#: length with an agency's own values.
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

    def render(self, language: Language, key: str, values: Mapping[str, str] | None = None) -> str:
        """Return one text with its placeholders filled in. Raise `ValueError` for a missing value, which is a bug."""
        (template,) = self._texts[language][key]
        return template.fill(values or {})

    def render_all(self, language: Language, key: str, values: Mapping[str, str] | None = None) -> tuple[str, ...]:
        """Return the texts of a list with their placeholders filled in, without empty texts."""
        texts = (template.fill(values or {}) for template in self._texts[language][key])
        return tuple(text for text in texts if text)


def load(directory: Path | None = None) -> Wording:
    """Return the shipped texts with the replacements of *directory*. Raise `WordingError`."""
    return _load_shipped() if directory is None else _load(directory)


@cache
def _load_shipped() -> Wording:
    return _load(None)


def _load(directory: Path | None) -> Wording:
    if directory is not None and not directory.is_dir():
        raise WordingError((f"{directory}: is no directory; write the one with {' or '.join(FILES.values())}",))
    texts: dict[Language, Texts] = {}
    problems: list[str] = []
    for language, file in FILES.items():
        try:
            entries = _shipped_entries(file)
            local_entries = _local_entries(directory, file)
        except SourceError as error:
            problems.append(str(error))
            continue
        texts[language] = check_texts((*entries, *local_entries), TEXT_SPECS, file, problems, _check_sendable)
    if directory is not None:
        problems.extend(_unread_files(directory))
    if problems:
        raise WordingError(tuple(problems))
    return Wording(texts)


@cache
def _shipped_entries(file: str) -> tuple[TextEntry, ...]:
    """Return the shipped texts of a language. They are read once, because they change only with the program."""
    return read(Path(__file__).parent / file)


def _local_entries(directory: Path | None, file: str) -> tuple[TextEntry, ...]:
    if directory is None or not (directory / file).exists():
        return ()
    return read(directory / file)


def _unread_files(directory: Path) -> Iterator[str]:
    """Yield an error for each file with another name, such as "my.yaml", which would be ignored silently."""
    for path in sorted(directory.glob("*.y*ml")):
        if path.name not in FILES.values():
            yield f"{path.name}: is not read; write its name as {' or '.join(FILES.values())}"


def _check_sendable(entry: TextEntry, template: Template) -> None:
    """Raise `TemplateError` for an SMS that no carrier would deliver."""
    # "sms.cause.", "sms.waits" and "sms.then" are parts of other texts.
    if not entry.key.startswith(("sms.", "bundle.sms.")) or entry.key.startswith(
        ("sms.cause.", "sms.waits", "sms.then")
    ):
        return
    # Check without and with a response code, because not every gateway receives replies. A text that requires the code
    # is not checked without it.
    without_response = {} if _RESPONSE.keys() & template.required_placeholders() else _SAMPLES
    for values in (without_response, _SAMPLES | _RESPONSE):
        if values and (problems := errors(lint(template.fill(values), _SAMPLES["agency"]))):
            raise TemplateError("; ".join(str(problem) for problem in problems))
