"""The texts of `en.yaml` and `ms.yaml`, validated on first use. `monitor.advice.usual` selects one for a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from alerts.model.notification import Language
from alerts.wording.catalogue import Texts, TextSpec, WordingError, checked
from alerts.wording.source import SourceError, read
from monitor.advice.usual import ENDED_OTHERWISE, UNHEARD_OF, Ending, texts_of_failures
from probes.model.result import Outcome, Phase

_FILES: Mapping[Language, Path] = {
    Language.ENGLISH: Path(__file__).with_name("en.yaml"),
    Language.MALAY: Path(__file__).with_name("ms.yaml"),
}
#: Below this key are texts that several others include by YAML aliases. They are validated there.
_SHARED = "shared."

#: Placeholders of a text about any run,
_RUN = frozenset({"agency", "again", "sender", "to", "arrives", "sending"})
#: about one whose message arrived,
_ARRIVED = _RUN | {"transit", "slow_threshold", "took", "took_exactly", "slow_data"}
#: and about one that failed (`monitor.advice.case.Case.words`)
_FAILED = _RUN | {
    *("host", "port", "server", "tls_name", "protocol", "implicit_port", "starttls_port", "security"),
    *("address", "inbox", "folder", "username", "section", "setting", "file", "owner"),
    *("openssl", "certificate", "phase"),
}
#: where these may be empty.
_FAILED_MAYBE = frozenset({"mail_provider", "detail", "reason"})


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


def _needs() -> Iterator[tuple[str, TextSpec]]:
    yield "words.owner", TextSpec(maybe=frozenset({"agency", "reference"}))
    yield "words.file", TextSpec(maybe=frozenset({"agency"}))
    for end in (*Outcome, *ENDED_OTHERWISE):
        yield f"ended.{end}", TextSpec()
    for phase in Phase:
        yield f"words.phase.{phase}", TextSpec()
    for ending in Ending:
        need = TextSpec(always=_ARRIVED)
        yield from _parts(f"arrived.{ending}", need)
        yield f"arrived.{ending}.who", need
    for key in texts_of_failures():
        need = TextSpec(always=_FAILED, maybe=_FAILED_MAYBE)
        yield from _parts(key, need)
        yield f"{key}.who", replace(need, optional=True)


def _parts(key: str, need: TextSpec) -> Iterator[tuple[str, TextSpec]]:
    yield f"{key}.what", need
    yield f"{key}.do", need
    if key not in {f"arrived.{Ending.WELL}", UNHEARD_OF}:
        yield f"{key}.steps", replace(need, several=True)


#: The required texts, and the placeholders of each.
NEEDS: Mapping[str, TextSpec] = dict(_needs())


def load(file: Path = _FILES[Language.ENGLISH]) -> Texts:
    """Return the texts of *file*. Raise `WordingError`."""
    problems: list[str] = []
    try:
        entries = tuple(entry for entry in read(file) if not entry.key.startswith(_SHARED))
    except SourceError as error:
        raise WordingError((str(error),)) from error
    texts = checked(entries, NEEDS, file.name, problems)
    if problems:
        raise WordingError(tuple(problems))
    return texts


@cache
def _ours(language: Language) -> Texts:
    return load(_FILES[language])


def say(key: str, words: Mapping[str, str], language: Language) -> str:
    """Return one text."""
    (template,) = _ours(language)[key]
    return template.fill(words)


def advice(key: str, words: Mapping[str, str], language: Language) -> Advice:
    """Return the advice of a key. By default the owner of the mail system that failed has to act."""
    return Advice(
        what=say(f"{key}.what", words, language),
        do=say(f"{key}.do", words, language),
        who=say(f"{key}.who", words, language) if f"{key}.who" in _ours(language) else words["owner"],
        steps=tuple(template.fill(words) for template in _ours(language).get(f"{key}.steps", ())),
    )
