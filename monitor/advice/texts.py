"""The texts of `en.yaml` and `ms.yaml`, validated on first use. `monitor.advice.usual` selects one for a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from alerts.model.notification import Language
from alerts.wording.catalogue import Texts, TextSpec, WordingError, check_texts
from alerts.wording.source import SourceError, read
from monitor.advice.usual import REASONS_WITH_OUTCOME_TEXT, UNKNOWN_REASON, Ending, failure_text_keys
from probes.model.result import Outcome, Phase

_FILES: Mapping[Language, Path] = {
    Language.ENGLISH: Path(__file__).with_name("en.yaml"),
    Language.MALAY: Path(__file__).with_name("ms.yaml"),
}
#: Prefix of keys whose texts others include by YAML aliases. They are validated as part of the others.
_SHARED = "shared."

#: Placeholders of a text about any run.
_RUN_PLACEHOLDERS = frozenset({"agency", "again", "sender", "to", "arrives", "sending"})
#: Placeholders of a text about a run whose message arrived.
_ARRIVED_PLACEHOLDERS = _RUN_PLACEHOLDERS | {"transit", "slow_threshold", "took", "took_exactly", "slow_data"}
#: Placeholders of a text about a run that failed (`monitor.advice.case.Case.placeholders`).
_FAILED_PLACEHOLDERS = _RUN_PLACEHOLDERS | {
    *("host", "port", "server", "tls_name", "protocol", "implicit_port", "starttls_port", "security"),
    *("address", "inbox", "folder", "username", "section", "setting", "file", "owner"),
    *("openssl", "certificate", "phase"),
}
#: Further ones of a failed run, which may be empty.
_OPTIONAL_FAILED_PLACEHOLDERS = frozenset({"mail_provider", "detail", "reason"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """Meaning of a run's outcome, and the remedy."""

    #: One sentence.
    what: str
    #: One sentence.
    do: str
    who: str
    #: What to check, in this order, with the exact setting or command where there is one.
    steps: tuple[str, ...] = ()


def _text_specs() -> Iterator[tuple[str, TextSpec]]:
    yield "words.owner", TextSpec(maybe=frozenset({"agency", "reference"}))
    yield "words.file", TextSpec(maybe=frozenset({"agency"}))
    for outcome in (*Outcome, *REASONS_WITH_OUTCOME_TEXT):
        yield f"ended.{outcome}", TextSpec()
    for phase in Phase:
        yield f"words.phase.{phase}", TextSpec()
    for ending in Ending:
        text_spec = TextSpec(always=_ARRIVED_PLACEHOLDERS)
        yield from _part_specs(f"arrived.{ending}", text_spec)
        yield f"arrived.{ending}.who", text_spec
    for key in failure_text_keys():
        text_spec = TextSpec(always=_FAILED_PLACEHOLDERS, maybe=_OPTIONAL_FAILED_PLACEHOLDERS)
        yield from _part_specs(key, text_spec)
        yield f"{key}.who", replace(text_spec, optional=True)


def _part_specs(key: str, text_spec: TextSpec) -> Iterator[tuple[str, TextSpec]]:
    yield f"{key}.what", text_spec
    yield f"{key}.do", text_spec
    if key not in {f"arrived.{Ending.WELL}", UNKNOWN_REASON}:
        yield f"{key}.steps", replace(text_spec, several=True)


#: The required texts, and the placeholders of each.
TEXT_SPECS: Mapping[str, TextSpec] = dict(_text_specs())


def load(file: Path = _FILES[Language.ENGLISH]) -> Texts:
    """Return the texts of *file*. Raise `WordingError`."""
    problems: list[str] = []
    try:
        entries = tuple(entry for entry in read(file) if not entry.key.startswith(_SHARED))
    except SourceError as error:
        raise WordingError((str(error),)) from error
    texts = check_texts(entries, TEXT_SPECS, file.name, problems)
    if problems:
        raise WordingError(tuple(problems))
    return texts


@cache
def _texts(language: Language) -> Texts:
    return load(_FILES[language])


def render_text(key: str, placeholders: Mapping[str, str], language: Language) -> str:
    """Return one text."""
    (template,) = _texts(language)[key]
    return template.fill(placeholders)


def build_advice(key: str, placeholders: Mapping[str, str], language: Language) -> Advice:
    """Return the advice of *key*. By default the owner of the mail system that failed has to act."""
    return Advice(
        what=render_text(f"{key}.what", placeholders, language),
        do=render_text(f"{key}.do", placeholders, language),
        who=render_text(f"{key}.who", placeholders, language)
        if f"{key}.who" in _texts(language)
        else placeholders["owner"],
        steps=tuple(template.fill(placeholders) for template in _texts(language).get(f"{key}.steps", ())),
    )
