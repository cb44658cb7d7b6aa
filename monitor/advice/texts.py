"""The texts of `en.yaml` and `ms.yaml`, validated on first use. `known_cause` selects one for a failure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from alerts.model.notification import Language
from alerts.wording.catalogue import Texts, TextSpec, WordingError, check_texts
from alerts.wording.source import SourceError, read
from monitor.advice.known_cause import REASONS_WITH_OUTCOME_TEXT, UNKNOWN_REASON, ArrivalKind, failure_text_keys
from probes.model.result import Outcome, Phase

_FILES: Mapping[Language, Path] = {
    Language.ENGLISH: Path(__file__).with_name("en.yaml"),
    Language.MALAY: Path(__file__).with_name("ms.yaml"),
}
#: Prefix of keys whose texts other texts include by YAML aliases. They are validated where they are included.
_SHARED = "shared."

#: Placeholders of a text about any run: the agency, the command that repeats the run, the address of the sender, the
#: envelope recipient, the address of the mailbox where the message arrives, and the owner of the sender's mail system.
_RUN_PLACEHOLDERS = frozenset({"agency", "again", "sender", "to", "arrives", "sending"})
#: Placeholders of a text about a run whose message arrived: durations in seconds. `took` is the time that the
#: sender's server took to confirm the message, `slow_data` its threshold.
_ARRIVED_PLACEHOLDERS = _RUN_PLACEHOLDERS | {"transit", "slow_threshold", "took", "took_exactly", "slow_data"}
#: Placeholders of a text about a run that failed (`monitor.advice.case.Case.placeholders`).
_FAILED_PLACEHOLDERS = _RUN_PLACEHOLDERS | {
    *("host", "port", "server", "tls_name", "protocol", "implicit_port", "starttls_port", "security"),
    *("address", "inbox", "folder", "username", "section", "setting", "file", "owner"),
    *("openssl", "certificate", "phase"),
}
#: Further placeholders of a failed run, which may be empty.
_OPTIONAL_FAILED_PLACEHOLDERS = frozenset({"mail_provider", "detail", "reason"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """Meaning of a run's outcome, and the remedy."""

    #: Meaning, in one sentence.
    what: str
    #: Remedy, in one sentence.
    do: str
    #: Who has to act.
    who: str
    #: What to check, in this order, with the exact setting or command where there is one.
    steps: tuple[str, ...] = ()


def _text_specs() -> Iterator[tuple[str, TextSpec]]:
    """Yield the key of each text, with its placeholders: `always` are never empty, `maybe` may be empty.

    An `optional` text may be missing. `several`: the key has a list of texts.
    """
    yield "words.owner", TextSpec(maybe=frozenset({"agency", "reference"}))
    yield "words.file", TextSpec(maybe=frozenset({"agency"}))
    for outcome in (*Outcome, *REASONS_WITH_OUTCOME_TEXT):
        yield f"ended.{outcome}", TextSpec()
    for phase in Phase:
        yield f"words.phase.{phase}", TextSpec()
    for arrival_kind in ArrivalKind:
        text_spec = TextSpec(always=_ARRIVED_PLACEHOLDERS)
        yield from _part_specs(f"arrived.{arrival_kind}", text_spec)
        yield f"arrived.{arrival_kind}.who", text_spec
    for key in failure_text_keys():
        text_spec = TextSpec(always=_FAILED_PLACEHOLDERS, maybe=_OPTIONAL_FAILED_PLACEHOLDERS)
        yield from _part_specs(key, text_spec)
        yield f"{key}.who", replace(text_spec, optional=True)


def _part_specs(key: str, text_spec: TextSpec) -> Iterator[tuple[str, TextSpec]]:
    """Yield the texts of an advice except `who`; two kinds of advice have no steps."""
    yield f"{key}.what", text_spec
    yield f"{key}.do", text_spec
    if key not in {f"arrived.{ArrivalKind.NORMAL}", UNKNOWN_REASON}:
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
    """Return the text of a key that has no list."""
    (template,) = _texts(language)[key]
    return template.fill(placeholders)


def build_advice(key: str, placeholders: Mapping[str, str], language: Language) -> Advice:
    """Return the advice of *key*. If it has no text `who`, the owner of the failed mail system has to act."""
    return Advice(
        what=render_text(f"{key}.what", placeholders, language),
        do=render_text(f"{key}.do", placeholders, language),
        who=render_text(f"{key}.who", placeholders, language)
        if f"{key}.who" in _texts(language)
        else placeholders["owner"],
        steps=tuple(template.fill(placeholders) for template in _texts(language).get(f"{key}.steps", ())),
    )
