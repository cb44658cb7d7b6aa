"""Uniqueness of names across all files, and detection of renamed agencies."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from monitor.config.fields.circular import domain_of
from monitor.config.files.findings import Findings
from monitor.config.files.problem import Path, Problem, Severity
from monitor.config.model.registry import Agency
from monitor.model.lazy_text import said
from probes.model.domain import is_within


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Claim of a file to a unique name."""

    #: Kind of the name: "mailbox address".
    kind: str
    name: str
    path: Path
    #: What to write instead if the name is already claimed.
    instead: str
    #: Follows from this claim, of the same file; it is not reported if that one is rejected.
    behind: Claim | None = None


class Claims:
    """All claims of one file, prepared for a fast comparison with those of thousands of files."""

    __slots__ = ("_all", "_by_name")

    def __init__(self, claims: Sequence[Claim] = (), findings: Findings | None = None) -> None:
        """Collect the *claims* of the file with these *findings*. Blanks claim nothing."""
        self._all = [each for each in claims if findings is None or not findings[each.path].is_blank]
        self._by_name = {_name(each): each for each in self._all}

    def __iter__(self) -> Iterator[Claim]:
        return iter(self._all)

    @property
    def names(self) -> Mapping[tuple[str, str], Claim]:
        """The claims by kind and normalised name."""
        return self._by_name

    @property
    def is_sound(self) -> bool:
        """Whether no claim of the file repeats another of the same file."""
        return len(self._by_name) == len(self._all)


def _name(claim: Claim) -> tuple[str, str]:
    return claim.kind, claim.name.casefold()


class Uniques:
    """Registry of the first claim to each name."""

    def __init__(self) -> None:
        #: Each claim has the findings of its file.
        self._first: dict[tuple[str, str], Claim] = {}
        self._files: dict[tuple[str, str], Findings] = {}

    def settle(self, claims: Claims, findings: Findings) -> None:
        """Register the claims of a file. Record in *findings* each name that another place has claimed."""
        if claims.is_sound and self._first.keys().isdisjoint(claims.names):
            # Fast path for nearly all of thousands of files.
            self._first.update(claims.names)
            self._files.update(dict.fromkeys(claims.names, findings))
            return
        refused: set[Claim] = set()
        for claim in claims:
            if claim.behind in refused:
                continue
            name = _name(claim)
            first = self._first.setdefault(name, claim)
            there = self._files.setdefault(name, findings)
            if first is claim and there is findings:
                continue
            refused.add(claim)
            findings[claim.path].error(
                said(
                    "the {kind} '{name}' is also at {where}",
                    kind=said(claim.kind),
                    name=claim.name,
                    where=there[first.path].where,
                ),
                claim.instead,
            )


def check_shared_domains(agencies: Mapping[str, Agency], files: Mapping[str, Findings]) -> None:
    """Record a domain of another agency that a file registers without an address in it: probably left over from a copy.

    *files*: the findings of each agency's file, by its short code.
    """
    registered = [domain for agency in agencies.values() for domain in agency.domains]
    if len({*registered}) == len(registered):
        return
    owners: dict[str, list[str]] = {}
    for code, agency in agencies.items():
        for domain in dict.fromkeys(agency.domains):
            owners.setdefault(domain, []).append(code)
    for domain, codes in owners.items():
        for code in codes if codes[1:] else ():
            agency = agencies[code]
            if not any(is_within(domain_of(address), [domain]) for address in agency.addresses):
                first = next(other for other in codes if other != code)
                place = files[first]["domains"].where
                there = files[code]["domains", agency.domains.index(domain)]
                there.warning(
                    said(
                        "'{domain}' is also a domain of {first} ({place}), and no address here is at it",
                        domain=domain,
                        first=first,
                        place=place,
                    ),
                    "only the domains of this agency",
                )


def perhaps_renamed(was: Mapping[str, Collection[str]], becomes: Mapping[str, Agency], place: str) -> Sequence[Problem]:
    """Return a warning for each removed agency of which another, new agency has a domain.

    *was*: the domains of the previous agencies, by code. *place*: the directory of their files.
    """
    gone, come = was.keys() - becomes.keys(), becomes.keys() - was.keys()
    return [
        Problem(
            file=place,
            key=new,
            message=said(
                "{old} has left and {new} has come, with the same domain; what {old} has lived through is not {new}'s",
                old=old,
                new=new,
            ),
            instead=said("if it is the same agency: pantau rename agency {old} {new} (in a shell)", old=old, new=new),
            severity=Severity.WARNING,
        )
        for old in sorted(gone)
        for new in sorted(come)
        if {*was[old]} & {*becomes[new].domains}
    ]
