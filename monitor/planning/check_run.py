"""What is to be inspected, and what became of it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from monitor.config.agency.checks import CheckSettings, intervals
from monitor.model.window import ALWAYS, Hours
from probes.model.check import CheckKind, CheckScope, Finding, Verdict

#: What a foreign server says of itself fits into a line, or is cut.
_WORDS_AT_MOST = 400

#: What is told first of several: what is broken, what will be, what nobody knows.
_GRAVITY = (Verdict.PASS, Verdict.UNKNOWN, Verdict.WARN, Verdict.FAIL)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckAssignment:
    """A kind of check that is run again and again on the premises of one agency."""

    kind: CheckKind
    premises: CheckScope = field(repr=False)
    interval: timedelta
    #: Nobody looks while somebody works on what would be looked at.
    hours: Hours = ALWAYS

    @property
    def key(self) -> tuple[str, str]:
        """The agency's short code ("" for our own mailboxes) and the name of the kind."""
        return self.premises.agency, self.kind.name


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRun:
    """One run of a check, over."""

    findings: tuple[Finding, ...]
    at: datetime
    #: Of what: the findings hold for these premises only.
    premises: CheckScope = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictChange:
    """A verdict that is another one than at the last look."""

    finding: Finding
    #: `None`: it was not looked at before.
    before: Verdict | None


def assignments(
    kinds: Mapping[str, CheckKind],
    premises: Iterable[CheckScope],
    service: Mapping[str, CheckSettings],
    agencies: Mapping[str, Mapping[str, CheckSettings]],
    hours: Mapping[str, Hours],
) -> tuple[CheckAssignment, ...]:
    """Return what is to be inspected, kind by kind, so that no server meets all checks at once.

    *service* is what the settings file says of kinds, *agencies* what each agency's file says; *hours* is when an
    agency may be looked at, if not always. A kind that has to be asked for is never run on our own mailboxes: their
    provider has not asked.
    """
    found = []
    for place in premises:
        spans = intervals(kinds, service, agencies.get(place.agency, {}))
        for name, interval in spans.items():
            if place.agency or not kinds[name].asked_for:
                when = hours.get(place.agency, ALWAYS)
                found.append(CheckAssignment(kind=kinds[name], premises=place, interval=interval, hours=when))
    order = {name: number for number, name in enumerate(kinds)}
    return tuple(sorted(found, key=lambda each: order[each.kind.name]))


def changes(before: Sequence[Finding], after: Sequence[Finding]) -> tuple[VerdictChange, ...]:
    """Return the verdicts that are others than before; what passes at the first look is no news."""
    known = {(finding.aspect, finding.subject): finding.verdict for finding in before}
    found = []
    for finding in after:
        was = known.get((finding.aspect, finding.subject))
        if finding.verdict is not (was or Verdict.PASS):
            found.append(VerdictChange(finding=finding, before=was))
    return tuple(found)


def legible(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return *findings* with words that can be written anywhere: those of a foreign server may hold anything, at length."""
    return tuple(
        replace(finding, subject=_printable(finding.subject), detail=_printable(finding.detail)) for finding in findings
    )


def _printable(text: str) -> str:
    if len(text) > _WORDS_AT_MOST:
        text = f"{text[: _WORDS_AT_MOST - 1]}…"
    return text if text.isprintable() else "".join(each if each.isprintable() else "?" for each in text)


def unlooked(kind: CheckKind, before: Sequence[Finding], why: str) -> tuple[Finding, ...]:
    """Return the findings of a run that came to nothing: whatever was known is known no longer."""
    if before:
        return tuple(replace(finding, verdict=Verdict.UNKNOWN, detail=why, expires_at=None) for finding in before)
    return tuple(Finding(aspect=aspect, subject="", verdict=Verdict.UNKNOWN, detail=why) for aspect in kind.aspects)


def worst(findings: Iterable[Finding]) -> Verdict:
    """Return the gravest verdict; nothing to look at is nothing amiss."""
    return max((finding.verdict for finding in findings), key=_GRAVITY.index, default=Verdict.PASS)


def amiss(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return what is not as it should be, the gravest first."""
    odd = (finding for finding in findings if finding.verdict is not Verdict.PASS)
    return tuple(sorted(odd, key=lambda finding: -_GRAVITY.index(finding.verdict)))
