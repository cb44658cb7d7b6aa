"""Texts of all notifications: the shipped ones, and a site's replacements.

A site's directory may hold `ms.yaml` and `en.yaml` with only the keys that it changes. All texts are checked when they
are loaded, so that a mistake shows then and not during an incident.
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

    def render(self, language: Language, key: str, values: Mapping[str, str] | None = None) -> str:
        """Return one text with its placeholders filled in."""
        (template,) = self._texts[language][key]
        return template.fill(values or {})

    def render_all(self, language: Language, key: str, values: Mapping[str, str] | None = None) -> tuple[str, ...]:
        """Return a list of texts without empty ones."""
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
        raise WordingError((f"{directory}: is no directory; write the one that holds {' or '.join(FILES.values())}",))
    texts: dict[Language, Texts] = {}
    problems: list[str] = []
    for language, file in FILES.items():
        try:
            entries = _shipped_entries(file)
            site_entries = _site_entries(directory, file)
        except SourceError as error:
            problems.append(str(error))
            continue
        texts[language] = check_texts((*entries, *site_entries), TEXT_SPECS, file, problems, _check_sendable)
    if directory is not None:
        problems.extend(_unread_files(directory))
    if problems:
        raise WordingError(tuple(problems))
    return Wording(texts)


@cache
def _shipped_entries(file: str) -> tuple[TextEntry, ...]:
    """Return the shipped texts of a language, read once: they change only with the program."""
    return read(Path(__file__).parent / file)


def _site_entries(directory: Path | None, file: str) -> tuple[TextEntry, ...]:
    if directory is None or not (directory / file).exists():
        return ()
    return read(directory / file)


def _unread_files(directory: Path) -> Iterator[str]:
    """Yield an error for each file with another name, such as "my.yaml": it would be ignored silently."""
    for path in sorted(directory.glob("*.y*ml")):
        if path.name not in FILES.values():
            yield f"{path.name}: is not read; write its name as {' or '.join(FILES.values())}"


def _check_sendable(entry: TextEntry, template: Template) -> None:
    """Raise `TemplateError` for an SMS that no carrier would deliver."""
    if not entry.key.startswith(("sms.", "bundle.sms.")) or entry.key.startswith(
        ("sms.cause.", "sms.waits", "sms.then")
    ):
        return
    # Check with a response code and without: not every gateway receives replies.
    plain = {} if _RESPONSE.keys() & template.needed() else _SAMPLES
    for values in (plain, _SAMPLES | _RESPONSE):
        if values and (problems := errors(lint(template.fill(values), _SAMPLES["agency"]))):
            raise TemplateError("; ".join(str(problem) for problem in problems))
